//! A guest warden as home sees it: dialled, told, listened to.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use ipc_home::protocol::{FromBody, ToBody};
use migration::image::{FamilyImage, Layout};
use migration::sys::clock;
use tokio::sync::mpsc;
use transport::channel::Channel;

use super::{Event, HomeWarden, Peer};
use crate::warden::bulk::Sent;
use crate::warden::common::describe;
use crate::warden::control::Accept;
use crate::warden::handoff::{Clocks, Fetch, Fetched, ToGuest, ToHome};
use crate::warden::streams::{Outbox, read};

impl HomeWarden {
    pub(super) async fn dial(&mut self, node: &str, accept: Accept) -> Result<Peer, String> {
        let connection = self.endpoint.connect(accept.addr, accept.key).await.map_err(describe)?;
        let (sender, receiver) = connection.open(Channel::Control).await.map_err(describe)?;
        self.peers += 1;
        let number = self.peers;
        self.heard.insert(number);
        let events = self.events.clone();
        read(receiver, move |frame| {
            drop(events.send(Event::Control(number, frame.map(|(message, _)| message))));
        });
        let (streams, events) = (connection.clone(), self.events.clone());
        tokio::task::spawn_local(async move {
            while let Some((channel, sender, receiver)) = streams.accept().await {
                match channel {
                    Channel::Calls => serve_calls(number, Outbox::new(sender), receiver, events.clone()),
                    Channel::Pages => serve_fetches(Outbox::new(sender), receiver, events.clone()),
                    Channel::Agent | Channel::Control => {}
                }
            }
        });
        let control = Outbox::new(sender);
        Ok(Peer { number, node: node.to_owned(), accept, connection, control })
    }

    /// Tells a guest warden that it is not needed any more.
    pub(super) fn dismiss(&mut self, peer: &Peer) {
        self.heard.remove(&peer.number);
        self.unclaimed.retain(|(number, _)| *number != peer.number);
        peer.control.send(ToGuest::Discard, Bytes::new());
    }

    /// Waits for a word of the guest warden; everything else that happens meanwhile is done.
    pub(super) async fn expect<T>(&mut self, wanted: impl Fn(&ToHome) -> Option<T>) -> Result<T, String> {
        let deadline = tokio::time::Instant::now() + STEP_LIMIT;
        loop {
            let found = self.unclaimed.iter().enumerate().find_map(|(at, (_, message))| match message {
                ToHome::Failed(reason) => Some((at, Err(reason.clone()))),
                message => wanted(message).map(|value| (at, Ok(value))),
            });
            if let Some((at, result)) = found {
                self.unclaimed.remove(at);
                return result;
            }
            let event = tokio::time::timeout_at(deadline, self.next_event()).await;
            match event {
                Ok(Some(Event::Control(number, None))) if self.heard.remove(&number) => {
                    return Err("the guest warden is gone".to_owned());
                }
                Ok(Some(event)) => {
                    self.handle(event);
                    // A guest that is to freeze waits for the programs that its family is starting.
                    if !self.starting && !self.programs.is_empty() {
                        Box::pin(self.programs()).await;
                    }
                }
                Ok(None) => return Err("the warden ends".to_owned()),
                Err(_) => return Err(format!("the guest warden did not answer within {STEP_LIMIT:?}")),
            }
        }
    }
}

pub(super) fn serve_calls(
    number: u64,
    outbox: Outbox<ToBody>,
    receiver: transport::frame::FrameReceiver,
    events: mpsc::UnboundedSender<Event>,
) {
    let mut outbox = Some(outbox);
    let mut whose = 0;
    read::<FromBody>(receiver, move |frame| {
        let Some((message, tail)) = frame else { return };
        if let FromBody::Attach { tid, .. } = message {
            whose = tid;
            if let Some(outbox) = outbox.take() {
                drop(events.send(Event::Attached(number, tid, outbox)));
            }
        } else {
            drop(events.send(Event::Message(number, whose, message, tail)));
        }
    });
}

pub(super) fn serve_fetches(
    outbox: Outbox<Fetched>,
    receiver: transport::frame::FrameReceiver,
    events: mpsc::UnboundedSender<Event>,
) {
    let answers = Rc::new(outbox);
    read::<Fetch>(receiver, move |frame| {
        if let Some((fetch, _)) = frame {
            drop(events.send(Event::Fetch(fetch, Rc::clone(&answers))));
        }
    });
}

pub(super) fn prepared(message: &ToHome) -> Option<std::net::SocketAddr> {
    match message {
        ToHome::Prepared { pages } => Some(*pages),
        _ => None,
    }
}

pub(super) fn still(message: &ToHome) -> Option<Vec<(u32, Layout)>> {
    match message {
        ToHome::Still { layouts } => Some(layouts.clone()),
        _ => None,
    }
}

pub(super) fn captured(message: &ToHome) -> Option<(FamilyImage, Sent)> {
    match message {
        ToHome::Captured { family, batches, bytes } => {
            Some((family.clone(), Sent { batches: *batches, raw_bytes: *bytes, wire_bytes: *bytes }))
        }
        _ => None,
    }
}

/// Home's clocks now.
pub(super) fn clocks() -> Result<Clocks, migration::sys::Errno> {
    Ok(Clocks { monotonic_ns: clock::monotonic_ns()?, boottime_ns: clock::boottime_ns()? })
}

/// For one step of the guest warden, pages apart.
pub(super) const STEP_LIMIT: Duration = Duration::from_secs(10);
