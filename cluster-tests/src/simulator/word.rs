//! What the actors of the simulation say to each other, and what they wait for.

use std::hash::{Hash, Hasher};
use std::mem::discriminant;

use migration::handoff::{Answer, Ask};
use node_agent::warden::control::{FromWarden, ToWarden};
use transport::Epoch;

use super::body::{Body, Reply};

/// An actor. Whoever joins the simulation, Raft or the queue, gets a variant of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Address {
    /// The agent of this node.
    Agent(usize),
    /// The home warden of this family, with the program's original.
    Home(usize),
    /// The guest warden of this incarnation, with its body.
    Guest(u64),
}

#[derive(Clone, Debug)]
pub(super) enum Word {
    /// Somebody wants a family to be at a node.
    Order {
        family: usize,
        from: usize,
        to: usize,
    },
    /// Somebody kills the program.
    Kill,
    /// Agent to agent: start a guest warden.
    Place {
        ticket: u64,
        family: usize,
    },
    /// Its incarnation, if there is one.
    Placed {
        ticket: u64,
        accepted: Option<u64>,
    },
    ToWarden {
        ticket: u64,
        message: ToWarden,
    },
    FromWarden {
        ticket: u64,
        message: FromWarden,
    },
    WardenLost {
        ticket: u64,
    },
    /// With the image, for `Accept`.
    Ask(Ask, Option<Body>),
    /// With the image, for `Taken`.
    Answer(Answer, Option<Body>),
    Call(Call),
    Return {
        thread: usize,
        seq: u64,
        reply: Reply,
    },
    Fenced(Epoch),
    Ping,
    Pong,
    /// A node's word: this actor is no more.
    Nobody(Address),
}

/// One forwarded call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Call {
    pub(super) epoch: Epoch,
    pub(super) thread: usize,
    pub(super) seq: u64,
    pub(super) asked: u64,
    /// What its thread has learned, which no real call carries: for the check.
    pub(super) history: u64,
}

impl Hash for Word {
    fn hash<H: Hasher>(&self, state: &mut H) {
        discriminant(self).hash(state);
        match self {
            Word::Order { family, from, to } => (family, from, to).hash(state),
            Word::Place { ticket, family } => (ticket, family).hash(state),
            Word::Placed { ticket, accepted } => (ticket, accepted).hash(state),
            Word::ToWarden { ticket, message } => (ticket, discriminant(message)).hash(state),
            Word::FromWarden { ticket, message } => (ticket, discriminant(message)).hash(state),
            Word::WardenLost { ticket } => ticket.hash(state),
            Word::Ask(ask, image) => (ask, image).hash(state),
            Word::Answer(answer, image) => (answer, image).hash(state),
            Word::Call(call) => call.hash(state),
            Word::Return { thread, seq, reply } => (thread, seq, reply).hash(state),
            Word::Fenced(epoch) => epoch.hash(state),
            Word::Nobody(address) => address.hash(state),
            Word::Kill | Word::Ping | Word::Pong => {}
        }
    }
}

/// What an actor has asked to be woken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Timer {
    /// A mover's deadline may be over.
    Mover,
    /// Hands are done with this.
    Hands(Ask),
    /// Look for signs of life.
    Look,
    /// A thread has computed enough, in this run of its body.
    Compute { thread: usize, run: u64 },
    /// A call may have to be repeated.
    Resend { thread: usize, seq: u64, run: u64 },
    /// The record is written, or not.
    Recorded(Epoch, bool),
    /// This step takes too long.
    TimeUp(u64),
    /// What was asked may not have been heard.
    Retry(u64),
    /// Show that this side lives, and look for the other one.
    Pulse,
    /// A call is executed now.
    CallDone { thread: usize, seq: u64 },
}
