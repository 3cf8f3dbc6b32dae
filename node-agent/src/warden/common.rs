//! What both kinds of wardens do alike: their socket, their descriptors as events, their errors.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};
use transport::frame::{Reader, Writer};

use super::control::{FromWarden, ToWarden};

/// A question of the agent, and where its answers go.
#[derive(Debug)]
pub struct Asked {
    /// The question.
    pub question: ToWarden,
    /// Answers; the last one ends it.
    pub answers: mpsc::UnboundedSender<FromWarden>,
}

/// A connection of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visit {
    /// It was accepted.
    Begins,
    /// It was closed.
    Ends,
}

/// Listens on the warden's socket; each connection may ask one thing after the other.
///
/// # Errors
/// When the socket cannot be made.
pub fn listen(
    path: &Path,
    asked: impl Fn(Asked) + Clone + 'static,
    visits: impl Fn(Visit) + Clone + 'static,
) -> io::Result<()> {
    let listener = UnixListener::bind(path)?;
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (asked, visits) = (asked.clone(), visits.clone());
            visits(Visit::Begins);
            tokio::task::spawn_local(async move {
                let (reader, writer) = stream.into_split();
                let (mut reader, mut writer) = (Reader::new(reader), Writer::new(writer));
                while let Ok(Some((question, _))) = reader.recv::<ToWarden>().await {
                    let (answers, mut said) = mpsc::unbounded_channel();
                    asked(Asked { question, answers });
                    while let Some(answer) = said.recv().await {
                        if writer.send(&answer, &[]).await.is_err() {
                            break;
                        }
                    }
                }
                visits(Visit::Ends);
            });
        }
    });
    Ok(())
}

/// Calls `ready` whenever the descriptor is readable, until it says that it is done. Watches a duplicate.
///
/// # Errors
/// When the descriptor cannot be watched.
pub fn watch(descriptor: &OwnedFd, mut ready: impl FnMut(&OwnedFd) -> Readiness + 'static) -> io::Result<()> {
    let watched = migration::sys::readiness::readable(descriptor.try_clone()?)?;
    tokio::task::spawn_local(async move {
        while let Ok(mut guard) = watched.readable().await {
            match ready(guard.get_inner()) {
                Readiness::Drained => guard.clear_ready(),
                Readiness::Over => return,
            }
        }
    });
    Ok(())
}

/// What is left in a descriptor after one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Nothing.
    Drained,
    /// It will never be readable again.
    Over,
}

/// What the other thread said, or that it is gone.
///
/// # Errors
/// Its own, or that it is gone.
pub async fn done<T>(answer: oneshot::Receiver<Result<T, String>>) -> Result<T, String> {
    answer.await.map_err(|_| "the pages thread is gone".to_owned())?
}

/// True when a descriptor has something to read now, or has been hung up.
#[must_use]
pub fn is_hung_up(fd: BorrowedFd<'_>) -> bool {
    let mut polled = [rustix::event::PollFd::from_borrowed_fd(fd, rustix::event::PollFlags::IN)];
    let polls = rustix::event::poll(&mut polled, Some(&rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 }));
    polls.is_ok() && polled[0].revents().contains(rustix::event::PollFlags::HUP)
}

/// True when a notification waits to be taken.
#[must_use]
pub fn is_readable(fd: &OwnedFd) -> bool {
    let mut polled = [rustix::event::PollFd::from_borrowed_fd(fd.as_fd(), rustix::event::PollFlags::IN)];
    let polls = rustix::event::poll(&mut polled, Some(&rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 }));
    polls.is_ok() && polled[0].revents().contains(rustix::event::PollFlags::IN)
}

/// An error with its causes.
#[must_use]
pub fn describe(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
