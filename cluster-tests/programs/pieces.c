/* Reads and writes of a megabyte over pipes that are silent or full for a while: every byte arrives once and in order,
 * and a count that is short is one that the kernel could have returned. The other end is a child that stays at home.
 *
 * usage: pieces [ROUNDS]
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BYTES = 1 << 20, PAUSE_MS = 150, SLOW_BYTES = 100 * 1000, SLOW_MS = 20 };

static unsigned char buffer[BYTES];

static void need(int condition, const char *what, long round, long count)
{
    if (!condition) {
        printf("wrong: %s in round %ld: %ld, %s\n", what, round, count, strerror(errno));
        fflush(stdout);
        _exit(1);
    }
}

static void pause_ms(long ms)
{
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000 * 1000};
    while (nanosleep(&time, &time) && errno == EINTR) {
    }
}

/* The byte at a position of the stream: no two stretches of a megabyte are alike. */
static unsigned char byte_at(uint64_t position)
{
    return (unsigned char)((position * 0x9e3779b97f4a7c15ull) >> 56);
}

static void fill(uint64_t from)
{
    for (size_t i = 0; i < BYTES; i++)
        buffer[i] = byte_at(from + i);
}

static void check(const unsigned char *bytes, size_t count, uint64_t from, long round)
{
    for (size_t i = 0; i < count; i++)
        need(bytes[i] == byte_at(from + i), "a byte", round, (long)(from + i));
}

/* Sends a megabyte after a silence, then takes one slowly; as often as the parent wants. */
static void peer(int in, int out, long rounds)
{
    uint64_t sent = 0, taken = 0;
    for (long round = 1; round <= rounds; round++) {
        pause_ms(PAUSE_MS);
        fill(sent);
        for (size_t done = 0; done < BYTES;) {
            ssize_t count = write(out, buffer + done, BYTES - done);
            need(count > 0, "the peer's write", round, count);
            done += (size_t)count;
        }
        sent += BYTES;
        for (size_t done = 0; done < BYTES;) {
            ssize_t count = read(in, buffer, SLOW_BYTES < BYTES - done ? SLOW_BYTES : BYTES - done);
            need(count > 0, "the peer's read", round, count);
            check(buffer, (size_t)count, taken, round);
            done += (size_t)count;
            taken += (uint64_t)count;
            pause_ms(SLOW_MS);
        }
    }
    _exit(0);
}

int main(int argc, char **argv)
{
    long rounds = argc > 1 ? atol(argv[1]) : 2;
    int to_peer[2], from_peer[2], status;
    uint64_t taken = 0, sent = 0;

    if (pipe(to_peer) || pipe(from_peer))
        return 2;
    pid_t child = fork();
    if (child == 0) {
        close(to_peer[1]);
        close(from_peer[0]);
        peer(to_peer[0], from_peer[1], rounds);
    }
    close(to_peer[0]);
    close(from_peer[1]);
    for (long round = 1; round <= rounds; round++) {
        for (size_t done = 0; done < BYTES;) {
            ssize_t count = read(from_peer[0], buffer, BYTES - done);
            need(count > 0, "a read", round, count);
            check(buffer, (size_t)count, taken, round);
            done += (size_t)count;
            taken += (uint64_t)count;
        }
        fill(sent);
        for (size_t done = 0; done < BYTES;) {
            ssize_t count = write(to_peer[1], buffer + done, BYTES - done);
            need(count > 0, "a write", round, count);
            done += (size_t)count;
        }
        sent += BYTES;
        printf("round %ld\n", round);
        fflush(stdout);
    }
    need(waitpid(child, &status, 0) == child && status == 0, "the peer", rounds, status);
    printf("%llu bytes each way\n", (unsigned long long)taken);
    return 0;
}
