//! Hostile bytes for both ends of a forwarded call: what a guest node asks home to execute, what a program hands to a
//! call, what home answers.

use std::cell::Cell;

use fuzzing::{Outcome, choice, chosen, codec, target};
use serde::Serialize;
use transport::wire::{self, MESSAGE_BYTES_MAX, WireError};

use super::*;
use crate::protocol::{FileClass, FromBody, Issue, ToBody};

/// A program's memory is what is left of the input.
struct Small {
    bytes: RefCell<Vec<u8>>,
    written: Cell<usize>,
}

/// A number that mutations know.
const BASE: u64 = 0x1_0000;

impl Small {
    fn range(&self, addr: u64, len: usize) -> Result<std::ops::Range<usize>, Fault> {
        let start =
            addr.checked_sub(BASE).and_then(|start| usize::try_from(start).ok()).ok_or(Fault { addr })?;
        let end = start.checked_add(len).filter(|end| *end <= self.bytes.borrow().len());
        end.map(|end| start..end).ok_or(Fault { addr })
    }
}

impl Memory for Small {
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), Fault> {
        let range = self.range(addr, buf.len())?;
        buf.copy_from_slice(&self.bytes.borrow()[range]);
        Ok(())
    }

    fn write(&self, addr: u64, data: &[u8]) -> Result<(), Fault> {
        let range = self.range(addr, data.len())?;
        self.written.set(self.written.get() + data.len());
        self.bytes.borrow_mut()[range].copy_from_slice(data);
        Ok(())
    }
}

/// A call as a program makes it: number, bytes that earlier pieces have moved, arguments, memory.
fn taken_apart(input: &[u8]) -> (u32, u64, [u64; 6], &[u8]) {
    let (nr, rest) = input.split_first_chunk().unwrap_or((&[0; 2], &[]));
    let (words, memory) = rest.split_first_chunk::<56>().unwrap_or((&[0; 56], rest));
    let mut words = words.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap()));
    let from = words.next().unwrap();
    (u16::from_le_bytes(*nr).into(), from, std::array::from_fn(|_| words.next().unwrap()), memory)
}

/// Calls of every kind of argument, all with the same memory.
fn calls() -> Vec<(String, [u64; 6])> {
    let at = |offset: u64| BASE + offset;
    let calls: [(i64, [u64; 6]); 21] = [
        (libc::SYS_read, [3, at(256), 64, 0, 0, 0]),
        (libc::SYS_pwrite64, [3, at(256), 64, 4096, 0, 0]),
        (libc::SYS_openat, [3, at(0), 0, 0, 0, 0]),
        (libc::SYS_execve, [at(0), at(224), 0, 0, 0, 0]),
        (libc::SYS_readv, [3, at(64), 2, 0, 0, 0]),
        (libc::SYS_writev, [3, at(64), 2, 0, 0, 0]),
        (libc::SYS_sendmsg, [3, at(128), 0, 0, 0, 0]),
        (libc::SYS_recvmsg, [3, at(128), 0, 0, 0, 0]),
        (libc::SYS_sendmmsg, [3, at(128), 1, 0, 0, 0]),
        (libc::SYS_recvmmsg, [3, at(128), 1, 0, at(16), 0]),
        (libc::SYS_recvfrom, [3, at(256), 64, 0x100, at(300), at(32)]),
        (libc::SYS_getsockopt, [3, 1, 2, at(256), at(32), 0]),
        (libc::SYS_poll, [at(256), 2, 100, 0, 0, 0]),
        (libc::SYS_ppoll, [at(256), 2, at(16), at(40), 8, 0]),
        (libc::SYS_select, [64, at(256), at(264), 0, at(16), 0]),
        (libc::SYS_pselect6, [64, at(256), 0, 0, at(16), at(208)]),
        (libc::SYS_clock_nanosleep, [1, 0, at(16), at(256), 0, 0]),
        (libc::SYS_ioctl, [3, 0x5413, at(256), 0, 0, 0]),
        (libc::SYS_fcntl, [3, 5, at(256), 0, 0, 0]),
        (libc::SYS_epoll_wait, [3, at(256), 4, 100, 0, 0]),
        (libc::SYS_name_to_handle_at, [3, at(0), at(32), at(256), 0, 0]),
    ];
    calls.into_iter().map(|(nr, args)| (format!("{nr:03}"), args)).collect()
}

/// A path, a time, a length, two iovecs, a message with its address and control messages, a set and its size, strings.
fn memory() -> Vec<u8> {
    let mut memory = vec![0; 384];
    let mut put = |at: usize, bytes: &[u8]| memory[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"/etc/hosts\0");
    put(16, &words(&[1, 5]));
    put(32, &words(&[16, 0]));
    put(64, &words(&[BASE + 256, 16, BASE + 288, 8]));
    put(128, &words(&[BASE + 300, 16, BASE + 64, 2, BASE + 328, 24, 0, 0]));
    put(208, &words(&[BASE + 40, 8]));
    put(224, &words(&[BASE, BASE + 5, 0]));
    put(328, &words(&[20, 1 | 1 << 32, 3]));
    memory
}

fn small(memory: &[u8]) -> Small {
    Small { bytes: RefCell::new(memory.to_vec()), written: Cell::new(0) }
}

fn encoded<T: Serialize>(message: &T) -> Result<Vec<u8>, WireError> {
    let mut bytes = Vec::new();
    wire::encode(message, &mut bytes).map(|()| bytes)
}

#[test]
fn fault_f45_calls_of_programs_and_answers_of_homes() {
    let valid = || {
        let call = |(nr, args): (String, [u64; 6])| {
            let number = nr.parse::<u16>().unwrap().to_le_bytes();
            (nr, [&number[..], &words(&[0]), &words(&args), &memory()].concat())
        };
        calls().into_iter().map(call).collect()
    };
    // Memory that a program has made its calls large for: its own, and the slot at home.
    target!("gather").valid(valid).run(|input| {
        let (nr, from, args, content) = taken_apart(input);
        let body = small(content);
        let plan = match gather_piece(nr, &args, from, &body) {
            Ok(plan) => plan,
            Err(error) => return Outcome::refused(&(nr, error)),
        };
        assert!(
            plan.request.slot_bytes <= SLOT_BYTES && plan.image.len() <= plan.request.slot_bytes as usize
        );
        let kinds = (
            plan.request.outputs.len().min(8),
            plan.request.fixups.len().min(8),
            plan.split.map(|split| split.kind),
        );
        let placed =
            place(plan.request, &plan.image, SLOT_BASE, SLOT_BYTES).expect("home takes what is gathered");
        let result = i64::from(content.len().to_le_bytes()[0]) - 4;
        // Once what home must not answer, once what it would.
        let hostile = plan.scatter.apply(result, &content[content.len() / 2..], &body);
        let honest = placed.collect(result, |offset, part| {
            assert!(offset as usize + part.len() <= SLOT_BYTES as usize);
            part.fill(9);
            Ok::<(), std::convert::Infallible>(())
        });
        let applied =
            plan.scatter.apply(result, &honest.unwrap(), &body).expect("the guest takes what is collected");
        assert!(applied == result || applied == -i64::from(libc::EFAULT));
        assert!(body.written.get() <= 2 * SLOT_BYTES as usize);
        if let Some(split) = plan.split {
            let _ = [FileKind::Regular, FileKind::Stream].map(|file| split.next(result, file));
        }
        Outcome::accepted(&(crate::syscall::name(nr).len(), kinds, hostile.is_ok(), applied == result))
    });
}

#[test]
fn requests_of_guests() {
    let valid = || {
        let request = |(nr, args): (String, [u64; 6])| {
            let plan = gather(nr.parse().unwrap(), &args, &small(&memory())).unwrap();
            let header = encoded(&plan.request).unwrap();
            let length = u16::try_from(header.len()).unwrap().to_le_bytes();
            (nr, [&2i64.to_le_bytes()[..], &[8], &length, &header, &plan.image].concat())
        };
        calls().into_iter().map(request).collect()
    };
    target!("place").valid(valid).length_max(64 * 1024).run(|input| {
        let (result, rest) = input.split_first_chunk().unwrap_or((&[0; 8], &[]));
        let (noise, rest) = rest.split_first().unwrap_or((&0, &[]));
        let (length, rest) = rest.split_first_chunk().unwrap_or((&[0; 2], &[]));
        let (header, image) = rest.split_at(rest.len().min(u16::from_le_bytes(*length).into()));
        let request: Request = match wire::decode(header) {
            Ok(request) => request,
            Err(error) => return Outcome::refused(&error),
        };
        let fixups = request.fixups.clone();
        let placed = match place(request, image, SLOT_BASE, SLOT_BYTES) {
            Ok(placed) => placed,
            Err(refusal) => return Outcome::refused(&refusal),
        };
        let slot = SLOT_BASE..=SLOT_BASE + u64::from(SLOT_BYTES);
        assert!(placed.bytes.len() <= SLOT_BYTES as usize);
        for fixup in fixups {
            if let Place::Arg(arg) = fixup.place {
                assert!(slot.contains(&placed.args[usize::from(arg)]));
            }
        }
        let mut reads = 0;
        let collected = placed.collect(i64::from_le_bytes(*result), |offset, part| {
            reads += 1;
            assert!(offset as usize + part.len() <= SLOT_BYTES as usize, "it reads outside the slot");
            let _ = placed.anchor.and_then(|anchor| anchor.address_of(offset, part.len()));
            part.fill(*noise);
            Ok::<(), std::convert::Infallible>(())
        });
        assert!(collected.unwrap().len() <= SLOT_BYTES as usize + 4 * 8192);
        Outcome::accepted(&(placed.anchor.is_some(), vec![Some(()); reads.min(6)]))
    });
}

#[test]
fn messages_of_threads() {
    let valid = || {
        let plan = gather(7, &[BASE + 256, 2, 100, 0, 0, 0], &small(&memory())).unwrap();
        let action = migration::image::SignalAction { handler: 0x5555, ..Default::default() };
        let from = [
            FromBody::Attach { pid: 7, tid: 8, epoch: transport::Epoch(3) },
            FromBody::Call { seq: 1, request: plan.request.clone(), issue: Issue::Again },
            FromBody::MapFile { seq: 2, args: [0x7f00, 4096, 1, 18, 3, 0] },
            FromBody::Birth { seq: 3, flags: 0x1200_0000, exit_signal: 17 },
            FromBody::Exec { seq: 4, request: plan.request },
            FromBody::Mask(u64::MAX),
            FromBody::Action(10, action),
            FromBody::ProcessExit(-1),
            FromBody::Settle { seq: 5 },
        ];
        let to = [
            ToBody::Return { seq: 1, result: -516, file: FileClass::Stream },
            ToBody::Signal { number: 1, info: vec![1; 128] },
            ToBody::Stop,
        ];
        let from =
            from.iter().enumerate().map(|(n, m)| (format!("from-{n}"), chosen(0, &encoded(m).unwrap())));
        let to = to.iter().enumerate().map(|(n, m)| (format!("to-{n}"), chosen(1, &encoded(m).unwrap())));
        from.chain(to).collect()
    };
    target!("threads")
        .valid(valid)
        .length_max(MESSAGE_BYTES_MAX)
        .run(choice([codec(wire::decode::<FromBody>, encoded), codec(wire::decode::<ToBody>, encoded)]));
}
