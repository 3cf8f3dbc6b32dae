/* Computes on demand: what does a unit of work cost here?
 *
 * usage: work
 * Says "ready". Each line of input is a number of rounds; each answer is "USER_NS CPU_NS WALL_NS CHECKSUM" for them: user time by
 * getrusage, user and system time by the process's clock, time that passed. A round computes and walks through memory
 * larger than the nearest cache, and small enough for the next one, which is the core's own: what others do to a cache
 * that is shared would be measured too.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

enum { WORDS = 1 << 16, STEPS = 20000, STRIDE = 1031 };

static uint64_t memory[WORDS];

static long long now(clockid_t clock)
{
    struct timespec at;

    if (clock_gettime(clock, &at) != 0)
        exit(1);
    return at.tv_sec * 1000000000ll + at.tv_nsec;
}

static long long user_ns(void)
{
    struct rusage used;

    if (getrusage(RUSAGE_SELF, &used) != 0)
        exit(1);
    return used.ru_utime.tv_sec * 1000000000ll + used.ru_utime.tv_usec * 1000ll;
}

int main(void)
{
    char line[64];
    uint64_t state = 1;
    uint32_t at = 0;

    puts("ready");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        long rounds = atol(line);
        long long user = user_ns(), cpu = now(CLOCK_PROCESS_CPUTIME_ID), wall = now(CLOCK_MONOTONIC);

        for (long round = 0; round < rounds; round++) {
            for (int step = 0; step < STEPS; step++) {
                state = state * 6364136223846793005u + 1442695040888963407u;
                at = (at + STRIDE) % WORDS;
                memory[at] += state >> 33;
            }
        }
        printf("%lld %lld %lld %llx\n", user_ns() - user, now(CLOCK_PROCESS_CPUTIME_ID) - cpu,
               now(CLOCK_MONOTONIC) - wall, (unsigned long long)(state ^ memory[at]));
        fflush(stdout);
    }
    return 0;
}
