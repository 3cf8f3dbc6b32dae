//! The body's memory, as gathering and scattering see it.

/// The memory of a stopped or waiting body thread.
pub trait Memory {
    /// Fills `buf` from `addr` on.
    ///
    /// # Errors
    /// [`Fault`] if any byte cannot be read; `buf` is then unspecified.
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), Fault>;

    /// Writes `data` from `addr` on.
    ///
    /// # Errors
    /// [`Fault`] if any byte cannot be written; a part may have been.
    fn write(&self, addr: u64, data: &[u8]) -> Result<(), Fault>;
}

/// The program passed an address that it cannot use; to the program this is `EFAULT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body has no usable memory at {addr:#x}")]
pub struct Fault {
    /// Start of the access that failed.
    pub addr: u64,
}

pub(super) fn read_bytes(memory: &impl Memory, addr: u64, len: usize) -> Result<Vec<u8>, Fault> {
    let mut bytes = vec![0; len];
    read_into(memory, addr, &mut bytes)?;
    Ok(bytes)
}

/// Fills a buffer; an empty one is full whatever the address, as in the kernel.
pub(super) fn read_into(memory: &impl Memory, addr: u64, buf: &mut [u8]) -> Result<(), Fault> {
    if buf.is_empty() { Ok(()) } else { memory.read(addr, buf) }
}

pub(super) fn read_u32(memory: &impl Memory, addr: u64) -> Result<u32, Fault> {
    let mut bytes = [0; 4];
    memory.read(addr, &mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

pub(super) fn read_u64(memory: &impl Memory, addr: u64) -> Result<u64, Fault> {
    let mut bytes = [0; 8];
    memory.read(addr, &mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

/// Reads a string, without its NUL; `None` if there is none within `max` bytes.
///
/// No read crosses a page border before the string is known to, so a string at the end of a mapping is read whole.
pub(super) fn read_string(memory: &impl Memory, addr: u64, max: usize) -> Result<Option<Vec<u8>>, Fault> {
    let mut text = Vec::new();
    let mut buf = [0; STRING_CHUNK_BYTES];
    while text.len() < max {
        let at = addr.checked_add(text.len() as u64).ok_or(Fault { addr })?;
        let behind_border =
            usize::try_from(at % STRING_CHUNK_BYTES as u64).expect("a remainder is below the divisor");
        let chunk = &mut buf[..(STRING_CHUNK_BYTES - behind_border).min(max - text.len())];
        memory.read(at, chunk)?;
        if let Some(end) = chunk.iter().position(|&byte| byte == 0) {
            text.extend_from_slice(&chunk[..end]);
            return Ok(Some(text));
        }
        text.extend_from_slice(chunk);
    }
    Ok(None)
}

/// Divides the page size.
const STRING_CHUNK_BYTES: usize = 256;
