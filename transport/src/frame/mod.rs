//! Frames: a typed header and a raw tail, over a QUIC stream or any other byte stream.
//!
//! ```text
//! 0        4        8                 8 + H             8 + H + T
//! | H: u32 | T: u32 | header, H bytes | tail, T bytes   |          (little endian)
//! ```
//!
//! The header is a message in the [wire](crate::wire) encoding. The tail is bytes that serde never touches: memory
//! pages and call buffers.

mod reader;
mod writer;

use std::io;

pub use reader::Reader;
pub use writer::Writer;

use crate::wire::{MESSAGE_BYTES_MAX, WireError};

/// Sends frames on a QUIC stream. Dropped, it ends the stream after what was sent.
pub type FrameSender = Writer<quinn::SendStream>;

/// Receives frames from a QUIC stream. Dropped, it tells the peer to stop sending.
pub type FrameReceiver = Reader<quinn::RecvStream>;

/// Longest header of a frame, in bytes.
pub const HEADER_BYTES_MAX: usize = MESSAGE_BYTES_MAX;

/// Longest raw tail of a frame, in bytes: one batch of pages.
pub const TAIL_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes before the header: the two lengths.
const LENGTHS_BYTES: usize = 8;

/// Why a frame was not sent or received. The stream is of no use afterwards, except after [`FrameError::Message`]
/// and [`FrameError::TailTooLong`] from a sender, which sent nothing.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The header could not be encoded or decoded.
    #[error("frame header")]
    Message(#[source] WireError),
    /// The peer announces a header longer than [`HEADER_BYTES_MAX`].
    #[error("frame header of {0} bytes, at most {HEADER_BYTES_MAX} are allowed")]
    HeaderTooLong(usize),
    /// The tail is, or is announced, longer than [`TAIL_BYTES_MAX`].
    #[error("frame tail of {0} bytes, at most {TAIL_BYTES_MAX} are allowed")]
    TailTooLong(usize),
    /// The stream could not be written: the peer stopped it or the connection is gone.
    #[error("cannot write to the stream")]
    Write(#[source] io::Error),
    /// The stream could not be read: the peer reset it or the connection is gone.
    #[error("cannot read from the stream")]
    Read(#[source] io::Error),
    /// The stream ended in the middle of a frame.
    #[error("stream ended inside a frame, {0} bytes into it")]
    Truncated(usize),
    /// An earlier `send` was dropped or failed halfway, so that the peer could not tell where this frame begins.
    #[error("an earlier frame was sent only in part")]
    Torn,
}

#[cfg(test)]
mod tests;
