/* A hostile body: tries every system call with three sets of arguments, and the other ways into the kernel.
 *
 * usage: sweep CALLS
 *
 * CALLS has a line "NUMBER CLASS ERRNO" for each call: L for one that runs where the body is, H and S for home, R for
 * one that is refused with ERRNO, K for one that the kernel itself lets through every filter. Whatever is refused must be refused with just that, whatever the arguments; nothing
 * else may end the program. Prints "ready", waits for a line of input, tries, and prints how often each class answered.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CALLS = 470, BEYOND = 500, SETS = 3, BUFFER = 65536, REPORTS = 300, PATIENCE_MS = 3000 };

static struct { char class; int error; } table[CALLS];
static char *buffer;
static long counts[128];
static int failures;

static long raw(long nr, const uint64_t *a)
{
    long result;
    register uint64_t r10 __asm__("r10") = a[3], r8 __asm__("r8") = a[4], r9 __asm__("r9") = a[5];
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(nr), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

static void renew(void)
{
    if (mmap(buffer, BUFFER, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != buffer)
        _exit(90);
    strcpy(buffer, "/nowhere/at/all");
}

static void fill(int set, uint64_t *a)
{
    for (int i = 0; i < 6; i++)
        a[i] = set == 0 ? 0 : set == 1 ? UINT64_MAX : i % 2 ? 4096 : (uint64_t)(uintptr_t)buffer;
}

struct report { int nr, set, done; long result; };

/* Tries the calls from one on, and says before and after each. */
static void try_from(int nr, int set)
{
    for (; nr < BEYOND; nr++, set = 0) {
        for (; set < SETS; set++) {
            struct report report = {nr, set, 0, 0};
            uint64_t a[6];
            renew();
            fill(set, a);
            if (nr == SYS_clone && set == 2)
                a[0] = 0x7e020000; /* all new namespaces */
            if (write(REPORTS, &report, sizeof report) != sizeof report)
                _exit(91);
            pid_t own = getpid(), thread = gettid();
            report.result = raw(nr, a);
            if (getpid() != own || gettid() != thread)
                syscall(SYS_exit_group, 0);
            report.done = 1;
            if (write(REPORTS, &report, sizeof report) != sizeof report)
                _exit(91);
        }
    }
    _exit(0);
}

static void judge(const struct report *report)
{
    int known = report->nr < CALLS && table[report->nr].class;
    char class = known ? table[report->nr].class : 'R';
    int error = known ? table[report->nr].error : ENOSYS;
    counts[(int)class]++;
    if (class == 'R' && report->result != -error) {
        printf("wrong: call %d, arguments %d: %ld, not %d\n", report->nr, report->set, report->result, -error);
        failures++;
    }
}

/* One child after the other: some calls end it, some never return. */
static void sweep(void)
{
    int nr = 0, set = 0, ends = 0, hangs = 0;
    while (nr < BEYOND) {
        int ends_of_pipe[2];
        if (pipe(ends_of_pipe))
            exit(92);
        pid_t child = fork();
        if (child == 0) {
            dup2(ends_of_pipe[1], REPORTS);
            close(ends_of_pipe[0]);
            close(ends_of_pipe[1]);
            setsid();
            try_from(nr, set);
        }
        close(ends_of_pipe[1]);
        struct report report = {nr, set, 0, 0};
        struct pollfd wait = {.fd = ends_of_pipe[0], .events = POLLIN};
        int over = 0;
        while (!over) {
            if (poll(&wait, 1, PATIENCE_MS) == 0) {
                hangs++;
                break;
            }
            over = read(ends_of_pipe[0], &report, sizeof report) != sizeof report;
            if (!over && report.done)
                judge(&report);
        }
        kill(child, SIGKILL);
        int status = 0;
        waitpid(child, &status, 0);
        close(ends_of_pipe[0]);
        if (over && report.done && report.nr == BEYOND - 1 && report.set == SETS - 1)
            break;
        ends += over;
        nr = report.nr;
        set = report.set + 1;
        if (set == SETS) {
            nr++;
            set = 0;
        }
        if (ends + hangs > 200) {
            printf("wrong: too many ends, %d and %d, at %d\n", ends, hangs, nr);
            exit(1);
        }
    }
    printf("answered: local %ld, home %ld, special %ld, refused %ld; ended %d, waited %d\n", counts['L'], counts['H'],
           counts['S'], counts['R'], ends, hangs);
}

/* The status of a child that takes another way into the kernel. */
static int end_of(void (*way)(void))
{
    pid_t child = fork();
    if (child == 0) {
        way();
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return status;
}

static void by_x32(void)
{
    uint64_t none[6] = {0};
    raw(0x40000000 | SYS_getppid, none);
}

static void by_int_80(void)
{
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(20L) : "memory");
}

static void need_killed(const char *way, int status)
{
    /* SIGSEGV: a kernel that has no such way. */
    if (!WIFSIGNALED(status) || (WTERMSIG(status) != SIGSYS && WTERMSIG(status) != SIGSEGV)) {
        printf("wrong: %s ended with status %x\n", way, status);
        failures++;
    }
}

int main(int argc, char **argv)
{
    FILE *calls = fopen(argc > 1 ? argv[1] : "", "r");
    int nr, error;
    char class;
    while (calls && fscanf(calls, "%d %c %d\n", &nr, &class, &error) == 3)
        if (nr >= 0 && nr < CALLS) {
            table[nr].class = class;
            table[nr].error = error;
        }
    buffer = mmap(NULL, BUFFER, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    printf("ready\n");
    fflush(stdout);
    if (getchar() == EOF)
        return 1;
    signal(SIGCHLD, SIG_DFL);
    sweep();
    need_killed("x32", end_of(by_x32));
    need_killed("int 0x80", end_of(by_int_80));
    uint64_t none[6] = {0};
    if (raw(-1, none) != -ENOSYS) {
        printf("wrong: call -1\n");
        failures++;
    }
    return failures != 0;
}
