//! The guest warden: keeps the bodies of one family at this node.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ipc_home::guest::{Effect, Guest};
use ipc_home::protocol::{FromBody, ToBody};
use ipc_home::syscall::filter::{ExemptCode, filter};
use migration::body::{Body, FilterInstruction};
use migration::capture::{Access, capture};
use migration::foothold::Foothold;
use migration::image::{FamilyImage, Layout, ProcessImage};
use migration::init::{ClockOffsets, FamilyInit};
use migration::layout::{self, Side};
use migration::pages::{self, Changed};
use migration::sys::{clock, seccomp, uffd, wait};
use migration::tracee::Waiter;
use migration::vessel::Vessel;
use tokio::sync::mpsc;
use transport::channel::Channel;
use transport::endpoint::{Connection, WardenEndpoint};
use transport::frame::{Reader, Writer};
use transport::identity::WardenKey;
use transport::{Epoch, KeyHash, ProcessId};

use super::bulk::{Bulk, Load, Target};
use super::common::{Asked, Readiness, describe, done, is_readable, listen, watch};
use super::control::{Accept, FromWarden, Offer, ProcessStatus, ToWarden, WardenRole, WardenStatus};
use super::handoff::{Clocks, Fetch, Fetched, ToGuest, ToHome};
use super::streams::{Outbox, read};
use crate::cli::warden_args::WardenCommon;

enum Event {
    Children,
    Notified(seccomp::Notification),
    Fault(u32, uffd::Event),
    Control(Option<ToGuest>),
    Message(u32, ToBody, Bytes),
    Fetched(Fetched, Bytes),
    Asked(Asked),
}

/// Runs until the family is gone.
///
/// # Errors
/// What failed, for the warden's log.
pub async fn run(common: &WardenCommon) -> Result<(), String> {
    let waiter = Rc::new(Waiter::new().map_err(|error| error.to_string())?);
    let offer = read_offer().await?;
    let key = Arc::new(WardenKey::generate().map_err(|error| error.to_string())?);
    let ports = common.ports.0.clone();
    let endpoint = WardenEndpoint::bind(&key, common.ip, ports).map_err(|error| error.to_string())?;
    endpoint.allow(offer.home_key);
    let (events, inbox) = mpsc::unbounded_channel();
    let ask = events.clone();
    listen(&common.control, move |asked| drop(ask.send(Event::Asked(asked))), |_| {})
        .map_err(|error| format!("listening on {}: {error}", common.control.display()))?;
    accept_offer(Accept { addr: endpoint.local_addr(), key: key.hash() }).await?;
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
        epoch: Epoch(0),
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
        moving: true,
        wanted: None,
    };
    let ended = warden.serve(inbox).await;
    let _ = std::fs::remove_file(&common.control);
    ended
}

/// How far the family is.
enum Stage {
    Empty,
    Building(Family, Vec<Vessel>),
    Living(Family),
}

struct Family {
    init: FamilyInit,
    bulk: Bulk,
    foothold: Foothold,
    guest: Guest,
    filter: Vec<FilterInstruction>,
    frozen: bool,
}

struct GuestWarden {
    name: String,
    process: ProcessId,
    home_name: String,
    epoch: Epoch,
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
    moving: bool,
    /// What home has asked for and something still stands in the way of.
    wanted: Option<ToGuest>,
}

/// The stream of one thread, which opens a moment after its first message.
#[derive(Default)]
struct CallStream {
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
        while let Some(event) = inbox.recv().await {
            match event {
                Event::Children => {}
                Event::Notified(notification) => {
                    if let Some(guest) = self.guest() {
                        guest.notified(notification);
                    }
                }
                Event::Fault(pid, fault) => self.fault(pid, fault),
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
                Event::Asked(asked) => self.answer(&asked),
                Event::Control(None) => return Err("the home warden is gone".to_owned()),
                Event::Control(Some(ToGuest::Discard)) => return Ok(()),
                Event::Control(Some(message)) => {
                    if let Err(reason) = self.control(message).await {
                        tracing::error!(%reason, "a step of the handoff failed");
                        self.control.send(ToHome::Failed(reason), Bytes::new());
                    }
                }
            }
            self.reap();
            self.effects();
            // A freeze may find every thread at rest already, so it is looked at again behind itself.
            if matches!(self.wanted, Some(ToGuest::Freeze)) {
                self.pursue_or_fail().await;
            }
            self.pursue_or_fail().await;
            self.effects();
        }
        Ok(())
    }

    async fn pursue_or_fail(&mut self) {
        if let Err(reason) = self.pursue().await {
            tracing::error!(%reason, "a step of the handoff failed");
            self.control.send(ToHome::Failed(reason), Bytes::new());
        }
    }

    async fn control(&mut self, message: ToGuest) -> Result<(), String> {
        tracing::debug!(step = message.name(), "from home");
        match message {
            ToGuest::Prepare { epoch, foothold, clocks, processes, pages_from } => {
                self.prepare(epoch, foothold, clocks, processes, pages_from)
            }
            ToGuest::Context { family, batches } => self.complete(&family, batches).await,
            ToGuest::Start => {
                self.moving = false;
                if let Some(guest) = self.guest() {
                    guest.start();
                }
                self.control.send(ToHome::Running, Bytes::new());
                Ok(())
            }
            ToGuest::Freeze | ToGuest::SendTo { .. } => {
                self.moving = true;
                self.wanted = Some(message);
                Ok(())
            }
            ToGuest::Thaw => {
                self.moving = false;
                self.go_on(String::new());
                Ok(())
            }
            ToGuest::NewProgram { image, batches } => self.new_program(&image, batches).await,
            ToGuest::End(pid) => {
                if let Some(guest) = self.guest() {
                    guest.end(pid);
                }
                Ok(())
            }
            ToGuest::Discard => Ok(()),
        }
    }

    fn prepare(
        &mut self,
        epoch: Epoch,
        foothold: Foothold,
        clocks: Clocks,
        processes: Vec<(u32, Layout)>,
        pages_from: Option<KeyHash>,
    ) -> Result<(), String> {
        // The namespaces first: they need a process with a single thread, and the pages thread is the second one.
        let offsets = offsets(clocks, self.connection.rtt()).map_err(|error| error.to_string())?;
        let init = FamilyInit::start(offsets).map_err(describe)?;
        let bulk = Bulk::start(Arc::clone(&self.key), self.common.ip, self.common.ports.0.clone())
            .map_err(describe)?;
        bulk.allow(pages_from.unwrap_or(self.home_key));
        bulk.allow(self.home_key);
        let mut vessels = Vec::new();
        for (pid, layout) in processes {
            let vessel = Vessel::build(&init, &self.waiter, pid, layout, foothold).map_err(describe)?;
            bulk.receive(pid, target(&vessel.memory, Some(&vessel.uffd))?);
            vessels.push(vessel);
        }
        self.epoch = epoch;
        self.control.send(ToHome::Prepared { pages: bulk.addr() }, Bytes::new());
        let family = Family {
            init,
            bulk,
            foothold,
            guest: Guest::new(foothold, Rc::clone(&self.waiter)),
            filter: filter_for(foothold),
            frozen: false,
        };
        self.stage = Stage::Building(family, vessels);
        Ok(())
    }

    async fn complete(&mut self, image: &FamilyImage, batches: u64) -> Result<(), String> {
        let Stage::Building(mut family, vessels) = std::mem::replace(&mut self.stage, Stage::Empty) else {
            return Err("registers for a body that was not prepared".to_owned());
        };
        done(family.bulk.received(batches)).await?;
        for vessel in vessels {
            let seen = image.processes.iter().find(|process| process.pid == vessel.pid);
            let seen = seen.ok_or("a process without registers")?;
            family.bulk.forget(vessel.pid);
            let body = Body::complete(vessel, seen, &family.filter, &family.init, &self.waiter);
            family.guest.adopt(body.map_err(describe)?, seen);
        }
        self.stage = Stage::Living(family);
        self.open_fetches().await?;
        self.effects();
        self.control.send(ToHome::Ready, Bytes::new());
        Ok(())
    }

    async fn new_program(&mut self, image: &ProcessImage, batches: u64) -> Result<(), String> {
        let built = self.build_program(image, batches).await;
        let message = match built {
            Ok(()) => ToHome::ProgramRuns(image.pid),
            Err(reason) => ToHome::ProgramFailed(image.pid, reason),
        };
        self.control.send(message, Bytes::new());
        Ok(())
    }

    async fn build_program(&mut self, image: &ProcessImage, batches: u64) -> Result<(), String> {
        let pid = image.pid;
        if let Some(guest) = self.guest() {
            guest.end(pid);
        }
        let deadline = tokio::time::Instant::now() + END_LIMIT;
        while self.guest().is_some_and(|guest| guest.processes().contains_key(&pid)) {
            if tokio::time::Instant::now() > deadline {
                return Err(format!("the former body of {pid} does not end"));
            }
            self.reap();
            tokio::time::sleep(SHORT).await;
        }
        self.effects();
        let waiter = Rc::clone(&self.waiter);
        let Stage::Living(family) = &mut self.stage else { return Err("no family".to_owned()) };
        let layout = image.layout.clone();
        let vessel = Vessel::build(&family.init, &waiter, pid, layout, family.foothold).map_err(describe)?;
        family.bulk.receive(pid, target(&vessel.memory, Some(&vessel.uffd))?);
        done(family.bulk.received(batches)).await?;
        family.bulk.forget(pid);
        let body = Body::complete(vessel, image, &family.filter, &family.init, &waiter).map_err(describe)?;
        family.guest.adopt(body, image);
        family.guest.start();
        Ok(())
    }

    /// Does what home has asked for, as soon as nothing stands in the way; whatever does ends with an event.
    async fn pursue(&mut self) -> Result<(), String> {
        let Stage::Living(family) = &self.stage else { return Ok(()) };
        match self.wanted {
            Some(ToGuest::Freeze) if family.frozen && family.guest.is_frozen() => {
                self.wanted = None;
                self.still()
            }
            Some(ToGuest::Freeze) if !family.frozen && !family.guest.is_busy() => self.freeze(),
            Some(ToGuest::SendTo { pages, key }) if key != self.home_key || family.guest.is_settled() => {
                self.wanted = None;
                self.send_to(pages, key).await
            }
            Some(ToGuest::SendTo { .. }) => {
                tracing::debug!(calls = ?family.guest.unsettled(), "home has yet to answer");
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn freeze(&mut self) -> Result<(), String> {
        let Stage::Living(family) = &mut self.stage else { return Err("no family".to_owned()) };
        family.frozen = true;
        family.guest.freeze().map_err(|error| self.go_on(describe(error)))
    }

    /// Tells home that every thread stands still.
    fn still(&mut self) -> Result<(), String> {
        let Stage::Living(family) = &self.stage else { return Err("no family".to_owned()) };
        let layouts = layouts(family).map_err(|reason| self.go_on(reason))?;
        self.control.send(ToHome::Still { layouts }, Bytes::new());
        Ok(())
    }

    /// The family goes on here, for this reason.
    fn go_on(&mut self, reason: String) -> String {
        self.wanted = None;
        if let Stage::Living(family) = &mut self.stage {
            family.frozen = false;
            family.guest.thaw();
        }
        reason
    }

    async fn send_to(&mut self, pages: std::net::SocketAddr, key: KeyHash) -> Result<(), String> {
        let waiter = Rc::clone(&self.waiter);
        let Stage::Living(family) = &mut self.stage else { return Err("no family".to_owned()) };
        done(family.bulk.dial(pages, key)).await?;
        let mut image = FamilyImage::default();
        let (mut batches, mut bytes) = (0, 0);
        let pids: Vec<u32> = family.guest.processes().keys().copied().collect();
        for pid in pids {
            let seen = capture_body(family, pid, &waiter)?;
            let outer = family.guest.processes().get(&pid).map_or(0, |process| process.outer);
            let pagemap = File::open(format!("/proc/{outer}/pagemap")).map_err(describe)?;
            let runs = pages::content(&pagemap, &seen.layout, Changed::Written).map_err(describe)?;
            let memory = File::open(format!("/proc/{outer}/mem")).map_err(describe)?;
            let sent = done(family.bulk.send(Load { pid, source: outer, memory, runs })).await?;
            batches += sent.batches;
            bytes += sent.wire_bytes;
            image.processes.push(seen);
        }
        self.control.send(ToHome::Captured { family: image, batches, bytes }, Bytes::new());
        Ok(())
    }

    fn fault(&mut self, pid: u32, fault: uffd::Event) {
        let Some(guest) = self.guest() else { return };
        match fault {
            uffd::Event::Missing(addr) => guest.missing(pid, addr),
            uffd::Event::Fork(raw) => guest.forked(pid, raw),
            uffd::Event::Other(kind) => tracing::warn!(kind, "an event that was not asked for"),
        }
    }

    fn reap(&mut self) {
        let waiter_has_none = |error| tracing::error!(%error, "waiting for the family");
        loop {
            match wait::any() {
                Ok(Some((outer, event))) => {
                    if let Some(guest) = self.guest() {
                        guest.event(outer, event);
                    }
                }
                Ok(None) => return,
                Err(error) => return waiter_has_none(error),
            }
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
                        fetches.send(Fetch { pid, start, pages }, Bytes::new());
                    }
                }
                Effect::Gone { .. } => {}
            }
        }
    }

    fn attach(&mut self, pid: u32, tid: u32) {
        let stream = Rc::new(RefCell::new(CallStream::default()));
        self.calls.insert(tid, Rc::clone(&stream));
        let (connection, events, epoch) = (self.connection.clone(), self.events.clone(), self.epoch);
        tokio::task::spawn_local(async move {
            let Ok((sender, receiver)) = connection.open(Channel::Calls).await else { return };
            let outbox = Outbox::new(sender);
            outbox.send(FromBody::Attach { pid, tid, epoch }, Bytes::new());
            read::<ToBody>(receiver, move |frame| {
                if let Some((message, tail)) = frame {
                    drop(events.send(Event::Message(tid, message, tail)));
                }
            });
            let mut stream = stream.borrow_mut();
            for (message, tail) in stream.early.drain(..) {
                outbox.send(message, tail);
            }
            stream.open = Some(outbox);
        });
    }

    fn tell(&mut self, tid: u32, message: FromBody, tail: Bytes) {
        let Some(stream) = self.calls.get(&tid) else { return };
        let mut stream = stream.borrow_mut();
        match &stream.open {
            Some(outbox) => outbox.send(message, tail),
            None => stream.early.push((message, tail)),
        }
    }

    fn listen(&self, listener: Rc<OwnedFd>) {
        let events = self.events.clone();
        let watched = watch(&listener, move |listener| {
            while is_readable(listener) {
                match seccomp::receive(listener.as_fd()) {
                    Ok(Some(notification)) => drop(events.send(Event::Notified(notification))),
                    Ok(None) => {}
                    Err(_) => return Readiness::Over,
                }
            }
            if super::common::is_hung_up(listener.as_fd()) { Readiness::Over } else { Readiness::Drained }
        });
        if let Err(error) = watched {
            tracing::error!(%error, "calls cannot be heard");
        }
    }

    fn serve_faults(&self, pid: u32, uffd: Rc<OwnedFd>) {
        let events = self.events.clone();
        let watched = watch(&uffd, move |uffd| {
            loop {
                match uffd::next_event(uffd.as_fd()) {
                    Ok(Some(event)) => drop(events.send(Event::Fault(pid, event))),
                    Ok(None) => return Readiness::Drained,
                    Err(_) => return Readiness::Over,
                }
            }
        });
        if let Err(error) = watched {
            tracing::error!(%error, "page faults cannot be heard");
        }
    }

    async fn open_fetches(&mut self) -> Result<(), String> {
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

    fn guest(&mut self) -> Option<&mut Guest> {
        match &mut self.stage {
            Stage::Living(family) => Some(&mut family.guest),
            _ => None,
        }
    }

    fn answer(&self, asked: &Asked) {
        let answer = match asked.question {
            ToWarden::Status => FromWarden::Status(self.status()),
            _ => FromWarden::Failed { reason: "only a home warden moves a family".to_owned() },
        };
        // An agent that has hung up does not want to know.
        let _ = asked.answers.send(answer);
    }

    fn status(&self) -> WardenStatus {
        let mut status = WardenStatus {
            role: WardenRole::Guest,
            process: self.process,
            home_name: self.home_name.clone(),
            at: self.name.clone(),
            epoch: self.epoch,
            moving: self.moving,
            processes: Vec::new(),
            calls: 0,
            call_bytes: 0,
            refused_calls: Vec::new(),
        };
        if let Stage::Living(family) = &self.stage {
            let guest = &family.guest;
            (status.calls, status.call_bytes) = guest.traffic();
            status.refused_calls =
                guest.refused().iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
            status.processes = guest
                .processes()
                .iter()
                .map(|(pid, process)| ProcessStatus {
                    pid: *pid,
                    local_pid: process.outer,
                    command: migration::procfs::command(process.outer).unwrap_or_default(),
                    threads: u32::try_from(guest.thread_count(*pid)).unwrap_or(u32::MAX),
                })
                .collect();
        }
        status
    }
}

/// The mappings of every process of a frozen family.
fn layouts(family: &Family) -> Result<Vec<(u32, Layout)>, String> {
    let side = Side::Guest { own: vec![family.foothold.range()] };
    let mut layouts = Vec::new();
    for (pid, process) in family.guest.processes() {
        let (layout, ties) = layout::read(process.outer, &side).map_err(describe)?;
        if let Some(tie) = ties.first() {
            return Err(format!("process {pid}: {tie}"));
        }
        layouts.push((*pid, layout));
    }
    Ok(layouts)
}

fn capture_body(family: &mut Family, pid: u32, waiter: &Waiter) -> Result<ProcessImage, String> {
    let foothold = family.foothold;
    let outer = family.guest.processes().get(&pid).map_or(0, |process| process.outer);
    let (layout, _) = layout::read(outer, &Side::Guest { own: vec![foothold.range()] }).map_err(describe)?;
    let mut frozen = family.guest.lend(pid).ok_or("a process without threads")?;
    let access = Access::Trap { code: foothold.code(), scratch: foothold.scratch() };
    let seen = capture(&mut frozen, layout, access, waiter);
    family.guest.take_back(frozen);
    let mut seen = seen.map_err(describe)?;
    seen.pid = pid;
    for thread in &mut seen.threads {
        if let Some((tid, calls)) = family.guest.thread_at_home(thread.tid) {
            thread.tid = tid;
            thread.calls = calls;
        }
    }
    Ok(seen)
}

fn filter_for(foothold: Foothold) -> Vec<FilterInstruction> {
    let exempt = ExemptCode::new(foothold.code()..foothold.code() + pages::PAGE);
    filter(exempt.as_ref())
        .into_iter()
        .map(|step| FilterInstruction { code: step.code, jt: step.jt, jf: step.jf, k: step.k })
        .collect()
}

fn target(memory: &File, uffd: Option<&OwnedFd>) -> Result<Target, String> {
    let uffd = uffd.map(OwnedFd::try_clone).transpose().map_err(describe)?;
    Ok(Target { memory: memory.try_clone().map_err(describe)?, uffd })
}

/// How far the family's clocks must be ahead of the machine's: home's clocks, which are half a round trip old, less
/// this node's, which may themselves be shifted.
fn offsets(home: Clocks, rtt: Duration) -> io::Result<ClockOffsets> {
    let half = i64::try_from(rtt.as_nanos() / 2).unwrap_or(0);
    let text = std::fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
    let own = |clock: &str| -> i64 {
        text.lines()
            .find_map(|line| {
                let mut words = line.split_whitespace();
                (words.next()? == clock).then_some(())?;
                let seconds: i64 = words.next()?.parse().ok()?;
                Some(seconds * 1_000_000_000 + words.next()?.parse::<i64>().ok()?)
            })
            .unwrap_or(0)
    };
    Ok(ClockOffsets {
        monotonic_ns: own("monotonic") + home.monotonic_ns + half - clock::monotonic_ns()?,
        boottime_ns: own("boottime") + home.boottime_ns + half - clock::boottime_ns()?,
    })
}

async fn read_offer() -> Result<Offer, String> {
    let pipe = tokio::net::unix::pipe::Receiver::from_owned_fd(duplicate(&std::io::stdin())?)
        .map_err(|error| format!("standard input is not a pipe: {error}"))?;
    let offer = Reader::new(pipe).recv::<Offer>().await.map_err(describe)?;
    offer.map(|(offer, _)| offer).ok_or_else(|| "no offer on standard input".to_owned())
}

async fn accept_offer(accept: Accept) -> Result<(), String> {
    let pipe = tokio::net::unix::pipe::Sender::from_owned_fd(duplicate(&std::io::stdout())?)
        .map_err(|error| format!("standard output is not a pipe: {error}"))?;
    Writer::new(pipe).send(&accept, &[]).await.map_err(describe)
}

fn duplicate(fd: &impl AsFd) -> Result<OwnedFd, String> {
    fd.as_fd().try_clone_to_owned().map_err(describe)
}

/// From the accept to the home warden's connection.
const HOME_LIMIT: Duration = Duration::from_secs(10);

/// For a body to end after it was killed.
const END_LIMIT: Duration = Duration::from_secs(5);

const SHORT: Duration = Duration::from_micros(500);
