//! What agents and wardens give up: keys and the memory of programs pass through them.

use migration::sys::{Errno, confine};

/// Nobody but root reads the agent's memory, and no core file is written of it. It keeps all else, since what it starts
/// for users inherits the rest.
///
/// # Errors
/// The kernel's.
pub(crate) fn of_agent() -> Result<(), Errno> {
    confine::not_dumpable()
}

/// The same for a warden, which starts nothing but processes of its family: it gains no rights any more either, and no
/// core file is written of what it starts.
///
/// # Errors
/// The kernel's.
pub(crate) fn of_warden() -> Result<(), Errno> {
    confine::not_dumpable()?;
    confine::no_new_privileges()?;
    confine::limit((confine::CORE_BYTES, 0))
}
