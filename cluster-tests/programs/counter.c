/* Counts aloud, computing between two numbers; ends with status 7.
 *
 * usage: counter [NUMBERS [STEPS_PER_NUMBER]]
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    long numbers = argc > 1 ? atol(argv[1]) : 10;
    long steps = argc > 2 ? atol(argv[2]) : 50 * 1000 * 1000;
    uint64_t state = 1;

    for (long number = 1; number <= numbers; number++) {
        for (long step = 0; step < steps; step++)
            state = state * 6364136223846793005u + 1442695040888963407u;
        printf("%ld %016llx\n", number, (unsigned long long)state);
        fflush(stdout);
    }
    return 7;
}
