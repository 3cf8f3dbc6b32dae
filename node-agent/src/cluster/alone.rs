//! A driver without a log: for tests of what uses a [`Handle`].

use std::sync::Arc;

use super::handle::{Ends, Handle};
use super::state::State;

/// A state that only this process knows and that is lost with it. Must be called within a tokio runtime.
#[must_use]
pub fn alone(mut state: State) -> Handle {
    // Who has seen no entry at all knows nothing yet.
    state.skip_to(state.applied() + 1);
    let (handle, Ends { mut asks, state: told }) = Handle::new(state);
    tokio::spawn(async move {
        while let Some(ask) = asks.recv().await {
            let mut state = State::clone(&told.borrow());
            let outcome = state.apply(state.applied() + 1, ask.proposal);
            told.send_replace(Arc::new(state));
            // Whoever asked may have gone.
            let _ = ask.reply.send(Ok(outcome));
        }
    });
    handle
}

#[cfg(test)]
mod tests {
    use transport::NodeId;

    use super::*;
    use crate::cluster::drain::{Command as DrainCommand, Drain};
    use crate::cluster::{Command, Reply};

    #[tokio::test]
    async fn what_is_proposed_is_seen_by_every_handle() {
        let handle = alone(State::default());
        let node = NodeId([1; 32]);
        let drain = Drain { since_unix_s: 1, deadline_unix_s: None };
        let request = handle.request().await.unwrap();
        for _ in 0..2 {
            let command = Command::Drain(DrainCommand::Start { node, drain: drain.clone() });
            assert_eq!(handle.clone().propose_as(request, command).await, Ok(Reply::Done));
        }
        handle.propose(Command::Drain(DrainCommand::Stop { node: NodeId([2; 32]) })).await.unwrap();
        assert_eq!(handle.state().borrow().drains.get(node), Some(&drain));
        assert_eq!(handle.state().borrow().applied(), 4);
    }
}
