/* Signals without end: those of real time come each, in order and with what was sent along; ordinary ones come at least
 * once behind the last that was sent, and never more often than they were sent.
 *
 * usage: storm [SIGNALS], sent by a child at about 10,000 in a second
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ORDINARY_EVERY = 10, PAUSE_NS = 40000, LAST = -1 };

static volatile sig_atomic_t received, ordinary, wrong, is_over;

static void queued(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    int value = info->si_value.sival_int;
    if (info->si_code != SI_QUEUE)
        wrong = 1;
    else if (value == LAST)
        is_over = 1;
    else if (value != received + 1)
        wrong = 1;
    else
        received = value;
}

static void plain(int number)
{
    (void)number;
    ordinary++;
}

static int send_all(pid_t parent, int count)
{
    struct timespec pause = {0, PAUSE_NS};

    for (int number = 1; number <= count + 1; number++) {
        union sigval value = {.sival_int = number <= count ? number : LAST};
        /* The queue of a process is limited. */
        while (sigqueue(parent, SIGRTMIN, value)) {
            if (errno != EAGAIN)
                return 1;
            nanosleep(&pause, NULL);
        }
        if (number % ORDINARY_EVERY == 0 && kill(parent, SIGUSR1))
            return 1;
        nanosleep(&pause, NULL);
    }
    return 0;
}

int main(int argc, char **argv)
{
    int count = argc > 1 ? atoi(argv[1]) : 5000, status;
    struct sigaction on_queued = {.sa_sigaction = queued, .sa_flags = SA_SIGINFO | SA_RESTART};
    struct sigaction on_plain = {.sa_handler = plain, .sa_flags = SA_RESTART};
    pid_t parent = getpid(), child;
    unsigned long work = 0;

    sigaction(SIGRTMIN, &on_queued, NULL);
    sigaction(SIGUSR1, &on_plain, NULL);
    child = fork();
    if (child == 0)
        _exit(send_all(parent, count));
    while (!is_over && !wrong)
        for (int i = 0; i < 1000; i++)
            work = work * 6364136223846793005UL + 1;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return 1;
    if (wrong || status) {
        printf("wrong: %d received, work %lu, the sender ended with %d\n", received, work, status);
        return 1;
    }
    if (ordinary < 1 || ordinary > count / ORDINARY_EVERY) {
        printf("wrong: %d ordinary signals of %d\n", ordinary, count / ORDINARY_EVERY);
        return 1;
    }
    printf("%d signals in order\n", received);
    return 0;
}
