//! This machine's own end of the nodes' network.

use std::net::Ipv4Addr;
use std::process;

use thiserror::Error;

use super::interface::{self, InterfaceError};
use super::spec::Address;
use super::switch::{Switch, SwitchError};

/// An interface `hm<number>v1` in this process's network namespace, at the first address of a free network.
///
/// The name is claimed by making the interface, which only one process can; removed when dropped.
#[derive(Debug)]
pub struct Uplink {
    interface: String,
    number: u8,
}

impl Uplink {
    /// Claims the first free network of 10.213.0.0/16 and wires this namespace to `switch`.
    ///
    /// # Errors
    /// [`UplinkError`].
    pub fn new(switch: &Switch) -> Result<Uplink, UplinkError> {
        let taken = interface::addresses().map_err(UplinkError::Interface)?;
        let is_free = |number: &u8| !taken.iter().any(|ip| ip.octets().starts_with(&[NET_A, NET_B, *number]));
        for number in (0..=u8::MAX).filter(is_free) {
            let interface = format!("hm{number}v1");
            match switch.plug(process::id(), &interface) {
                Ok(()) => {
                    let uplink = Uplink { interface, number };
                    let address = uplink.address(1);
                    interface::configure(&uplink.interface, Some(address)).map_err(UplinkError::Interface)?;
                    return Ok(uplink);
                }
                Err(error) if error.is_taken() => {}
                Err(error) => return Err(UplinkError::Switch(error)),
            }
        }
        Err(UplinkError::Full)
    }

    /// Its name.
    #[must_use]
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// The address of machine `host` in this network; this machine itself is 1.
    #[must_use]
    pub fn address(&self, host: u8) -> Address {
        Address { ip: Ipv4Addr::new(NET_A, NET_B, self.number, host), prefix: 24 }
    }
}

impl Drop for Uplink {
    fn drop(&mut self) {
        if let Err(error) = interface::remove(&self.interface) {
            tracing::warn!(%error, "the interface goes with this process");
        }
    }
}

/// Why this machine did not get an end of the network.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "each text says it")]
pub enum UplinkError {
    #[error("cannot wire this machine to the nodes' network")]
    Switch(#[source] SwitchError),
    #[error("cannot set up this machine's end of the nodes' network")]
    Interface(#[source] InterfaceError),
    #[error(
        "all networks 10.213.0.0/24 to 10.213.255.0/24 are in use; remove interfaces named hm*v1 that nobody needs"
    )]
    Full,
}

const NET_A: u8 = 10;
const NET_B: u8 = 213;
