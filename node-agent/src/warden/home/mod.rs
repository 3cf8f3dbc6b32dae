//! The home warden: keeps the deputies of one family, and alone grants its epochs.

mod at_guest;
mod at_home;
mod end;
mod epoch;
mod events;
mod leave;
mod pace;
mod peer;
mod program;
mod recall;
mod refused;
mod relocate;
mod state;

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ipc_home::deputy::Deputy;
use ipc_home::protocol::{FromBody, ToBody};
use ipc_home::residence::{Event as Happening, Residence};
use migration::foothold::Foothold;
use migration::procfs;
use migration::staging::Staging;
use migration::tracee::{Stopped, Waiter};
use tokio::sync::mpsc;
use tokio::time::Sleep;
use transport::endpoint::{Connection, WardenEndpoint};
use transport::identity::WardenKey;
use transport::{KeyHash, ProcessId};

use self::epoch::Record;
use self::events::{Event, Line};
use self::refused::Refused;
use self::relocate::Move;
use crate::cli::warden_args::WardenCommon;
use crate::warden::alert::Alert;
use crate::warden::bulk::Bulk;
use crate::warden::common::{Asked, Readiness, describe, for_calls, listen, watch};
use crate::warden::control::{Accept, FromWarden, ToWarden};
use crate::warden::handoff::{ToGuest, ToHome};
use crate::warden::streams::Outbox;

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
    endpoint: Rc<WardenEndpoint>,
    bulk: Option<Bulk>,
    inbox: mpsc::UnboundedReceiver<Event>,
    events: mpsc::UnboundedSender<Event>,
    record: Record,
    /// Where the family counts.
    residence: Residence,
    under_way: Option<Move>,
    /// Guest wardens dialled so far; the number of the last one.
    peers: u64,
    /// Those whose words count.
    heard: BTreeMap<u64, KeyHash>,
    /// To guest wardens that were dismissed, and may not have heard it yet.
    parting: Vec<Connection>,
    /// Where the family is; `None`: at home.
    away: Option<Peer>,
    deputy: Option<Deputy>,
    foothold: Option<Foothold>,
    outboxes: HashMap<u32, Outbox<ToBody>>,
    /// Streams of threads so far: the number of the last one.
    lines: Rc<Cell<u64>>,
    /// The first one that can be of the program that a process has now, for those that have started a new one.
    first_lines: HashMap<u32, u64>,
    /// Processes that have ended while the family was between two guests.
    gone: Vec<u32>,
    /// For threads whose stream is not there (yet).
    held_back: HashMap<u32, Vec<(ToBody, Bytes)>>,
    /// From threads that are not deputies yet, or whose words do not count yet; with the guest warden's number.
    too_early: Vec<(u64, u32, FromBody, Bytes)>,
    unclaimed: VecDeque<(u64, ToHome)>,
    programs: VecDeque<(u32, Stopped)>,
    /// The process whose new program is on its way to the guest.
    starting: Option<u32>,
    /// What brings that program, once it is being sent.
    program_transfer: Option<u64>,
    /// Questions that came while something short was under way.
    waiting: VecDeque<Asked>,
    call_bytes: u64,
    /// The number of the last transfer of memory.
    transfers: u64,
    /// What is staged in each deputy for its return.
    staging: HashMap<u32, Staging>,
    refused: Refused,
    /// When to look for threads that have been without work for a while.
    doze: Option<Pin<Box<Sleep>>>,
    /// The guest warden whose death the agent has told of; 0: none.
    told_dead: u64,
    /// Connections of agents.
    visitors: usize,
    /// The last one has been closed.
    leaving: bool,
    alert: Alert,
}

/// Runs until the family is plain at home and nobody asks, or gone.
///
/// # Errors
/// What failed, for the warden's log.
pub(super) async fn run(pid: u32, common: &WardenCommon) -> Result<(), String> {
    let waiter = Rc::new(Waiter::new().map_err(describe)?);
    let start_ticks = procfs::stat_field(pid, 22).map_err(describe)?;
    let key = Arc::new(WardenKey::generate().map_err(describe)?);
    let (ports, options) = (common.ports.0.clone(), for_calls(lease(common)));
    let endpoint = WardenEndpoint::bind_with(&key, common.ip, ports, options).map_err(describe)?;
    let (events, inbox) = mpsc::unbounded_channel();
    let (ask, visits) = (events.clone(), events.clone());
    listen(
        &common.control,
        move |asked| drop(ask.send(Event::Asked(asked))),
        move |visit| drop(visits.send(Event::Visit(visit))),
    )
    .map_err(|error| format!("listening on {}: {error}", common.control.display()))?;
    let record = Record::read(&common.control);
    let mut warden = HomeWarden {
        pid,
        process: ProcessId { home: common.node_id.0, pid, start_ticks },
        common: common.clone(),
        waiter,
        key,
        endpoint: Rc::new(endpoint),
        bulk: None,
        inbox,
        events,
        record,
        residence: Residence::at_home(record.up_to),
        under_way: None,
        peers: 0,
        heard: BTreeMap::new(),
        parting: Vec::new(),
        away: None,
        deputy: None,
        foothold: None,
        outboxes: HashMap::new(),
        lines: Rc::default(),
        first_lines: HashMap::new(),
        gone: Vec::new(),
        held_back: HashMap::new(),
        too_early: Vec::new(),
        unclaimed: VecDeque::new(),
        programs: VecDeque::new(),
        starting: None,
        program_transfer: None,
        waiting: VecDeque::new(),
        call_bytes: 0,
        transfers: 0,
        staging: HashMap::new(),
        refused: Refused::default(),
        doze: None,
        told_dead: 0,
        visitors: 0,
        leaving: false,
        alert: Alert::new(),
    };
    let ended = warden.serve().await;
    let _ = std::fs::remove_file(&common.control);
    warden.part().await;
    // A guest warden that was not told yet learns it from this.
    warden.endpoint.close().await;
    ended
}

/// For how long a family lives on that is out of reach.
fn lease(common: &WardenCommon) -> Duration {
    Duration::from_secs(common.lease.into())
}

impl HomeWarden {
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
            while !self.is_bereft()
                && let Some(asked) = self.waiting.pop_front()
            {
                self.answer(asked).await;
                self.programs().await;
            }
            if self.is_bereft() {
                self.residence.step(Happening::Gone(self.residence.seat()));
                let reason = self.end_family().await;
                self.leave_word(&reason);
                return Err(reason);
            }
            // A visitor who has just come has not been counted yet.
            let is_left = self.leaving && self.visitors == 0 && self.inbox.is_empty();
            if is_left && self.away.is_none() {
                return Ok(());
            }
            if self.away.is_some() && self.deputy.as_ref().is_some_and(Deputy::is_empty) {
                if let Some(number) = self.away.as_ref().map(|peer| peer.number) {
                    self.dismiss(number);
                }
                return Ok(());
            }
        }
    }

    /// The guest warden where the family was is gone.
    fn is_bereft(&self) -> bool {
        self.away.as_ref().is_some_and(|peer| !self.heard.contains_key(&peer.number))
    }

    async fn answer(&mut self, asked: Asked) {
        let answer = match asked.question {
            ToWarden::Status => FromWarden::Status(self.status()),
            ToWarden::PeerGone { key } => {
                self.lose(key);
                FromWarden::Status(self.status())
            }
            ToWarden::Prepare => self.offer().await,
            ToWarden::Move { ref node, accept } => {
                let moved = self.relocate(Some((node, accept))).await;
                moved.map_or_else(|reason| self.failure(reason), FromWarden::Moved)
            }
            ToWarden::Recall if self.away.is_none() => self.failure("the family is at home".to_owned()),
            ToWarden::Recall => {
                let moved = self.relocate(None).await;
                moved.map_or_else(|reason| self.failure(reason), FromWarden::Moved)
            }
        };
        // An agent that has hung up does not want to know.
        let _ = asked.answers.send(answer);
    }

    fn bulk(&mut self) -> Result<&Bulk, String> {
        if self.bulk.is_none() {
            let (key, ports) = (Arc::clone(&self.key), self.common.ports.0.clone());
            let (bulk, mut orders) =
                Bulk::start(key, self.common.ip, ports, lease(&self.common)).map_err(describe)?;
            let events = self.events.clone();
            tokio::task::spawn_local(async move {
                while let Some(order) = orders.recv().await {
                    drop(events.send(Event::Memory(order)));
                }
            });
            self.bulk = Some(bulk);
        }
        self.bulk.as_ref().ok_or_else(|| "no pages thread".to_owned())
    }

    fn next_transfer(&mut self) -> u64 {
        self.transfers += 1;
        self.transfers
    }
}
