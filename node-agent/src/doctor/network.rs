//! What the network must let through.

use std::fs;
use std::net::{IpAddr, UdpSocket};

use super::{Check, Place, read};
use crate::config::Ports;

pub(super) fn checks(place: &Place) -> Vec<Check> {
    let ip = place.ip.unwrap_or([0, 0, 0, 0].into());
    vec![
        interfaces(&mtus()),
        agent_port(ip, place.agent_port, place.agent_runs),
        warden_ports(ip, &place.ports),
        buffers(&read("/proc/sys/net/core/rmem_max"), &read("/proc/sys/net/core/wmem_max")),
    ]
}

/// Interfaces besides loopback, with their MTU in bytes.
fn mtus() -> Vec<(String, u32)> {
    let entries = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let mut mtus: Vec<(String, u32)> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok().filter(|name| name != "lo")?;
            let mtu = read(&format!("/sys/class/net/{name}/mtu")).parse().ok()?;
            Some((name, mtu))
        })
        .collect();
    mtus.sort_unstable();
    mtus
}

fn interfaces(mtus: &[(String, u32)]) -> Check {
    if mtus.is_empty() {
        return Check::note("interfaces", "only loopback", "connect this machine to the others");
    }
    let list: Vec<String> = mtus.iter().map(|(name, mtu)| format!("{name} {mtu}")).collect();
    match mtus.iter().find(|(_, mtu)| *mtu < MTU_MIN) {
        Some((name, mtu)) => Check::note(
            "interfaces",
            format!("{name} has an MTU of {mtu}: QUIC needs {MTU_MIN}"),
            format!("ip link set {name} mtu 1500, unless nodes are not reached through it"),
        ),
        None => Check::ok("interfaces", format!("MTU: {}", list.join(", "))),
    }
}

fn agent_port(ip: IpAddr, port: u16, agent_runs: bool) -> Check {
    match UdpSocket::bind((ip, port)) {
        Ok(_) => Check::ok("agent port", format!("UDP {port} is free")),
        Err(_) if agent_runs => Check::ok("agent port", format!("UDP {port} is held by the agent")),
        Err(error) => Check::fail(
            "agent port",
            format!("UDP {ip}:{port}: {error}"),
            "see who holds it (ss -ulpn), or give another one with --listen",
        ),
    }
}

fn warden_ports(ip: IpAddr, ports: &Ports) -> Check {
    let tried: Vec<u16> = ports.0.clone().take(PORTS_TRIED_MAX).collect();
    let free = tried.iter().filter(|&&port| UdpSocket::bind((ip, port)).is_ok()).count();
    let detail = format!("{free} of the first {} of UDP {ports} are free", tried.len());
    if free > 0 {
        return Check::ok("warden ports", detail);
    }
    Check::fail("warden ports", detail, "see who holds them (ss -ulpn), or give another range with --ports")
}

fn buffers(rmem_max: &str, wmem_max: &str) -> Check {
    let least = [rmem_max, wmem_max].iter().map(|text| text.parse().unwrap_or(0u64)).min().unwrap_or(0);
    let detail = format!("up to {} KiB", least >> 10);
    if least >= BUFFER_BYTES {
        return Check::ok("socket buffers", detail);
    }
    let fix = format!("sysctl -w net.core.rmem_max={BUFFER_BYTES} net.core.wmem_max={BUFFER_BYTES}");
    Check::note("socket buffers", format!("{detail}: moves are slower"), fix)
}

/// What IPv6, and so QUIC's smallest packet with room to spare, asks of a link.
const MTU_MIN: u32 = 1280;

const PORTS_TRIED_MAX: usize = 50;

/// What bulk transfers want.
const BUFFER_BYTES: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn a_held_port_fails_unless_the_agent_holds_it() {
        let holder = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        let addr = holder.local_addr().unwrap();
        assert_eq!(agent_port(addr.ip(), addr.port(), false).state, State::Fail);
        assert_eq!(agent_port(addr.ip(), addr.port(), true).state, State::Ok);
        assert_eq!(warden_ports(addr.ip(), &Ports(addr.port()..=addr.port())).state, State::Fail);
    }

    #[test]
    fn small_links_and_buffers_are_told() {
        assert_eq!(interfaces(&[("eth0".into(), 1500)]).state, State::Ok);
        assert_eq!(interfaces(&[("eth0".into(), 1500), ("tun0".into(), 576)]).state, State::Note);
        assert_eq!(buffers("212992", "4194304").state, State::Note);
        assert_eq!(buffers("4194304", "4194304").state, State::Ok);
    }
}
