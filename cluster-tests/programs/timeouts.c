/* Every call that waits for a time ends after that time: not before, not much later, and with nothing but the result
 * that it has natively. How late each was at most is written to standard error.
 *
 * usage: timeouts [ROUNDS [LATENESS_MS_MAX]]
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { WAIT_MS = 200, SIGNAL_MS = 120 };
static const int64_t MS_NS = 1000 * 1000;
/* A guest's clock is set by home's over the network, to within half of what a frame takes there: what began by the one
 * and ended by the other seems to be off by that. */
static const int64_t EARLY_NS_MAX = 20 * 1000 * 1000;

static int silent[2], epoll, timed_socket[2];
static const struct timespec WAIT = {.tv_nsec = WAIT_MS * 1000 * 1000};

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 * MS_NS + now.tv_nsec;
}

static struct timespec later(clockid_t clock)
{
    struct timespec until;
    clock_gettime(clock, &until);
    until.tv_nsec += WAIT.tv_nsec;
    until.tv_sec += until.tv_nsec / (1000 * MS_NS);
    until.tv_nsec %= 1000 * MS_NS;
    return until;
}

static void caught(int signal) { (void)signal; }

static void alarm_soon(void)
{
    struct itimerval soon = {.it_value = {.tv_usec = SIGNAL_MS * 1000}};
    setitimer(ITIMER_REAL, &soon, NULL);
}

/* Each returns the errno of its call, or 0. */
static int by_nanosleep(void) { return nanosleep(&WAIT, NULL) ? errno : 0; }

static int by_clock_nanosleep(void)
{
    struct timespec rest;
    return clock_nanosleep(CLOCK_MONOTONIC, 0, &WAIT, &rest);
}

static int by_sleep_until(void)
{
    struct timespec until = later(CLOCK_MONOTONIC);
    return clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

static int by_poll(void)
{
    struct pollfd fd = {.fd = silent[0], .events = POLLIN};
    int ready = poll(&fd, 1, WAIT_MS);
    return ready < 0 ? errno : ready + fd.revents;
}

static int by_ppoll(void)
{
    struct pollfd fd = {.fd = silent[0], .events = POLLIN};
    int ready = ppoll(&fd, 1, &WAIT, NULL);
    return ready < 0 ? errno : ready;
}

static int by_select(void)
{
    fd_set fds;
    FD_ZERO(&fds);
    FD_SET(silent[0], &fds);
    struct timeval time = {.tv_usec = WAIT_MS * 1000};
    int ready = select(silent[0] + 1, &fds, NULL, NULL, &time);
    return ready < 0 ? errno : ready;
}

static int by_pselect(void)
{
    fd_set fds;
    FD_ZERO(&fds);
    FD_SET(silent[0], &fds);
    int ready = pselect(silent[0] + 1, &fds, NULL, NULL, &WAIT, NULL);
    return ready < 0 ? errno : ready;
}

static int by_epoll_wait(void)
{
    struct epoll_event event;
    int ready = epoll_wait(epoll, &event, 1, WAIT_MS);
    return ready < 0 ? errno : ready;
}

static int by_condition(void)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
    struct timespec until = later(CLOCK_REALTIME);
    pthread_mutex_lock(&mutex);
    int result = pthread_cond_timedwait(&condition, &mutex, &until);
    pthread_mutex_unlock(&mutex);
    return result == ETIMEDOUT ? 0 : result;
}

static int by_semaphore(void)
{
    static sem_t semaphore;
    struct timespec until = later(CLOCK_REALTIME);
    return sem_timedwait(&semaphore, &until) && errno == ETIMEDOUT ? 0 : errno;
}

static int by_sigtimedwait(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    return sigtimedwait(&set, NULL, &WAIT) < 0 && errno == EAGAIN ? 0 : errno;
}

static int by_receive(void)
{
    char byte;
    return recv(timed_socket[0], &byte, 1, 0) < 0 && errno == EAGAIN ? 0 : errno;
}

/* The signal came only after the time: the machine was busy with something else. */
enum { NOT_INTERRUPTED = 1000, TRIES_MAX = 10 };

/* A handler ends a sleep: the rest is told, and the two parts together are the whole. */
static int by_interrupted_sleep(void)
{
    struct timespec rest = {.tv_sec = -1};
    alarm_soon();
    if (nanosleep(&WAIT, &rest) == 0)
        return NOT_INTERRUPTED;
    if (errno != EINTR || rest.tv_sec != 0)
        return errno;
    return nanosleep(&rest, NULL) ? errno : 0;
}

static int by_interrupted_poll(void)
{
    struct pollfd fd = {.fd = silent[0], .events = POLLIN};
    alarm_soon();
    if (poll(&fd, 1, WAIT_MS) >= 0)
        return NOT_INTERRUPTED;
    if (errno != EINTR)
        return errno;
    struct timespec rest = {.tv_nsec = (WAIT_MS - SIGNAL_MS) * MS_NS};
    return nanosleep(&rest, NULL) ? errno : 0;
}

static struct {
    const char *name;
    int (*wait)(void);
    /* Whether all of its time is known to whoever moves it. */
    int is_exact;
    int64_t late_ns_max;
} waits[] = {
    {"nanosleep", by_nanosleep, 1, 0},
    {"clock_nanosleep", by_clock_nanosleep, 1, 0},
    {"clock_nanosleep until", by_sleep_until, 1, 0},
    {"poll", by_poll, 1, 0},
    {"ppoll", by_ppoll, 1, 0},
    {"select", by_select, 1, 0},
    {"pselect", by_pselect, 1, 0},
    {"epoll_wait", by_epoll_wait, 0, 0},
    {"pthread_cond_timedwait", by_condition, 1, 0},
    {"sem_timedwait", by_semaphore, 1, 0},
    {"sigtimedwait", by_sigtimedwait, 0, 0},
    {"recv with SO_RCVTIMEO", by_receive, 0, 0},
    {"interrupted nanosleep", by_interrupted_sleep, 1, 0},
    {"interrupted poll", by_interrupted_poll, 1, 0},
};

int main(int argc, char **argv)
{
    long rounds = argc > 1 ? atol(argv[1]) : 1;
    int64_t late_ns_limit = (argc > 2 ? atol(argv[2]) : 1000) * MS_NS;
    struct sigaction action = {.sa_handler = caught};
    struct timeval time = {.tv_usec = WAIT_MS * 1000};
    sigset_t blocked;

    sigaction(SIGALRM, &action, NULL);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR2);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    if (pipe(silent) || (epoll = epoll_create1(0)) < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, timed_socket))
        return 2;
    struct epoll_event event = {.events = EPOLLIN};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, silent[0], &event)
        || setsockopt(timed_socket[0], SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time))
        return 2;

    int wrong = 0;
    for (long round = 1; round <= rounds; round++) {
        for (size_t i = 0; i < sizeof waits / sizeof *waits; i++) {
            int64_t began;
            int result = NOT_INTERRUPTED;
            for (int tries = 0; result == NOT_INTERRUPTED && tries < TRIES_MAX; tries++) {
                began = now_ns();
                result = waits[i].wait();
            }
            int64_t late = now_ns() - began - WAIT_MS * MS_NS;
            if (late > waits[i].late_ns_max)
                waits[i].late_ns_max = late;
            if (result || late < -EARLY_NS_MAX || (waits[i].is_exact && late > late_ns_limit)) {
                printf("wrong: %s: %s, %lld us late\n", waits[i].name, strerror(result), (long long)late / 1000);
                wrong = 1;
            }
        }
        printf("round %ld\n", round);
        fflush(stdout);
    }
    for (size_t i = 0; i < sizeof waits / sizeof *waits; i++)
        fprintf(stderr, "%-24s at most %7lld us late\n", waits[i].name, (long long)waits[i].late_ns_max / 1000);
    return wrong;
}
