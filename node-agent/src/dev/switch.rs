//! The nodes' network: a bridge in a network namespace of its own.
//!
//! The namespace belongs to one thread of the process that makes the nodes, so that everything in it goes when
//! that process does, even by SIGKILL, and this machine's packet filters never see what the nodes say to each other.

use std::io;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use futures::TryStreamExt;
use migration::sys::namespaces::{self, Flags, NamespaceError};
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVeth};
use rtnetlink::{Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, new_connection};
use thiserror::Error;
use tokio::runtime::Runtime;

/// A bridge that nodes are plugged into.
#[derive(Debug)]
pub struct Switch {
    plugs: Option<mpsc::Sender<Plug>>,
    thread: Option<JoinHandle<()>>,
}

impl Switch {
    /// Makes the bridge.
    ///
    /// # Errors
    /// [`SwitchError`]; without root it is [`SwitchError::Namespace`].
    pub fn new() -> Result<Switch, SwitchError> {
        let (made, outcome) = mpsc::channel();
        let (plugs, requests) = mpsc::channel();
        let serve = move || match Bridge::new() {
            Ok(mut bridge) => {
                // The maker may be gone already; then the requests end at once.
                let _ = made.send(Ok(()));
                requests.into_iter().for_each(|plug| bridge.serve(plug));
            }
            Err(error) => drop(made.send(Err(error))),
        };
        let thread =
            thread::Builder::new().name("switch".into()).spawn(serve).map_err(SwitchError::Thread)?;
        outcome.recv().expect("the thread answers before it ends")?;
        Ok(Switch { plugs: Some(plugs), thread: Some(thread) })
    }

    /// Gives the network namespace of process `pid` an interface of this name, wired to the bridge.
    ///
    /// The wire goes when either end's namespace does.
    ///
    /// # Errors
    /// [`SwitchError::Plug`]; [`SwitchError::is_taken`] tells whether the name is in use there.
    pub fn plug(&self, pid: u32, interface: &str) -> Result<(), SwitchError> {
        let (answer, outcome) = mpsc::channel();
        let plug = Plug { pid, interface: interface.to_owned(), answer };
        let plugs = self.plugs.as_ref().expect("taken only by drop");
        plugs.send(plug).expect("the thread serves as long as the switch lives");
        outcome.recv().expect("every plug is answered")
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        drop(self.plugs.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed; there is nothing more to undo.
            let _ = thread.join();
        }
    }
}

/// What the network could not give.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "each text says it")]
pub enum SwitchError {
    #[error("cannot start the switch's thread")]
    Thread(#[source] io::Error),
    #[error("cannot make the switch's network namespace")]
    Namespace(#[source] NamespaceError),
    #[error("cannot talk to the kernel about interfaces (netlink)")]
    Netlink(#[source] io::Error),
    #[error("cannot make a bridge; the kernel needs the module bridge")]
    Bridge(#[source] rtnetlink::Error),
    #[error("cannot give process {pid} the interface {interface}; the kernel needs the module veth")]
    Plug { pid: u32, interface: String, source: rtnetlink::Error },
}

impl SwitchError {
    /// True when an interface of that name exists already where the new one was to go.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        let SwitchError::Plug { source: rtnetlink::Error::NetlinkError(message), .. } = self else {
            return false;
        };
        message.to_io().kind() == io::ErrorKind::AlreadyExists
    }
}

struct Plug {
    pid: u32,
    interface: String,
    answer: mpsc::Sender<Result<(), SwitchError>>,
}

/// Lives on the switch's thread, inside its namespace.
struct Bridge {
    runtime: Runtime,
    handle: Handle,
    index: u32,
    ports: u32,
}

impl Bridge {
    fn new() -> Result<Bridge, SwitchError> {
        namespaces::unshare(Flags::NET).map_err(SwitchError::Namespace)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        let runtime = runtime.map_err(SwitchError::Netlink)?;
        let (handle, index) = runtime.block_on(async {
            let (connection, handle, _) = new_connection().map_err(SwitchError::Netlink)?;
            tokio::spawn(connection);
            handle
                .link()
                .add(LinkBridge::new(BRIDGE).build())
                .execute()
                .await
                .map_err(SwitchError::Bridge)?;
            let mut links = handle.link().get().match_name(BRIDGE.to_owned()).execute();
            let bridge = links.try_next().await.map_err(SwitchError::Bridge)?;
            let bridge = bridge.ok_or(SwitchError::Bridge(rtnetlink::Error::RequestFailed))?;
            drop(links);
            Ok((handle, bridge.header.index))
        })?;
        Ok(Bridge { runtime, handle, index, ports: 0 })
    }

    fn serve(&mut self, plug: Plug) {
        let Plug { pid, interface, answer } = plug;
        self.ports += 1;
        let far = LinkMessageBuilder::<LinkUnspec>::new().name(interface.clone()).setns_by_pid(pid).build();
        let near = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .name(format!("port{}", self.ports))
            .controller(self.index)
            // What a node may send is up to its own end.
            .mtu(MTU_BYTES)
            .up()
            .set_info_data(InfoData::Veth(InfoVeth::Peer(far)))
            .build();
        let result = self.runtime.block_on(self.handle.link().add(near).execute());
        // Whoever asked may have given up; the wire goes with its namespace.
        let _ = answer.send(result.map_err(|source| SwitchError::Plug { pid, interface, source }));
    }
}

const BRIDGE: &str = "switch";

/// Longest frame that the network carries, without its header.
const MTU_BYTES: u32 = 9000;
