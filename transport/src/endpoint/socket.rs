//! UDP sockets with room for bursts.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;

use rustix::net::sockopt;
use tracing::debug;

use super::EndpointError;

/// A socket on `addr`; port 0 lets the kernel choose.
pub(super) fn bind(addr: SocketAddr) -> Result<UdpSocket, EndpointError> {
    open(addr).map_err(|source| EndpointError::Bind { addr, source })
}

/// A socket on the first free port of the range, beginning `offset` ports after its start and going around, so that
/// many callers with different offsets do not all try the same ports.
pub(super) fn bind_in(
    ip: IpAddr,
    ports: RangeInclusive<u16>,
    offset: u16,
) -> Result<UdpSocket, EndpointError> {
    let (first, last) = (*ports.start(), *ports.end());
    let count = ports.clone().count();
    if count == 0 {
        return Err(EndpointError::NoPort { ip, first, last });
    }
    for port in ports.cycle().skip(usize::from(offset) % count).take(count) {
        let addr = SocketAddr::new(ip, port);
        match open(addr) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(source) => return Err(EndpointError::Bind { addr, source }),
            Ok(socket) => return Ok(socket),
        }
    }
    Err(EndpointError::NoPort { ip, first, last })
}

/// Whether this machine has an address.
pub(super) fn is_of_this_machine(ip: IpAddr) -> bool {
    !UdpSocket::bind((ip, 0)).is_err_and(|error| error.kind() == io::ErrorKind::AddrNotAvailable)
}

fn open(addr: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(addr)?;
    // The forced form goes beyond the system's maximum and needs CAP_NET_ADMIN; the plain one is clamped to it.
    // Neither is worth failing for: with small buffers a burst is lost and sent again.
    let _ = sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER_BYTES)
        .or_else(|_| sockopt::set_socket_recv_buffer_size(&socket, BUFFER_BYTES));
    let _ = sockopt::set_socket_send_buffer_size_force(&socket, BUFFER_BYTES)
        .or_else(|_| sockopt::set_socket_send_buffer_size(&socket, BUFFER_BYTES));
    debug!(
        %addr,
        receive_bytes = sockopt::socket_recv_buffer_size(&socket).unwrap_or(0),
        send_bytes = sockopt::socket_send_buffer_size(&socket).unwrap_or(0),
        "opened UDP socket",
    );
    Ok(socket)
}

/// Kernel buffer for each direction: the default of 208 KiB loses thousands of packets on loopback alone.
const BUFFER_BYTES: usize = 4 * 1024 * 1024;
