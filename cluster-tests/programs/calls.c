/* Makes calls of one kind and tells what each took.
 *
 * usage: calls FILE
 * Says "ready". Each line of input is "KIND COUNT"; each answer is "TOTAL_NS P50_NS P99_NS". Kinds: getppid; read64, 64 KiB of
 * FILE, from its start again at its end; pipe, one byte into a pipe and out of it; write4, 4 KiB to FILE.new.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { READ_BYTES = 64 * 1024, WRITE_BYTES = 4096, COUNT_MAX = 1000000 };

static char buffer[READ_BYTES];
static int file, copy, ends[2];

static void getppid_once(void)
{
    syscall(SYS_getppid);
}

static void read64_once(void)
{
    ssize_t got = read(file, buffer, READ_BYTES);

    if (got == 0 && lseek(file, 0, SEEK_SET) == 0)
        got = read(file, buffer, READ_BYTES);
    if (got != READ_BYTES)
        exit(1);
}

static void pipe_once(void)
{
    char byte = 'x';

    if (write(ends[1], &byte, 1) != 1 || read(ends[0], &byte, 1) != 1)
        exit(1);
}

static void write4_once(void)
{
    if (write(copy, buffer, WRITE_BYTES) != WRITE_BYTES)
        exit(1);
}

static const struct {
    const char *name;
    void (*once)(void);
} kinds[] = {
    { "getppid", getppid_once },
    { "read64", read64_once },
    { "pipe", pipe_once },
    { "write4", write4_once },
};

static long long now(void)
{
    struct timespec at;

    if (clock_gettime(CLOCK_MONOTONIC, &at) != 0)
        exit(1);
    return at.tv_sec * 1000000000ll + at.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    long long x = *(const long long *)a, y = *(const long long *)b;

    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    static long long times[COUNT_MAX];
    char line[64], kind[16], name[4096];
    long count;

    if (argc != 2 || snprintf(name, sizeof name, "%s.new", argv[1]) >= (int)sizeof name)
        return 2;
    file = open(argv[1], O_RDONLY);
    copy = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (file < 0 || copy < 0 || pipe(ends) != 0)
        return 1;
    puts("ready");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        size_t which = 0;
        long long began;

        if (sscanf(line, "%15s %ld", kind, &count) != 2 || count < 1 || count > COUNT_MAX)
            return 2;
        while (which < sizeof kinds / sizeof *kinds && strcmp(kinds[which].name, kind) != 0)
            which++;
        if (which == sizeof kinds / sizeof *kinds)
            return 2;
        began = now();
        for (long i = 0; i < count; i++) {
            long long before = now();

            kinds[which].once();
            times[i] = now() - before;
        }
        began = now() - began;
        if (ftruncate(copy, 0) != 0 || lseek(copy, 0, SEEK_SET) != 0)
            return 1;
        qsort(times, count, sizeof *times, by_value);
        printf("%lld %lld %lld\n", began, times[count / 2], times[count - 1 - count / 100]);
        fflush(stdout);
    }
    return 0;
}
