//! Arguments that are strings.

use super::SLOT_BYTES;
use super::gather::{Gather, GatherError};
use super::layout::Spot;
use super::memory::{Memory, read_bytes, read_string, read_u64};
use super::request::{FIXUPS_MAX, Place};

impl<M: Memory> Gather<'_, M> {
    /// A string of at most `PATH_MAX` bytes.
    pub(super) fn string(&mut self, i: usize, addr: u64, too_long: GatherError) -> Result<(), GatherError> {
        let text = read_string(self.memory, addr, PATH_BYTES)?.ok_or(too_long)?;
        self.put_string(i, text)
    }

    /// A string of which the kernel looks at the first `len` bytes.
    pub(super) fn cut_string(&mut self, i: usize, addr: u64, len: usize) -> Result<(), GatherError> {
        let text = match read_string(self.memory, addr, len)? {
            Some(text) => text,
            None => read_bytes(self.memory, addr, len)?,
        };
        self.put_string(i, text)
    }

    /// A null-terminated array of strings.
    pub(super) fn strings(&mut self, i: usize, addr: u64) -> Result<(), GatherError> {
        let mut strings = Vec::new();
        let mut bytes = 0;
        loop {
            let pointer = read_u64(self.memory, addr.wrapping_add(8 * strings.len() as u64))?;
            if pointer == 0 {
                break;
            }
            let mut text = read_string(self.memory, pointer, STRING_BYTES)?.ok_or(GatherError::TooLarge)?;
            text.push(0);
            bytes += text.len();
            strings.push(text);
            if bytes > SLOT_BYTES as usize || strings.len() > FIXUPS_MAX / 2 - 8 {
                return Err(GatherError::TooLarge);
            }
        }
        let array = self.layout.put(&vec![0; 8 * (strings.len() + 1)])?;
        for (cell, text) in (array..).step_by(8).zip(&strings) {
            let offset = self.layout.put(text)?;
            self.layout.point(Place::Cell(cell), Spot::Image(offset));
        }
        self.point(i, Spot::Image(array));
        Ok(())
    }

    fn put_string(&mut self, i: usize, mut text: Vec<u8>) -> Result<(), GatherError> {
        text.push(0);
        self.put(i, &text)?;
        Ok(())
    }
}

/// A path with its NUL, the kernel's `PATH_MAX`.
const PATH_BYTES: usize = 4096;

/// One string of `argv` or `envp`, the kernel's `MAX_ARG_STRLEN`.
const STRING_BYTES: usize = 128 * 1024;
