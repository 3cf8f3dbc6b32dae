/* What a signal does to a call, case by case: EINTR, restart, remaining time, masks, alternate stack, children.
 *
 * usage: signals [ROUNDS]
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int pipe_ends[2], handled, write_in_handler;
static uintptr_t handler_stack;

static void handle(int signal)
{
    char here;
    handler_stack = (uintptr_t)&here;
    handled = signal;
    if (write_in_handler && write(pipe_ends[1], "h", 1) != 1)
        abort();
}

static void catch(int signal, int flags)
{
    struct sigaction action = {.sa_handler = handle, .sa_flags = flags};
    sigemptyset(&action.sa_mask);
    sigaction(signal, &action, NULL);
    handled = 0;
}

/* Again and again, so that a call is interrupted even if the first alarm comes before it. */
static void alarms(int every_ms)
{
    struct itimerval every = {{.tv_usec = every_ms * 1000}, {.tv_usec = every_ms * 1000}};
    setitimer(ITIMER_REAL, &every, NULL);
}

static void show(const char *what, long result)
{
    int error = errno;
    alarms(0);
    errno = error;
    printf("  %s: %ld%s%s, handled %d\n", what, result, result < 0 ? " " : "", result < 0 ? strerrorname_np(errno) : "",
           handled);
}

static void empty_pipe(void)
{
    struct pollfd end = {.fd = pipe_ends[0], .events = POLLIN};
    char byte;
    while (poll(&end, 1, 0) == 1 && read(pipe_ends[0], &byte, 1) == 1)
        ;
}

static void interrupted_calls(void)
{
    struct timespec long_time = {.tv_sec = 10}, left = {0};
    struct pollfd poll_end = {.fd = pipe_ends[0], .events = POLLIN};
    struct epoll_event event;
    char byte;

    catch(SIGALRM, 0);
    alarms(20);
    show("read without restart", read(pipe_ends[0], &byte, 1));
    catch(SIGALRM, SA_RESTART);
    write_in_handler = 1;
    alarms(20);
    show("read with restart", read(pipe_ends[0], &byte, 1));
    write_in_handler = 0;
    empty_pipe();
    catch(SIGALRM, SA_RESTART);
    alarms(20);
    show("poll, never restarted", poll(&poll_end, 1, 10000));
    catch(SIGALRM, SA_RESTART);
    alarms(20);
    show("nanosleep, never restarted", nanosleep(&long_time, &left));
    printf("  time left: %s\n", left.tv_sec > 1 && left.tv_sec < 10 ? "right" : "wrong");
    int epoll = epoll_create1(0);
    catch(SIGALRM, SA_RESTART);
    alarms(20);
    show("epoll_wait, never restarted", epoll_wait(epoll, &event, 1, 10000));
    close(epoll);
    catch(SIGALRM, 0);
    alarms(20);
    show("pause", pause());
}

static void masks(void)
{
    sigset_t user, pending, old;
    siginfo_t info = {0};

    catch(SIGUSR1, 0);
    sigemptyset(&user);
    sigaddset(&user, SIGUSR1);
    sigprocmask(SIG_BLOCK, &user, &old);
    kill(getpid(), SIGUSR1);
    sigpending(&pending);
    printf("  blocked: pending %d, handled %d\n", sigismember(&pending, SIGUSR1), handled);
    show("sigsuspend", sigsuspend(&old));
    handled = 0;
    sigqueue(getpid(), SIGUSR1, (union sigval){.sival_int = 42});
    printf("  waited for: %d", sigwaitinfo(&user, &info));
    printf(" with %d from %s\n", info.si_value.sival_int, info.si_pid == getpid() ? "itself" : "another");
    sigprocmask(SIG_SETMASK, &old, NULL);
    printf("  after all: handled %d\n", handled);
}

static void alternate_stack(void)
{
    static char area[64 * 1024];
    stack_t stack = {.ss_sp = area, .ss_size = sizeof area};

    sigaltstack(&stack, NULL);
    catch(SIGUSR2, SA_ONSTACK);
    raise(SIGUSR2);
    printf("  on the alternate stack: %d\n", handler_stack - (uintptr_t)area < sizeof area);
}

static void children(void)
{
    int status;

    catch(SIGCHLD, SA_RESTART);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGTERM, SIG_DFL);
        pause();
        _exit(1);
    }
    kill(child, SIGTERM);
    pid_t waited = waitpid(child, &status, 0);
    printf("  child: %s, signal %d, handled %d\n", waited == child ? "waited for" : "lost", WTERMSIG(status), handled);
}

int main(int argc, char **argv)
{
    long rounds = argc > 1 ? atol(argv[1]) : 7;

    if (pipe(pipe_ends))
        return 1;
    for (long round = 1; round <= rounds; round++) {
        printf("round %ld\n", round);
        interrupted_calls();
        masks();
        alternate_stack();
        children();
        fflush(stdout);
    }
    return 0;
}
