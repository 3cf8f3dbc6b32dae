//! Real agents on loopback: they are made, join, find each other, and refuse who does not belong.

use crate::support::{Node, eventually, join_line, refused};

fn pair() -> (Node, Node) {
    let (mut alpha, mut bravo) = (Node::new("alpha", 1), Node::new("bravo", 2));
    let (addr, token) = alpha.init(&[]);
    alpha.start(&[]);
    let joined = bravo.join(&addr, &token);
    assert!(joined.status.success(), "{joined:?}\n{}", alpha.log());
    bravo.start(&[]);
    let both = ["alpha", "bravo"];
    let met = eventually(|| alpha.sees_ok(&both) && bravo.sees_ok(&both));
    assert!(met, "{:?} {:?}\n{}\n{}", alpha.sees(), bravo.sees(), alpha.log(), bravo.log());
    (alpha, bravo)
}

#[test]
fn two_nodes_see_each_other_also_after_a_restart() {
    let (mut alpha, mut bravo) = pair();
    let both = ["alpha", "bravo"];
    for round in 0..2 {
        bravo.kill();
        assert!(eventually(|| !alpha.sees_ok(&both)), "round {round}: the loss is not seen");
        bravo.start(&[]);
        assert!(eventually(|| alpha.sees_ok(&both) && bravo.sees_ok(&both)), "round {round}");
        std::mem::swap(&mut alpha, &mut bravo);
    }
    let events = alpha.homing(&["events"]);
    assert!(String::from_utf8_lossy(&events.stdout).contains("is connected"), "{events:?}");
}

#[test]
fn members_tell_each_other_about_a_third() {
    let (alpha, bravo) = pair();
    let (addr, token) = join_line(&alpha.homing(&["token", "create"]));
    let mut charlie = Node::new("charlie", 3);
    assert!(charlie.join(&addr, &token).status.success());
    charlie.start(&[]);
    let all = ["alpha", "bravo", "charlie"];
    let met = eventually(|| [&alpha, &bravo, &charlie].iter().all(|node| node.sees_ok(&all)));
    assert!(met, "{:?} {:?} {:?}", alpha.sees(), bravo.sees(), charlie.sees());
}

#[test]
fn a_token_holds_once_for_its_time_and_its_cluster() {
    let (mut alpha, bravo) = (Node::new("alpha", 1), Node::new("bravo", 2));
    let (addr, token) = alpha.init(&[]);
    refused(&bravo.join(&addr, &token), 5, "cannot reach the cluster");
    alpha.start(&[]);

    refused(&bravo.join(&addr, "HM1-what-is-this"), 1, "not a join token");
    let last = if token.ends_with('0') { "1" } else { "0" };
    let wrong = format!("{}{last}", &token[..token.len() - 1]);
    refused(&bravo.join(&addr, &wrong), 4, "did not make the join token");
    let (_, short) = join_line(&alpha.homing(&["token", "create", "--ttl", "1s"]));
    let expired = eventually(|| {
        let listed = alpha.json(&["token", "list", "--json"]);
        listed["tokens"].as_array().unwrap().len() == 1
    });
    assert!(expired);
    refused(&bravo.join(&addr, &short), 4, "expired");

    let other = Node::new("other", 4);
    let (_, foreign) = other.init(&["--cluster", "elsewhere"]);
    refused(&bravo.join(&addr, &foreign), 4, "is not the expected peer");

    assert!(bravo.join(&addr, &token).status.success());
    let charlie = Node::new("charlie", 3);
    refused(&charlie.join(&addr, &token), 4, "used already");
    refused(&bravo.join(&addr, &token), 1, "already");
    let (_, token) = join_line(&alpha.homing(&["token", "create"]));
    let twin = Node::new("bravo", 5);
    refused(&twin.join(&addr, &token), 1, "already: choose another name");
}

#[test]
fn a_node_of_another_cluster_is_not_let_in() {
    let (alpha, bravo) = pair();
    let mut stranger = Node::new("stranger", 3);
    stranger.init(&["--cluster", "elsewhere"]);
    let members = std::fs::read(bravo.dir("state").join("members.json")).unwrap();
    std::fs::write(stranger.dir("state").join("members.json"), members).unwrap();
    stranger.start(&[]);
    let refused = eventually(|| {
        let why = stranger.homing(&["nodes"]);
        String::from_utf8_lossy(&why.stdout).contains("lost")
    });
    assert!(refused);
    assert!(alpha.sees_ok(&["alpha", "bravo"]), "{:?}", alpha.sees());
}

#[test]
fn garbage_on_the_port_harms_nobody() {
    let (alpha, bravo) = pair();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut noise: u32 = 1;
    for length in (1..1400).step_by(7) {
        let bytes: Vec<u8> = (0..length)
            .map(|_| {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                noise.to_be_bytes()[0]
            })
            .collect();
        socket.send_to(&bytes, &alpha.addr).unwrap();
    }
    let client = std::os::unix::net::UnixStream::connect(alpha.dir("run").join("agent.sock")).unwrap();
    std::io::Write::write_all(&mut &client, &[0xff; 64]).unwrap();
    assert!(alpha.sees_ok(&["alpha", "bravo"]) && bravo.sees_ok(&["alpha", "bravo"]));
}
