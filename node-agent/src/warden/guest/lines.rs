//! Streams and descriptors of the family, each turned into events.

use std::cell::RefCell;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use bytes::Bytes;
use ipc_home::protocol::{FromBody, ToBody};
use migration::sys::seccomp;
use transport::channel::Channel;
use transport::frame::{Reader, Writer};

use super::{CallStream, Event, GuestWarden};
use crate::warden::common::{Pending, Readiness, describe, pending, watch};
use crate::warden::control::{Accept, Offer};
use crate::warden::memory::Fetched;
use crate::warden::streams::{Outbox, read};

impl GuestWarden {
    pub(super) fn attach(&mut self, pid: u32, tid: u32) {
        let stream = Rc::new(RefCell::new(CallStream::default()));
        self.calls.insert(tid, Rc::clone(&stream));
        let (connection, events, epoch) = (self.connection.clone(), self.events.clone(), self.epoch());
        tokio::task::spawn_local(async move {
            let Ok((sender, receiver)) = connection.open(Channel::Calls).await else { return };
            let outbox = Outbox::new(sender);
            outbox.send(FromBody::Attach { pid, tid, epoch }, Bytes::new());
            let line = Rc::clone(&stream);
            read::<ToBody>(receiver, move |frame| {
                if let Some((message, tail)) = frame
                    && !line.borrow().is_over
                {
                    drop(events.send(Event::Message(tid, message, tail)));
                }
            });
            let mut stream = stream.borrow_mut();
            for (message, tail) in stream.early.drain(..) {
                outbox.send(message, tail);
            }
            if !stream.is_over {
                stream.open = Some(outbox);
            }
        });
    }

    pub(super) fn tell(&mut self, tid: u32, message: FromBody, tail: Bytes) {
        let Some(stream) = self.calls.get(&tid) else { return };
        let mut stream = stream.borrow_mut();
        match &stream.open {
            Some(outbox) => outbox.send(message, tail),
            None => stream.early.push((message, tail)),
        }
    }

    /// Ends the stream of a thread that is gone, once its last words are sent.
    pub(super) fn hang_up(&mut self, tid: u32) {
        if let Some(stream) = self.calls.remove(&tid) {
            let mut stream = stream.borrow_mut();
            stream.is_over = true;
            stream.open = None;
        }
    }

    pub(super) fn listen(&self, listener: Rc<OwnedFd>) {
        let events = self.events.clone();
        let watched = watch(&listener, move |listener| {
            loop {
                match pending(listener.as_fd()) {
                    Pending::Word => match seccomp::receive(listener.as_fd()) {
                        Ok(Some(notification)) => drop(events.send(Event::Notified(notification))),
                        Ok(None) => {}
                        Err(_) => return Readiness::Over,
                    },
                    Pending::End => return Readiness::Over,
                    Pending::Nothing => return Readiness::Drained,
                }
            }
        });
        if let Err(error) = watched {
            tracing::error!(%error, "calls cannot be heard");
        }
    }

    pub(super) fn serve_faults(&self, pid: u32, uffd: Rc<OwnedFd>) {
        let events = self.events.clone();
        let watched = watch(&uffd, move |uffd| {
            drop(events.send(Event::Fault(pid)));
            if pending(uffd.as_fd()) == Pending::End { Readiness::Over } else { Readiness::Drained }
        });
        if let Err(error) = watched {
            tracing::error!(%error, "page faults cannot be heard");
        }
    }

    pub(super) async fn open_fetches(&mut self) -> Result<(), String> {
        let (sender, receiver) = self.connection.open(Channel::Pages).await.map_err(describe)?;
        let events = self.events.clone();
        read::<Fetched>(receiver, move |frame| {
            if let Some((fetched, data)) = frame {
                drop(events.send(Event::Fetched(fetched, data)));
            }
        });
        self.fetches = Some(Outbox::new(sender));
        Ok(())
    }
}

pub(super) async fn read_offer() -> Result<Offer, String> {
    let pipe = tokio::net::unix::pipe::Receiver::from_owned_fd(duplicate(&std::io::stdin())?)
        .map_err(|error| format!("standard input is not a pipe: {error}"))?;
    let offer = Reader::new(pipe).recv::<Offer>().await.map_err(describe)?;
    offer.map(|(offer, _)| offer).ok_or_else(|| "no offer on standard input".to_owned())
}

pub(super) async fn accept_offer(accept: Accept) -> Result<(), String> {
    let pipe = tokio::net::unix::pipe::Sender::from_owned_fd(duplicate(&std::io::stdout())?)
        .map_err(|error| format!("standard output is not a pipe: {error}"))?;
    Writer::new(pipe).send(&accept, &[]).await.map_err(describe)
}

pub(super) fn duplicate(fd: &impl AsFd) -> Result<OwnedFd, String> {
    fd.as_fd().try_clone_to_owned().map_err(describe)
}
