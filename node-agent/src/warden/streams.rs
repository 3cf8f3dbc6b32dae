//! Frames in and out of one stream as events: a task per direction, so that nobody waits for a peer.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use transport::frame::{FrameError, FrameReceiver, FrameSender};

use super::common::describe;

/// Sends frames of one kind in order; dropping it finishes the stream.
#[derive(Debug)]
pub(super) struct Outbox<T>(mpsc::UnboundedSender<(T, Bytes)>);

impl<T: Serialize + 'static> Outbox<T> {
    /// Starts the writing task of a stream.
    pub(super) fn new(mut sender: FrameSender) -> Outbox<T> {
        let (outbox, mut frames) = mpsc::unbounded_channel::<(T, Bytes)>();
        tokio::task::spawn_local(async move {
            while let Some((message, tail)) = frames.recv().await {
                match sender.send_bytes(&message, tail).await {
                    Ok(()) => {}
                    // Nothing of it was sent; whoever waits for it learns in time that it does not come.
                    Err(error @ FrameError::Message(_)) => {
                        tracing::error!(error = describe(error), "a message cannot be sent");
                    }
                    Err(error) => return tracing::debug!(%error, "a stream has ended"),
                }
            }
            sender.finish();
        });
        Outbox(outbox)
    }

    /// Queues a frame. Each thread of a family has at most a few under way, so the queue stays short.
    pub(super) fn send(&self, message: T, tail: Bytes) {
        // A peer that is gone is noticed by the connection's end.
        let _ = self.0.send((message, tail));
    }
}

/// Reads frames until the stream ends; then says so once.
pub(super) fn read<T: DeserializeOwned + 'static>(
    mut receiver: FrameReceiver,
    mut handle: impl FnMut(Option<(T, Bytes)>) + 'static,
) {
    tokio::task::spawn_local(async move {
        loop {
            match receiver.recv::<T>().await {
                Ok(Some(frame)) => handle(Some(frame)),
                Ok(None) => return handle(None),
                Err(error) => {
                    tracing::debug!(%error, "a stream has ended");
                    return handle(None);
                }
            }
        }
    });
}
