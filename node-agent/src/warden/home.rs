//! The home warden: keeps the deputies of one family, and alone grants its epochs.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fs::File;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ipc_home::deputy::{Deputy, Effect, files};
use ipc_home::protocol::{FromBody, ToBody};
use migration::capture::{Access, capture};
use migration::deputize::deputize;
use migration::foothold::Foothold;
use migration::freeze::{Frozen, FrozenThread};
use migration::homecoming;
use migration::image::{FamilyImage, Layout, ProcessImage};
use migration::landing::HealingArea;
use migration::layout::{self, Side};
use migration::pages::{self, Changed};
use migration::procfs;
use migration::sys::{clock, wait};
use migration::tracee::{Stopped, Waiter};
use migration::vessel::settled_stop;
use tokio::sync::mpsc;
use transport::channel::Channel;
use transport::endpoint::{Connection, WardenEndpoint};
use transport::identity::WardenKey;
use transport::{Epoch, ProcessId};

use super::bulk::{Bulk, Load, Sent, Target};
use super::common::{Asked, Readiness, Visit, describe, done, listen, watch};
use super::control::{
    Accept, FromWarden, MoveReport, Needs, Offer, ProcessStatus, ToWarden, WardenRole, WardenStatus,
};
use super::handoff::{Clocks, Fetch, Fetched, ToGuest, ToHome};
use super::streams::{Outbox, read};
use crate::cli::warden_args::WardenCommon;

enum Event {
    Children,
    Attached(u32, Outbox<ToBody>),
    Message(u32, FromBody, Bytes),
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
    unclaimed: VecDeque<ToHome>,
    programs: VecDeque<(u32, Stopped)>,
    /// A new program is on its way to the guest.
    starting: bool,
    /// Questions that came while something short was under way.
    waiting: VecDeque<Asked>,
    moving: bool,
    call_bytes: u64,
    /// Connections of agents.
    visitors: usize,
    /// The last one has been closed.
    leaving: bool,
}

/// Runs until the family is plain at home and nobody asks, or gone.
///
/// # Errors
/// What failed, for the warden's log.
pub async fn run(pid: u32, common: &WardenCommon) -> Result<(), String> {
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
        epoch: Epoch(0),
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
        visitors: 0,
        leaving: false,
    };
    let ended = warden.serve().await;
    let _ = std::fs::remove_file(&common.control);
    ended
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
                Event::Control(number, None)
                    if self.away.as_ref().is_some_and(|peer| peer.number == number) =>
                {
                    return Err("the guest warden is gone, and the body with it".to_owned());
                }
                Event::Asked(asked) => self.answer(asked).await,
                event => self.handle(event),
            }
            self.programs().await;
            while let Some(asked) = self.waiting.pop_front() {
                self.answer(asked).await;
                self.programs().await;
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
            Event::Attached(tid, outbox) => {
                for (message, tail) in self.held_back.remove(&tid).into_iter().flatten() {
                    outbox.send(message, tail);
                }
                self.outboxes.insert(tid, outbox);
            }
            Event::Message(tid, message, tail) => {
                self.call_bytes += tail.len() as u64;
                match &mut self.deputy {
                    Some(deputy) if deputy.knows(tid) || !self.programs.is_empty() => {
                        deputy.message(tid, message, tail);
                    }
                    Some(deputy) if self.too_early.is_empty() && !self.moving => {
                        deputy.message(tid, message, tail);
                    }
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
                    self.unclaimed.push_back(message);
                }
            }
            Event::Control(_, None) => {}
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

    fn offer(&self) -> FromWarden {
        match self.needs() {
            Ok(needs) => FromWarden::Offer(Offer {
                process: self.process,
                home_name: self.common.node_name.clone(),
                command: procfs::command(self.pid).unwrap_or_default(),
                epoch: self.epoch.next(),
                home_key: self.key.hash(),
                needs,
            }),
            Err(reasons) => FromWarden::Refused(reasons),
        }
    }

    /// What the family needs, or why it cannot move. Nothing is stopped for it.
    fn needs(&self) -> Result<Needs, Vec<String>> {
        let unreadable = |error: std::io::Error| vec![format!("process {}: {error}", self.pid)];
        let pid = self.pid;
        let uid = procfs::status_value(&pid.to_string(), "Uid").map_err(unreadable)?;
        let uid = uid.split_whitespace().next().and_then(|uid| uid.parse().ok()).unwrap_or(0);
        let mut needs = Needs {
            memory_bytes: resident_bytes(pid).map_err(unreadable)?,
            processes: 1,
            threads: u32::try_from(procfs::threads(pid).map_err(unreadable)?.len()).unwrap_or(u32::MAX),
            uid,
            cpu: crate::proc::cpu(),
        };
        if let Some(deputy) = &self.deputy {
            needs.processes = u32::try_from(deputy.pids().count()).unwrap_or(u32::MAX);
            return Ok(needs);
        }
        let reasons = ties(pid).map_err(unreadable)?;
        if reasons.is_empty() { Ok(needs) } else { Err(reasons) }
    }

    /// From home to a guest.
    async fn leave(&mut self, node: &str, accept: Accept) -> Result<MoveReport, String> {
        let started = Instant::now();
        self.moving = true;
        let peer = self.dial(node, accept).await?;
        let pid = self.pid;
        let area = HealingArea::find(pid).map_err(describe)?;
        let stopped_at = Instant::now();
        let mut frozen = Frozen::new(pid, &self.waiter).map_err(describe)?;
        let sent = self.send_out(&peer, &mut frozen, &area).await;
        let (image, foothold, sent) = match sent {
            Ok(sent) => sent,
            Err(reason) => {
                frozen.thaw();
                let _ = area.erase();
                self.dismiss(&peer);
                return Err(reason);
            }
        };
        // The point of no return: home's record of the new epoch.
        self.epoch = self.epoch.next();
        peer.control.send(ToGuest::Start, Bytes::new());
        self.expect(|message| matches!(message, ToHome::Running).then_some(())).await?;
        let pause = stopped_at.elapsed();
        let shadows = deputize(frozen, &image, &area, foothold, &self.waiter).map_err(describe)?;
        let mut deputy = Deputy::new(foothold, Rc::clone(&self.waiter));
        deputy.adopt(&image, shadows).map_err(describe)?;
        self.deputy = Some(deputy);
        self.foothold = Some(foothold);
        self.away = Some(peer);
        self.moving = false;
        self.catch_up();
        Ok(self.report(node, started, pause, sent))
    }

    /// Messages that came before their deputies.
    fn catch_up(&mut self) {
        for (tid, message, tail) in std::mem::take(&mut self.too_early) {
            if let Some(deputy) = &mut self.deputy {
                deputy.message(tid, message, tail);
            }
        }
        self.reap();
        self.effects();
    }

    async fn send_out(
        &mut self,
        peer: &Peer,
        frozen: &mut Frozen,
        area: &HealingArea,
    ) -> Result<(ProcessImage, Foothold, Sent), String> {
        let pid = self.pid;
        let (layout, ties) = layout::read(pid, &Side::Home).map_err(describe)?;
        if let Some(tie) = ties.first() {
            return Err(format!("cannot move: {tie}"));
        }
        let foothold = Foothold::find(&layout).ok_or("the address space is full")?;
        let prepare = ToGuest::Prepare {
            epoch: self.epoch.next(),
            foothold,
            clocks: clocks().map_err(describe)?,
            processes: vec![(pid, layout.clone())],
            pages_from: None,
        };
        peer.control.send(prepare, Bytes::new());
        let pages = self.expect(prepared).await?;
        self.start_bulk()?;
        let bulk = self.bulk.as_ref().ok_or("no pages thread")?;
        done(bulk.dial(pages, peer.accept.key)).await?;
        let image = capture(frozen, layout, Access::Healing(area), &self.waiter).map_err(describe)?;
        let sent = self.send_pages(&image, area).await?;
        let family = FamilyImage { processes: vec![image.clone()] };
        peer.control.send(ToGuest::Context { family, batches: sent.batches }, Bytes::new());
        self.expect(|message| matches!(message, ToHome::Ready).then_some(())).await?;
        Ok((image, foothold, sent))
    }

    async fn send_pages(&self, image: &ProcessImage, area: &HealingArea) -> Result<Sent, String> {
        let pid = image.pid;
        let pagemap = File::open(format!("/proc/{pid}/pagemap")).map_err(describe)?;
        let runs = pages::content(&pagemap, &image.layout, Changed::Copied).map_err(describe)?;
        let runs = pages::without(runs, area.page());
        let memory = File::open(format!("/proc/{pid}/mem")).map_err(describe)?;
        let bulk = self.bulk.as_ref().ok_or("no pages thread")?;
        done(bulk.send(Load { pid, source: pid, memory, runs })).await
    }

    /// From one guest to the next; home's deputies are not even told.
    async fn hop(&mut self, node: &str, accept: Accept) -> Result<MoveReport, String> {
        let started = Instant::now();
        self.moving = true;
        let next = self.dial(node, accept).await?;
        let foothold = self.foothold.ok_or("the family is not away")?;
        let stopped_at = Instant::now();
        let frozen = self.freeze().await;
        let former = self.away.take().ok_or("the family is not away")?;
        let hopped = match frozen {
            Ok(layouts) => self.hand_on(&former, &next, foothold, layouts).await,
            Err(reason) => Err(reason),
        };
        match hopped {
            Ok(sent) => {
                self.away = Some(next);
                self.moving = false;
                self.dismiss(&former);
                self.catch_up();
                Ok(self.report(node, started, stopped_at.elapsed(), sent))
            }
            Err(reason) => {
                self.dismiss(&next);
                former.control.send(ToGuest::Thaw, Bytes::new());
                self.away = Some(former);
                Err(reason)
            }
        }
    }

    /// Stops the family where it is.
    async fn freeze(&mut self) -> Result<Vec<(u32, Layout)>, String> {
        let peer = self.away.as_ref().ok_or("the family is at home")?;
        peer.control.send(ToGuest::Freeze, Bytes::new());
        self.expect(still).await
    }

    async fn hand_on(
        &mut self,
        former: &Peer,
        next: &Peer,
        foothold: Foothold,
        layouts: Vec<(u32, Layout)>,
    ) -> Result<Sent, String> {
        // What the deputies say from now on is for the next guest; the old streams are done.
        self.outboxes.clear();
        let prepare = ToGuest::Prepare {
            epoch: self.epoch.next(),
            foothold,
            clocks: clocks().map_err(describe)?,
            processes: layouts,
            pages_from: Some(former.accept.key),
        };
        next.control.send(prepare, Bytes::new());
        let pages = self.expect(prepared).await?;
        former.control.send(ToGuest::SendTo { pages, key: next.accept.key }, Bytes::new());
        let (family, sent) = self.expect(captured).await?;
        self.agree(&family).await?;
        next.control.send(ToGuest::Context { family, batches: sent.batches }, Bytes::new());
        self.expect(|message| matches!(message, ToHome::Ready).then_some(())).await?;
        self.epoch = self.epoch.next();
        next.control.send(ToGuest::Start, Bytes::new());
        self.expect(|message| matches!(message, ToHome::Running).then_some(())).await?;
        // For the programs that the family will start there.
        let bulk = self.bulk.as_ref().ok_or("no pages thread")?;
        done(bulk.dial(pages, next.accept.key)).await?;
        Ok(sent)
    }

    /// Waits until the last words of threads that ended before the freeze have come.
    async fn agree(&mut self, family: &FamilyImage) -> Result<(), String> {
        let deadline = tokio::time::Instant::now() + STEP_LIMIT;
        loop {
            let strangers = self.deputy.as_ref().map_or_else(Vec::new, |deputy| deputy.strangers(family));
            if strangers.is_empty() {
                return Ok(());
            }
            match tokio::time::timeout_at(deadline, self.next_event()).await {
                Ok(Some(event)) => self.handle(event),
                _ => return Err(format!("ended at the guest and not at home: {}", strangers.join(", "))),
            }
        }
    }

    /// From a guest to home: the deputies become the program again.
    async fn recall(&mut self) -> Result<MoveReport, String> {
        let started = Instant::now();
        self.moving = true;
        let foothold = self.foothold.ok_or("the family is not away")?;
        let stopped_at = Instant::now();
        let frozen = self.freeze().await;
        let peer = self.away.take().ok_or("the family is at home")?;
        let layouts = match frozen {
            Ok(layouts) => layouts,
            Err(reason) => {
                peer.control.send(ToGuest::Thaw, Bytes::new());
                self.away = Some(peer);
                return Err(reason);
            }
        };
        self.start_bulk()?;
        let bulk = self.bulk.as_ref().ok_or("no pages thread")?;
        bulk.allow(peer.accept.key);
        let addr = bulk.addr();
        let deputy = self.deputy.as_mut().ok_or("no deputies")?;
        deputy.recall().map_err(describe)?;
        self.effects();
        for (pid, layout) in &layouts {
            let leader = self.deputy.as_mut().and_then(|deputy| deputy.leader(*pid));
            let leader = leader.ok_or("a process without threads")?;
            homecoming::lay_out(*pid, leader, layout, foothold, &self.waiter).map_err(describe)?;
            let path = format!("/proc/{pid}/mem");
            let memory = File::options().read(true).write(true).open(path).map_err(describe)?;
            if let Some(bulk) = &self.bulk {
                bulk.receive(*pid, Target { memory, uffd: None });
            }
        }
        peer.control.send(ToGuest::SendTo { pages: addr, key: self.key.hash() }, Bytes::new());
        let (family, sent) = self.expect(captured).await?;
        if let Some(bulk) = &self.bulk {
            done(bulk.received(sent.batches)).await?;
        }
        self.agree(&family).await?;
        self.epoch = self.epoch.next();
        for mut image in family.processes {
            let deputy = self.deputy.as_mut().ok_or("no deputies")?;
            let threads = deputy.surrender(image.pid);
            deputy.hand_over_signals(&mut image);
            homecoming::let_go(&image, threads, foothold, &self.waiter).map_err(describe)?;
            if let Some(bulk) = &self.bulk {
                bulk.forget(image.pid);
            }
        }
        let pause = stopped_at.elapsed();
        self.dismiss(&peer);
        self.deputy = None;
        self.foothold = None;
        self.outboxes.clear();
        self.held_back.clear();
        self.too_early.clear();
        let home = self.common.node_name.clone();
        Ok(self.report(&home, started, pause, sent))
    }

    /// Processes with a new program follow their family, or go on at home if they cannot.
    async fn programs(&mut self) {
        while let Some((pid, task)) = self.programs.pop_front() {
            self.starting = true;
            let sent = self.send_program(pid, task).await;
            self.starting = false;
            if let Err(reason) = sent {
                tracing::info!(pid, %reason, "the new program goes on at home");
                if let Some(peer) = &self.away {
                    peer.control.send(ToGuest::End(pid), Bytes::new());
                }
            }
        }
    }

    async fn send_program(&mut self, pid: u32, task: Stopped) -> Result<(), String> {
        tracing::debug!(pid, moving = self.moving, "a new program");
        if let Some(deputy) = &mut self.deputy {
            deputy.forget(pid);
        }
        let task = task.resume_to_stop().map_err(describe)?;
        let task = settled_stop(&self.waiter, task).map_err(describe)?;
        let thread = FrozenThread { task, signal: None };
        let mut frozen = Frozen { pid, threads: vec![thread] };
        let Some(foothold) = self.foothold else {
            frozen.thaw();
            return Err("the family is at home".to_owned());
        };
        let built = self.offer_program(&mut frozen, foothold).await;
        match built {
            Ok((image, area)) => {
                let shadows = deputize(frozen, &image, &area, foothold, &self.waiter).map_err(describe)?;
                if let Some(deputy) = &mut self.deputy {
                    deputy.adopt(&image, shadows).map_err(describe)?;
                }
                self.catch_up();
                Ok(())
            }
            Err(reason) => {
                plain(frozen);
                Err(reason)
            }
        }
    }

    async fn offer_program(
        &mut self,
        frozen: &mut Frozen,
        foothold: Foothold,
    ) -> Result<(ProcessImage, HealingArea), String> {
        let pid = frozen.pid;
        let (layout, ties) = layout::read(pid, &Side::Home).map_err(describe)?;
        if let Some(tie) = ties.first() {
            return Err(tie.to_string());
        }
        let taken = foothold.range();
        if layout.vmas.iter().any(|vma| vma.start < taken.end && taken.start < vma.end) {
            return Err("the new program uses homing's addresses".to_owned());
        }
        let area = HealingArea::find(pid).map_err(describe)?;
        let image = capture(frozen, layout, Access::Healing(&area), &self.waiter).map_err(describe)?;
        let sent = self.send_pages(&image, &area).await?;
        let peer = self.away.as_ref().ok_or("the family is at home")?;
        let message = ToGuest::NewProgram { image: Box::new(image.clone()), batches: sent.batches };
        peer.control.send(message, Bytes::new());
        self.expect(move |message| match message {
            ToHome::ProgramRuns(runs) if *runs == pid => Some(Ok(())),
            ToHome::ProgramFailed(failed, reason) if *failed == pid => Some(Err(reason.clone())),
            _ => None,
        })
        .await??;
        Ok((image, area))
    }

    async fn dial(&mut self, node: &str, accept: Accept) -> Result<Peer, String> {
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
                    Channel::Calls => serve_calls(Outbox::new(sender), receiver, events.clone()),
                    Channel::Pages => serve_fetches(Outbox::new(sender), receiver, events.clone()),
                    Channel::Agent | Channel::Control => {}
                }
            }
        });
        let control = Outbox::new(sender);
        Ok(Peer { number, node: node.to_owned(), accept, connection, control })
    }

    /// Tells a guest warden that it is not needed any more.
    fn dismiss(&mut self, peer: &Peer) {
        self.heard.remove(&peer.number);
        peer.control.send(ToGuest::Discard, Bytes::new());
    }

    /// Waits for a word of the guest warden; everything else that happens meanwhile is done.
    async fn expect<T>(&mut self, wanted: impl Fn(&ToHome) -> Option<T>) -> Result<T, String> {
        let deadline = tokio::time::Instant::now() + STEP_LIMIT;
        loop {
            let found = self.unclaimed.iter().enumerate().find_map(|(at, message)| match message {
                ToHome::Failed(reason) => Some((at, Err(reason.clone()))),
                message => wanted(message).map(|value| (at, Ok(value))),
            });
            if let Some((at, result)) = found {
                self.unclaimed.remove(at);
                return result;
            }
            let event = tokio::time::timeout_at(deadline, self.next_event()).await;
            match event {
                Ok(Some(Event::Control(number, None))) if self.heard.contains(&number) => {
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

    fn start_bulk(&mut self) -> Result<(), String> {
        if self.bulk.is_none() {
            let ports = self.common.ports.0.clone();
            self.bulk = Some(Bulk::start(Arc::clone(&self.key), self.common.ip, ports).map_err(describe)?);
        }
        Ok(())
    }

    fn report(&self, at: &str, started: Instant, pause: Duration, sent: Sent) -> MoveReport {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        MoveReport {
            epoch: self.epoch,
            at: at.to_owned(),
            bytes_sent: sent.wire_bytes,
            bytes_resident: sent.raw_bytes,
            rounds: 0,
            pause_us: micros(pause),
            total_us: micros(started.elapsed()),
        }
    }

    fn status(&self) -> WardenStatus {
        let pids = self.deputy.as_ref().map_or_else(|| vec![self.pid], |deputy| deputy.pids().collect());
        WardenStatus {
            role: WardenRole::Home,
            process: self.process,
            home_name: self.common.node_name.clone(),
            at: self.away.as_ref().map_or_else(|| self.common.node_name.clone(), |peer| peer.node.clone()),
            epoch: self.epoch,
            moving: self.moving,
            processes: pids
                .into_iter()
                .map(|pid| ProcessStatus {
                    pid,
                    local_pid: pid,
                    command: procfs::command(pid).unwrap_or_default(),
                    threads: procfs::threads(pid)
                        .map_or(0, |threads| u32::try_from(threads.len()).unwrap_or(u32::MAX)),
                })
                .collect(),
            calls: self.deputy.as_ref().map_or(0, Deputy::calls),
            call_bytes: self.call_bytes,
            refused_calls: Vec::new(),
        }
    }
}

fn serve_calls(
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
                drop(events.send(Event::Attached(tid, outbox)));
            }
        } else {
            drop(events.send(Event::Message(whose, message, tail)));
        }
    });
}

fn serve_fetches(
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

/// Lets a process go that has become a plain program of its own.
fn plain(frozen: Frozen) {
    for thread in &frozen.threads {
        let _ = thread.task.set_options(migration::sys::ptrace::OPTIONS);
    }
    frozen.thaw();
}

fn prepared(message: &ToHome) -> Option<std::net::SocketAddr> {
    match message {
        ToHome::Prepared { pages } => Some(*pages),
        _ => None,
    }
}

fn still(message: &ToHome) -> Option<Vec<(u32, Layout)>> {
    match message {
        ToHome::Still { layouts } => Some(layouts.clone()),
        _ => None,
    }
}

fn captured(message: &ToHome) -> Option<(FamilyImage, Sent)> {
    match message {
        ToHome::Captured { family, batches, bytes } => {
            Some((family.clone(), Sent { batches: *batches, raw_bytes: *bytes, wire_bytes: *bytes }))
        }
        _ => None,
    }
}

fn clocks() -> Result<Clocks, migration::sys::Errno> {
    Ok(Clocks { monotonic_ns: clock::monotonic_ns()?, boottime_ns: clock::boottime_ns()? })
}

fn ties(pid: u32) -> std::io::Result<Vec<String>> {
    Ok(layout::read(pid, &Side::Home)?.1.iter().map(ToString::to_string).collect())
}

fn resident_bytes(pid: u32) -> std::io::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let pages: u64 = text.split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    Ok(pages * pages::PAGE)
}

/// For one step of the guest warden, pages apart.
const STEP_LIMIT: Duration = Duration::from_secs(10);

/// A guest asks for sixteen; more than this is a mistake.
const PAGES_PER_FETCH_MAX: u32 = 256;
