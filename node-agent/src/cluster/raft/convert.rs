//! The raft crate's types from and to the plain ones.

use raft::eraftpb::{
    ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, ConfState, EntryType, HardState,
    MessageType,
};

use super::{eraftpb, plan::Change};
use crate::cluster::rows::{Conf, Entry, EntryKind, Hard, Message, Snapshot};

pub(super) fn entry_out(entry: &eraftpb::Entry) -> Entry {
    let kind = match entry.get_entry_type() {
        EntryType::EntryNormal => EntryKind::Normal,
        EntryType::EntryConfChange => EntryKind::Change,
        EntryType::EntryConfChangeV2 => EntryKind::ChangeV2,
    };
    Entry { kind, term: entry.term, index: entry.index, data: entry.data.to_vec() }
}

pub(super) fn entry_in(entry: &Entry) -> eraftpb::Entry {
    let kind = match entry.kind {
        EntryKind::Normal => EntryType::EntryNormal,
        EntryKind::Change => EntryType::EntryConfChange,
        EntryKind::ChangeV2 => EntryType::EntryConfChangeV2,
    };
    let mut made = eraftpb::Entry::default();
    made.set_entry_type(kind);
    (made.term, made.index, made.data) = (entry.term, entry.index, entry.data.clone().into());
    made
}

pub(super) fn conf_out(conf: &ConfState) -> Conf {
    Conf {
        voters: conf.voters.clone(),
        learners: conf.learners.clone(),
        voters_outgoing: conf.voters_outgoing.clone(),
        learners_next: conf.learners_next.clone(),
        auto_leave: conf.auto_leave,
    }
}

pub(super) fn conf_in(conf: &Conf) -> ConfState {
    let mut made = ConfState::default();
    made.set_voters(conf.voters.clone());
    made.set_learners(conf.learners.clone());
    made.set_voters_outgoing(conf.voters_outgoing.clone());
    made.set_learners_next(conf.learners_next.clone());
    made.auto_leave = conf.auto_leave;
    made
}

pub(super) fn hard_out(hard: &HardState) -> Hard {
    Hard { term: hard.term, vote: hard.vote, commit: hard.commit }
}

pub(super) fn hard_in(hard: &Hard) -> HardState {
    let mut made = HardState::default();
    (made.term, made.vote, made.commit) = (hard.term, hard.vote, hard.commit);
    made
}

pub(super) fn snapshot_out(snapshot: &eraftpb::Snapshot) -> Snapshot {
    let about = snapshot.get_metadata();
    let conf = conf_out(about.get_conf_state());
    Snapshot { index: about.index, term: about.term, conf, state: snapshot.data.to_vec() }
}

pub(super) fn snapshot_in(snapshot: &Snapshot) -> eraftpb::Snapshot {
    let mut made = eraftpb::Snapshot { data: snapshot.state.clone().into(), ..Default::default() };
    let about = made.mut_metadata();
    (about.index, about.term) = (snapshot.index, snapshot.term);
    about.set_conf_state(conf_in(&snapshot.conf));
    made
}

pub(super) fn message_out(message: &eraftpb::Message) -> Message {
    Message {
        kind: message.get_msg_type() as i32,
        to: message.to,
        from: message.from,
        term: message.term,
        log_term: message.log_term,
        index: message.index,
        entries: message.get_entries().iter().map(entry_out).collect(),
        commit: message.commit,
        commit_term: message.commit_term,
        snapshot: message.has_snapshot().then(|| snapshot_out(message.get_snapshot())),
        request_snapshot: message.request_snapshot,
        reject: message.reject,
        reject_hint: message.reject_hint,
        context: message.context.to_vec(),
        priority: message.priority,
    }
}

/// `None` if no message has this number.
pub(super) fn message_in(message: &Message) -> Option<eraftpb::Message> {
    let mut made = eraftpb::Message::default();
    made.set_msg_type(ALL_KINDS.iter().copied().find(|kind| *kind as i32 == message.kind)?);
    (made.to, made.from, made.term) = (message.to, message.from, message.term);
    (made.log_term, made.index) = (message.log_term, message.index);
    made.set_entries(message.entries.iter().map(entry_in).collect::<Vec<_>>().into());
    (made.commit, made.commit_term) = (message.commit, message.commit_term);
    if let Some(snapshot) = &message.snapshot {
        made.set_snapshot(snapshot_in(snapshot));
    }
    made.request_snapshot = message.request_snapshot;
    (made.reject, made.reject_hint) = (message.reject, message.reject_hint);
    made.context = message.context.clone().into();
    made.priority = message.priority;
    Some(made)
}

/// One change of the voters; of more than one, all at once, and the end of it follows by itself.
pub(super) fn changes_in(changes: &[Change]) -> ConfChangeV2 {
    let single = |change: &Change| {
        let (kind, id) = match *change {
            Change::Voter(id) => (ConfChangeType::AddNode, id),
            Change::Learner(id) => (ConfChangeType::AddLearnerNode, id),
            Change::Remove(id) => (ConfChangeType::RemoveNode, id),
        };
        let mut made = ConfChangeSingle { node_id: id, ..ConfChangeSingle::default() };
        made.set_change_type(kind);
        made
    };
    let mut made = ConfChangeV2::default();
    made.set_transition(ConfChangeTransition::Auto);
    made.set_changes(changes.iter().map(single).collect::<Vec<_>>().into());
    made
}

const ALL_KINDS: &[MessageType] = &[
    MessageType::MsgPropose,
    MessageType::MsgAppend,
    MessageType::MsgAppendResponse,
    MessageType::MsgRequestVote,
    MessageType::MsgRequestVoteResponse,
    MessageType::MsgSnapshot,
    MessageType::MsgHeartbeat,
    MessageType::MsgHeartbeatResponse,
    MessageType::MsgTransferLeader,
    MessageType::MsgTimeoutNow,
    MessageType::MsgReadIndex,
    MessageType::MsgReadIndexResp,
    MessageType::MsgRequestPreVote,
    MessageType::MsgRequestPreVoteResponse,
];
