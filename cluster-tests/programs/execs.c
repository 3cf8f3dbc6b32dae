/* Programs that are started by a thread which is not the first one, while others wait or work, and threads that are no
 * sooner there than gone.
 *
 * usage: execs [ROUNDS]
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PROGRAMS = 5, THREADS = 20 };
static char *own_path;
static char left[16];

static void *start_the_next(void *unused)
{
    (void)unused;
    char *next[] = {own_path, "--left", left, NULL};
    execv(own_path, next);
    _exit(99);
}

static void *ask(void *parent)
{
    for (;;)
        if (getppid() != *(pid_t *)parent)
            _exit(98);
}

/* One of a chain of programs in one process; the last one ends with status 7. */
static int follow(int number)
{
    pthread_t starter, asker;
    pid_t parent = getppid();

    printf("%d ", number);
    fflush(stdout);
    if (number == 0)
        return 7;
    snprintf(left, sizeof left, "%d", number - 1);
    if (pthread_create(&asker, NULL, ask, &parent) || pthread_create(&starter, NULL, start_the_next, NULL))
        return 97;
    for (;;)
        pause();
}

static void *add(void *sum)
{
    __atomic_add_fetch((int *)sum, getppid() > 0, __ATOMIC_RELAXED);
    return NULL;
}

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? atoi(argv[1]) : 60;

    own_path = argv[0];
    if (argc > 2 && strcmp(argv[1], "--left") == 0)
        return follow(atoi(argv[2]));
    for (int round = 1; round <= rounds; round++) {
        int status = 0, sum = 0;
        fflush(stdout);
        pid_t child = fork();
        if (child == 0)
            return follow(PROGRAMS);
        waitpid(child, &status, 0);
        printf("round %d: %s %d", round, WIFEXITED(status) ? "exit" : "signal",
               WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
        for (int i = 0; i < THREADS; i++) {
            pthread_t thread;
            if (pthread_create(&thread, NULL, add, &sum) || pthread_join(thread, NULL))
                return 1;
        }
        printf(", %d threads\n", sum);
    }
    return 0;
}
