//! Receiving frames.

use bytes::{Buf, Bytes, BytesMut};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::{FrameError, HEADER_BYTES_MAX, LENGTHS_BYTES, TAIL_BYTES_MAX};
use crate::wire;

/// Receives frames from any byte stream.
///
/// `recv` is cancel-safe: what was read stays in the reader, so it may stand in a `select!`.
#[derive(Debug)]
pub struct Reader<R> {
    stream: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// Receives frames from `stream`.
    pub fn new(stream: R) -> Reader<R> {
        Reader { stream, buffer: BytesMut::new() }
    }

    /// The next message with its tail, or `None` at the clean end of the stream.
    ///
    /// # Errors
    /// See [`FrameError`]. After an error the stream is of no use.
    pub async fn recv<T: DeserializeOwned>(&mut self) -> Result<Option<(T, Bytes)>, FrameError> {
        let Some((header, tail)) = self.recv_raw().await? else {
            return Ok(None);
        };
        let message = wire::decode(&header).map_err(FrameError::Message)?;
        Ok(Some((message, tail)))
    }

    async fn recv_raw(&mut self) -> Result<Option<(Bytes, Bytes)>, FrameError> {
        loop {
            let needed = match lengths(&self.buffer)? {
                Some((header, tail)) if self.buffer.len() >= LENGTHS_BYTES + header + tail => {
                    self.buffer.advance(LENGTHS_BYTES);
                    let header = self.buffer.split_to(header).freeze();
                    return Ok(Some((header, self.buffer.split_to(tail).freeze())));
                }
                Some((header, tail)) => LENGTHS_BYTES + header + tail,
                None => LENGTHS_BYTES,
            };
            // Reading ahead by one buffer takes several small frames out of the stream at once.
            self.buffer.reserve((needed - self.buffer.len()).max(READ_AHEAD_BYTES));
            let read = self.stream.read_buf(&mut self.buffer).await.map_err(FrameError::Read)?;
            if read == 0 {
                return match self.buffer.len() {
                    0 => Ok(None),
                    partial => Err(FrameError::Truncated(partial)),
                };
            }
        }
    }
}

/// What only a QUIC stream can do.
impl Reader<quinn::RecvStream> {
    /// Tells the peer to stop sending, with this code; its next `send` fails.
    pub fn stop(&mut self, code: u32) {
        // A stream that has ended already needs not be stopped.
        let _ = self.stream.stop(code.into());
    }
}

/// The header's and the tail's length, once both are there, checked against their limits.
fn lengths(buffer: &[u8]) -> Result<Option<(usize, usize)>, FrameError> {
    let Some(&[h0, h1, h2, h3, t0, t1, t2, t3]) = buffer.first_chunk::<LENGTHS_BYTES>() else {
        return Ok(None);
    };
    let header = u32::from_le_bytes([h0, h1, h2, h3]) as usize;
    let tail = u32::from_le_bytes([t0, t1, t2, t3]) as usize;
    if header > HEADER_BYTES_MAX {
        return Err(FrameError::HeaderTooLong(header));
    }
    if tail > TAIL_BYTES_MAX {
        return Err(FrameError::TailTooLong(tail));
    }
    Ok(Some((header, tail)))
}

/// Room for a read beyond the frame at hand.
const READ_AHEAD_BYTES: usize = 8 * 1024;
