//! Frames over an in-process pipe.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncWrite, AsyncWriteExt, DuplexStream, duplex};

use super::*;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Note(String);

fn pair() -> (Writer<DuplexStream>, Reader<DuplexStream>) {
    let (near, far) = duplex(64 * 1024);
    (Writer::new(near), Reader::new(far))
}

fn note() -> Note {
    Note("hi".into())
}

/// What a reader makes of `bytes` followed by the end of the stream.
async fn read(bytes: &[u8]) -> Result<Option<(Note, Bytes)>, FrameError> {
    Reader::new(bytes).recv().await
}

#[tokio::test]
async fn the_bytes_of_a_frame_never_change() {
    let mut frame = Vec::new();
    Writer::new(&mut frame).send(&note(), b"tail").await.unwrap();
    assert_eq!(frame, b"\x03\0\0\0\x04\0\0\0\x02hitail");
    assert_eq!(read(&frame).await.unwrap().unwrap(), (note(), Bytes::from_static(b"tail")));
}

#[tokio::test]
async fn frames_of_every_size_arrive_in_order() {
    let (mut writer, mut reader) = pair();
    let sizes = [0, 1, 4096, 16 * 1024, 16 * 1024 + 1, 100_000, TAIL_BYTES_MAX, 3];
    let sender = tokio::spawn(async move {
        for size in sizes {
            writer.send(&Note(size.to_string()), &vec![7; size]).await.unwrap();
        }
    });
    for size in sizes {
        let (message, tail) = reader.recv::<Note>().await.unwrap().unwrap();
        assert_eq!((message.0, tail.len()), (size.to_string(), size));
        assert!(tail.iter().all(|byte| *byte == 7));
    }
    assert!(reader.recv::<Note>().await.unwrap().is_none());
    sender.await.unwrap();
}

/// Notes how many bytes each write brings.
struct Writes(Vec<usize>);

impl AsyncWrite for Writes {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.push(bytes.len());
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_small_frame_is_one_write_and_a_large_tail_is_not_copied() {
    let mut writes = Writes(Vec::new());
    let mut writer = Writer::new(&mut writes);
    writer.send(&note(), &[9; 4096]).await.unwrap();
    writer.send(&note(), &[9; 100_000]).await.unwrap();
    assert_eq!(writes.0, [8 + 3 + 4096, 8 + 3, 100_000]);
}

#[tokio::test]
async fn a_cancelled_receive_loses_nothing() {
    let (mut near, far) = duplex(64 * 1024);
    let mut reader = Reader::new(far);
    let frame = b"\x03\0\0\0\x04\0\0\0\x02hitail";
    for piece in frame.chunks(1) {
        near.write_all(piece).await.unwrap();
        tokio::select! {
            biased;
            received = reader.recv::<Note>() => {
                assert_eq!(received.unwrap().unwrap(), (note(), Bytes::from_static(b"tail")));
                return;
            }
            () = std::future::ready(()) => {}
        }
    }
    panic!("the frame never arrived");
}

#[tokio::test]
async fn a_send_after_a_dropped_send_is_refused() {
    let (mut writer, _reader) = pair();
    let (message, tail) = (note(), vec![0; 1 << 20]);
    tokio::select! {
        biased;
        _ = writer.send(&message, &tail) => panic!("the pipe holds only 64 KiB"),
        () = std::future::ready(()) => {}
    }
    assert!(matches!(writer.send(&note(), b"").await, Err(FrameError::Torn)));
}

#[tokio::test]
async fn limits_hold_in_both_directions() {
    let (mut writer, mut reader) = pair();
    let long = vec![0; TAIL_BYTES_MAX + 1];
    assert!(matches!(writer.send(&note(), &long).await, Err(FrameError::TailTooLong(n)) if n == long.len()));
    let wide = Note("x".repeat(HEADER_BYTES_MAX));
    assert!(matches!(writer.send(&wide, b"").await, Err(FrameError::Message(WireError::TooLong))));

    writer.send(&note(), b"ok").await.unwrap();
    assert_eq!(reader.recv::<Note>().await.unwrap().unwrap().1, &b"ok"[..]);

    let lengths = |header: usize, tail: usize| {
        [header, tail].map(|length| u32::try_from(length).unwrap().to_le_bytes()).concat()
    };
    let header = lengths(HEADER_BYTES_MAX + 1, 0);
    assert!(matches!(read(&header).await, Err(FrameError::HeaderTooLong(_))));
    let tail = lengths(1, TAIL_BYTES_MAX + 1);
    assert!(matches!(read(&tail).await, Err(FrameError::TailTooLong(_))));
}

#[tokio::test]
async fn a_stream_that_ends_inside_a_frame_is_an_error() {
    let frame = b"\x03\0\0\0\x04\0\0\0\x02hitail";
    assert!(read(b"").await.unwrap().is_none());
    for cut in 1..frame.len() {
        assert!(matches!(read(&frame[..cut]).await, Err(FrameError::Truncated(n)) if n == cut), "{cut}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_frames_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut reader = Reader::new(&bytes[..]);
        // Every frame takes at least its lengths, so this ends.
        while let Ok(Some((_, tail))) = runtime.block_on(reader.recv::<Note>()) {
            prop_assert!(tail.len() <= bytes.len());
        }
    }
}
