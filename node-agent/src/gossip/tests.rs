//! Gossip among nodes in one thread, with the clock of the test.

use proptest::prelude::*;

use super::*;

fn own() -> LoadEntry {
    LoadEntry { cores_x4: 16, speed_permille: 1000, mem_total_mib: 1024, ..LoadEntry::default() }
}

fn members(count: u32) -> Vec<NodeNumber> {
    (0..count).map(NodeNumber).collect()
}

fn tick(gossip: &mut Gossip, now_ms: u64, members: &[NodeNumber]) -> Vec<Action> {
    gossip.step(Event::Tick { now: Duration::from_millis(now_ms), own: own(), members })
}

fn told(gossip: &mut Gossip, now_ms: u64, entry: LoadEntry) {
    let sender = 1;
    let (version, number, flags) = (message::VERSION, 0, 0);
    let message = Message {
        version,
        cluster: 0,
        sender,
        incarnation: 1,
        number,
        flags,
        entries: vec![entry],
        updates: vec![],
    };
    gossip.step(Event::Received { now: Duration::from_millis(now_ms), message: &message });
}

fn age_ms(gossip: &Gossip, node: u32, now_ms: u64) -> Option<u128> {
    let entry = gossip.table().get(NodeNumber(node), Duration::from_millis(now_ms));
    entry.map(|entry| entry.age().as_millis())
}

#[test]
fn rounds_come_once_an_interval() {
    let mut gossip = Gossip::new(Settings::default(), NodeNumber(0), 1, 7);
    let all = members(100);
    let mut rounds = 0;
    for now_ms in (0..60_000).step_by(10) {
        for action in tick(&mut gossip, now_ms, &all) {
            if let Action::Send { to, message } = action {
                rounds += 1;
                assert_eq!(to.len(), 3);
                assert!(to.iter().all(|peer| gossip.view().contains(peer)));
                assert_eq!(message.entries[0].age_10ms, 0);
            }
        }
    }
    assert!((57..=63).contains(&rounds), "{rounds}");
}

#[test]
fn the_view_is_bounded_and_changes() {
    let mut gossip = Gossip::new(Settings::default(), NodeNumber(0), 1, 7);
    let all = members(1000);
    let (mut connected, mut disconnected) = (0, 0);
    for second in 0..301 {
        for action in tick(&mut gossip, second * 1000, &all) {
            match action {
                Action::Connect(peer) => {
                    assert_ne!(peer, NodeNumber(0));
                    connected += 1;
                }
                Action::Disconnect(_) => disconnected += 1,
                Action::Send { .. } => {}
            }
        }
        assert_eq!(gossip.view().len(), 24);
    }
    assert_eq!((connected, disconnected), (24 + 10, 10));
}

#[test]
fn few_nodes_all_know_each_other() {
    let mut gossip = Gossip::new(Settings::default(), NodeNumber(3), 1, 7);
    tick(&mut gossip, 0, &members(26));
    assert_eq!(gossip.view().len(), 25);
    gossip.step(Event::Left(NodeNumber(4)));
    assert_eq!(gossip.view().len(), 24);
}

#[test]
fn urgent_news_is_sent_at_once_but_not_all_the_time() {
    let mut gossip = Gossip::new(Settings::default(), NodeNumber(0), 1, 7);
    tick(&mut gossip, 0, &members(9));
    let mut urgent =
        |now_ms| gossip.step(Event::Urgent { now: Duration::from_millis(now_ms), own: own() }).len();
    assert_eq!([urgent(1), urgent(50), urgent(100), urgent(101)], [1, 0, 0, 1]);
}

#[test]
fn a_node_hears_nothing_of_itself_and_of_other_clusters() {
    let mut gossip = Gossip::new(Settings { cluster: 5, ..Settings::default() }, NodeNumber(0), 1, 7);
    told(&mut gossip, 0, LoadEntry { node: 2, ..own() });
    assert!(gossip.table().is_empty(), "another cluster");
    gossip.step(Event::Answered { now: Duration::ZERO, entry: LoadEntry { node: 0, ..own() } });
    assert!(gossip.table().is_empty(), "itself");
    gossip.step(Event::Answered { now: Duration::ZERO, entry: LoadEntry { node: 2, ..own() } });
    assert_eq!(gossip.table().len(), 1);
}

#[test]
fn the_table_keeps_the_freshest() {
    let mut gossip = Gossip::new(Settings::default(), NodeNumber(0), 1, 7);
    for node in 1..=1000_u16 {
        let age_10ms = node;
        told(&mut gossip, 20_000, LoadEntry { node: u32::from(node), age_10ms, ..own() });
    }
    assert_eq!(gossip.table().len(), table::ENTRIES_MAX);
    let freshest = gossip.table().freshest(Duration::from_millis(20_000), 32);
    assert!(freshest.len() == 32 && freshest.iter().all(|entry| entry.age_10ms <= 32));
    tick(&mut gossip, 50_000, &members(9));
    assert!(gossip.table().len() < 40, "those of 30 s and more are gone");
    tick(&mut gossip, 51_000, &members(9));
    assert!(gossip.table().is_empty());
}

/// What one node is told about another: when, with which age and incarnation.
fn news() -> impl Strategy<Value = Vec<(u64, u16, u32)>> {
    proptest::collection::vec((0_u64..2_000, 0_u16..4_000, 1_u32..4), 1..40)
}

proptest! {
    /// Ages are of this node's clock and of what it was told, and there is no other clock here.
    #[test]
    fn i11_no_age_decreases_but_by_a_newer_entry(news in news()) {
        let mut gossip = Gossip::new(Settings::default(), NodeNumber(0), 1, 7);
        let (mut now_ms, mut newest) = (60_000_u64, None);
        for (later_ms, age_10ms, incarnation) in news {
            let before = age_ms(&gossip, 5, now_ms);
            now_ms += later_ms;
            if let (Some(before), Some(after)) = (before, age_ms(&gossip, 5, now_ms)) {
                let dwelled = u128::from(later_ms);
                prop_assert!(after + 10 >= before + dwelled && after <= before + dwelled + 10);
            }
            told(&mut gossip, now_ms, LoadEntry { node: 5, age_10ms, incarnation, ..own() });
            let born_ms = now_ms - u64::from(age_10ms) * 10;
            if age_10ms <= 3_000 {
                newest = newest.max(Some((incarnation, born_ms)));
            }
            if let Some((_, born_ms)) = newest {
                let age = age_ms(&gossip, 5, now_ms).unwrap();
                let expected = u128::from(now_ms - born_ms);
                prop_assert!(age <= expected && age + 10 >= expected, "{} of {}", age, expected);
            }
        }
    }

    /// Whatever comes, a message of one node fits, and its first entry is its own.
    #[test]
    fn i11_every_message_fits_a_datagram(count in 2_u32..400, seed in any::<u64>()) {
        let mut gossip = Gossip::new(Settings::default(), NodeNumber(0), 1, seed);
        for node in 1..count {
            told(&mut gossip, 0, LoadEntry { node, ..own() });
        }
        for second in 0..4 {
            for action in tick(&mut gossip, second * 1000, &members(count)) {
                if let Action::Send { message, .. } = action {
                    prop_assert!(message.encode().unwrap().len() <= MESSAGE_BYTES);
                    prop_assert_eq!(message.entries[0].node, 0);
                }
            }
        }
    }
}
