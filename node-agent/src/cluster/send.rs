//! Brings a server's messages to the other servers. What cannot be brought is lost, and said to be.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use transport::channel::Channel;
use transport::endpoint::Connection;
use transport::frame::{FrameError, FrameSender};

use super::driver::Input;
use super::lines::{Lines, PIECE_BYTES, Talk};
use super::rows::Message;

/// Hands each message to the task of its receiver, so that a slow server holds up nobody else.
pub(super) async fn distribute(
    mut messages: mpsc::Receiver<Message>,
    lines: Lines,
    inputs: mpsc::Sender<Input>,
) {
    let mut queues: BTreeMap<u64, mpsc::Sender<Message>> = BTreeMap::new();
    while let Some(message) = messages.recv().await {
        let (to, is_snapshot) = (message.to, message.snapshot.is_some());
        let queue = queues.entry(to).or_insert_with(|| {
            let (queue, queued) = mpsc::channel(QUEUED_MAX);
            tokio::spawn(bring(to, queued, lines.clone(), inputs.clone()));
            queue
        });
        if queue.try_send(message).is_err() {
            lost(to, is_snapshot, &inputs);
        }
    }
}

/// Brings messages to one server over one long stream, and snapshots over streams of their own.
async fn bring(to: u64, mut queued: mpsc::Receiver<Message>, lines: Lines, inputs: mpsc::Sender<Input>) {
    let mut stream: Option<FrameSender> = None;
    while let Some(message) = queued.recv().await {
        let Some(connection) = lines.numbered(to) else {
            stream = None;
            lost(to, message.snapshot.is_some(), &inputs);
            continue;
        };
        if message.snapshot.is_some() {
            let inputs = inputs.clone();
            tokio::spawn(async move {
                let sent = timeout(SNAPSHOT_TIME_MAX, bring_snapshot(&connection, message)).await;
                let arrived = matches!(sent, Ok(Ok(())));
                // Without a driver there is nobody to tell.
                let _ = inputs.send(Input::Snapshot { to, arrived }).await;
            });
            continue;
        }
        let talk = Talk::Message(Box::new(message));
        let sent = async {
            // A stream of a connection that was replaced fails here, and the next message takes the new one.
            if stream.is_none() {
                stream = Some(connection.open(Channel::Cluster).await?.0);
            }
            match stream.as_mut() {
                Some(open) => open.send(&talk, &[]).await,
                None => Ok(()),
            }
        };
        if !matches!(timeout(MESSAGE_TIME_MAX, sent).await, Ok(Ok(()))) {
            stream = None;
            lost(to, false, &inputs);
        }
    }
}

async fn bring_snapshot(connection: &Connection, mut message: Message) -> Result<(), FrameError> {
    let state = message.snapshot.as_mut().map(|snapshot| std::mem::take(&mut snapshot.state));
    let (mut sender, mut receiver) = connection.open(Channel::Cluster).await?;
    sender.send(&Talk::Message(Box::new(message)), &[]).await?;
    send_pieces(&mut sender, &state.unwrap_or_default()).await?;
    sender.finish();
    match receiver.recv::<Talk>().await? {
        Some((Talk::Taken, _)) => Ok(()),
        _ => Err(FrameError::Torn),
    }
}

/// Sends a long value in pieces, and says when it ends.
pub(super) async fn send_pieces(sender: &mut FrameSender, bytes: &[u8]) -> Result<(), FrameError> {
    for piece in bytes.chunks(PIECE_BYTES) {
        sender.send(&Talk::Piece, piece).await?;
    }
    sender.send(&Talk::Taken, &[]).await
}

fn lost(to: u64, is_snapshot: bool, inputs: &mpsc::Sender<Input>) {
    let input = if is_snapshot { Input::Snapshot { to, arrived: false } } else { Input::Lost(to) };
    // A driver that has too much to do learns it from the silence.
    let _ = inputs.try_send(input);
}

/// Messages for one server that wait to be sent.
const QUEUED_MAX: usize = 256;

/// A message that takes longer is of no use.
const MESSAGE_TIME_MAX: Duration = Duration::from_secs(2);

const SNAPSHOT_TIME_MAX: Duration = Duration::from_secs(60);
