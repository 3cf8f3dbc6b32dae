//! The guest warden: keeps the bodies of one family at this node.

mod build;
mod clocks;
mod group;
mod lease;
mod leave;
mod lines;
mod obey;
mod status;

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::build::Preparation;
use self::group::Group;
use self::lease::{Contact, Hold, LEASE_MAX};
use self::obey::{Wanted, Words};
use bytes::Bytes;
use ipc_home::guest::{Effect, Guest};
use ipc_home::protocol::{FromBody, ToBody};
use migration::body::FilterInstruction;
use migration::digest::Transfer;
use migration::foothold::Foothold;
use migration::handoff::{Ask, Digest, Keeper};
use migration::image::{FamilyImage, ProcessImage};
use migration::init::FamilyInit;
use migration::pages::Run;
use migration::sys::{seccomp, wait};
use migration::tracee::Waiter;
use migration::vessel::Vessel;
use tokio::sync::mpsc;
use transport::channel::Channel;
use transport::endpoint::{Connection, WardenEndpoint};
use transport::identity::WardenKey;
use transport::{KeyHash, ProcessId};

use crate::cli::warden_args::WardenCommon;
use crate::warden::alert::Alert;
use crate::warden::bulk::{Bulk, Order, Receiver, Rest, Sent};
use crate::warden::common::{Asked, Readiness, for_calls, listen, watch};
use crate::warden::control::{Accept, ToWarden};
use crate::warden::handoff::{ToGuest, ToHome};
use crate::warden::memory::{Fetch, Fetched};
use crate::warden::streams::{Outbox, read};

enum Event {
    Children,
    Notified(seccomp::Notification),
    Fault(u32),
    Control(Option<ToGuest>),
    Message(u32, ToBody, Bytes),
    Fetched(Fetched, Bytes),
    /// Further rounds would not make the rest of this transfer smaller.
    Copied(Ask, u64, Result<Sent, String>),
    /// All memory of this transfer is sent, or cannot be.
    Sent(u64, Result<Rest, String>),
    /// Memory that comes needs these mappings first.
    Memory(Order),
    /// All memory of a family or of a new program is there, or cannot be.
    Received(Arrival, Result<Transfer, String>),
    Asked(Asked),
    /// Whether home was heard of lately.
    Contact(Contact),
}

/// Whose memory has come.
enum Arrival {
    /// With what home asks for.
    Family(Ask, FamilyImage),
    Program {
        image: Box<ProcessImage>,
        transfer: u64,
        /// What it must come to.
        digest: Digest,
    },
}

/// Runs until the family is gone.
///
/// # Errors
/// What failed, for the warden's log.
pub(super) async fn run(common: &WardenCommon) -> Result<(), String> {
    let waiter = Rc::new(Waiter::new().map_err(|error| error.to_string())?);
    let offer = lines::read_offer().await?;
    let key = Arc::new(WardenKey::generate().map_err(|error| error.to_string())?);
    // Home's lease holds, whatever that of this node's own families is.
    let (ports, options) = (common.ports.0.clone(), for_calls(LEASE_MAX));
    let endpoint =
        WardenEndpoint::bind_with(&key, common.ip, ports, options).map_err(|error| error.to_string())?;
    endpoint.allow(offer.home_key);
    let (events, inbox) = mpsc::unbounded_channel();
    let ask = events.clone();
    listen(&common.control, move |asked| drop(ask.send(Event::Asked(asked))), |_| {})
        .map_err(|error| format!("listening on {}: {error}", common.control.display()))?;
    lines::accept_offer(Accept { addr: endpoint.local_addr(), key: key.hash() }).await?;
    let joined = tokio::time::timeout(HOME_LIMIT, async {
        let connection = endpoint.accept().await?;
        let (channel, sender, receiver) = connection.accept().await?;
        (channel == Channel::Control).then_some((connection, sender, receiver))
    });
    let (connection, sender, receiver) = joined.await.ok().flatten().ok_or("the home warden did not come")?;
    let control = events.clone();
    read(receiver, move |frame| drop(control.send(Event::Control(frame.map(|(message, _)| message)))));
    let mut warden = GuestWarden {
        name: common.node_name.clone(),
        process: offer.process,
        home_name: offer.home_name,
        waiter,
        key,
        common: common.clone(),
        home_key: offer.home_key,
        connection,
        control: Outbox::new(sender),
        fetches: None,
        calls: HashMap::new(),
        events,
        stage: Stage::Empty,
        preparation: None,
        keeper: Keeper::default(),
        is_over: false,
        words: Words::default(),
        doubtful_since: None,
        hold: Hold::default(),
        wanted: None,
        wanted_since: Instant::now(),
        refused_told: (0, Instant::now()),
        group: None,
        memory_kills: 0,
        alert: Alert::new(),
        sending: None,
        orders: VecDeque::new(),
        given_up: VecDeque::new(),
    };
    let ended = warden.serve(inbox).await;
    let _ = std::fs::remove_file(&common.control);
    let group = warden.group.take();
    // First the bodies end, then home learns at once that they have.
    drop(warden);
    endpoint.close().await;
    if let Some(group) = group {
        group.remove().await;
    }
    ended
}

/// How far the family is.
enum Stage {
    Empty,
    Building(Family),
    Living(Family),
}

struct Family {
    init: FamilyInit,
    bulk: Bulk,
    foothold: Foothold,
    guest: Guest,
    filter: Vec<FilterInstruction>,
    /// Processes without a life of their own yet.
    vessels: HashMap<u32, Vessel>,
    frozen: bool,
    /// Whose place the memory takes that is sent from here.
    receiver: Receiver,
}

struct GuestWarden {
    name: String,
    process: ProcessId,
    home_name: String,
    waiter: Rc<Waiter>,
    key: Arc<WardenKey>,
    common: WardenCommon,
    home_key: KeyHash,
    connection: Connection,
    control: Outbox<ToHome>,
    fetches: Option<Outbox<Fetch>>,
    calls: HashMap<u32, Rc<RefCell<CallStream>>>,
    events: mpsc::UnboundedSender<Event>,
    stage: Stage,
    /// Waits for home's clocks.
    preparation: Option<Preparation>,
    /// What home may have done here, and what was.
    keeper: Keeper,
    /// The family is not here any more.
    is_over: bool,
    /// What goes with the answers to home.
    words: Words,
    /// Since when home has said nothing, if it has not.
    doubtful_since: Option<Instant>,
    /// Whether the family stands still because home is out of reach.
    hold: Hold,
    /// What home has asked for and something still stands in the way of.
    wanted: Option<Wanted>,
    /// Since when.
    wanted_since: Instant,
    /// Refused calls that home was told of, and when.
    refused_told: (u64, Instant),
    /// What the family may take of this node.
    group: Option<Group>,
    /// Processes of it that were killed for want of memory, as home was told.
    memory_kills: u64,
    alert: Alert,
    /// The frozen family, while its memory is on the way; with the number of the transfer.
    sending: Option<(Ask, u64, FamilyImage)>,
    /// Mappings to be made, in order; the first one may have to wait for the end of a former body.
    orders: VecDeque<Order>,
    /// The newest transfers of programs that home has given up: what still comes of them is not wanted.
    given_up: VecDeque<u64>,
}

/// The stream of one thread, which opens a moment after its first message.
#[derive(Default)]
struct CallStream {
    /// Its thread is gone; one of a new program may have its id.
    is_over: bool,
    open: Option<Outbox<FromBody>>,
    early: Vec<(FromBody, Bytes)>,
}

impl GuestWarden {
    async fn serve(&mut self, mut inbox: mpsc::UnboundedReceiver<Event>) -> Result<(), String> {
        let children = self.events.clone();
        watch(self.waiter.descriptor(), move |fd| {
            migration::sys::signal::drain(fd.as_fd());
            drop(children.send(Event::Children));
            Readiness::Drained
        })
        .map_err(|error| error.to_string())?;
        loop {
            // What home wants may have to wait for something that does not end with an event.
            let pause = match self.wanted {
                Some(_) => Some(PURSUIT_PAUSE),
                None if self.hold == Hold::Due => Some(PURSUIT_PAUSE),
                None => self.tell_refused(),
            };
            let event = match pause {
                _ if self.waiter.has_missed() => Some(Event::Children),
                None => self.alert.next(&mut inbox).await,
                Some(pause) => match tokio::time::timeout(pause, inbox.recv()).await {
                    Ok(event) => event,
                    Err(_) => Some(Event::Children),
                },
            };
            let Some(event) = event else { return Ok(()) };
            match event {
                Event::Children => self.reap(),
                Event::Notified(notification) => {
                    if let Some(guest) = self.guest() {
                        guest.notified(notification);
                    }
                }
                Event::Fault(pid) => {
                    if let Some(guest) = self.guest() {
                        guest.serve(pid);
                    }
                }
                Event::Message(tid, message, tail) => {
                    if let Some(guest) = self.guest() {
                        guest.message(tid, message, &tail);
                    }
                }
                Event::Fetched(Fetched { pid, start }, data) => {
                    if let Some(guest) = self.guest() {
                        guest.fetched(pid, start, &data);
                    }
                }
                Event::Contact(contact) => {
                    self.contact(contact);
                    if self.is_forsaken(contact) {
                        return Err("home is out of reach, and the family has never run here".to_owned());
                    }
                }
                Event::Copied(ask, transfer, sent) => self.copied(ask, transfer, sent),
                Event::Sent(transfer, sent) => self.sent(transfer, sent),
                Event::Memory(order) => self.orders.push_back(order),
                Event::Received(arrival, received) => self.received(arrival, received).await,
                Event::Asked(asked) => {
                    self.answer(&asked);
                    if let ToWarden::PeerGone { key } = asked.question
                        && key == self.home_key
                    {
                        return Err("the home warden was killed".to_owned());
                    }
                }
                Event::Control(None) => return Err("the home warden is gone".to_owned()),
                Event::Control(Some(message)) => self.control(message),
            }
            if self.is_over {
                return Ok(());
            }
            self.lay_out();
            self.effects();
            self.hold_if_due();
            // A freeze may find every thread at rest already, so it is looked at again behind itself.
            if matches!(self.wanted, Some(Wanted::Stop { .. })) {
                self.pursue();
            }
            self.pursue();
            self.effects();
        }
    }

    /// Tells home of refused calls, now and then; returns when to ask again if there is more to tell.
    fn tell_refused(&mut self) -> Option<Duration> {
        let Stage::Living(family) = &self.stage else { return None };
        let sum = family.guest.refused().values().sum();
        if sum == self.refused_told.0 {
            return None;
        }
        let rest = REFUSED_PAUSE.saturating_sub(self.refused_told.1.elapsed());
        if self.refused_told.0 > 0 && !rest.is_zero() {
            return Some(rest);
        }
        self.refused_told = (sum, Instant::now());
        let counts = family.guest.refused().iter().map(|(name, count)| ((*name).to_owned(), *count));
        self.control.send(ToHome::Refused(counts.collect()), Bytes::new());
        None
    }

    fn reap(&mut self) {
        let waiter_has_none = |error| tracing::error!(%error, "waiting for the family");
        loop {
            match self.waiter.any() {
                Ok(Some((outer, event))) => {
                    if event == wait::Event::Killed(libc::SIGKILL) {
                        self.tell_memory_kills();
                    }
                    if let Some(guest) = self.guest() {
                        guest.event(outer, event);
                    }
                }
                Ok(None) => return,
                Err(error) => return waiter_has_none(error),
            }
        }
    }

    /// A process of the family was killed, maybe by the kernel: then home is told the reason before it hears of the end.
    fn tell_memory_kills(&mut self) {
        let kills = self.group.as_ref().map_or(0, Group::memory_kills);
        if kills > self.memory_kills {
            self.memory_kills = kills;
            self.control.send(ToHome::OutOfMemory(kills), Bytes::new());
        }
    }

    fn effects(&mut self) {
        let Stage::Living(family) = &mut self.stage else { return };
        let mut effects = Vec::new();
        while let Some(effect) = family.guest.take() {
            effects.push(effect);
        }
        for effect in effects {
            match effect {
                Effect::Attach { pid, tid } => self.attach(pid, tid),
                Effect::Send { tid, message, tail } => self.tell(tid, message, tail),
                Effect::Listen { listener, .. } => self.listen(listener),
                Effect::Serve { pid, uffd } => self.serve_faults(pid, uffd),
                Effect::Fetch { pid, start, pages } => {
                    if let Some(fetches) = &self.fetches {
                        fetches.send(Fetch { pid, pages: Run { start, pages } }, Bytes::new());
                    }
                }
                Effect::Silent { tid } => self.hang_up(tid),
                Effect::Gone { .. } => {}
            }
        }
    }

    fn guest(&mut self) -> Option<&mut Guest> {
        match &mut self.stage {
            Stage::Living(family) => Some(&mut family.guest),
            _ => None,
        }
    }
}

/// Between two reports of refused calls.
const REFUSED_PAUSE: Duration = Duration::from_millis(500);

/// Between two looks at what stands in the way of home's wish.
const PURSUIT_PAUSE: Duration = Duration::from_millis(20);

/// From the accept to the home warden's connection.
const HOME_LIMIT: Duration = Duration::from_secs(10);
