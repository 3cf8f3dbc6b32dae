//! Addresses for interfaces, by netlink, in the caller's network namespace.

use std::future::Future;
use std::io;
use std::net::Ipv4Addr;
use std::thread;

use futures::TryStreamExt;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::{Handle, LinkUnspec, new_connection};
use thiserror::Error;

use super::spec::Address;

/// Sets `interface` up, with `address` if one is given.
///
/// # Errors
/// [`InterfaceError`], the interface named.
pub fn configure(interface: &str, address: Option<Address>) -> Result<(), InterfaceError> {
    netlink(|handle| async move {
        let index = index_of(&handle, interface).await?;
        let failed = |source| InterfaceError::Configure { interface: interface.to_owned(), source };
        if let Some(Address { ip, prefix }) = address {
            handle.address().add(index, ip.into(), prefix).execute().await.map_err(failed)?;
        }
        handle.link().set(LinkUnspec::new_with_index(index).up().build()).execute().await.map_err(failed)
    })
}

/// Removes `interface`, and its other end if it is one of a pair.
///
/// # Errors
/// [`InterfaceError`], the interface named.
pub fn remove(interface: &str) -> Result<(), InterfaceError> {
    netlink(|handle| async move {
        let index = index_of(&handle, interface).await?;
        let failed = |source| InterfaceError::Remove { interface: interface.to_owned(), source };
        handle.link().del(index).execute().await.map_err(failed)
    })
}

/// All IPv4 addresses of this network namespace.
///
/// # Errors
/// [`InterfaceError::List`].
pub fn addresses() -> Result<Vec<Ipv4Addr>, InterfaceError> {
    netlink(|handle| async move {
        let messages: Vec<AddressMessage> =
            handle.address().get().execute().try_collect().await.map_err(InterfaceError::List)?;
        Ok(messages.iter().flat_map(|message| &message.attributes).filter_map(ipv4).collect())
    })
}

/// What could not be done with an interface.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "each text says it")]
pub enum InterfaceError {
    #[error("cannot talk to the kernel about interfaces (netlink)")]
    Netlink(#[source] io::Error),
    #[error("no interface {interface} in this network namespace")]
    Missing { interface: String, source: rtnetlink::Error },
    #[error("cannot set up interface {interface}")]
    Configure { interface: String, source: rtnetlink::Error },
    #[error("cannot remove interface {interface}")]
    Remove { interface: String, source: rtnetlink::Error },
    #[error("cannot list addresses")]
    List(#[source] rtnetlink::Error),
}

/// Runs `work` with a netlink connection of its own, on a thread of its own: callers may be inside a runtime.
fn netlink<T: Send, F: Future<Output = Result<T, InterfaceError>>>(
    work: impl FnOnce(Handle) -> F + Send,
) -> Result<T, InterfaceError> {
    let session = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        runtime.map_err(InterfaceError::Netlink)?.block_on(async {
            let (connection, handle, _) = new_connection().map_err(InterfaceError::Netlink)?;
            tokio::spawn(connection);
            work(handle).await
        })
    };
    thread::scope(|scope| scope.spawn(session).join().expect("a netlink session does not panic"))
}

async fn index_of(handle: &Handle, interface: &str) -> Result<u32, InterfaceError> {
    let missing = |source| InterfaceError::Missing { interface: interface.to_owned(), source };
    let found = handle.link().get().match_name(interface.to_owned()).execute().try_next().await;
    match found.map_err(missing)? {
        Some(link) => Ok(link.header.index),
        None => Err(missing(rtnetlink::Error::RequestFailed)),
    }
}

fn ipv4(attribute: &AddressAttribute) -> Option<Ipv4Addr> {
    match attribute {
        AddressAttribute::Address(std::net::IpAddr::V4(ip)) => Some(*ip),
        _ => None,
    }
}
