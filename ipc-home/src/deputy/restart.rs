//! How a call ends that a signal kept from being executed.

use crate::protocol::{FileClass, Issue};
use migration::sys::ptrace::{RESTART_ALWAYS, RESTART_IF_WANTED, RESTART_WITHOUT_HANDLER};

/// What the kernel returns to itself for such a call.
///
/// A new call is made behind the handler. One that was under way before a move ends by the signal, as far as its
/// program wants it so; but a call that never waits, of a regular file too, must not be seen to fail with EINTR.
pub(super) fn interrupted_before(nr: i64, issue: Issue, file: impl Fn() -> FileClass) -> i64 {
    match (issue, nr) {
        (Issue::First, _) => RESTART_ALWAYS,
        (
            _,
            libc::SYS_poll
            | libc::SYS_ppoll
            | libc::SYS_select
            | libc::SYS_pselect6
            | libc::SYS_pause
            | libc::SYS_rt_sigsuspend
            | libc::SYS_nanosleep
            | libc::SYS_clock_nanosleep
            | libc::SYS_epoll_wait
            | libc::SYS_epoll_pwait
            | libc::SYS_epoll_pwait2
            | libc::SYS_rt_sigtimedwait
            | libc::SYS_semop
            | libc::SYS_semtimedop
            | libc::SYS_msgsnd
            | libc::SYS_msgrcv,
        ) => RESTART_WITHOUT_HANDLER,
        (
            _,
            libc::SYS_read
            | libc::SYS_readv
            | libc::SYS_write
            | libc::SYS_writev
            | libc::SYS_recvfrom
            | libc::SYS_recvmsg
            | libc::SYS_recvmmsg
            | libc::SYS_sendto
            | libc::SYS_sendmsg
            | libc::SYS_sendmmsg
            | libc::SYS_accept
            | libc::SYS_accept4
            | libc::SYS_connect
            | libc::SYS_splice
            | libc::SYS_tee
            | libc::SYS_mq_timedsend
            | libc::SYS_mq_timedreceive
            | libc::SYS_ioctl,
        ) if file() != FileClass::Regular => RESTART_IF_WANTED,
        (_, libc::SYS_wait4 | libc::SYS_waitid | libc::SYS_flock | libc::SYS_fcntl) => RESTART_IF_WANTED,
        _ => RESTART_ALWAYS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(nr: i64, issue: Issue, file: FileClass, expect: i64) {
        assert_eq!(interrupted_before(nr, issue, || file), expect, "call {nr}, {issue:?}, {file:?}");
    }

    #[test]
    fn only_a_call_that_may_have_waited_before_ends_by_a_signal() {
        check(libc::SYS_read, Issue::First, FileClass::Other, RESTART_ALWAYS);
        check(libc::SYS_read, Issue::Again, FileClass::Other, RESTART_IF_WANTED);
        check(libc::SYS_read, Issue::Again, FileClass::Regular, RESTART_ALWAYS);
        check(libc::SYS_getppid, Issue::Again, FileClass::Other, RESTART_ALWAYS);
        check(libc::SYS_close, Issue::Again, FileClass::Stream, RESTART_ALWAYS);
        check(libc::SYS_poll, Issue::Resumed, FileClass::Other, RESTART_WITHOUT_HANDLER);
        check(libc::SYS_wait4, Issue::Again, FileClass::Other, RESTART_IF_WANTED);
    }
}
