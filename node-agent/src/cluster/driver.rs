//! A server's driver: a thread that owns the log, for it waits for the disk, which nobody else should.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use transport::wire;

use super::handle::{Ask, COMMAND_BYTES_MAX, Ends, PROPOSE_MAX, ProposeError};
use super::raft::{Agreed, Broken, Core, Out, Status, TICK_MS};
use super::request::Request;
use super::rows::{Disk, Message};

/// What the network brings to a server.
#[derive(Debug)]
pub(super) enum Input {
    /// Another server says something.
    Message(Box<Message>),
    /// A message to this server got lost.
    Lost(u64),
    /// A snapshot for this server arrived there, or did not.
    Snapshot { to: u64, arrived: bool },
    /// Somebody wants to know how it is.
    Status(oneshot::Sender<Status>),
}

/// What a server gives to the network.
#[derive(Clone, Debug)]
pub(super) struct Outlets {
    /// For other servers. What finds no room is lost, which agreement stands.
    pub(super) messages: mpsc::Sender<Message>,
    /// Everything that is agreed, in order, for nodes that follow; who is too slow begins anew.
    pub(super) agreed: broadcast::Sender<Arc<Agreed>>,
}

/// Runs a server in a thread of its own until nobody needs it any more or it is broken; then `ended` is told why.
pub(super) fn spawn(
    core: Core,
    disk: Box<dyn Disk + Send>,
    ends: Ends,
    inputs: mpsc::Receiver<Input>,
    outlets: Outlets,
    ended: oneshot::Sender<Broken>,
) -> std::io::Result<()> {
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let result = match runtime {
            Ok(runtime) => runtime.block_on(Driver::new(core, disk, ends, outlets).run(inputs)),
            Err(error) => Err(Broken::Disk(error.to_string())),
        };
        if let Err(broken) = result {
            tracing::error!("this server takes no part in agreement any more: {broken}");
            // Without an agent there is nobody to tell.
            let _ = ended.send(broken);
        }
    };
    thread::Builder::new().name("agreement".into()).spawn(work).map(drop)
}

struct Driver {
    core: Core,
    disk: Box<dyn Disk + Send>,
    ends: Ends,
    outlets: Outlets,
    waiting: BTreeMap<Request, Waiting>,
}

struct Waiting {
    encoded: Vec<u8>,
    replies: Vec<oneshot::Sender<Result<super::Outcome, ProposeError>>>,
    again: Instant,
    until: Instant,
}

impl Driver {
    fn new(core: Core, disk: Box<dyn Disk + Send>, ends: Ends, outlets: Outlets) -> Driver {
        Driver { core, disk, ends, outlets, waiting: BTreeMap::new() }
    }

    async fn run(mut self, mut inputs: mpsc::Receiver<Input>) -> Result<(), Broken> {
        let mut ticks = interval(Duration::from_millis(TICK_MS));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        self.work()?;
        self.core.hurry();
        self.work()?;
        loop {
            let next = self.waiting.values().map(|waiting| waiting.again.min(waiting.until)).min();
            let due = async {
                match next {
                    Some(next) => sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = ticks.tick() => self.core.tick(),
                input = inputs.recv() => match input {
                    None => return Ok(()),
                    Some(input) => self.take(input),
                },
                Some(ask) = self.ends.asks.recv() => self.ask(ask),
                () = due => self.repeat(),
            }
            // Whatever else has come meanwhile goes into the same write.
            for _ in 0..BATCH_MAX {
                let Ok(input) = inputs.try_recv() else { break };
                self.take(input);
            }
            for _ in 0..BATCH_MAX {
                let Ok(ask) = self.ends.asks.try_recv() else { break };
                self.ask(ask);
            }
            self.work()?;
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Message(message) => self.core.step(&message),
            Input::Lost(to) => self.core.unreachable(to),
            Input::Snapshot { to, arrived } => self.core.snapshot_sent(to, arrived),
            // Whoever asked may have gone.
            Input::Status(reply) => drop(reply.send(self.core.status())),
        }
    }

    fn ask(&mut self, Ask { proposal, reply }: Ask) {
        let request = proposal.request;
        if let Some(outcome) = self.core.state().outcome(&request) {
            let _ = reply.send(Ok(outcome));
            return;
        }
        let mut encoded = Vec::new();
        if wire::encode(&proposal, &mut encoded).is_err() || encoded.len() > COMMAND_BYTES_MAX {
            let _ = reply.send(Err(ProposeError::TooLarge));
            return;
        }
        let now = Instant::now();
        self.core.propose(encoded.clone());
        let fresh = Waiting { encoded, replies: Vec::new(), again: now, until: now };
        let waiting = self.waiting.entry(request).or_insert(fresh);
        (waiting.again, waiting.until) = (now + REPEAT_AFTER, now + PROPOSE_MAX);
        waiting.replies.push(reply);
    }

    /// Proposes again what may have been lost, and gives up what waits too long.
    fn repeat(&mut self) {
        let now = Instant::now();
        let reason = self.obstacle();
        self.waiting.retain(|_, waiting| {
            if waiting.until > now {
                return true;
            }
            for reply in waiting.replies.drain(..) {
                let error = ProposeError::NoQuorum { waited: PROPOSE_MAX, reason: reason.clone() };
                let _ = reply.send(Err(error));
            }
            false
        });
        for waiting in self.waiting.values_mut().filter(|waiting| waiting.again <= now) {
            waiting.again = now + REPEAT_AFTER;
            waiting.replies.retain(|reply| !reply.is_closed());
            self.core.propose(waiting.encoded.clone());
        }
    }

    fn obstacle(&self) -> String {
        let status = self.core.status();
        let voters = status.conf.voters.len();
        let alive = status.conf.voters.iter().filter(|id| status.alive.contains(id)).count();
        match status.leader {
            0 => format!("none of the {voters} servers that vote leads; {alive} of them were heard lately"),
            _ => format!("{alive} of the {voters} servers that vote were heard lately"),
        }
    }

    fn work(&mut self) -> Result<(), Broken> {
        let before = self.core.state().applied();
        let Out { messages, agreed, replaced } = self.core.ready(self.disk.as_mut())?;
        for message in messages {
            let (to, is_snapshot) = (message.to, message.snapshot.is_some());
            if self.outlets.messages.try_send(message).is_err() && is_snapshot {
                self.core.snapshot_sent(to, false);
            }
        }
        if self.core.state().applied() == before {
            return Ok(());
        }
        self.ends.state.send_replace(Arc::new(self.core.state().clone()));
        if replaced {
            let state = self.core.state();
            let known: Vec<_> =
                self.waiting.keys().filter_map(|key| Some((*key, state.outcome(key)?))).collect();
            known.into_iter().for_each(|(request, outcome)| self.answer(&request, &outcome));
        }
        for agreed in agreed {
            if let Some((request, outcome)) = &agreed.outcome {
                self.answer(request, outcome);
            }
            // Nobody may follow just now.
            let _ = self.outlets.agreed.send(Arc::new(agreed));
        }
        Ok(())
    }

    fn answer(&mut self, request: &Request, outcome: &super::Outcome) {
        for reply in self.waiting.remove(request).into_iter().flat_map(|waiting| waiting.replies) {
            // Whoever asked may have gone.
            let _ = reply.send(Ok(outcome.clone()));
        }
    }
}

/// A proposal that is not agreed on for so long may have been lost with a leader.
const REPEAT_AFTER: Duration = Duration::from_millis(500);

/// Messages and proposals that share one write.
const BATCH_MAX: usize = 256;
