//! The UDP socket of an endpoint, with no more words to and from the kernel than are needed.
//!
//! quinn's own socket asks the kernel again after each batch of datagrams, to be told that there is nothing more, and
//! only then looks at what has come. A batch that is not full says the same: the next datagram is an event of its own.
//! And it listens for room to write all the time, so that each datagram wakes its sender once more as soon as it has
//! left the socket's buffer. Room is asked for here only when there was none.

use std::fmt;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use quinn::udp::{RecvMeta, Transmit, UdpSocketState};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A socket on the running event loop.
#[derive(Debug)]
pub(super) struct Datagrams {
    socket: AsyncFd<UdpSocket>,
    state: UdpSocketState,
    /// A datagram did not fit into the kernel's buffer; whoever has one waits until there is room.
    full: AtomicBool,
}

impl Datagrams {
    pub(super) fn new(socket: UdpSocket) -> io::Result<Datagrams> {
        socket.set_nonblocking(true)?;
        let state = UdpSocketState::new((&socket).into())?;
        Ok(Datagrams { socket: heard(socket, Interest::READABLE)?, state, full: AtomicBool::new(false) })
    }

    /// Waits until a datagram fits.
    async fn room(&self) -> io::Result<()> {
        let socket = heard(self.socket.get_ref().try_clone()?, Interest::WRITABLE)?;
        socket.writable().await?.retain_ready();
        self.full.store(false, Ordering::Relaxed);
        Ok(())
    }
}

impl AsyncUdpSocket for Datagrams {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Room { socket: self, waiting: None })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let sent = self.state.send(self.socket.get_ref().into(), transmit);
        if sent.as_ref().is_err_and(is_not_now) {
            self.full.store(true, Ordering::Relaxed);
        }
        sent
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.socket.poll_read_ready(cx))?;
            match self.state.recv(self.socket.get_ref().into(), buffers, metas) {
                Ok(received) => {
                    if received < buffers.len() {
                        // Only what was known before the read is forgotten.
                        guard.clear_ready();
                    }
                    return Poll::Ready(Ok(received));
                }
                Err(error) if is_not_now(&error) => guard.clear_ready(),
                // It belongs to some datagram that was sent, and QUIC has its own ways to learn of that.
                Err(_) => {}
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get_ref().local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.state.gro_segments()
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }
}

/// Waits for room on behalf of one connection.
struct Room {
    socket: Arc<Datagrams>,
    waiting: Option<Pin<Box<dyn Future<Output = io::Result<()>> + Send + Sync>>>,
}

impl UdpPoller for Room {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.waiting.is_none() && !self.socket.full.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        let socket = Arc::clone(&self.socket);
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(async move { socket.room().await }));
        let ready = ready!(waiting.as_mut().poll(cx));
        self.waiting = None;
        Poll::Ready(ready)
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room").field("waits", &self.waiting.is_some()).finish_non_exhaustive()
    }
}

/// Registers a socket for one direction.
#[expect(deprecated, reason = "a UdpSocket owns its descriptor, and the form that says so is unsafe")]
fn heard(socket: UdpSocket, interest: Interest) -> io::Result<AsyncFd<UdpSocket>> {
    AsyncFd::with_interest(socket, interest)
}

fn is_not_now(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    fn datagrams() -> Arc<Datagrams> {
        Arc::new(Datagrams::new(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap())
    }

    async fn received(socket: &Datagrams) -> usize {
        let (mut first, mut second, mut third) = ([0; 64], [0; 64], [0; 64]);
        let mut buffers = [&mut first, &mut second, &mut third].map(|buffer| IoSliceMut::new(buffer));
        let mut metas = [RecvMeta::default(); 3];
        poll_fn(|cx| socket.poll_recv(cx, &mut buffers, &mut metas)).await.unwrap()
    }

    #[tokio::test]
    async fn each_datagram_is_heard_however_many_came_with_the_one_before() {
        let socket = datagrams();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.connect(socket.local_addr().unwrap()).unwrap();
        for batch in [1, 2, 3, 1, 3, 2] {
            for _ in 0..batch {
                sender.send(b"x").unwrap();
            }
            assert_eq!(received(&socket).await, batch);
        }
        let nothing = tokio::time::timeout(Duration::from_millis(10), received(&socket)).await;
        assert!(nothing.is_err());
        sender.send(b"x").unwrap();
        assert_eq!(received(&socket).await, 1);
    }

    #[tokio::test]
    async fn whoever_finds_the_socket_full_goes_on_when_there_is_room() {
        let socket = datagrams();
        let mut room = Arc::clone(&socket).create_io_poller();
        assert!(poll_fn(|cx| Poll::Ready(room.as_mut().poll_writable(cx).is_ready())).await);
        socket.full.store(true, Ordering::Relaxed);
        // It must ask the event loop, and is told.
        assert!(poll_fn(|cx| Poll::Ready(room.as_mut().poll_writable(cx).is_pending())).await);
        poll_fn(|cx| room.as_mut().poll_writable(cx)).await.unwrap();
        assert!(!socket.full.load(Ordering::Relaxed));
    }
}
