/* Looks at the clock every 0.1 ms and tells each gap: how long did it not run?
 *
 * usage: ticks MEBIBYTES DIRTY_MB_PER_S [RANDOM_BYTES_PER_PAGE]
 * Fills a heap, of whose pages the given part does not compress, says "ready", and from then on dirties it at the
 * given rate, a page at a time and round and round. It says "gap MICROSECONDS" for each time that two looks at the
 * clock were at least 1 ms apart. What it did not dirty in such a gap is work lost: it is not made up for.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { PAGE = 4096, TICK_NS = 100000, GAP_NS = 1000000 };

static long long now(void)
{
    struct timespec at;

    if (clock_gettime(CLOCK_MONOTONIC, &at) != 0)
        exit(1);
    return at.tv_sec * 1000000000ll + at.tv_nsec;
}

static void sleep_until(long long ns)
{
    struct timespec at = { ns / 1000000000, ns % 1000000000 };

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
        ;
}

static void fill(unsigned char *page, size_t random_bytes, uint64_t *state)
{
    memset(page, 0x5a, PAGE);
    for (size_t at = 0; at + 8 <= random_bytes; at += 8) {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        memcpy(page + at, state, 8);
    }
}

int main(int argc, char **argv)
{
    size_t pages = (argc > 1 ? strtoul(argv[1], NULL, 10) : 16) << 8;
    double pages_per_ns = (argc > 2 ? atof(argv[2]) : 0) * 1e6 / PAGE / 1e9;
    size_t random_bytes = argc > 3 ? strtoul(argv[3], NULL, 10) : PAGE;
    unsigned char *heap =
        mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint64_t state = 88172645463325252u;
    size_t next = 0;
    double due = 0;

    if (heap == MAP_FAILED || random_bytes > PAGE)
        return 1;
    for (size_t page = 0; page < pages; page++)
        fill(heap + page * PAGE, random_bytes, &state);
    puts("ready");
    fflush(stdout);
    for (long long before = now();;) {
        long long at, passed;

        sleep_until(before + TICK_NS);
        at = now();
        passed = at - before;
        if (passed >= GAP_NS) {
            printf("gap %lld\n", passed / 1000);
            fflush(stdout);
            passed = TICK_NS;
        }
        for (due += passed * pages_per_ns; due >= 1; due -= 1) {
            /* Somewhere in the page, so that no two versions of it are the same. */
            heap[next * PAGE + at % PAGE] += 1;
            next = (next + 1) % pages;
        }
        before = at;
    }
}
