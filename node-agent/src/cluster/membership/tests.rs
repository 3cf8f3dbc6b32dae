use super::*;

fn id(number: u8) -> NodeId {
    NodeId([number; 32])
}

fn token(number: u8, role: Role) -> Token {
    Token { record: TokenRecord { id: [number; 4], tag: [0; 32], expires_s: 1000, used: false }, role }
}

fn server(name: &str) -> Node {
    Node { name: name.into(), addr: None, role: Role::Server }
}

/// A cluster of alpha, with three tokens: 1 and 2 for nodes, 3 for a server.
fn founded() -> Membership {
    let mut membership = Membership::default();
    let tokens = vec![token(1, Role::Node), token(2, Role::Node), token(3, Role::Server)];
    membership.apply(Command::Found { id: id(1), node: server("alpha"), tokens }).unwrap();
    membership
}

fn admit(membership: &mut Membership, by: u8, number: u8, name: &str) -> Result<(), Refused> {
    membership.apply(Command::Admit { token: [by; 4], id: id(number), name: name.into() })
}

#[test]
fn a_cluster_is_founded_once() {
    let again = Command::Found { id: id(2), node: server("bravo"), tokens: Vec::new() };
    assert_eq!(founded().apply(again), Err(Refused::Founded));
}

#[test]
fn a_token_admits_one_node_in_its_role() {
    let mut membership = founded();
    admit(&mut membership, 1, 2, "bravo").unwrap();
    assert_eq!(admit(&mut membership, 1, 3, "charlie"), Err(Refused::TokenUsed));
    assert_eq!(admit(&mut membership, 9, 3, "charlie"), Err(Refused::UnknownToken));
    admit(&mut membership, 3, 3, "charlie").unwrap();
    assert_eq!(membership.nodes()[&id(2)].role, Role::Node);
    assert_eq!(membership.servers().map(|(id, _)| id).collect::<Vec<_>>(), [id(1), id(3)]);
}

#[test]
fn a_taken_name_costs_no_token() {
    let mut membership = founded();
    assert_eq!(admit(&mut membership, 1, 2, "alpha"), Err(Refused::NameTaken("alpha".into())));
    admit(&mut membership, 1, 2, "bravo").unwrap();
}

#[test]
fn who_was_removed_returns_only_under_another_key() {
    let mut membership = founded();
    admit(&mut membership, 1, 2, "bravo").unwrap();
    membership.apply(Command::Remove { id: id(2) }).unwrap();
    assert_eq!(membership.apply(Command::Remove { id: id(2) }), Err(Refused::UnknownNode));
    assert_eq!(admit(&mut membership, 2, 2, "bravo"), Err(Refused::Gone));
    admit(&mut membership, 2, 4, "bravo").unwrap();
    assert!(membership.gone().contains(&id(2)));
}

#[test]
fn the_last_server_stays() {
    let mut membership = founded();
    assert_eq!(membership.apply(Command::Remove { id: id(1) }), Err(Refused::LastServer));
    admit(&mut membership, 3, 3, "charlie").unwrap();
    membership.apply(Command::Remove { id: id(1) }).unwrap();
    assert_eq!(membership.apply(Command::Remove { id: id(3) }), Err(Refused::LastServer));
}

#[test]
fn tokens_are_bounded_and_forgotten_after_their_end() {
    let mut membership = Membership::default();
    for number in 0..=TOKENS_MAX {
        let mut token = token(0, Role::Node);
        token.record.id = u32::try_from(number).unwrap().to_le_bytes();
        let added = membership.apply(Command::AddToken { now_s: 0, token });
        assert_eq!(added.is_ok(), number < TOKENS_MAX);
    }
    let later = 1000 + KEPT_AFTER_END_S;
    membership.apply(Command::AddToken { now_s: later, token: token(7, Role::Node) }).unwrap();
    assert_eq!(membership.tokens().len(), 1);
    membership.apply(Command::RevokeToken { id: [7; 4] }).unwrap();
    assert_eq!(membership.apply(Command::RevokeToken { id: [7; 4] }), Err(Refused::UnknownToken));
}

#[test]
fn a_nodes_address_is_the_one_it_told_last() {
    let mut membership = founded();
    let addr = ([10, 0, 0, 1], 7749).into();
    membership.apply(Command::Listen { id: id(1), addr }).unwrap();
    assert_eq!(membership.nodes()[&id(1)].addr, Some(addr));
    assert_eq!(membership.apply(Command::Listen { id: id(5), addr }), Err(Refused::UnknownNode));
}
