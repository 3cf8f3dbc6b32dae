//! A guest warden as home sees it: dialled, told, listened to.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use ipc_home::deputy::Deputy;
use ipc_home::protocol::{FromBody, ToBody};
use migration::handoff::{Answer, Ask};
use migration::sys::clock;
use tokio::sync::{mpsc, oneshot};
use transport::Epoch;
use transport::channel::Channel;

use super::{Event, HomeWarden, Line, Peer};
use crate::warden::common::{describe, done};
use crate::warden::control::Accept;
use crate::warden::handoff::{Clocks, ToGuest, ToHome};
use crate::warden::memory::{Fetch, Fetched};
use crate::warden::streams::{Outbox, read};

impl HomeWarden {
    pub(super) async fn dial(&mut self, node: &str, accept: Accept) -> Result<Peer, String> {
        self.peers += 1;
        let number = self.peers;
        // From now on, so that its end is noticed at once, even if it comes before the connection.
        self.heard.insert(number, accept.key);
        let endpoint = Rc::clone(&self.endpoint);
        let dialled = self.during(async move {
            let connection = endpoint.connect(accept.addr, accept.key).await.map_err(describe)?;
            let (sender, receiver) = connection.open(Channel::Control).await.map_err(describe)?;
            Ok((connection, sender, receiver))
        });
        let (connection, sender, receiver) = match dialled.await {
            Ok(dialled) => dialled,
            Err(reason) => {
                self.heard.remove(&number);
                return Err(reason);
            }
        };
        let events = self.events.clone();
        read(receiver, move |frame| {
            drop(events.send(Event::Control(number, frame.map(|(message, _)| message))));
        });
        let (streams, events, lines) = (connection.clone(), self.events.clone(), Rc::clone(&self.lines));
        tokio::task::spawn_local(async move {
            while let Some((channel, sender, receiver)) = streams.accept().await {
                match channel {
                    Channel::Calls => {
                        lines.set(lines.get() + 1);
                        let line = Line { peer: number, tid: 0, epoch: Epoch(0), number: lines.get() };
                        serve_calls(line, Outbox::new(sender), receiver, events.clone());
                    }
                    Channel::Pages => serve_fetches(Outbox::new(sender), receiver, events.clone()),
                    Channel::Agent | Channel::Control => {}
                }
            }
        });
        let control = Outbox::new(sender);
        Ok(Peer { number, node: node.to_owned(), accept, connection, control })
    }

    /// The guest warden where the family is, also while it stands still there.
    pub(super) fn present(&self) -> Option<&Peer> {
        self.away.as_ref().or_else(|| self.under_way.as_ref()?.from.as_ref())
    }

    /// Tells the guest warden of this number something.
    pub(super) fn say(&self, number: u64, message: ToGuest) -> Result<(), String> {
        self.peer(number).ok_or(GONE)?.control.send(message, Bytes::new());
        Ok(())
    }

    fn peer(&self, number: u64) -> Option<&Peer> {
        let next = self.under_way.as_ref().and_then(|moving| moving.next.as_ref());
        self.present().into_iter().chain(next).find(|peer| peer.number == number)
    }

    /// Tells a guest warden that it is not needed any more.
    pub(super) fn dismiss(&mut self, number: u64) {
        self.unclaimed.retain(|(other, _)| *other != number);
        if self.heard.remove(&number).is_none() {
            // Gone already.
            return;
        }
        // It is known to be there.
        let _ = self.say(number, ToGuest::Discard { epoch: self.residence.promised() });
        self.parting.retain(|connection| connection.end().is_none());
        let connection = self.peer(number).map(|peer| peer.connection.clone());
        self.parting.extend(connection);
    }

    /// Waits until all that were dismissed have heard it: what is sent last may get lost, and nobody would send it again
    /// once this warden has ended.
    pub(super) async fn part(&mut self) {
        let all = async {
            for connection in &self.parting {
                connection.closed().await;
            }
        };
        // One that is out of reach finds out by itself.
        let _ = tokio::time::timeout(STEP_LIMIT, all).await;
    }

    /// Waits for the answer of the guest warden of this number to what it was asked; everything else that happens meanwhile
    /// is done.
    pub(super) async fn answer_of(&mut self, number: u64, ask: Ask) -> Result<ToHome, String> {
        let limit = if matches!(ask, Ask::Copy(_)) { COPY_LIMIT } else { STEP_LIMIT };
        self.hear(number, limit, |message| {
            let answer = message.answer().filter(|answer| ask.is_answered_by(*answer));
            answer.map(|answer| match (answer, message) {
                (Answer::Failed(_), ToHome::Failed { reason, .. }) => Err(reason.clone()),
                _ => Ok(message.clone()),
            })
        })
        .await
    }

    /// Waits for a word of it.
    pub(super) async fn hear<T>(
        &mut self,
        number: u64,
        limit: Duration,
        wanted: impl Fn(&ToHome) -> Option<Result<T, String>>,
    ) -> Result<T, String> {
        let deadline = tokio::time::Instant::now() + limit;
        let peers = self.heard.len();
        loop {
            let words = self.unclaimed.iter().enumerate().filter(|(_, (peer, _))| *peer == number);
            let found = words.filter_map(|(at, (_, message))| Some((at, wanted(message)?))).next();
            if let Some((at, result)) = found {
                self.unclaimed.remove(at);
                return result;
            }
            // A move needs both its guests; a new program that is on its way meanwhile, only its own.
            let is_alone = self.starting.is_none() && self.heard.len() < peers;
            if is_alone || !self.heard.contains_key(&number) {
                return Err(GONE.to_owned());
            }
            let event = tokio::time::timeout_at(deadline, self.next_event()).await;
            match event {
                Ok(Some(event)) => {
                    self.handle(event);
                    // A guest that is to freeze waits for the programs that its family is starting.
                    if self.starting.is_none() && !self.programs.is_empty() {
                        Box::pin(self.programs()).await;
                    }
                }
                Ok(None) => return Err("the warden ends".to_owned()),
                Err(_) => {
                    let states = self.deputy.as_ref().map(Deputy::states);
                    tracing::warn!(?states, "the guest warden did not answer");
                    return Err(format!("the guest warden did not answer within {limit:?}"));
                }
            }
        }
    }

    /// Waits for the pages thread; everything else that happens meanwhile is done.
    pub(super) async fn meanwhile<T>(
        &mut self,
        answer: oneshot::Receiver<Result<T, String>>,
    ) -> Result<T, String> {
        self.during(done(answer)).await
    }

    /// Waits for something that needs the guest wardens; everything else that happens meanwhile is done.
    async fn during<T>(&mut self, work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
        let peers = self.heard.len();
        let mut work = std::pin::pin!(work);
        while self.heard.len() == peers {
            tokio::select! {
                result = &mut work => return result,
                event = self.next_event() => match event {
                    Some(event) => self.handle(event),
                    None => return Err("the warden ends".to_owned()),
                },
            }
        }
        Err(GONE.to_owned())
    }
}

pub(super) fn serve_calls(
    mut line: Line,
    outbox: Outbox<ToBody>,
    receiver: transport::frame::FrameReceiver,
    events: mpsc::UnboundedSender<Event>,
) {
    let mut outbox = Some(outbox);
    read::<FromBody>(receiver, move |frame| {
        let Some((message, tail)) = frame else { return };
        if let FromBody::Attach { tid, epoch, .. } = message {
            (line.tid, line.epoch) = (tid, epoch);
            if let Some(outbox) = outbox.take() {
                drop(events.send(Event::Attached(line, outbox)));
            }
        } else {
            drop(events.send(Event::Message(line, message, tail)));
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

/// Home's clocks now.
pub(super) fn clocks() -> Result<Clocks, migration::sys::Errno> {
    Ok(Clocks { monotonic_ns: clock::monotonic_ns()?, boottime_ns: clock::boottime_ns()? })
}

const GONE: &str = "the guest warden is gone";

/// For one step of the guest warden, the last pages that it sends among them; what it sends while the family runs apart.
pub(super) const STEP_LIMIT: Duration = Duration::from_secs(10);

/// For all rounds of pre-copy. The family runs meanwhile, so this only ends what would never end.
pub(super) const COPY_LIMIT: Duration = Duration::from_secs(30 * 60);
