use std::cell::RefCell;

use super::*;

mod buffers;
mod fuzz;
mod hostile;
mod pieces;
mod sockets;

/// The memory of a body: one mapping, written by tests through `put` and by scattering through `Memory`.
struct Body {
    bytes: RefCell<Vec<u8>>,
    writable: bool,
}

const BODY_BASE: u64 = 0x7f00_0000_0000;
const BODY_BYTES: usize = 1 << 20;
/// What every byte of a body is before a test puts something there.
const UNTOUCHED: u8 = 0xaa;

impl Body {
    fn new() -> Body {
        Body { bytes: RefCell::new(vec![UNTOUCHED; BODY_BYTES]), writable: true }
    }

    fn read_only() -> Body {
        Body { writable: false, ..Body::new() }
    }

    /// Puts bytes at an offset and returns their address.
    fn put(&self, offset: usize, bytes: &[u8]) -> u64 {
        self.bytes.borrow_mut()[offset..offset + bytes.len()].copy_from_slice(bytes);
        BODY_BASE + offset as u64
    }

    fn get(&self, addr: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.read(addr, &mut bytes).unwrap();
        bytes
    }

    fn range(addr: u64, len: usize) -> Result<std::ops::Range<usize>, Fault> {
        let start = addr.checked_sub(BODY_BASE).ok_or(Fault { addr })?;
        let start = usize::try_from(start).map_err(|_| Fault { addr })?;
        let end = start.checked_add(len).filter(|&end| end <= BODY_BYTES).ok_or(Fault { addr })?;
        Ok(start..end)
    }
}

impl Memory for Body {
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), Fault> {
        buf.copy_from_slice(&self.bytes.borrow()[Body::range(addr, buf.len())?]);
        Ok(())
    }

    fn write(&self, addr: u64, data: &[u8]) -> Result<(), Fault> {
        let range = Body::range(addr, data.len())?;
        if !self.writable {
            return Err(Fault { addr });
        }
        self.bytes.borrow_mut()[range].copy_from_slice(data);
        Ok(())
    }
}

/// A slot at home, as the kernel sees it; an access outside fails the test.
struct Slot {
    bytes: Vec<u8>,
}

const SLOT_BASE: u64 = 0x5500_0000_0000;
/// What a slot holds from calls before.
const STALE: u8 = 0xee;

impl Slot {
    fn range(addr: u64, len: usize) -> std::ops::Range<usize> {
        let start =
            usize::try_from(addr.checked_sub(SLOT_BASE).expect("the pointer is below the slot")).unwrap();
        assert!(
            start + len <= SLOT_BYTES as usize,
            "the kernel reaches {len} bytes at {start}, outside the slot"
        );
        start..start + len
    }

    fn read(&self, addr: u64, len: usize) -> &[u8] {
        &self.bytes[Slot::range(addr, len)]
    }

    fn write(&mut self, addr: u64, data: &[u8]) {
        self.bytes[Slot::range(addr, data.len())].copy_from_slice(data);
    }

    fn u32(&self, addr: u64) -> u32 {
        u32::from_le_bytes(self.read(addr, 4).try_into().unwrap())
    }

    fn u64(&self, addr: u64) -> u64 {
        u64::from_le_bytes(self.read(addr, 8).try_into().unwrap())
    }
}

/// Takes one call the whole way; `kernel` plays home's kernel on the real arguments.
fn forward(nr: i64, args: [u64; 6], body: &Body, kernel: impl FnOnce([u64; 6], &mut Slot) -> i64) -> i64 {
    let plan = gather(u32::try_from(nr).unwrap(), &args, body).unwrap();
    run(plan, body, kernel)
}

fn run(plan: Plan, body: &Body, kernel: impl FnOnce([u64; 6], &mut Slot) -> i64) -> i64 {
    let placed = place(plan.request, &plan.image, SLOT_BASE, SLOT_BYTES).unwrap();
    let mut slot = Slot { bytes: vec![STALE; SLOT_BYTES as usize] };
    slot.write(SLOT_BASE, &placed.bytes);
    let result = kernel(placed.args, &mut slot);
    let read = |offset: u32, buf: &mut [u8]| {
        buf.copy_from_slice(slot.read(SLOT_BASE + u64::from(offset), buf.len()));
        Ok::<(), std::convert::Infallible>(())
    };
    let reply = placed.collect(result, read).unwrap();
    plan.scatter.apply(result, &reply, body).unwrap()
}

fn errno(nr: i64, args: [u64; 6], body: &Body) -> i32 {
    gather(u32::try_from(nr).unwrap(), &args, body).unwrap_err().errno()
}

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}
