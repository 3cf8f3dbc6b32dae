//! Servers of the real binary agree, lose one another, and agree again.

use crate::support::{Node, eventually, join_line};

/// Joins as a server.
fn join_as_server(first: &Node, node: &mut Node) {
    let made = first.homing(&["token", "create", "--role", "server"]);
    assert!(made.status.success(), "{made:?}");
    let (addr, token) = join_line(&made);
    let joined = node.join(&addr, &token);
    assert!(joined.status.success(), "{joined:?}");
    node.start(&[]);
}

/// How many servers vote and who leads, as a node tells.
fn voters(node: &Node) -> (usize, u64, Vec<u64>) {
    let output = node.homing(&["raft", "status", "--json"]);
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let status = &said["raft"]["status"];
    let ids = |list: &serde_json::Value| -> Vec<u64> {
        list.as_array().into_iter().flatten().filter_map(serde_json::Value::as_u64).collect()
    };
    let between = ids(&status["conf"]["voters_outgoing"]).len();
    let leader = status["leader"].as_u64().unwrap_or(0);
    (
        if between == 0 { ids(&status["conf"]["voters"]).len() } else { 0 },
        leader,
        ids(&status["conf"]["voters"]),
    )
}

#[test]
fn three_servers_agree_without_any_one_of_them() {
    let mut nodes =
        ["alpha", "bravo", "charlie"].into_iter().zip(1..).map(|(name, number)| Node::new(name, number));
    let (mut alpha, mut bravo, mut charlie) =
        (nodes.next().unwrap(), nodes.next().unwrap(), nodes.next().unwrap());
    alpha.init(&[]);
    alpha.start(&[]);
    assert!(eventually(|| voters(&alpha).0 == 1), "{}", alpha.log());
    join_as_server(&alpha, &mut bravo);
    join_as_server(&alpha, &mut charlie);
    for node in [&alpha, &bravo, &charlie] {
        assert!(eventually(|| voters(node).0 == 3), "{}", node.log());
    }

    // A plain node follows, and a token that alpha makes is agreed on.
    let mut delta = Node::new("delta", 4);
    let (addr, token) = join_line(&alpha.homing(&["token", "create"]));
    assert!(delta.join(&addr, &token).status.success());
    delta.start(&[]);
    let follows = || {
        let said = delta.json(&["raft", "status", "--json"]);
        said["raft"]["status"].is_null()
            && said["raft"]["servers"].as_object().is_some_and(|all| all.len() == 3)
    };
    assert!(eventually(follows), "{}", delta.log());

    // Without one server the others agree: alpha still takes tokens.
    bravo.kill();
    assert!(eventually(|| alpha.homing(&["token", "create"]).status.success()), "{}", alpha.log());

    // Without two of three nothing is agreed, the reason is told, and the node serves all the same.
    charlie.kill();
    let refused = alpha.homing(&["token", "create"]);
    assert_eq!(refused.status.code(), Some(5), "{refused:?}");
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(why.contains("no majority"), "{why}");
    assert!(alpha.homing(&["nodes"]).status.success());

    // One returns with what its disk kept, and everything goes on.
    charlie.start(&[]);
    assert!(eventually(|| alpha.homing(&["token", "create"]).status.success()), "{}", alpha.log());

    // A server that never returns is revoked; two servers stand no failure, so one of them decides.
    let revoked = alpha.homing(&["node", "revoke", "bravo"]);
    assert!(revoked.status.success(), "{revoked:?}");
    assert!(eventually(|| voters(&alpha).0 == 1 || voters(&charlie).0 == 1), "{}", alpha.log());
    assert!(alpha.homing(&["token", "create"]).status.success());
    bravo.start(&[]);
    let outside = || !delta.json(&["nodes", "--json"])["nodes"].to_string().contains("bravo");
    assert!(eventually(outside), "{}", delta.log());
}

#[test]
fn what_was_agreed_outlives_a_restart_of_the_only_server() {
    let mut alpha = Node::new("alpha", 1);
    let (addr, token) = alpha.init(&[]);
    alpha.start(&[]);
    let mut bravo = Node::new("bravo", 2);
    assert!(bravo.join(&addr, &token).status.success());
    bravo.start(&[]);
    alpha.kill();
    alpha.start(&[]);
    // The token was used, and stays so.
    let charlie = Node::new("charlie", 3);
    let refused = charlie.join(&addr, &token);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("used already"), "{refused:?}");
}

/// A server that forgot what it promised must not vote again.
#[test]
fn a_server_without_its_log_takes_no_part_and_says_so() {
    let mut alpha = Node::new("alpha", 1);
    alpha.init(&[]);
    std::fs::remove_file(alpha.dir("state").join("cluster.redb")).unwrap();
    alpha.start(&[]);
    let status = alpha.homing(&["raft", "status"]);
    assert_eq!(status.status.code(), Some(5), "{status:?}");
    assert!(String::from_utf8_lossy(&status.stderr).contains("join again"), "{status:?}");
}
