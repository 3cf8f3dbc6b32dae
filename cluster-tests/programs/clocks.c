/* No clock ever steps: the monotonic and boot-time clocks never go back, keep their distance from each other and
 * from the calendar, by the vdso as well as by system calls, and a sleep until a time ends after that time.
 *
 * usage: clocks [SECONDS]
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* For slow adjustments of the calendar; a node's clocks are 1000 s apart from the next one's. */
static const int64_t SLACK_NS = 20 * 1000 * 1000;
static const int64_t SECOND_NS = 1000 * 1000 * 1000;

static int64_t by_vdso(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * SECOND_NS + now.tv_nsec;
}

static int64_t by_call(clockid_t clock)
{
    struct timespec now;
    syscall(SYS_clock_gettime, clock, &now);
    return now.tv_sec * SECOND_NS + now.tv_nsec;
}

static void need(int condition, const char *what, int64_t first, int64_t second)
{
    if (!condition) {
        printf("wrong: %s: %lld ns, then %lld ns\n", what, (long long)first, (long long)second);
        exit(1);
    }
}

/* A reading between two others, however long the program was stopped between them. */
static void need_between(const char *what, int64_t low, int64_t reading, int64_t high)
{
    need(reading >= low - SLACK_NS, what, low, reading);
    need(reading <= high + SLACK_NS, what, high, reading);
}

int main(int argc, char **argv)
{
    long seconds = argc > 1 ? atol(argv[1]) : 1;
    int64_t next = by_vdso(CLOCK_MONOTONIC), last = next, last_boot = by_vdso(CLOCK_BOOTTIME);
    int64_t boot_ahead = last_boot - next;
    int64_t calendar_ahead = by_vdso(CLOCK_REALTIME) - next;

    for (long tenth = 1; tenth <= seconds * 10; tenth++) {
        next += SECOND_NS / 10;
        struct timespec until = {.tv_sec = next / SECOND_NS, .tv_nsec = next % SECOND_NS};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
        for (int sample = 0; sample < 2000; sample++) {
            int64_t before = by_vdso(CLOCK_MONOTONIC), called = by_call(CLOCK_MONOTONIC);
            int64_t boot = by_vdso(CLOCK_BOOTTIME), calendar = by_vdso(CLOCK_REALTIME);
            int64_t after = by_vdso(CLOCK_MONOTONIC);
            need(before >= next, "a sleep ended early", next, before);
            need(before >= last, "the monotonic clock went back", last, before);
            need(called >= before && after >= called, "vdso and system call differ", before, called);
            need(boot >= last_boot, "the boot-time clock went back", last_boot, boot);
            need_between("the boot-time clock stepped", before, boot - boot_ahead, after);
            need_between("the monotonic clock stepped", before, calendar - calendar_ahead, after);
            last = after;
            last_boot = boot;
        }
        if (tenth % 10 == 0) {
            printf("second %ld: no step\n", tenth / 10);
            fflush(stdout);
        }
    }
    return 0;
}
