/* A hostile body: looks for whatever it could reach of the machine where it runs.
 *
 * usage: probes NODE PORT FOREIGN_PID
 *
 * Each probe ends with a line of text. It must be the same at home and away; where that would say nothing, since home
 * itself has no such thing, it must be a given refusal. NODE is a node that is not home, with a listener on the abstract
 * socket "only-at-NODE", a socket /tmp/socket-at-NODE, a file /tmp/own-file, a message queue and System V objects of
 * key KEY, and a process FOREIGN_PID; PORT of 127.0.0.1 says the name of its node. Prints "ready", waits for a line of
 * input between the two rounds.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

enum { PROBES = 160, TEXT = 4096, KEY = 0x686f6d65 };

static const char *node;
static int port, foreign;
static char text[2][PROBES][TEXT];
static const char *names[PROBES];
static int count, away, failures;

static char *next(const char *name)
{
    if (count == PROBES)
        abort();
    names[count] = name;
    return text[away][count++];
}

__attribute__((format(printf, 2, 3))) static void is(const char *name, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(next(name), TEXT, format, list);
    va_end(list);
}

/* What a call gave, as the kernel says it. */
static void gives(const char *name, long result)
{
    is(name, "%ld %d", result < 0 ? -1L : 0L, result < 0 ? errno : 0);
}

/* What a call must give away, whatever it gives at home. */
static void refused(const char *name, long result, int error)
{
    strcpy(text[0][count], "refused");
    if (away)
        is(name, result == -1 && errno == error ? "refused" : "result %ld, errno %d", result, errno);
    else
        next(name);
}

static void file(const char *path)
{
    char data[TEXT / 2] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int error = errno;
    ssize_t length = fd < 0 ? 0 : read(fd, data, sizeof data - 1);
    if (fd >= 0)
        close(fd);
    is(path, "%d %zd %s", fd < 0 ? error : 0, length, data);
}

static void points(const char *path)
{
    char to[TEXT] = "";
    gives(path, readlink(path, to, sizeof to - 1));
    is(path, "%s", to);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_no_pid(const struct dirent *entry)
{
    return entry->d_name[0] < '0' || entry->d_name[0] > '9';
}

static void list(const char *path)
{
    struct dirent **entries;
    char *out = next(path);
    int found = scandir(path, &entries, is_no_pid, by_name), at = 0;
    for (int i = 0; i < found; i++)
        at += snprintf(out + at, at < TEXT ? (size_t)(TEXT - at) : 0, "%s ", entries[i]->d_name);
}

/* The names of all programs that /proc shows. */
static void programs(void)
{
    char *out = next("programs"), path[300];
    DIR *proc = opendir("/proc");
    for (struct dirent *entry; proc && (entry = readdir(proc));) {
        char name[64] = "";
        snprintf(path, sizeof path, "/proc/%s/comm", entry->d_name);
        int fd = open(path, O_RDONLY);
        if (fd >= 0 && read(fd, name, sizeof name - 1) > 0 && strstr(name, node))
            snprintf(out, TEXT, "sees %s", name);
        if (fd >= 0)
            close(fd);
    }
    if (proc)
        closedir(proc);
}

static void told(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    char name[64] = "";
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0 && read(fd, name, sizeof name - 1) < 0)
        name[0] = 0;
    close(fd);
    is("name on 127.0.0.1", "%s", name);
}

static void joins(const char *name, const char *path, int abstract)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    snprintf(to.sun_path + abstract, sizeof to.sun_path - 1, "%s%s", path, node);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    gives(name, connect(fd, (struct sockaddr *)&to, (socklen_t)(2 + abstract + strlen(to.sun_path + abstract))));
    close(fd);
}

static void interfaces(void)
{
    char *out = next("interfaces");
    int fd = socket(AF_INET, SOCK_DGRAM, 0), at = 0;
    struct if_nameindex *all = if_nameindex(), *one = all;
    for (; one && one->if_index; one++) {
        struct ifreq request = {0};
        strncpy(request.ifr_name, one->if_name, IFNAMSIZ - 1);
        int error = ioctl(fd, SIOCGIFADDR, &request);
        struct sockaddr_in *address = (struct sockaddr_in *)&request.ifr_addr;
        at += snprintf(out + at, (size_t)(TEXT - at), "%s %x ", one->if_name, error ? 0 : address->sin_addr.s_addr);
    }
    if (all)
        if_freenameindex(all);
    close(fd);
}

static void makes_socket(const char *name, int family, int type, int protocol)
{
    gives(name, socket(family, type, protocol));
}

/* How a child ends that does something. */
static void child(const char *name, void (*act)(void))
{
    pid_t pid = fork();
    if (pid == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        act();
        _exit(0);
    }
    int status = -1;
    waitpid(pid, &status, 0);
    is(name, "status %x", status);
}

static void reads_by_vsyscall(void)
{
    time_t (*now)(time_t *) = (time_t (*)(time_t *))0xffffffffff600400ul;
    _exit(now(NULL) > 1000000000 ? 0 : 1);
}

static void raises_itself(void)
{
    struct sched_param most = {.sched_priority = 50};
    refused("real-time priority", syscall(SYS_sched_setscheduler, 0, SCHED_FIFO, &most), EPERM);
    gives("nice -20", setpriority(PRIO_PROCESS, 0, -20));
    gives("setuid 0", setuid(0));
    gives("setgid 0", setgid(0));
    gives("chroot", chroot("/tmp"));
    gives("CORE limit", setrlimit(RLIMIT_CORE, &(struct rlimit){RLIM_INFINITY, RLIM_INFINITY}));
}

static void memory(void)
{
    char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *page = 1;
    errno = 0;
    /* EINVAL: a kernel that cannot do it for root, either. */
    long offline = madvise(page, 4096, 101);
    refused("taking a page offline", offline, errno == EINVAL ? EINVAL : EPERM);
    void *low = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    refused("mapping page 0", low == MAP_FAILED ? -1 : 0, EPERM);
    size_t much = 64ul << 20;
    void *many = mmap(NULL, much, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    refused("locking 64 MiB", mlock(many, much), ENOMEM);
    munmap(many, much);
    void *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    refused("shared memory", shared == MAP_FAILED ? -1 : 0, ENOSYS);
    munmap(shared, 4096);
    int fd = memfd_create("probe", 0);
    gives("memfd", fd);
    void *mapped = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    refused("mapping a memfd", mapped == MAP_FAILED ? -1 : 0, ENOSYS);
    munmap(mapped, 4096);
    close(fd);
}

/* Only away: at home some of it is allowed, and would change the program. */
static void kernel(void)
{
    static char scratch[256];
    struct iovec piece = {scratch, 8};
    refused("ptrace", syscall(SYS_ptrace, 16, foreign, 0, 0), ENOSYS);
    refused("process_vm_readv", syscall(SYS_process_vm_readv, foreign, &piece, 1, &piece, 1, 0), ENOSYS);
    refused("process_vm_writev", syscall(SYS_process_vm_writev, foreign, &piece, 1, &piece, 1, 0), ENOSYS);
    refused("keyctl", syscall(SYS_keyctl, 0, -3, 1), ENOSYS);
    refused("shmget", syscall(SYS_shmget, KEY, 4096, 01600), ENOSYS);
    refused("userfaultfd", syscall(SYS_userfaultfd, 1), ENOSYS);
    refused("io_uring", syscall(SYS_io_uring_setup, 1, scratch), ENOSYS);
    refused("bpf", syscall(SYS_bpf, 0, scratch, 8), ENOSYS);
    refused("perf_event_open", syscall(SYS_perf_event_open, scratch, 0, -1, -1, 0), ENOSYS);
    refused("unshare", unshare(CLONE_NEWUSER), EPERM);
    refused("setns", setns(0, 0), EPERM);
    refused("clone of a user namespace", syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0), ENOSYS);
    refused("iopl", syscall(SYS_iopl, 3), EPERM);
}

static void others(void)
{
    gives("kill", kill(foreign, 0));
    gives("pidfd_open", syscall(SYS_pidfd_open, foreign, 0));
    gives("sched_getaffinity of it", syscall(SYS_getpriority, PRIO_PROCESS, foreign));
    gives("mq_open", mq_open("/only-away", O_RDONLY));
    gives("msgget", msgget(KEY, 0));
    gives("semget", semget(KEY, 1, 0));
    struct timespec zero = {0, 0};
    gives("clock_settime", clock_settime(CLOCK_REALTIME, &zero));
    gives("mount", mount("none", "/tmp", "tmpfs", 0, ""));
    gives("umount", umount2("/proc", MNT_DETACH));
    gives("device node", mknod("/tmp/probe-device", S_IFCHR | 0600, makedev(1, 1)));
    gives("/dev/mem", open("/dev/mem", O_RDONLY));
    gives("/dev/kmsg", open("/dev/kmsg", O_RDONLY));
    gives("core_pattern", open("/proc/sys/kernel/core_pattern", O_WRONLY));
    gives("root of process 1", open("/proc/1/root/etc/hostname", O_RDONLY));
    makes_socket("raw socket", AF_INET, SOCK_RAW, IPPROTO_ICMP);
    makes_socket("packet socket", AF_PACKET, SOCK_RAW, 0);
    makes_socket("netlink", AF_NETLINK, SOCK_RAW, 0);
    makes_socket("audit", AF_NETLINK, SOCK_RAW, 9);
    makes_socket("crypto socket", AF_ALG, SOCK_SEQPACKET, 0);
}

static void places(void)
{
    char path[64];
    struct utsname uts;
    struct stat root;
    struct statfs fs;
    file("/etc/passwd");
    file("/etc/hostname");
    file("/proc/sys/kernel/hostname");
    file("/proc/self/mountinfo");
    file("/proc/self/cgroup");
    file("/proc/version");
    file("/tmp/own-file");
    snprintf(path, sizeof path, "/tmp/only-at-%s", node);
    file(path);
    snprintf(path, sizeof path, "/proc/%d/comm", foreign);
    file(path);
    for (const char *const *name = (const char *const[]){"mnt", "net", "uts", "ipc", "pid", "user", "cgroup", NULL}; *name;
         name++) {
        snprintf(path, sizeof path, "/proc/self/ns/%s", *name);
        points(path);
    }
    points("/proc/self/exe");
    list("/");
    list("/dev");
    list("/sys/class/net");
    list("/proc");
    is("host name", "%s", uname(&uts) ? "none" : uts.nodename);
    is("root", "%lx %lu", stat("/", &root) ? 0 : (long)root.st_dev, (long)root.st_ino);
    is("file system", "%lx", statfs("/tmp", &fs) ? 0 : (long)fs.f_type);
    is("user", "%d %d %d %d", getuid(), geteuid(), getgid(), getgroups(0, NULL));
    is("pid", "%d %d", getpid(), getppid());
    programs();
    told();
    joins("abstract socket", "only-at-", 1);
    joins("socket in a file", "/tmp/socket-at-", 0);
    interfaces();
}

/* Homing's own code is in every body: `syscall; int3`. */
static uint8_t *homings_page(void)
{
    unsigned char in_memory;
    for (uint64_t at = 0x123400000000; at < 0x523400000000; at += 0x4000000000)
        if (mincore((void *)at, 4096, &in_memory) == 0 && memcmp((void *)at, "\x0f\x05\xcc", 3) == 0)
            return (uint8_t *)at;
    return NULL;
}

/* Returns to whoever has called the code. */
static void after_trap(int number, siginfo_t *info, void *raw)
{
    ucontext_t *context = raw;
    greg_t *registers = context->uc_mcontext.gregs;
    registers[REG_RIP] = *(greg_t *)registers[REG_RSP];
    registers[REG_RSP] += 8;
    (void)number, (void)info;
}

/* Whatever is called from there must go home, as if it were called from anywhere else. */
static void homings_code(void)
{
    struct sigaction action = {.sa_sigaction = after_trap, .sa_flags = SA_SIGINFO};
    char direct[TEXT] = "", there[TEXT] = "";
    uint8_t *code = homings_page();
    long result = readlink("/proc/self/ns/uts", direct, sizeof direct - 1);
    sigaction(SIGTRAP, &action, NULL);
    if (code)
        __asm__ volatile("call *%1"
                         : "=a"(result)
                         : "r"(code), "a"((long)SYS_readlink), "D"("/proc/self/ns/uts"), "S"(there), "d"(TEXT - 1L)
                         : "rcx", "r11", "memory");
    is("homing's code", "%ld %s", result, code ? there : away ? "not found" : direct);
}

/* Whoever runs homing's code next, with rights that the body has not, must not run this. */
static void replace_homings_code(void)
{
    uint8_t *code = homings_page();
    if (code && mprotect(code, 4096, PROT_READ | PROT_WRITE | PROT_EXEC) == 0)
        memcpy(code, "\xeb\xfe", 2);
}

static void all(void)
{
    count = 0;
    places();
    others();
    raises_itself();
    memory();
    homings_code();
    child("vsyscall", reads_by_vsyscall);
    child("a core file", abort);
    if (away)
        kernel();
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    node = argv[1];
    port = atoi(argv[2]);
    foreign = atoi(argv[3]);
    all();
    printf("ready\n");
    fflush(stdout);
    if (getchar() == EOF)
        return 1;
    away = 1;
    all();
    for (int i = 0; i < count; i++)
        if (strcmp(text[0][i], text[1][i])) {
            printf("wrong: %s: at home %s, away %s\n", names[i], text[0][i], text[1][i]);
            failures++;
        }
    printf("%d probes, %d saw the guest\n", count, failures);
    fflush(stdout);
    replace_homings_code();
    return getchar() == EOF || failures != 0;
}
