//! Agreement: the one room that knows the raft crate. Sans-IO: ticks, messages and proposals in; messages and what was
//! agreed out. It writes to a [`Disk`] that is handed in, and promises nothing to anybody before that.

use std::collections::{BTreeMap, BTreeSet};

use raft::eraftpb::{self, ConfChange, ConfChangeV2, EntryType, MessageType};
use raft::{Config, ProgressState, RawNode, SnapshotStatus, StateRole};

use super::membership::{NODES_MAX, log_number};
use super::request::{Proposal, Request};
use super::rows::{Batch, Conf, Disk, Entry, Message, Saved, Snapshot};
use super::state::{Outcome, State};
use convert::{changes_in, conf_out, entry_out, hard_out, message_in, message_out, snapshot_out};
use log::Log;
use logger::logger;
use plan::{Picture, Step, next_step};

mod convert;
mod log;
mod logger;
mod plan;

/// One server's part in agreeing.
pub struct Core {
    id: u64,
    node: RawNode<Log>,
    state: State,
    /// The voters as of what is applied.
    conf: Conf,
    /// The index of the snapshot on disk.
    snapshot_at: u64,
    ticks: u64,
    /// In ticks; only of those who said anything since this server was started.
    heard: BTreeMap<u64, u64>,
    broken: Option<Broken>,
}

/// What comes out of a server.
#[derive(Debug, Default)]
pub struct Out {
    /// For other servers; each may be lost.
    pub messages: Vec<Message>,
    /// What was agreed since the last time, in order.
    pub agreed: Vec<Agreed>,
    /// What is agreed came as a whole, and not entry by entry.
    pub replaced: bool,
}

/// One entry that was agreed on and applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// Its place in the log.
    pub index: u64,
    /// Who asked for what; `None` if the entry is the log's own.
    pub proposal: Option<Proposal>,
    /// What came of it.
    pub outcome: Option<(Request, Outcome)>,
}

/// Why a server takes part no more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// What must not be forgotten could not be written.
    #[error("the log cannot be written: {0}")]
    Disk(String),
    /// Another server said something that this one does not understand.
    #[error(
        "entry {index} of the log is not understood here ({reason}); is this homing older than the others?"
    )]
    Language {
        /// Where.
        index: u64,
        /// How.
        reason: String,
    },
    /// The log on disk contradicts itself.
    #[error("the log on disk cannot be used: {0}")]
    Damaged(String),
}

/// How agreement is at one server.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Status {
    /// Its number.
    pub id: u64,
    /// `leader`, `follower`, `candidate`, or `learner` for one that does not vote.
    pub role: String,
    /// Who leads, or 0 if nobody is known to.
    pub leader: u64,
    /// The term.
    pub term: u64,
    /// Agreed up to this index.
    pub commit: u64,
    /// Applied up to this index.
    pub applied: u64,
    /// The first index that is still there as an entry.
    pub first: u64,
    /// Who votes and who follows.
    pub conf: Conf,
    /// As the leader knows it: up to which index each server has the log.
    pub matched: BTreeMap<u64, u64>,
    /// As the leader knows it: who was heard lately.
    pub alive: BTreeSet<u64>,
}

impl Core {
    /// Takes up the log where it was left. `id` is never that of another server, not even of one long gone.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn open(id: u64, saved: &Saved, pace: Pace) -> Result<Core, Broken> {
        let (applied, state, conf) = match &saved.snapshot {
            None => (0, State::default(), Conf::default()),
            Some(Snapshot { index, conf, state, .. }) => (*index, decode(*index, state)?, conf.clone()),
        };
        check(saved).map_err(Broken::Damaged)?;
        let config = Config {
            id,
            applied,
            election_tick: pace.election_ticks,
            min_election_tick: pace.election_ticks,
            max_election_tick: pace.election_ticks_max,
            heartbeat_tick: HEARTBEAT_TICKS,
            pre_vote: true,
            check_quorum: true,
            max_size_per_msg: MESSAGE_ENTRIES_BYTES,
            max_inflight_msgs: MESSAGES_IN_FLIGHT,
            max_uncommitted_size: UNCOMMITTED_BYTES,
            max_committed_size_per_ready: APPLIED_AT_ONCE_BYTES,
            ..Config::default()
        };
        let node = RawNode::new(&config, Log::new(saved), &logger())
            .map_err(|error| Broken::Damaged(error.to_string()))?;
        let heard = BTreeMap::new();
        Ok(Core { id, node, state, conf, snapshot_at: applied, ticks: 0, heard, broken: None })
    }

    /// What is agreed, as far as this server has applied it.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Whether this server leads.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.node.raft.state == StateRole::Leader
    }

    /// Who leads, or 0 if nobody is known to.
    #[must_use]
    pub fn leader(&self) -> u64 {
        self.node.raft.leader_id
    }

    /// [`TICK_MS`] are over.
    pub fn tick(&mut self) {
        self.ticks += 1;
        self.node.tick();
        if self.leads() && self.ticks.is_multiple_of(STEP_TICKS) {
            self.arrange();
        }
    }

    /// Stands for election at once if nobody else votes: there is nobody to wait for.
    pub fn hurry(&mut self) {
        if self.conf.voters == [self.id] && self.conf.voters_outgoing.is_empty() {
            // Refused while something is to be applied first; then the usual time passes.
            let _ = self.node.campaign();
        }
    }

    /// Takes in what another server says.
    pub fn step(&mut self, message: &Message) {
        if message.to != self.id || message.entries.len() > ENTRIES_MAX {
            return;
        }
        if self.leads() && self.node.raft.prs().get(self.id).is_none() {
            // It led its own removal to the end. The crate panics on an answer now; the others find a leader.
            return;
        }
        let Some(made) = message_in(message) else { return };
        // Only leaders change the voters, and not because somebody says so.
        let normal = |entry: &eraftpb::Entry| entry.get_entry_type() == EntryType::EntryNormal;
        if made.get_msg_type() == MessageType::MsgPropose && !made.get_entries().iter().all(normal) {
            return;
        }
        if self.heard.len() < NODES_MAX || self.heard.contains_key(&message.from) {
            self.heard.insert(message.from, self.ticks);
        }
        // What does not fit here and now is dropped, as if it had been lost.
        let _ = self.node.step(made);
    }

    /// Brings a proposal on its way; false if it is of no use now, since nobody leads or too much waits.
    ///
    /// Also true does not mean that it arrives: whoever proposes repeats it until its outcome is known.
    pub fn propose(&mut self, encoded: Vec<u8>) -> bool {
        self.node.propose(Vec::new(), encoded).is_ok()
    }

    /// A message to this server was not delivered.
    pub fn unreachable(&mut self, id: u64) {
        self.node.report_unreachable(id);
    }

    /// A snapshot to this server was delivered, or was not.
    pub fn snapshot_sent(&mut self, id: u64, arrived: bool) {
        let status = if arrived { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
        self.node.report_snapshot(id, status);
    }

    /// Does what is to be done, in the order that keeps every promise. After an error this server must not go on.
    ///
    /// # Errors
    /// [`Broken`], now and from then on.
    pub fn ready(&mut self, disk: &mut dyn Disk) -> Result<Out, Broken> {
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        let result = self.work(disk);
        if let Err(broken) = &result {
            self.broken = Some(broken.clone());
        }
        result
    }

    fn work(&mut self, disk: &mut dyn Disk) -> Result<Out, Broken> {
        let mut out = Out::default();
        while self.node.has_ready() {
            let mut ready = self.node.ready();
            let mut batch = Batch::default();
            out.send(&ready.take_messages());
            if !ready.snapshot().is_empty() {
                self.install(&snapshot_out(ready.snapshot()), &mut batch)?;
                out.replaced = true;
                out.agreed.clear();
            }
            self.apply(ready.take_committed_entries(), &mut out)?;
            batch.append = ready.entries().iter().map(entry_out).collect();
            // A commit that is news alone can be forgotten: it is learned again. With anything else it goes along,
            // so that whoever acknowledges the end of a change of voters does not forget its beginning.
            let hard = ready.hs().map(hard_out);
            if let Some(hard) = hard {
                self.node.mut_store().hard = hard;
            }
            if ready.must_sync() || !batch.is_empty() {
                batch.hard = Some(self.node.store().hard.clone());
                self.write(&batch, disk)?;
            }
            out.send(&ready.take_persisted_messages());
            let mut light = self.node.advance_append(ready);
            if let Some(commit) = light.commit_index() {
                self.node.mut_store().hard.commit = commit;
            }
            out.send(&light.take_messages());
            self.apply(light.take_committed_entries(), &mut out)?;
            self.node.advance_apply_to(self.state.applied());
        }
        self.compact(disk)?;
        if self.node.store().wants_snapshot() {
            let snapshot = self.snapshot()?;
            self.node.mut_store().offer(snapshot);
        }
        Ok(out)
    }

    fn write(&mut self, batch: &Batch, disk: &mut dyn Disk) -> Result<(), Broken> {
        disk.write(batch).map_err(Broken::Disk)?;
        self.node.mut_store().take(batch);
        Ok(())
    }

    fn apply(&mut self, entries: Vec<eraftpb::Entry>, out: &mut Out) -> Result<(), Broken> {
        for entry in entries {
            let index = entry.index;
            let language = |reason: String| Broken::Language { index, reason };
            // By type first: the entry that ends a change of voters has no data either.
            match entry.get_entry_type() {
                EntryType::EntryNormal if entry.data.is_empty() => self.pass(index, out),
                EntryType::EntryNormal => {
                    let proposal: Proposal =
                        transport::wire::decode(&entry.data).map_err(|error| language(error.to_string()))?;
                    let outcome = self.state.apply(index, proposal.clone());
                    let outcome = Some((proposal.request, outcome));
                    out.agreed.push(Agreed { index, proposal: Some(proposal), outcome });
                }
                EntryType::EntryConfChange => {
                    let change: ConfChange = parse(&entry.data).map_err(language)?;
                    let conf = self.node.apply_conf_change(&change);
                    self.conf = conf_out(&conf.map_err(|error| language(error.to_string()))?);
                    self.pass(index, out);
                }
                EntryType::EntryConfChangeV2 => {
                    let change: ConfChangeV2 = parse(&entry.data).map_err(language)?;
                    let conf = self.node.apply_conf_change(&change);
                    self.conf = conf_out(&conf.map_err(|error| language(error.to_string()))?);
                    self.pass(index, out);
                }
            }
        }
        Ok(())
    }

    fn pass(&mut self, index: u64, out: &mut Out) {
        self.state.skip_to(index);
        out.agreed.push(Agreed { index, proposal: None, outcome: None });
    }

    /// Takes over a snapshot from the leader in place of the log.
    fn install(&mut self, snapshot: &Snapshot, batch: &mut Batch) -> Result<(), Broken> {
        self.state = decode(snapshot.index, &snapshot.state)?;
        self.conf = snapshot.conf.clone();
        self.snapshot_at = snapshot.index;
        batch.clear = true;
        batch.start = Some((snapshot.index, snapshot.term));
        batch.snapshot = Some(snapshot.clone());
        Ok(())
    }

    /// Replaces old entries by a snapshot when there are many. Some stay, so that a server that was away for a moment
    /// needs no snapshot.
    fn compact(&mut self, disk: &mut dyn Disk) -> Result<(), Broken> {
        let applied = self.state.applied();
        if applied < self.snapshot_at + COMPACT_AFTER {
            return Ok(());
        }
        let snapshot = self.snapshot()?;
        let start = applied.saturating_sub(ENTRIES_KEPT).max(self.node.store().start());
        let term = self.node.store().term_at(start).unwrap_or(snapshot.term);
        let hard = Some(self.node.store().hard.clone());
        let batch = Batch { snapshot: Some(snapshot), start: Some((start, term)), hard, ..Batch::default() };
        self.snapshot_at = applied;
        self.write(&batch, disk)
    }

    fn snapshot(&self) -> Result<Snapshot, Broken> {
        let index = self.state.applied();
        let mut state = Vec::new();
        transport::wire::encode_long(&self.state, &mut state)
            .map_err(|error| Broken::Disk(format!("what is agreed is too much: {error}")))?;
        let term = self.node.store().term_at(index).ok_or(Broken::Damaged(format!("no entry {index}")))?;
        Ok(Snapshot { index, term, conf: self.conf.clone(), state })
    }

    /// Lets the voters follow what is agreed on the servers; the leader alone does it.
    fn arrange(&mut self) {
        let result = match next_step(&self.picture()) {
            None => return,
            Some(Step::Leave) => self.node.propose_conf_change(Vec::new(), ConfChangeV2::default()),
            Some(Step::Change(changes)) => self.node.propose_conf_change(Vec::new(), changes_in(&changes)),
            Some(Step::Yield(heir)) => {
                self.node.transfer_leader(heir);
                Ok(())
            }
        };
        if let Err(error) = result {
            tracing::debug!("the voters are not changed now: {error}");
        }
    }

    fn picture(&self) -> Picture {
        let status = self.status();
        let servers = self.state.membership.servers().map(|(id, _)| log_number(id)).collect();
        let progress = self.node.raft.prs().iter();
        let last = self.node.store().last();
        let caught_up = progress
            .filter(|(id, progress)| {
                let close = progress.matched + CLOSE_ENTRIES >= last;
                **id == self.id || (close && progress.state == ProgressState::Replicate)
            })
            .map(|(id, _)| *id);
        Picture {
            me: self.id,
            conf: status.conf,
            servers,
            caught_up: caught_up.collect(),
            alive: status.alive,
        }
    }

    /// How agreement is here.
    #[must_use]
    pub fn status(&self) -> Status {
        let raft = &self.node.raft;
        let role = match raft.state {
            StateRole::Leader => "leader",
            StateRole::Candidate | StateRole::PreCandidate => "candidate",
            StateRole::Follower if self.conf.voters.contains(&self.id) => "follower",
            StateRole::Follower => "learner",
        };
        let leads = self.leads();
        let matched = raft.prs().iter().filter(|_| leads).map(|(id, progress)| (*id, progress.matched));
        let recent = |tick: &u64| self.ticks - tick < SILENT_TICKS;
        let mut alive: BTreeSet<u64> =
            self.heard.iter().filter(|(_, tick)| recent(tick)).map(|(id, _)| *id).collect();
        alive.insert(self.id);
        Status {
            id: self.id,
            role: role.to_owned(),
            leader: raft.leader_id,
            term: raft.term,
            commit: raft.raft_log.committed,
            applied: self.state.applied(),
            first: self.node.store().start() + 1,
            conf: self.conf.clone(),
            matched: matched.collect(),
            alive,
        }
    }
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Core({:?})", self.status())
    }
}

impl Out {
    fn send(&mut self, messages: &[eraftpb::Message]) {
        self.messages.extend(messages.iter().map(message_out));
    }
}

/// How patient a server is. Each draws from this range anew, so that two rarely stand for election at once.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Without a leader for this many ticks a server stands for election.
    pub election_ticks: usize,
    /// Or for almost this many.
    pub election_ticks_max: usize,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { election_ticks: ELECTION_TICKS, election_ticks_max: 2 * ELECTION_TICKS }
    }
}

/// The disk of the first server of a cluster, on which `state` is agreed.
///
/// It begins with a snapshot, so that everybody who joins gets the state and the voters from one.
///
/// # Errors
/// When the state cannot be encoded.
pub fn founded(id: u64, state: &State) -> Result<Batch, Broken> {
    let (index, term) = (state.applied(), 1);
    let mut encoded = Vec::new();
    transport::wire::encode_long(state, &mut encoded).map_err(|error| Broken::Disk(error.to_string()))?;
    let conf = Conf { voters: vec![id], ..Conf::default() };
    let hard = super::rows::Hard { term, vote: 0, commit: index };
    let snapshot = Snapshot { index, term, conf, state: encoded };
    Ok(Batch { snapshot: Some(snapshot), start: Some((index, term)), hard: Some(hard), ..Batch::default() })
}

/// Reads a state as it stands in a snapshot.
///
/// # Errors
/// [`Broken::Language`].
pub fn decode(index: u64, encoded: &[u8]) -> Result<State, Broken> {
    let state: State = transport::wire::decode_long(encoded)
        .map_err(|error| Broken::Language { index, reason: error.to_string() })?;
    if state.applied() != index {
        let reason = format!("the snapshot of {index} holds the state of {}", state.applied());
        return Err(Broken::Language { index, reason });
    }
    Ok(state)
}

fn parse<T: protobuf::Message>(bytes: &[u8]) -> Result<T, String> {
    T::parse_from_bytes(bytes).map_err(|error| error.to_string())
}

/// Looks for gaps: the crate would end the whole agent over them.
fn check(saved: &Saved) -> Result<(), String> {
    let Saved { snapshot, start, entries, hard } = saved;
    let mut expected = start.0;
    for Entry { index, .. } in entries {
        expected += 1;
        if *index != expected {
            return Err(format!("entry {expected} is missing"));
        }
    }
    let at = snapshot.as_ref().map_or(0, |snapshot| snapshot.index);
    if at < start.0 || at > expected {
        return Err(format!("its snapshot of {at} does not belong to entries {} to {expected}", start.0 + 1));
    }
    if hard.commit < at || hard.commit > expected {
        return Err(format!("{} entries are agreed, and there are {expected}", hard.commit));
    }
    Ok(())
}

/// One tick of a server's clock, in milliseconds.
pub const TICK_MS: u64 = 100;

/// A leader that is silent for so long is dead for the others: one second, to two by chance.
const ELECTION_TICKS: usize = 10;

const HEARTBEAT_TICKS: usize = 2;

/// How often a leader looks after the voters, in ticks.
const STEP_TICKS: u64 = 5;

/// Who is silent for so long gives its vote to another: 30 seconds.
const SILENT_TICKS: u64 = 300;

/// A newcomer with all but so many entries may vote.
const CLOSE_ENTRIES: u64 = 100;

/// Entries that one message brings, in bytes, unless a single one is larger.
const MESSAGE_ENTRIES_BYTES: u64 = 256 * 1024;

/// Entries that one message brings.
const ENTRIES_MAX: usize = 65_536;

/// Unacknowledged messages with entries to one server.
const MESSAGES_IN_FLIGHT: usize = 64;

/// Proposals that wait for a majority, in bytes; more are refused.
const UNCOMMITTED_BYTES: u64 = 16 * 1024 * 1024;

const APPLIED_AT_ONCE_BYTES: u64 = 4 * 1024 * 1024;

/// Entries since the last snapshot after which there is a new one.
const COMPACT_AFTER: u64 = 1024;

/// Entries that stay.
const ENTRIES_KEPT: u64 = 256;
