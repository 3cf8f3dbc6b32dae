//! The guest warden: keeps the bodies of one family at this node.

mod build;
mod leave;
mod lines;

use std::cell::RefCell;
use std::collections::HashMap;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ipc_home::guest::{Effect, Guest};
use ipc_home::protocol::{FromBody, ToBody};
use migration::body::FilterInstruction;
use migration::foothold::Foothold;
use migration::image::FamilyImage;
use migration::init::FamilyInit;
use migration::sys::{seccomp, wait};
use migration::tracee::Waiter;
use migration::vessel::Vessel;
use tokio::sync::mpsc;
use transport::channel::Channel;
use transport::endpoint::{Connection, WardenEndpoint};
use transport::identity::WardenKey;
use transport::{Epoch, KeyHash, ProcessId};

use crate::cli::warden_args::WardenCommon;
use crate::warden::bulk::{Bulk, Sent};
use crate::warden::common::{Asked, Readiness, listen, watch};
use crate::warden::control::{Accept, FromWarden, ProcessStatus, ToWarden, WardenRole, WardenStatus};
use crate::warden::handoff::{Fetch, Fetched, ToGuest, ToHome};
use crate::warden::streams::{Outbox, read};

enum Event {
    Children,
    Notified(seccomp::Notification),
    Fault(u32),
    Control(Option<ToGuest>),
    Message(u32, ToBody, Bytes),
    Fetched(Fetched, Bytes),
    /// The pages of this attempt are sent, or cannot be.
    Sent(u64, Result<Sent, String>),
    Asked(Asked),
}

/// Runs until the family is gone.
///
/// # Errors
/// What failed, for the warden's log.
pub(super) async fn run(common: &WardenCommon) -> Result<(), String> {
    let waiter = Rc::new(Waiter::new().map_err(|error| error.to_string())?);
    let offer = lines::read_offer().await?;
    let key = Arc::new(WardenKey::generate().map_err(|error| error.to_string())?);
    let ports = common.ports.0.clone();
    let endpoint = WardenEndpoint::bind(&key, common.ip, ports).map_err(|error| error.to_string())?;
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
        sending: None,
        transfers: 0,
    };
    let ended = warden.serve(inbox).await;
    let _ = std::fs::remove_file(&common.control);
    // First the bodies end, then home learns at once that they have.
    drop(warden);
    endpoint.close().await;
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
    /// The frozen family, while its pages are on the way; with the number of this attempt.
    sending: Option<(u64, FamilyImage)>,
    transfers: u64,
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
                Event::Sent(number, sent) => self.sent(number, sent),
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

/// From the accept to the home warden's connection.
const HOME_LIMIT: Duration = Duration::from_secs(10);
