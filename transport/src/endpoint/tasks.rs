//! Where the tasks of an endpoint run.

use std::future::Future;
use std::io;
use std::net::UdpSocket;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime};
use tokio::task::JoinSet;

use super::datagrams::Datagrams;

/// Where the tasks of an endpoint run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tasks {
    /// On any thread of the runtime.
    #[default]
    Anywhere,
    /// On the [`LocalSet`](tokio::task::LocalSet) that the endpoint is made and used in. Tasks of one set wake each
    /// other without a word to the kernel, so a packet goes from the socket to whoever waits for it, and the answer
    /// back, in one turn.
    Local,
}

impl Tasks {
    /// Adds a task to a set that ends it when dropped.
    pub(super) fn add(self, set: &mut JoinSet<()>, task: impl Future<Output = ()> + Send + 'static) {
        match self {
            Tasks::Anywhere => set.spawn(task),
            Tasks::Local => set.spawn_local(task),
        };
    }
}

impl Runtime for Tasks {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        match self {
            Tasks::Anywhere => drop(tokio::spawn(task)),
            Tasks::Local => drop(tokio::task::spawn_local(task)),
        }
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Ok(Arc::new(Datagrams::new(socket)?))
    }

    fn now(&self) -> Instant {
        TokioRuntime.now()
    }
}
