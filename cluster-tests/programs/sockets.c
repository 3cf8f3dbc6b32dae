/* One loop over everything that epoll can watch: TCP, UDP and Unix sockets, an eventfd and a timerfd.
 * A client thread talks; every byte and datagram is counted on both sides.
 *
 * usage: sockets [ROUNDS]
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { CHUNK = 10 * 1000, WATCHED = 6 };
enum what { LISTENER, TCP, UDP, UNIX, EVENT, TIMER };

static long rounds;
static int fds[WATCHED], unix_ends[2];
static struct sockaddr_in tcp_address, udp_address;

static void need(int condition, const char *what)
{
    if (!condition) {
        perror(what);
        exit(1);
    }
}

static int bound(int type, struct sockaddr_in *address)
{
    socklen_t length = sizeof *address;
    int fd = socket(AF_INET, type, 0);
    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    need(bind(fd, (struct sockaddr *)address, length) == 0, "bind");
    need(getsockname(fd, (struct sockaddr *)address, &length) == 0 && length == sizeof *address, "getsockname");
    return fd;
}

/* Sends all of a chunk and gets it back. */
static void echo(int fd, long round)
{
    static unsigned char out[CHUNK], in[CHUNK];
    for (int i = 0; i < CHUNK; i++)
        out[i] = (unsigned char)(i * 31 + round);
    need(send(fd, out, CHUNK, 0) == CHUNK, "send");
    need(recv(fd, in, CHUNK, MSG_WAITALL) == CHUNK, "recv");
    for (int i = 0; i < CHUNK; i++)
        need(in[i] == out[i], "an echoed byte is wrong");
}

static void *client(void *unused)
{
    int tcp = socket(AF_INET, SOCK_STREAM, 0), udp = socket(AF_INET, SOCK_DGRAM, 0);
    uint64_t one = 1;
    need(connect(tcp, (struct sockaddr *)&tcp_address, sizeof tcp_address) == 0, "connect");
    need(connect(udp, (struct sockaddr *)&udp_address, sizeof udp_address) == 0, "connect");
    for (long round = 1; round <= rounds; round++) {
        echo(tcp, round);
        echo(udp, round);
        echo(unix_ends[1], round);
        need(write(fds[EVENT], &one, sizeof one) == sizeof one, "eventfd");
        usleep(1000);
    }
    close(tcp);
    return unused;
}

static void watch(int epoll, int what)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)what};
    need(epoll_ctl(epoll, EPOLL_CTL_ADD, fds[what], &event) == 0, "epoll_ctl");
}

/* Serves one event; false when the TCP client has closed. */
static int serve(int epoll, enum what what, long *counts)
{
    static char buffer[CHUNK];
    struct sockaddr_in from;
    socklen_t length = sizeof from;
    uint64_t number;
    ssize_t got;

    switch (what) {
    case LISTENER:
        fds[TCP] = accept(fds[LISTENER], NULL, NULL);
        need(fds[TCP] >= 0, "accept");
        watch(epoll, TCP);
        counts[LISTENER]++;
        return 1;
    case UDP:
        got = recvfrom(fds[UDP], buffer, CHUNK, 0, (struct sockaddr *)&from, &length);
        need(sendto(fds[UDP], buffer, (size_t)got, 0, (struct sockaddr *)&from, length) == got, "sendto");
        counts[UDP] += got;
        return 1;
    case EVENT:
    case TIMER:
        need(read(fds[what], &number, sizeof number) == sizeof number, "read");
        counts[what] += (long)number;
        return 1;
    default:
        got = read(fds[what], buffer, CHUNK);
        need(got >= 0 && write(fds[what], buffer, (size_t)got) == got, "echo");
        counts[what] += got;
        return got > 0;
    }
}

int main(int argc, char **argv)
{
    struct itimerspec every = {{.tv_nsec = 1000 * 1000}, {.tv_nsec = 1000 * 1000}};
    struct epoll_event event;
    long counts[WATCHED] = {0};
    pthread_t thread;
    uint64_t last;

    rounds = argc > 1 ? atol(argv[1]) : 600;
    fds[LISTENER] = bound(SOCK_STREAM, &tcp_address);
    need(listen(fds[LISTENER], 1) == 0, "listen");
    fds[UDP] = bound(SOCK_DGRAM, &udp_address);
    need(socketpair(AF_UNIX, SOCK_STREAM, 0, unix_ends) == 0, "socketpair");
    fds[UNIX] = unix_ends[0];
    fds[EVENT] = eventfd(0, EFD_NONBLOCK);
    fds[TIMER] = timerfd_create(CLOCK_MONOTONIC, 0);
    timerfd_settime(fds[TIMER], 0, &every, NULL);
    int epoll = epoll_create1(0);
    for (int what = LISTENER; what < WATCHED; what++)
        if (what != TCP)
            watch(epoll, what);
    need(pthread_create(&thread, NULL, client, NULL) == 0, "pthread_create");
    do
        need(epoll_wait(epoll, &event, 1, 60 * 1000) == 1, "epoll_wait");
    while (serve(epoll, event.data.u32, counts));
    pthread_join(thread, NULL);
    if (read(fds[EVENT], &last, sizeof last) == sizeof last)
        counts[EVENT] += (long)last;
    printf("connections %ld, tcp %ld, udp %ld, unix %ld, events %ld, timer %s\n", counts[LISTENER], counts[TCP],
           counts[UDP], counts[UNIX], counts[EVENT], counts[TIMER] > rounds / 2 ? "ticked" : "stood");
    return 0;
}
