//! Copying memory between this process and another one.

use super::{Errno, check};

/// Reads as the other process could: EFAULT where it has no read permission.
///
/// Blocks while a page is missing behind a userfaultfd, so it must not be used on such ranges by the thread that
/// serves the faults.
///
/// # Errors
/// The kernel's; EFAULT when not all bytes could be read.
pub fn read(pid: u32, addr: u64, buffer: &mut [u8]) -> Result<(), Errno> {
    if buffer.is_empty() {
        return Ok(());
    }
    let local = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let remote = libc::iovec { iov_base: addr as *mut libc::c_void, iov_len: buffer.len() };
    // SAFETY: `local` covers exactly the buffer; `remote` is only interpreted in the other process.
    let done = check(
        i64::try_from(unsafe {
            libc::process_vm_readv(pid.cast_signed(), &raw const local, 1, &raw const remote, 1, 0)
        })
        .unwrap_or(-1),
    )?;
    if done == buffer.len() as u64 { Ok(()) } else { Err(Errno(libc::EFAULT)) }
}

/// Writes as the other process could: EFAULT where it has no write permission.
///
/// # Errors
/// The kernel's; EFAULT when not all bytes could be written.
pub fn write(pid: u32, addr: u64, data: &[u8]) -> Result<(), Errno> {
    if data.is_empty() {
        return Ok(());
    }
    let local = libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() };
    let remote = libc::iovec { iov_base: addr as *mut libc::c_void, iov_len: data.len() };
    // SAFETY: `local` covers exactly the data, which the kernel only reads; `remote` is only interpreted in the
    // other process.
    let done = check(
        i64::try_from(unsafe {
            libc::process_vm_writev(pid.cast_signed(), &raw const local, 1, &raw const remote, 1, 0)
        })
        .unwrap_or(-1),
    )?;
    if done == data.len() as u64 { Ok(()) } else { Err(Errno(libc::EFAULT)) }
}
