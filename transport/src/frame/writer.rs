//! Sending frames.

use bytes::Bytes;
use serde::Serialize;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::{FrameError, LENGTHS_BYTES, TAIL_BYTES_MAX};
use crate::wire;

/// Sends frames on any byte stream.
///
/// A `send` must be awaited to its end: a dropped one may leave half a frame behind, and every later `send` then
/// answers [`FrameError::Torn`].
#[derive(Debug)]
pub struct Writer<W> {
    stream: W,
    /// Holds the frame that is being sent; kept for its allocation.
    buffer: Vec<u8>,
    /// True while a frame is partly sent.
    torn: bool,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    /// Sends frames on `stream`.
    pub fn new(stream: W) -> Writer<W> {
        Writer { stream, buffer: Vec::new(), torn: false }
    }

    /// Sends one frame. A small one is a single write, and so a single packet.
    ///
    /// # Errors
    /// See [`FrameError`].
    pub async fn send<T: Serialize>(&mut self, message: &T, tail: &[u8]) -> Result<(), FrameError> {
        self.begin(message, tail.len())?;
        let joined = tail.len() <= TAIL_COPIED_BYTES_MAX;
        if joined {
            self.buffer.extend_from_slice(tail);
        }
        self.torn = true;
        self.stream.write_all(&self.buffer).await.map_err(FrameError::Write)?;
        if !joined {
            self.stream.write_all(tail).await.map_err(FrameError::Write)?;
        }
        self.stream.flush().await.map_err(FrameError::Write)?;
        self.end();
        Ok(())
    }

    /// Ends the stream: the peer reads what was sent and then a clean end.
    ///
    /// # Errors
    /// [`FrameError::Write`] if the stream is gone.
    pub async fn shutdown(&mut self) -> Result<(), FrameError> {
        self.stream.shutdown().await.map_err(FrameError::Write)
    }

    /// Puts the lengths and the header into the buffer.
    fn begin<T: Serialize>(&mut self, message: &T, tail_bytes: usize) -> Result<(), FrameError> {
        if self.torn {
            return Err(FrameError::Torn);
        }
        let tail_length = length(tail_bytes, TAIL_BYTES_MAX).ok_or(FrameError::TailTooLong(tail_bytes))?;
        self.buffer.clear();
        self.buffer.resize(LENGTHS_BYTES, 0);
        wire::encode(message, &mut self.buffer).map_err(FrameError::Message)?;
        let header_bytes = self.buffer.len() - LENGTHS_BYTES;
        let header_length = u32::try_from(header_bytes).expect("the wire limit is far below 4 GiB");
        self.buffer[..4].copy_from_slice(&header_length.to_le_bytes());
        self.buffer[4..LENGTHS_BYTES].copy_from_slice(&tail_length.to_le_bytes());
        Ok(())
    }

    /// One large frame must not keep its memory for the life of a stream.
    fn end(&mut self) {
        self.torn = false;
        self.buffer.shrink_to(BUFFER_KEPT_BYTES);
    }
}

/// What only a QUIC stream can do.
impl Writer<quinn::SendStream> {
    /// Sends one frame whose tail is handed to the connection without a copy.
    ///
    /// # Errors
    /// See [`FrameError`].
    pub async fn send_bytes<T: Serialize>(&mut self, message: &T, tail: Bytes) -> Result<(), FrameError> {
        if tail.len() <= TAIL_COPIED_BYTES_MAX {
            return self.send(message, &tail).await;
        }
        self.begin(message, tail.len())?;
        let head = Bytes::copy_from_slice(&self.buffer);
        self.torn = true;
        let written = self.stream.write_all_chunks(&mut [head, tail]).await;
        written.map_err(|error| FrameError::Write(error.into()))?;
        self.end();
        Ok(())
    }

    /// Ends the stream: the peer reads what was sent and then a clean end. Later frames fail.
    pub fn finish(&mut self) {
        // A stream that is closed already has nothing left to finish.
        let _ = self.stream.finish();
    }

    /// Gives the stream up: the peer may lose what was sent and reads an error with this code.
    pub fn reset(&mut self, code: u32) {
        // A stream that is closed already cannot be reset, and needs not be.
        let _ = self.stream.reset(code.into());
    }

    /// Lets this stream go before streams of lower priority (default 0). It orders only bytes that are not on their
    /// way yet: it does not protect latency from a bulk transfer, a second connection does.
    pub fn set_priority(&self, priority: i32) {
        // A stream that is closed already sends nothing more.
        let _ = self.stream.set_priority(priority);
    }
}

fn length(bytes: usize, bytes_max: usize) -> Option<u32> {
    u32::try_from(bytes).ok().filter(|_| bytes <= bytes_max)
}

/// Tails up to here are copied behind their header: one write costs less than one copy of 16 KiB.
const TAIL_COPIED_BYTES_MAX: usize = 16 * 1024;

/// Capacity that an idle sender keeps.
const BUFFER_KEPT_BYTES: usize = 64 * 1024;
