//! What a stream is for: its first byte.

use std::fmt;

/// The purpose of a stream, told by its first byte; zero and unknown bytes are refused with
/// [`CODE_UNKNOWN_CHANNEL`](crate::endpoint::CODE_UNKNOWN_CHANNEL), and the connection lives on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Channel {
    /// Requests from agent to agent, and the one exchange of a joiner.
    Agent = 1,
    /// The forwarded calls of one body thread, in order.
    Calls = 2,
    /// The handoff between two wardens.
    Control = 3,
    /// Memory of a body.
    Pages = 4,
    /// What the cluster agrees on: from server to server, and between servers and those that follow.
    Cluster = 5,
}

/// A first byte that names no channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no channel has the number {0}")]
pub struct UnknownChannel(pub u8);

impl Channel {
    /// Every channel, in the order of their numbers.
    pub const ALL: &[Channel] =
        &[Channel::Agent, Channel::Calls, Channel::Control, Channel::Pages, Channel::Cluster];
}

impl From<Channel> for u8 {
    fn from(channel: Channel) -> u8 {
        channel as u8
    }
}

impl TryFrom<u8> for Channel {
    type Error = UnknownChannel;

    fn try_from(byte: u8) -> Result<Channel, UnknownChannel> {
        Channel::ALL.iter().copied().find(|channel| u8::from(*channel) == byte).ok_or(UnknownChannel(byte))
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Channel::Agent => "agent",
            Channel::Calls => "calls",
            Channel::Control => "control",
            Channel::Pages => "pages",
            Channel::Cluster => "cluster",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_never_change() {
        let numbers: Vec<u8> = Channel::ALL.iter().map(|channel| u8::from(*channel)).collect();
        assert_eq!(numbers, [1, 2, 3, 4, 5]);
    }

    #[test]
    fn every_other_byte_is_refused() {
        for byte in (0..=u8::MAX).filter(|byte| !(1..=5).contains(byte)) {
            assert_eq!(Channel::try_from(byte), Err(UnknownChannel(byte)));
        }
    }
}
