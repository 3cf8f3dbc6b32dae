//! The home warden: keeps the deputies of one family, and alone grants its epochs.

mod hop;
mod leave;
mod peer;
mod program;
mod recall;
mod state;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::os::fd::AsFd;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use ipc_home::deputy::{Deputy, Effect, files};
use ipc_home::protocol::{FromBody, ToBody};
use migration::foothold::Foothold;
use migration::procfs;
use migration::sys::wait;
use migration::tracee::{Stopped, Waiter};
use tokio::sync::mpsc;
use transport::endpoint::{Connection, WardenEndpoint};
use transport::identity::WardenKey;
use transport::{Epoch, ProcessId};

use crate::cli::warden_args::WardenCommon;
use crate::warden::bulk::Bulk;
use crate::warden::common::{Asked, Readiness, Visit, describe, listen, watch};
use crate::warden::control::{Accept, FromWarden, ToWarden};
use crate::warden::handoff::{Fetch, Fetched, ToGuest, ToHome};
use crate::warden::streams::Outbox;

enum Event {
    Children,
    /// By the guest warden of this number, as each that follows.
    Attached(u64, u32, Outbox<ToBody>),
    Message(u64, u32, FromBody, Bytes),
    Fetch(Fetch, Rc<Outbox<Fetched>>),
    Control(u64, Option<ToHome>),
    Asked(Asked),
    Visit(Visit),
}

/// A guest warden.
struct Peer {
    /// Tells one peer's late words from another's.
    number: u64,
    node: String,
    accept: Accept,
    connection: Connection,
    control: Outbox<ToGuest>,
}

struct HomeWarden {
    pid: u32,
    process: ProcessId,
    common: WardenCommon,
    waiter: Rc<Waiter>,
    key: Arc<WardenKey>,
    endpoint: WardenEndpoint,
    bulk: Option<Bulk>,
    inbox: mpsc::UnboundedReceiver<Event>,
    events: mpsc::UnboundedSender<Event>,
    epoch: Epoch,
    /// Guest wardens dialled so far; the number of the last one.
    peers: u64,
    /// Those whose words count.
    heard: BTreeSet<u64>,
    /// Where the family is; `None`: at home.
    away: Option<Peer>,
    deputy: Option<Deputy>,
    foothold: Option<Foothold>,
    outboxes: HashMap<u32, Outbox<ToBody>>,
    /// For threads whose stream is not there (yet).
    held_back: HashMap<u32, Vec<(ToBody, Bytes)>>,
    /// From threads that are not deputies yet.
    too_early: Vec<(u32, FromBody, Bytes)>,
    unclaimed: VecDeque<(u64, ToHome)>,
    programs: VecDeque<(u32, Stopped)>,
    /// A new program is on its way to the guest.
    starting: bool,
    /// Questions that came while something short was under way.
    waiting: VecDeque<Asked>,
    moving: bool,
    call_bytes: u64,
    /// Recalls so far, also those that failed: the number of the transfer of each.
    recalls: u64,
    /// Connections of agents.
    visitors: usize,
    /// The last one has been closed.
    leaving: bool,
}

/// Runs until the family is plain at home and nobody asks, or gone.
///
/// # Errors
/// What failed, for the warden's log.
pub(super) async fn run(pid: u32, common: &WardenCommon) -> Result<(), String> {
    let waiter = Rc::new(Waiter::new().map_err(describe)?);
    let start_ticks = procfs::stat_field(pid, 22).map_err(describe)?;
    let key = Arc::new(WardenKey::generate().map_err(describe)?);
    let endpoint = WardenEndpoint::bind(&key, common.ip, common.ports.0.clone()).map_err(describe)?;
    let (events, inbox) = mpsc::unbounded_channel();
    let (ask, visits) = (events.clone(), events.clone());
    listen(
        &common.control,
        move |asked| drop(ask.send(Event::Asked(asked))),
        move |visit| drop(visits.send(Event::Visit(visit))),
    )
    .map_err(|error| format!("listening on {}: {error}", common.control.display()))?;
    let mut warden = HomeWarden {
        pid,
        process: ProcessId { home: common.node_id.0, pid, start_ticks },
        common: common.clone(),
        waiter,
        key,
        endpoint,
        bulk: None,
        inbox,
        events,
        epoch: last_epoch(&common.control),
        peers: 0,
        heard: BTreeSet::new(),
        away: None,
        deputy: None,
        foothold: None,
        outboxes: HashMap::new(),
        held_back: HashMap::new(),
        too_early: Vec::new(),
        unclaimed: VecDeque::new(),
        programs: VecDeque::new(),
        starting: false,
        waiting: VecDeque::new(),
        moving: false,
        call_bytes: 0,
        recalls: 0,
        visitors: 0,
        leaving: false,
    };
    let ended = warden.serve().await;
    let _ = std::fs::remove_file(&common.control);
    // A guest warden that was not told yet learns it from this.
    warden.endpoint.close().await;
    ended
}

impl HomeWarden {
    /// Grants the next epoch: the point of no return of a move. The record comes before its use.
    ///
    /// # Errors
    /// When it cannot be written; then nothing was granted.
    fn grant(&mut self) -> Result<(), String> {
        let next = self.epoch.next();
        let record = self.common.control.with_extension(EPOCH_FILE);
        std::fs::write(&record, next.0.to_string())
            .map_err(|error| format!("recording epoch {next} in {}: {error}", record.display()))?;
        self.epoch = next;
        Ok(())
    }

    async fn serve(&mut self) -> Result<(), String> {
        let children = self.events.clone();
        watch(self.waiter.descriptor(), move |fd| {
            migration::sys::signal::drain(fd.as_fd());
            drop(children.send(Event::Children));
            Readiness::Drained
        })
        .map_err(describe)?;
        loop {
            let Some(event) = self.next_event().await else { return Ok(()) };
            match event {
                Event::Asked(asked) => self.answer(asked).await,
                event => self.handle(event),
            }
            self.programs().await;
            while let Some(asked) = self.waiting.pop_front() {
                self.answer(asked).await;
                self.programs().await;
            }
            if self.away.as_ref().is_some_and(|peer| !self.heard.contains(&peer.number)) {
                return Err("the guest warden is gone, and the body with it".to_owned());
            }
            if self.leaving && self.visitors == 0 && self.away.is_none() {
                return Ok(());
            }
            if self.away.is_some() && self.deputy.as_ref().is_some_and(Deputy::is_empty) {
                if let Some(peer) = &self.away {
                    peer.control.send(ToGuest::Discard, Bytes::new());
                    peer.connection.closed().await;
                }
                return Ok(());
            }
        }
    }

    /// The next event; meanwhile, threads without work are put to doze.
    async fn next_event(&mut self) -> Option<Event> {
        loop {
            let idle = self.deputy.as_mut().and_then(|deputy| deputy.idle(Instant::now()));
            match idle {
                None => return self.inbox.recv().await,
                Some(due) => match tokio::time::timeout_at(due.into(), self.inbox.recv()).await {
                    Ok(event) => return event,
                    Err(_) => continue,
                },
            }
        }
    }

    /// Everything that can be done at once.
    fn handle(&mut self, event: Event) {
        match event {
            Event::Children => {}
            Event::Visit(Visit::Begins) => self.visitors += 1,
            Event::Visit(Visit::Ends) => {
                self.visitors -= 1;
                // The agent that started the warden came first; with nobody left who asks, it is not needed.
                self.leaving = self.visitors == 0;
            }
            // The calls of a body that does not count any more are not executed.
            Event::Attached(number, ..) | Event::Message(number, ..) if !self.heard.contains(&number) => {
                tracing::warn!(number, "a guest warden that was dismissed still speaks");
            }
            Event::Attached(_, tid, outbox) => {
                for (message, tail) in self.held_back.remove(&tid).into_iter().flatten() {
                    outbox.send(message, tail);
                }
                self.outboxes.insert(tid, outbox);
            }
            Event::Message(_, tid, message, tail) => {
                self.call_bytes += tail.len() as u64;
                match &mut self.deputy {
                    Some(deputy) if deputy.knows(tid) => deputy.message(tid, message, tail),
                    // The last words of a thread that is gone.
                    Some(_) if !self.starting && !self.moving => {}
                    _ => self.too_early.push((tid, message, tail)),
                }
            }
            Event::Fetch(Fetch { pid, start, pages }, answers) => {
                match files::read(pid, start, pages.min(PAGES_PER_FETCH_MAX)) {
                    Ok(data) => answers.send(Fetched { pid, start }, data.into()),
                    Err(error) => {
                        tracing::error!(pid, start, %error, "a page of a file mapping cannot be read");
                    }
                }
            }
            Event::Control(number, Some(message)) => {
                if self.heard.contains(&number) {
                    self.unclaimed.push_back((number, message));
                }
            }
            Event::Control(number, None) => {
                self.heard.remove(&number);
            }
            Event::Asked(asked) => {
                let answer = match asked.question {
                    ToWarden::Status => FromWarden::Status(self.status()),
                    _ if self.moving => FromWarden::Failed { reason: "busy: moving".to_owned() },
                    _ => return self.waiting.push_back(asked),
                };
                // An agent that has hung up does not want to know.
                let _ = asked.answers.send(answer);
            }
        }
        self.reap();
        self.effects();
    }

    fn reap(&mut self) {
        while let Ok(Some((tid, event))) = wait::any() {
            if let Some(deputy) = &mut self.deputy {
                deputy.event(tid, event);
            }
        }
    }

    fn effects(&mut self) {
        while let Some(effect) = self.deputy.as_mut().and_then(Deputy::take) {
            match effect {
                Effect::Send { tid, message, tail } => {
                    self.call_bytes += tail.len() as u64;
                    match self.outboxes.get(&tid) {
                        Some(outbox) => outbox.send(message, tail),
                        // The next guest asks again, and is answered from the last reply.
                        None if matches!(message, ToBody::Return { .. }) => {}
                        None => self.held_back.entry(tid).or_default().push((message, tail)),
                    }
                }
                Effect::Exec { pid, task, .. } => self.programs.push_back((pid, task)),
                Effect::Gone { pid } => {
                    if let Some(peer) = &self.away {
                        peer.control.send(ToGuest::End(pid), Bytes::new());
                    }
                }
            }
        }
    }

    async fn answer(&mut self, asked: Asked) {
        let answer = match asked.question {
            ToWarden::Status => FromWarden::Status(self.status()),
            ToWarden::Prepare => self.offer(),
            ToWarden::Move { ref node, accept } => {
                let moved = if self.away.is_some() {
                    self.hop(node, accept).await
                } else {
                    self.leave(node, accept).await
                };
                moved.map_or_else(|reason| FromWarden::Failed { reason }, FromWarden::Moved)
            }
            ToWarden::Recall if self.away.is_none() => {
                FromWarden::Failed { reason: "the family is at home".to_owned() }
            }
            ToWarden::Recall => {
                let moved = self.recall().await;
                moved.map_or_else(|reason| FromWarden::Failed { reason }, FromWarden::Moved)
            }
        };
        self.moving = false;
        // An agent that has hung up does not want to know.
        let _ = asked.answers.send(answer);
    }

    fn start_bulk(&mut self) -> Result<(), String> {
        if self.bulk.is_none() {
            let ports = self.common.ports.0.clone();
            self.bulk = Some(Bulk::start(Arc::clone(&self.key), self.common.ip, ports).map_err(describe)?);
        }
        Ok(())
    }
}

/// A guest asks for sixteen; more than this is a mistake.
const PAGES_PER_FETCH_MAX: u32 = 256;

/// The last epoch that a former home warden of this process granted: an epoch is never granted twice.
fn last_epoch(control: &Path) -> Epoch {
    let text = std::fs::read_to_string(control.with_extension(EPOCH_FILE)).unwrap_or_default();
    Epoch(text.trim().parse().unwrap_or(0))
}

/// Beside the socket, a file that holds the last granted epoch.
const EPOCH_FILE: &str = "epoch";
