/* Reads the clocks by the vdso without pause, so that every stop and nearly every signal meets it between looking for
 * the page that has the time and reading it: no reading may be lost, go back, or belong to two machines.
 *
 * usage: readings [MILLIONS]
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* Longer than any pause of a test, and shorter than the way from one node's clocks to the next one's. */
static const int64_t LEAP_NS = 100ll * 1000 * 1000 * 1000;
/* For slow adjustments of the calendar. */
static const int64_t SLACK_NS = 20 * 1000 * 1000;
static const int64_t SECOND_NS = 1000 * 1000 * 1000;
static const long CHUNK = 1000 * 1000;

static volatile sig_atomic_t handled;
static volatile int over;

static void handle(int number)
{
    (void)number;
    handled++;
}

static void *pester(void *reader)
{
    while (!over) {
        pthread_kill(*(pthread_t *)reader, SIGUSR1);
        usleep(700);
    }
    return NULL;
}

static int64_t read_clock(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * SECOND_NS + now.tv_nsec;
}

static int64_t read_calendar(void)
{
    struct timeval now;
    gettimeofday(&now, NULL);
    return now.tv_sec * SECOND_NS + now.tv_usec * 1000;
}

static void follows(const char *clock, int64_t *last, int64_t now, int64_t slack)
{
    if (now < *last - slack || now > *last + LEAP_NS) {
        printf("wrong: the %s clock went from %lld ns to %lld ns\n", clock, (long long)*last, (long long)now);
        exit(1);
    }
    *last = now;
}

int main(int argc, char **argv)
{
    long chunks = argc > 1 ? atol(argv[1]) : 1;
    pthread_t reader = pthread_self(), pest;
    signal(SIGUSR1, handle);
    pthread_create(&pest, NULL, pester, &reader);

    int64_t monotonic = read_clock(CLOCK_MONOTONIC), coarse = read_clock(CLOCK_MONOTONIC_COARSE);
    int64_t boot = read_clock(CLOCK_BOOTTIME), calendar = read_calendar(), seconds = time(NULL) * SECOND_NS;
    for (long chunk = 1; chunk <= chunks; chunk++) {
        for (long round = 0; round < CHUNK; round++) {
            follows("monotonic", &monotonic, read_clock(CLOCK_MONOTONIC), 0);
            follows("coarse", &coarse, read_clock(CLOCK_MONOTONIC_COARSE), 0);
            follows("boot-time", &boot, read_clock(CLOCK_BOOTTIME), 0);
            follows("calendar", &calendar, read_calendar(), SLACK_NS);
            follows("seconds'", &seconds, time(NULL) * SECOND_NS, SECOND_NS);
        }
        printf("%ld readings of each clock\n", chunk * CHUNK);
        fflush(stdout);
    }
    over = 1;
    pthread_join(pest, NULL);
    printf("%s\n", handled ? "signals came" : "wrong: no signal came");
    return 0;
}
