//! Calls with more bytes than a slot holds are made in pieces.
//!
//! A short count would be legal for most of them, but programs rely on whole ones: on a blocking file a `write`
//! returns early only for a signal or an error.

/// A call that is larger than one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// Bytes that the program asked for.
    pub total: u64,
    /// Bytes that earlier pieces moved.
    pub from: u64,
    /// Bytes of this piece.
    pub piece: u64,
    /// What the pieces are.
    pub kind: SplitKind,
}

/// What the pieces of a call are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SplitKind {
    /// `read` and its relatives.
    Read,
    /// `write` and its relatives.
    Write,
    /// `sendto` and `sendmsg`.
    Send,
    /// `recvfrom` with `MSG_WAITALL`.
    ReceiveAll,
}

/// What a file descriptor is, as far as pieces matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file or a block device.
    Regular,
    /// A stream socket.
    Stream,
    /// Anything else.
    Other,
}

/// What follows a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The call is over with this result.
    Done(i64),
    /// Gather the piece that starts after so many bytes.
    Piece(u64),
}

impl Split {
    /// The (positive) errno of a call that must not be made in pieces: a message would become several.
    #[must_use]
    pub fn refusal(&self, file: FileKind) -> Option<i32> {
        (self.kind == SplitKind::Send && file != FileKind::Stream).then_some(libc::EMSGSIZE)
    }

    /// What follows when this piece ended with a raw result.
    ///
    /// Reading goes on only where the next piece cannot block, for the kernel would have returned what there was.
    #[must_use]
    pub fn next(&self, result: i64, file: FileKind) -> Next {
        let Ok(moved) = u64::try_from(result) else {
            // As in the kernel: bytes that were moved count more than the error that stopped the rest.
            return Next::Done(if self.from == 0 { result } else { signed(self.from) });
        };
        let done = self.from.saturating_add(moved);
        let goes_on = match self.kind {
            SplitKind::Read => file == FileKind::Regular,
            SplitKind::Write => true,
            SplitKind::Send | SplitKind::ReceiveAll => file == FileKind::Stream,
        };
        if goes_on && moved == self.piece && done < self.total {
            Next::Piece(done)
        } else {
            Next::Done(signed(done))
        }
    }
}

/// How a call may be split: the kind, and the argument that holds its file position.
pub(super) fn rule(nr: u32, args: &[u64; 6]) -> Option<(SplitKind, Option<usize>)> {
    match i64::from(nr) {
        libc::SYS_read | libc::SYS_readv => Some((SplitKind::Read, None)),
        libc::SYS_write | libc::SYS_writev => Some((SplitKind::Write, None)),
        libc::SYS_pread64 | libc::SYS_preadv | libc::SYS_preadv2 => Some((SplitKind::Read, Some(3))),
        libc::SYS_pwrite64 | libc::SYS_pwritev | libc::SYS_pwritev2 => Some((SplitKind::Write, Some(3))),
        libc::SYS_sendto | libc::SYS_sendmsg => Some((SplitKind::Send, None)),
        libc::SYS_recvfrom if args[3] & MSG_WAITALL != 0 && args[3] & MSG_PEEK == 0 => {
            Some((SplitKind::ReceiveAll, None))
        }
        _ => None,
    }
}

/// The position of a piece; `-1` means the file's own, which moves by itself (`preadv2`).
pub(super) fn position(start: u64, from: u64) -> u64 {
    if start == u64::MAX { start } else { start.wrapping_add(from) }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes.min(TRANSFER_MAX)).expect("a transfer is below 2 GiB")
}

/// Bytes that the kernel moves in one call at most, its `MAX_RW_COUNT`.
pub(super) const TRANSFER_MAX: u64 = 0x7fff_f000;

const MSG_PEEK: u64 = 0x2;
const MSG_WAITALL: u64 = 0x100;
