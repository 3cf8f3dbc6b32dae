//! Who is at the other end of a Unix socket.

use std::os::fd::{AsRawFd, BorrowedFd};

use super::{Errno, check};

/// The supplementary groups that the other end had when it connected.
///
/// # Errors
/// The kernel's.
pub fn groups(socket: BorrowedFd<'_>) -> Result<Vec<u32>, Errno> {
    let mut groups: Vec<libc::gid_t> = vec![0; GROUPS_MAX];
    let mut bytes = libc::socklen_t::try_from(size_of_val(groups.as_slice())).unwrap_or(libc::socklen_t::MAX);
    // SAFETY: the kernel writes at most `bytes` bytes, which is what the buffer has, and then how many it wrote.
    check(i64::from(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PEERGROUPS,
            groups.as_mut_ptr().cast(),
            &raw mut bytes,
        )
    }))?;
    groups.truncate(usize::try_from(bytes).unwrap_or(0) / size_of::<libc::gid_t>());
    Ok(groups)
}

/// Of asm-generic/socket.h.
const SO_PEERGROUPS: libc::c_int = 59;

/// NGROUPS_MAX of the kernel.
const GROUPS_MAX: usize = 65_536;

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_other_end_has_the_groups_of_its_process() {
        let (socket, _other) = UnixStream::pair().unwrap();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("Groups:")).unwrap();
        let mut own: Vec<u32> = line.split_whitespace().map(|gid| gid.parse().unwrap()).collect();
        let mut found = groups(socket.as_fd()).unwrap();
        own.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, own);
    }
}
