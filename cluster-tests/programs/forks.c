/* Children of all kinds: fork, vfork and exec, a pipeline, statuses by exit and by signal, orphans, wait in all its forms.
 *
 * usage: forks [ROUNDS]
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
static char *own_path;

static void show_status(const char *what, pid_t child, int options)
{
    int status;
    if (waitpid(child, &status, options) != child)
        printf("  %s: wait failed, %s\n", what, strerrorname_np(errno));
    else if (WIFSIGNALED(status))
        printf("  %s: signal %d\n", what, WTERMSIG(status));
    else if (WIFSTOPPED(status))
        printf("  %s: stopped by %d\n", what, WSTOPSIG(status));
    else
        printf("  %s: exit %d\n", what, WEXITSTATUS(status));
}

static void statuses(int round)
{
    pid_t child = fork();
    if (child == 0)
        _exit(round % 100 + 1);
    show_status("fork", child, 0);
    child = fork();
    if (child == 0) {
        raise(SIGSTOP);
        for (;;)
            pause();
    }
    show_status("stop", child, WUNTRACED);
    kill(child, SIGCONT);
    kill(child, SIGKILL);
    show_status("kill", child, 0);
    show_status("again", child, 0);
}

static void programs(void)
{
    char *again[] = {own_path, "--exit", "23", NULL};
    char *missing[] = {"/no/such/program", NULL};
    pid_t child = vfork();
    if (child == 0) {
        execv(own_path, again);
        _exit(127);
    }
    show_status("vfork and exec", child, 0);
    printf("  spawn: %d\n", posix_spawn(&child, own_path, NULL, NULL, again, environ));
    show_status("spawned", child, 0);
    printf("  spawn of nothing: %s\n", strerrorname_np(posix_spawn(&child, missing[0], NULL, NULL, missing, environ)));
    fflush(stdout);
    int status = system("exit 5");
    printf("  system: exit %d\n", WEXITSTATUS(status));
}

/* Three stages; the bytes of the last one's input are counted. */
static void pipeline(void)
{
    char line[256];
    FILE *stages = popen("printf 'c\\nb\\na\\n' | sort | tr a-c A-C", "r");
    size_t length = fread(line, 1, sizeof line - 1, stages);
    line[length] = 0;
    for (char *end; (end = strchr(line, '\n'));)
        *end = ' ';
    printf("  pipeline: %s, exit %d\n", line, WEXITSTATUS(pclose(stages)));
}

/* The grandchild's parent ends first; what it then writes still comes. */
static void orphan(void)
{
    int ends[2], parent;
    if (pipe(ends))
        exit(1);
    pid_t child = fork();
    if (child == 0) {
        pid_t middle = getpid();
        if (fork() == 0) {
            while (getppid() == middle)
                usleep(1000);
            parent = 1;
            _exit(write(ends[1], &parent, sizeof parent) != sizeof parent);
        }
        _exit(0);
    }
    close(ends[1]);
    show_status("middle", child, 0);
    printf("  orphan: %zd bytes\n", read(ends[0], &parent, sizeof parent));
    close(ends[0]);
}

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? atoi(argv[1]) : 60;

    if (argc > 2 && strcmp(argv[1], "--exit") == 0)
        return atoi(argv[2]);
    own_path = argv[0];
    for (int round = 1; round <= rounds; round++) {
        printf("round %d\n", round);
        fflush(stdout);
        statuses(round);
        programs();
        pipeline();
        orphan();
        fflush(stdout);
    }
    pid_t left = wait(NULL);
    if (left == -1 && errno == ECHILD)
        return 0;
    printf("wrong: a child is left: %d, %s\n", left, strerrorname_np(errno));
    return 1;
}
