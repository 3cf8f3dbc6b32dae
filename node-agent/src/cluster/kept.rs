//! A driver of one voter, this node: what it agrees on with itself is in a file before anybody hears of it.
//!
//! The file is the log: each entry its length, a digest and the [proposal](super::Proposal). An entry that was not
//! written whole, since the machine went down just then, was told to nobody and is cut off.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use migration::digest;
use transport::wire;

use super::handle::{Ask, COMMAND_BYTES_MAX, Ends, Handle, ProposeError};
use super::request::Proposal;
use super::state::State;

/// Opens the log, or begins one. Must be called within a tokio runtime.
///
/// # Errors
/// When it cannot be read or written.
pub fn kept(path: &Path) -> io::Result<Handle> {
    let mut options = OpenOptions::new();
    let mut file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    let mut state = State::default();
    // Who has seen no entry at all knows nothing yet.
    state.skip_to(1);
    let mut end = replay(&mut file, &mut state)?;
    file.set_len(end)?;
    let (handle, Ends { mut asks, state: told }) = Handle::new(state);
    std::thread::Builder::new().name("log".into()).spawn(move || {
        while let Some(Ask { proposal, reply }) = asks.blocking_recv() {
            let outcome = match append(&mut file, &mut end, &proposal) {
                Ok(()) => {
                    let mut state = State::clone(&told.borrow());
                    let outcome = state.apply(state.applied() + 1, proposal);
                    told.send_replace(Arc::new(state));
                    Ok(outcome)
                }
                Err(error) => Err(error),
            };
            // Whoever asked may have gone.
            let _ = reply.send(outcome);
        }
    })?;
    Ok(handle)
}

/// Applies every whole entry; where they end.
fn replay(file: &mut File, state: &mut State) -> io::Result<u64> {
    let (mut end, mut reader) = (0, io::BufReader::new(file));
    loop {
        let mut header = [0; HEADER_BYTES];
        if !whole(reader.read_exact(&mut header))? {
            return Ok(end);
        }
        let (length, sum) = header.split_at(4);
        let length = u32::from_le_bytes(length.try_into().map_err(io::Error::other)?) as usize;
        let mut bytes = vec![0; length.min(COMMAND_BYTES_MAX + PROPOSAL_BYTES)];
        if length > bytes.len()
            || !whole(reader.read_exact(&mut bytes))?
            || digest::batch(0, &[], &bytes).to_le_bytes() != sum
        {
            return Ok(end);
        }
        let Ok(proposal) = wire::decode::<Proposal>(&bytes) else { return Ok(end) };
        // What was refused then is refused again.
        let _ = state.apply(state.applied() + 1, proposal);
        end += (HEADER_BYTES + length) as u64;
    }
}

fn append(file: &mut File, end: &mut u64, proposal: &Proposal) -> Result<(), ProposeError> {
    let mut bytes = Vec::new();
    wire::encode(proposal, &mut bytes).map_err(|_| ProposeError::TooLarge)?;
    if bytes.len() > COMMAND_BYTES_MAX {
        return Err(ProposeError::TooLarge);
    }
    let mut entry = u32::try_from(bytes.len()).map_err(|_| ProposeError::TooLarge)?.to_le_bytes().to_vec();
    entry.extend(digest::batch(0, &[], &bytes).to_le_bytes());
    entry.extend(&bytes);
    let mut write = || {
        file.seek(SeekFrom::Start(*end))?;
        file.write_all(&entry)?;
        file.sync_data()
    };
    match write() {
        Ok(()) => {
            *end += entry.len() as u64;
            Ok(())
        }
        Err(error) => {
            // What is there of it counts for nothing, and is written over by the next.
            let _ = file.set_len(*end);
            Err(ProposeError::Stopped(format!("the log cannot be written: {error}")))
        }
    }
}

fn whole(read: io::Result<()>) -> io::Result<bool> {
    match read {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

const HEADER_BYTES: usize = 12;

/// What a proposal takes besides its command.
const PROPOSAL_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use transport::NodeId;

    use super::*;
    use crate::cluster::drain::{Command as DrainCommand, Drain};
    use crate::cluster::{Command, Reply};

    #[tokio::test]
    async fn what_was_agreed_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let node = NodeId([1; 32]);
        let drain = Drain { since_unix_s: 1, deadline_unix_s: None };
        let start = || Command::Drain(DrainCommand::Start { node, drain: drain.clone() });
        let handle = kept(&path).unwrap();
        assert_eq!(handle.propose(start()).await, Ok(Reply::Done));
        let before = State::clone(&handle.state().borrow());
        drop(handle);
        // The machine went down while it wrote.
        OpenOptions::new().append(true).open(&path).unwrap().write_all(&[9, 0, 0, 0, 1, 2, 3]).unwrap();
        let handle = kept(&path).unwrap();
        assert_eq!(*handle.state().borrow().as_ref(), before);
        handle.propose(Command::Drain(DrainCommand::Stop { node })).await.unwrap();
        drop(handle);
        let handle = kept(&path).unwrap();
        assert_eq!(handle.state().borrow().drains.get(node), None);
        assert_eq!(handle.state().borrow().applied(), before.applied() + 1);
    }
}
