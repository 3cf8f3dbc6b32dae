//! Datagrams that mean nothing, at every port of nodes with families between them.

use std::collections::BTreeSet;
use std::fs;
use std::net::UdpSocket;

use cluster_tests::lab::{Ground, LabNode, User};
use cluster_tests::support::{cluster, migrate};

use crate::work::Worker;

pub(crate) fn garbage_on_the_ports_harms_nobody() {
    let lab = cluster(Ground::Namespaces, 3);
    let worker = Worker::start(lab.node(1), "garbage", User::Worker);
    migrate(&lab, worker.pid(), "n2");
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    for to in ["n3", "home", "n2"] {
        let mut sent = 0;
        for node in lab.nodes() {
            for port in udp_ports(node) {
                sent += pelt(&socket, node, port);
            }
        }
        worker.wait_for_more();
        migrate(&lab, worker.pid(), to);
        println!("{sent} datagrams, then a move to {to}");
    }
    // Each node's agent, and at the two nodes of the family a warden with calls and one with pages.
    assert!(udp_ports(lab.node(1)).len() >= 3 && udp_ports(lab.node(2)).len() >= 3);
    lab.wait_for_members().unwrap();
    println!("{} lines are those of the native run", worker.finish());
}

/// Noise of all lengths, and what begins like a QUIC handshake, like a packet of a connection and like another version.
fn pelt(socket: &UdpSocket, node: &LabNode, port: u16) -> usize {
    let mut noise: u32 = u32::from(port);
    let mut sent = 0;
    let beginnings: [&[u8]; 4] = [&[], &[0xc3, 0, 0, 0, 1, 8], &[0x43], &[0xd0, 0xfa, 0xce, 0xb0, 0x0c, 20]];
    for beginning in beginnings {
        for length in (0..1400).step_by(50) {
            let rest = std::iter::repeat_with(|| {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                noise.to_be_bytes()[0]
            });
            let datagram: Vec<u8> = beginning.iter().copied().chain(rest.take(length)).collect();
            socket.send_to(&datagram, (node.address(), port)).unwrap();
            sent += 1;
        }
    }
    sent
}

/// The UDP ports at which somebody listens at a node.
fn udp_ports(node: &LabNode) -> BTreeSet<u16> {
    let table = fs::read_to_string(format!("/proc/{}/net/udp", node.init_pid())).unwrap();
    let local = table.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)?.rsplit_once(':'));
    local.filter_map(|(_, port)| u16::from_str_radix(port, 16).ok()).collect()
}
