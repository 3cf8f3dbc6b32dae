//! How an empty process gives up the node before a body is built in it.
//!
//! It starts as root of the node, which a userfaultfd that serves the kernel needs. Then it enters the family's user
//! namespace, becomes the family's user, and keeps one capability there: threads that the body makes must get the ids
//! that they have at home.

use std::fs::File;
use std::os::fd::RawFd;
use std::os::unix::fs::FileExt;

use crate::foothold::Foothold;
use crate::remote::Remote;
use crate::sys::Errno;
use crate::vessel::BuildError;

/// The number under which an empty process inherits the family's user namespace.
pub(crate) const FAMILY_NAMESPACE: RawFd = 0;

/// Takes everything from the process that a body must not have.
///
/// # Errors
/// When the kernel refuses a step, or the process dies.
pub(crate) fn confine(
    remote: &mut Remote<'_>,
    (memory, foothold): (&File, Foothold),
    user: u32,
) -> Result<(), BuildError> {
    let (family, id) = (u64::from(FAMILY_NAMESPACE.unsigned_abs()), u64::from(user));
    let mut must = |what, nr, args: [u64; 3]| {
        let [a, b, c] = args;
        remote.must(what, nr, [a, b, c, 0, 0, 0])
    };
    let enter = [family, libc::CLONE_NEWUSER.unsigned_abs().into(), 0];
    must("entering the family's user namespace", libc::SYS_setns, enter)?;
    must("closing a descriptor", libc::SYS_close, [family, 0, 0])?;
    must("leaving all groups", libc::SYS_setgroups, [0; 3])?;
    must("taking the family's group", libc::SYS_setresgid, [id; 3])?;
    must("taking the family's user", libc::SYS_setresuid, [id; 3])?;
    must("locking the secure bits", libc::SYS_prctl, [libc::PR_SET_SECUREBITS as u64, SECURE_BITS, 0])?;
    for capability in (0..=CAPABILITY_MAX).filter(|capability| *capability != CHECKPOINT_RESTORE) {
        let args = [libc::PR_CAPBSET_DROP as u64, u64::from(capability), 0, 0, 0, 0];
        match remote.call(libc::SYS_prctl, args)? {
            Ok(_) => {}
            // The last one that this kernel has was the one before.
            Err(Errno(libc::EINVAL)) => break,
            Err(errno) => return Err(BuildError::Descriptor(errno)),
        }
    }
    // `struct __user_cap_header_struct`, then twice effective, permitted, inheritable.
    let low_high = |mask: u64| [mask & 0xffff_ffff, mask >> 32];
    let [low, high] = low_high(1 << CHECKPOINT_RESTORE);
    let words = [CAPABILITY_VERSION, 0, low, low, 0, high, high, 0];
    let bytes: Vec<u8> =
        words.iter().flat_map(|word| u32::try_from(*word).unwrap_or(0).to_le_bytes()).collect();
    memory.write_all_at(&bytes, foothold.scratch())?;
    let args = [foothold.scratch(), foothold.scratch() + HEADER_BYTES, 0, 0, 0, 0];
    remote.must("giving up capabilities", libc::SYS_capset, args)?;
    // Behind the change of the user, which sets it anew.
    let args = [libc::PR_SET_DUMPABLE as u64, 0, 0, 0, 0, 0];
    remote.must("forbidding dumps", libc::SYS_prctl, args)?;
    Ok(())
}

/// Of `linux/capability.h`.
const CHECKPOINT_RESTORE: u32 = 40;
/// More than any kernel has so far.
const CAPABILITY_MAX: u32 = 63;
/// `_LINUX_CAPABILITY_VERSION_3`.
const CAPABILITY_VERSION: u64 = 0x2008_0522;
const HEADER_BYTES: u64 = 8;
/// NOROOT, NO_SETUID_FIXUP and NO_CAP_AMBIENT_RAISE, and the locks of these and of KEEP_CAPS (`linux/securebits.h`).
const SECURE_BITS: u64 = 0b1110_1111;
