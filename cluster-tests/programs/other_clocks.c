/* Gives the processes that load it (LD_PRELOAD) other clocks than the machine's: the date jumps to where a file says, and
 * all that counts time runs faster or slower.
 *
 * CLOCK_JUMP_FILE names a file with a number of seconds, which is added to the date as soon as it is there; it is read
 * each time. CLOCK_RATE is the speed of the other clocks in thousandths.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long long rate(void)
{
    static long long known;
    if (!known) {
        const char *text = getenv("CLOCK_RATE");
        known = text ? atoll(text) : 1000;
    }
    return known;
}

static long long jump(void)
{
    const char *path = getenv("CLOCK_JUMP_FILE");
    char text[32] = "";
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0)
        return 0;
    if (read(file, text, sizeof text - 1) < 0)
        text[0] = 0;
    close(file);
    return atoll(text);
}

static __int128 ns_of(const struct timespec *time)
{
    return (__int128)time->tv_sec * 1000000000 + time->tv_nsec;
}

/* From its first look on: what others on this machine read is not far from it. */
static __int128 first_ns[CLOCK_BOOTTIME + 1];

int clock_gettime(clockid_t clock, struct timespec *time)
{
    int result = (int)syscall(SYS_clock_gettime, clock, time);
    if (result)
        return result;
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) {
        time->tv_sec += jump();
    } else if (clock == CLOCK_MONOTONIC || clock == CLOCK_BOOTTIME || clock == CLOCK_MONOTONIC_COARSE) {
        if (__builtin_expect(!first_ns[clock], 0))
            first_ns[clock] = ns_of(time);
        __int128 ns = first_ns[clock] + (ns_of(time) - first_ns[clock]) * rate() / 1000;
        time->tv_sec = (time_t)(ns / 1000000000);
        time->tv_nsec = (long)(ns % 1000000000);
    }
    return 0;
}

/* What waits by such a clock waits as long as it says. */
int epoll_wait(int epoll, struct epoll_event *events, int count, int timeout_ms)
{
    if (timeout_ms > 0)
        timeout_ms = (int)(timeout_ms * 1000LL / rate());
    return (int)syscall(SYS_epoll_pwait, epoll, events, count, timeout_ms, NULL, 8);
}
