//! Passing descriptors between the warden and its family's init.

use std::io::{IoSlice, IoSliceMut};
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::{Errno, check};

/// A connected pair of datagram-preserving Unix sockets, close-on-exec.
///
/// # Errors
/// The kernel's.
pub fn socket_pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    let mut pair = [0; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: the kernel writes two descriptors to the local.
    check(i64::from(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, pair.as_mut_ptr()) }))?;
    // SAFETY: the kernel has just returned both descriptors and nobody else owns them.
    Ok(unsafe { (OwnedFd::from_raw_fd(pair[0]), OwnedFd::from_raw_fd(pair[1])) })
}

/// Sends one message with at most one descriptor.
///
/// # Errors
/// The kernel's.
pub fn send(socket: BorrowedFd<'_>, data: &[u8], fd: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
    let mut control = Control([0; CONTROL_BYTES]);
    let slice = IoSlice::new(data);
    let mut message = header((&raw const slice).cast_mut().cast());
    if let Some(fd) = fd {
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = CONTROL_BYTES;
        // SAFETY: the control buffer holds one cmsghdr with one descriptor, so the first header exists.
        let cmsg = unsafe { &mut *libc::CMSG_FIRSTHDR(&raw const message) };
        cmsg.cmsg_level = libc::SOL_SOCKET;
        cmsg.cmsg_type = libc::SCM_RIGHTS;
        // SAFETY: plain arithmetic on the constant size of a descriptor.
        cmsg.cmsg_len = unsafe { libc::CMSG_LEN(FD_BYTES) } as usize;
        // SAFETY: CMSG_DATA points into the control buffer behind the header, where one descriptor fits.
        unsafe { libc::CMSG_DATA(cmsg).cast::<RawFd>().write_unaligned(fd.as_raw_fd()) };
    }
    // SAFETY: `message` points to live locals.
    check(unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) } as i64)
        .map(drop)
}

/// Receives one message into `buffer`; length 0 is the end of the stream.
///
/// # Errors
/// The kernel's.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<(usize, Option<OwnedFd>), Errno> {
    let mut control = Control([0; CONTROL_BYTES]);
    let mut slice = IoSliceMut::new(buffer);
    let mut message = header((&raw mut slice).cast());
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = CONTROL_BYTES;
    // SAFETY: `message` points to live locals of the sizes that it states.
    let got =
        check(unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) } as i64)?;
    let got = usize::try_from(got).unwrap_or(0);
    // SAFETY: the kernel has filled `message` and its control buffer.
    let cmsg = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    if cmsg.is_null() {
        return Ok((got, None));
    }
    // SAFETY: a non-null first header lies inside the control buffer; the only kind sent here is one descriptor.
    let fd = unsafe { libc::CMSG_DATA(cmsg).cast::<RawFd>().read_unaligned() };
    // SAFETY: the kernel has just installed this descriptor for us.
    Ok((got, Some(unsafe { OwnedFd::from_raw_fd(fd) })))
}

#[repr(align(8))]
struct Control([u8; CONTROL_BYTES]);

fn header(iov: *mut libc::iovec) -> libc::msghdr {
    // SAFETY: msghdr is plain data; all zero means no name, no control.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = iov;
    message.msg_iovlen = 1;
    message
}

const FD_BYTES: u32 = 4;

/// CMSG_SPACE of one descriptor on x86_64.
const CONTROL_BYTES: usize = 24;
