/* A handler that makes calls of its own, whatever call its signal has interrupted.
 *
 * A child sends signals and numbered records all the time. No record may be lost or come twice, and no call of the
 * handler may get what the interrupted call was to get.
 *
 * usage: handlers [RECORDS]
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* From much shorter to longer than what a move takes. */
#define LONGEST_PAUSE_US (60 * 1000)

static pid_t parent;
static int file;
static volatile sig_atomic_t handled;

static void wrong(const char *what, long got)
{
    char text[100];
    int length = snprintf(text, sizeof text, "wrong: %s: %ld, errno %d\n", what, got, errno);

    if (write(1, text, (size_t)length) < 0)
        _exit(2);
    _exit(1);
}

static void handler(int signal)
{
    int saved = errno;
    char mark = (char)signal;
    struct stat seen;
    long got;

    if ((got = getppid()) != parent)
        wrong("getppid in the handler", got);
    if ((got = pwrite(file, &mark, 1, handled % 4096)) != 1)
        wrong("pwrite in the handler", got);
    if ((got = fstat(file, &seen)) != 0 || !S_ISREG(seen.st_mode))
        wrong("fstat in the handler", got);
    handled++;
    errno = saved;
}

static void pester(int records, int out)
{
    for (int64_t number = 0; number < records; number++) {
        if (write(out, &number, sizeof number) != sizeof number)
            _exit(3);
        kill(getppid(), number % 2 ? SIGUSR1 : SIGUSR2);
        usleep(number * 7919 % LONGEST_PAUSE_US);
    }
    _exit(0);
}

int main(int argc, char **argv)
{
    int records = argc > 1 ? atoi(argv[1]) : 500, ends[2], status;
    struct sigaction restarting = {.sa_handler = handler, .sa_flags = SA_RESTART}, plain = {.sa_handler = handler};
    char name[] = "/tmp/handlersXXXXXX";
    int64_t number;
    pid_t child;

    parent = getppid();
    file = mkstemp(name);
    unlink(name);
    if (file < 0 || pipe(ends) || sigaction(SIGUSR1, &plain, NULL) || sigaction(SIGUSR2, &restarting, NULL))
        wrong("setting up", -1);
    child = fork();
    if (child == 0)
        pester(records, ends[1]);
    close(ends[1]);
    for (int64_t expected = 0; expected < records; expected++) {
        ssize_t got;

        while ((got = read(ends[0], &number, sizeof number)) < 0 && errno == EINTR)
            ;
        if (got != sizeof number || number != expected)
            wrong("a record", got < 0 ? got : (long)number);
    }
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            wrong("waitpid", -1);
    printf("%d records, handled %d, status %d\n", records, handled > 0, status);
    return 0;
}
