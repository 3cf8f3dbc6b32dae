//! Starting the processes of a family: a child with a chosen pid that holds nothing but two lines of code.

use std::ffi::CStr;
use std::fs::File;
use std::io::Write;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::{Errno, check};

/// Where the stub's only page lies: odd enough that no ordinary program is linked there.
pub const STUB_PAGE: u64 = 0x1_5a00_0000;

/// Size of the stub's mapping.
pub const STUB_BYTES: u64 = 4096;

/// An executable of one page whose code waits in pause(2) for ever: the empty vessel for a body.
///
/// # Errors
/// The kernel's.
pub fn stub_executable() -> Result<OwnedFd, Errno> {
    // SAFETY: the name is a C string; the flag set is constant.
    let fd = check(i64::from(unsafe { libc::memfd_create(c"homing-body".as_ptr(), libc::MFD_CLOEXEC) }))?;
    let fd = RawFd::try_from(fd).map_err(|_| Errno(libc::EBADF))?;
    // SAFETY: the kernel has just returned this descriptor and nobody else owns it.
    let mut file = unsafe { File::from_raw_fd(fd) };
    file.write_all(&stub_image())?;
    Ok(file.into())
}

/// Gives the descriptor a number that the stubs started from now on inherit.
///
/// # Errors
/// The kernel's.
pub fn bequeath(fd: BorrowedFd<'_>, number: RawFd) -> Result<(), Errno> {
    // SAFETY: no memory is passed; whatever had the number was closed by the caller.
    check(i64::from(unsafe { libc::dup2(fd.as_raw_fd(), number) })).map(drop)
}

/// Starts the stub under `pid` (in the caller's pid namespace) and returns once it runs its own code.
///
/// The caller needs CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE over its pid namespace.
///
/// # Errors
/// The kernel's; EEXIST while the pid is taken.
pub fn stub_with_pid(executable: BorrowedFd<'_>, pid: u32) -> Result<OwnedFd, Errno> {
    #[repr(C)]
    #[derive(Default)]
    struct CloneArgs {
        flags: u64,
        pidfd: u64,
        child_tid: u64,
        parent_tid: u64,
        exit_signal: u64,
        stack: u64,
        stack_size: u64,
        tls: u64,
        set_tid: u64,
        set_tid_size: u64,
        cgroup: u64,
    }
    let mut pidfd: RawFd = -1;
    let set_tid = [pid.cast_signed()];
    let args = CloneArgs {
        flags: (libc::CLONE_VFORK | libc::CLONE_PIDFD) as u64,
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        set_tid: set_tid.as_ptr() as u64,
        set_tid_size: 1,
        ..CloneArgs::default()
    };
    let size = mem::size_of::<CloneArgs>();
    // SAFETY: like fork: the child has its own copy of this memory and calls nothing but execveat and _exit.
    let child = check(unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size) })?;
    if child == 0 {
        exec_stub(executable);
    }
    // SAFETY: clone3 has stored a new descriptor there.
    Ok(unsafe { OwnedFd::from_raw_fd(pidfd) })
}

fn exec_stub(executable: BorrowedFd<'_>) -> ! {
    let empty: &CStr = c"";
    let none = [std::ptr::null::<libc::c_char>()];
    // SAFETY: all pointers are to live NUL-terminated data; on success this image is gone.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            executable.as_raw_fd(),
            empty.as_ptr(),
            none.as_ptr(),
            none.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    // SAFETY: ends only this child; no destructors of the parent's copy run.
    unsafe { libc::_exit(127) }
}

/// Closes every descriptor except `keep`.
///
/// # Errors
/// The kernel's.
pub fn close_others(keep: &[RawFd]) -> Result<(), Errno> {
    let mut kept: Vec<u32> = keep.iter().map(|fd| fd.unsigned_abs()).collect();
    kept.sort_unstable();
    let mut from = 0;
    for fd in kept {
        if fd > from {
            close_range(from, fd - 1)?;
        }
        from = fd + 1;
    }
    close_range(from, u32::MAX)
}

fn close_range(first: u32, last: u32) -> Result<(), Errno> {
    // SAFETY: used only in a forked child that owns none of these descriptors as Rust values.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
}

/// ELF64 header, one PT_LOAD (r-x) at `STUB_PAGE`, code at its end: `mov eax, 34; syscall; jmp back`.
fn stub_image() -> Vec<u8> {
    let mut image = Vec::with_capacity(256);
    let code: [u8; 9] = [0xb8, 34, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7];
    image.extend_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    image.extend_from_slice(&2u16.to_le_bytes()); // ET_EXEC
    image.extend_from_slice(&62u16.to_le_bytes()); // EM_X86_64
    image.extend_from_slice(&1u32.to_le_bytes());
    image.extend_from_slice(&(STUB_PAGE + HEADERS).to_le_bytes()); // entry
    image.extend_from_slice(&64u64.to_le_bytes()); // program headers follow
    image.extend_from_slice(&0u64.to_le_bytes());
    image.extend_from_slice(&0u32.to_le_bytes());
    for half in [64u16, 56, 1, 64, 0, 0] {
        image.extend_from_slice(&half.to_le_bytes());
    }
    image.extend_from_slice(&1u32.to_le_bytes()); // PT_LOAD
    image.extend_from_slice(&5u32.to_le_bytes()); // r-x
    let size = HEADERS + code.len() as u64;
    for word in [0, STUB_PAGE, STUB_PAGE, size, size, STUB_BYTES] {
        image.extend_from_slice(&word.to_le_bytes());
    }
    image.extend_from_slice(&code);
    image
}

const HEADERS: u64 = 64 + 56;
