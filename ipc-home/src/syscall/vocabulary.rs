//! The words of the table: where a call runs, and what its arguments point to.

/// Where a call runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Natively at the guest; the filter lets it through and it costs nothing.
    Local,
    /// In the shadow thread at home; buffers are gathered, results scattered.
    Home,
    /// Neither rule fits: a handler of its own decides.
    Special(Special),
    /// Nowhere: the program gets this (positive) errno and the refusal is counted.
    Refuse(i32),
}

/// The calls that have a handler of their own, by handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// Anonymous memory is local, file pages come from home: decided by the flags, in the filter.
    Mmap,
    /// Runs at the guest, but the warden must know that pages changed their address.
    Mremap,
    /// Makes a thread or a process on both sides (`clone`, `clone3`, `fork`, `vfork`).
    Clone,
    /// Replaces the program; executed in the deputy (`execve`, `execveat`).
    Exec,
    /// Ends one thread on both sides.
    Exit,
    /// Ends the process on both sides.
    ExitGroup,
    /// Runs at the guest and is mirrored to the deputy, whose kernel must know default from caught.
    SigAction,
    /// Runs at the guest and is mirrored to the shadow thread, so that home's kernel picks the right thread.
    SigMask,
    /// Waits for a signal with a mask in force; the waiting happens at home (`rt_sigsuspend`, `pause`).
    SigSuspend,
    /// By option: local, home, both or refused.
    Prctl,
    /// By command, at home.
    Ioctl,
    /// By command, at home.
    Fcntl,
    /// By command, at home (`semctl`, `msgctl`).
    IpcControl,
    /// `ITIMER_REAL` at home, where its signal belongs; the CPU-time ones at the guest, where the time is spent.
    Itimer,
    /// A relative sleep is at home, where its restart block survives a move; an absolute one is local.
    Sleep,
    /// Runs at the guest and at home, home's result counts: a setting of the thread that both kernels need.
    Mirror,
}

/// What one argument is.
///
/// A null pointer is handed on as null everywhere: home's kernel knows whether it means "absent" or `EFAULT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arg {
    /// A number, or a pointer that the kernel only compares.
    Val,
    /// A file descriptor; the numbers are home's.
    Fd,
    /// A NUL-terminated path; longer than `PATH_MAX` is `ENAMETOOLONG`.
    Path,
    /// A NUL-terminated string that is no path; longer than `PATH_MAX` is `EINVAL`.
    Text,
    /// A string cut after so many bytes, as `PR_SET_NAME` does.
    Cut(u32),
    /// A null-terminated array of pointers to strings (`argv`, `envp`).
    Strings,
    /// Bytes that the kernel reads.
    In(Len),
    /// Bytes that the kernel writes wholly, or as far as the result or a length cell says, on success.
    Out(Len),
    /// Bytes that the kernel reads and may change, also those it may leave partly untouched.
    InOut(Len),
    /// An iovec array that the kernel reads from; the argument named counts its entries.
    IovIn(usize),
    /// An iovec array that the kernel writes to; the argument named counts its entries.
    IovOut(usize),
    /// A `struct msghdr` to send.
    MsgIn,
    /// A `struct msghdr` to receive into.
    MsgOut,
    /// An array of `struct mmsghdr` to send; the argument named counts its entries.
    MsgsIn(usize),
    /// An array of `struct mmsghdr` to receive into; the argument named counts its entries.
    MsgsOut(usize),
    /// A timeout of 16 bytes from which the kernel takes off the time waited, also when interrupted; it ignores a
    /// fault when it writes.
    Timeout,
    /// The 16 bytes that receive the time left when a sleep was interrupted.
    Remaining,
    /// The sixth argument of `pselect6`: a pointer to (pointer to a signal set, its size).
    SigsetPair,
    /// Depends on the command in another argument: see the tables in `commands`.
    ByCommand,
}

/// How long a buffer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Len {
    /// So many bytes.
    Bytes(u32),
    /// Argument `i` is a `size_t` that counts bytes; an output is filled as far as the result says.
    Arg(usize),
    /// Argument `i` is an `int` that counts items of so many bytes; an output is filled by the result, in items.
    Items(usize, u32),
    /// Argument `i` is an `int` that counts bits, stored in 8-byte words (`fd_set`).
    Bits(usize),
    /// Argument `i` points to a `u32`: before the call the room, after it the length of the value.
    Deref(usize),
    /// A `long` and as many bytes as argument `i` says (`struct msgbuf`); the result does not count the `long`.
    Mail(usize),
    /// A `struct file_handle`: 8 bytes and as many as its own first `u32` says.
    Handle,
    /// `BytesUnless(n, i, value)`: `n` bytes, none if argument `i` is `value` (`epoll_ctl` ignores the event of a
    /// deletion).
    BytesUnless(u32, usize, u32),
}

/// One call: its number, name, class and arguments.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// The x86_64 system call number.
    pub nr: u32,
    /// The kernel's name, without prefix.
    pub name: &'static str,
    /// Where it runs.
    pub class: Class,
    /// What it is handed, in order; empty where nothing travels.
    pub args: &'static [Arg],
}

/// One command of a call that is many calls, such as `ioctl`.
#[derive(Debug, PartialEq, Eq)]
pub struct Command {
    /// The command's number.
    pub code: u32,
    /// The kernel's name.
    pub name: &'static str,
    /// Where it runs.
    pub class: Class,
    /// What its operand is.
    pub arg: Arg,
}

/// Arguments of a system call on x86_64.
pub const ARG_COUNT: usize = 6;
