/* Five threads over one of each kind of lock: normal, robust and priority-inheriting mutexes, and condition variables.
 * Every total is known beforehand; a lost or doubled wake-up, owner or increment shows in the output.
 *
 * usage: threads [ROUNDS]
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { THREADS = 5, STEPS_PER_ROUND = 20000, INHERITING_EVERY = 500 };

static pthread_mutex_t plain = PTHREAD_MUTEX_INITIALIZER, inheriting, robust;
static pthread_cond_t turn_changed = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t round_done;
static long rounds, plain_sum, inheriting_sum, turns, deaths;
static int turn;

static void need(int condition, const char *what)
{
    if (!condition) {
        printf("wrong: %s\n", what);
        exit(1);
    }
}

/* Each thread in turn, by condition variable. */
static void take_turn(int own)
{
    pthread_mutex_lock(&plain);
    while (turn != own)
        need(pthread_cond_wait(&turn_changed, &plain) == 0, "waiting for a turn");
    turns++;
    turn = (turn + 1) % THREADS;
    pthread_cond_broadcast(&turn_changed);
    pthread_mutex_unlock(&plain);
}

static void *die_holding(void *unused)
{
    int state = pthread_mutex_lock(&robust);
    if (state == EOWNERDEAD)
        pthread_mutex_consistent(&robust);
    return unused;
}

/* A thread that dies with the robust mutex in its hands; the next owner learns it. */
static void inherit_from_the_dead(void)
{
    pthread_t thread;
    need(pthread_create(&thread, NULL, die_holding, NULL) == 0, "creating a thread");
    need(pthread_join(thread, NULL) == 0, "joining a thread");
    need(pthread_mutex_lock(&robust) == EOWNERDEAD, "a dead owner was not reported");
    need(pthread_mutex_consistent(&robust) == 0, "making the mutex consistent");
    deaths++;
    pthread_mutex_unlock(&robust);
}

static void *work(void *number)
{
    int own = (int)(long)number;
    for (long round = 0; round < rounds; round++) {
        for (int step = 0; step < STEPS_PER_ROUND; step++) {
            pthread_mutex_lock(&plain);
            plain_sum += own + 1;
            pthread_mutex_unlock(&plain);
            /* Rarely: each owner hands such a mutex over by way of the kernel, in a row of threads without end. */
            if (step % INHERITING_EVERY == own) {
                pthread_mutex_lock(&inheriting);
                inheriting_sum++;
                pthread_mutex_unlock(&inheriting);
            }
        }
        take_turn(own);
        if (pthread_barrier_wait(&round_done) == PTHREAD_BARRIER_SERIAL_THREAD) {
            inherit_from_the_dead();
            printf("round %ld: %ld %ld %ld %ld\n", round + 1, plain_sum, inheriting_sum, turns, deaths);
            fflush(stdout);
        }
        pthread_barrier_wait(&round_done);
    }
    return (void *)(long)(own * 11);
}

int main(int argc, char **argv)
{
    pthread_mutexattr_t attributes;
    pthread_t threads[THREADS];

    rounds = argc > 1 ? atol(argv[1]) : 100;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
    need(pthread_mutex_init(&inheriting, &attributes) == 0, "making a priority-inheriting mutex");
    pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_NONE);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    need(pthread_mutex_init(&robust, &attributes) == 0, "making a robust mutex");
    pthread_barrier_init(&round_done, NULL, THREADS);
    for (long number = 0; number < THREADS; number++)
        need(pthread_create(&threads[number], NULL, work, (void *)number) == 0, "creating a thread");
    for (long number = 0; number < THREADS; number++) {
        void *result;
        need(pthread_join(threads[number], &result) == 0, "joining a thread");
        need((long)result == number * 11, "a thread's result");
    }
    need(plain_sum == rounds * STEPS_PER_ROUND * 15, "the sum under the normal mutex");
    need(inheriting_sum == rounds * STEPS_PER_ROUND / INHERITING_EVERY * THREADS, "the sum under the priority-inheriting mutex");
    need(turns == rounds * THREADS, "the number of turns");
    need(deaths == rounds, "the number of dead owners");
    puts("right");
    return 0;
}
