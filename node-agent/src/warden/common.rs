//! What both kinds of wardens do alike: their socket, their descriptors as events, their errors.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};
use transport::endpoint::{Options, Pulse, Tasks};
use transport::frame::{Reader, Writer};

use super::control::{FromWarden, ToWarden};
use super::lease::keep_alive;

/// How a warden's connection for calls is set up: without a sign of life it lasts as long as the lease of the family's
/// home.
#[must_use]
pub(super) fn for_calls(lease: Duration) -> Options {
    let pulse = Pulse { keep_alive: keep_alive(lease), silence_max: lease };
    Options { tasks: Tasks::Local, pulse, ..Options::default() }
}

/// A question of the agent, and where its answers go.
#[derive(Debug)]
pub(super) struct Asked {
    /// The question.
    pub question: ToWarden,
    /// Answers; the last one ends it.
    pub answers: mpsc::UnboundedSender<FromWarden>,
}

/// A connection of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Visit {
    /// It was accepted.
    Begins,
    /// It was closed.
    Ends,
}

/// Listens on the warden's socket; each connection may ask one thing after the other.
///
/// # Errors
/// When the socket cannot be made.
pub(super) fn listen(
    path: &Path,
    asked: impl Fn(Asked) + Clone + 'static,
    visits: impl Fn(Visit) + Clone + 'static,
) -> io::Result<()> {
    let listener = UnixListener::bind(path)?;
    tokio::task::spawn_local(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // Out of descriptors, most likely: it passes.
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            };
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
pub(super) fn watch(
    descriptor: &OwnedFd,
    mut ready: impl FnMut(&OwnedFd) -> Readiness + 'static,
) -> io::Result<()> {
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
pub(super) enum Readiness {
    /// Nothing.
    Drained,
    /// It will never be readable again.
    Over,
}

/// What the other thread said, or that it is gone.
///
/// # Errors
/// Its own, or that it is gone.
pub(super) async fn done<T>(answer: oneshot::Receiver<Result<T, String>>) -> Result<T, String> {
    answer.await.map_err(|_| "the pages thread is gone".to_owned())?
}

/// What a descriptor has now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pending {
    /// Something to read.
    Word,
    /// Nothing, now or ever again.
    End,
    /// Nothing yet.
    Nothing,
}

/// Looks at a descriptor without waiting.
#[must_use]
pub(super) fn pending(fd: BorrowedFd<'_>) -> Pending {
    let mut polled = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    let polls = rustix::event::poll(&mut polled, Some(&rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 }));
    let seen = if polls.is_ok() { polled[0].revents() } else { PollFlags::empty() };
    match seen {
        seen if seen.contains(PollFlags::IN) => Pending::Word,
        seen if seen.contains(PollFlags::HUP) => Pending::End,
        _ => Pending::Nothing,
    }
}

/// Writes a small file, so that a reader sees the old or the new one and never a half.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    std::fs::write(&draft, text).and_then(|()| std::fs::rename(&draft, path))
}

/// An error with its causes.
#[must_use]
pub(super) fn describe(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// Until the next visitor is let in where one could not be.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
