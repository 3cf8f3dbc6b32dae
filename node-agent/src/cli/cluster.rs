//! `init`, `join` and `token`.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use transport::endpoint::EndpointError;
use transport::identity::{Authority, JoinToken, TokenStore};
use transport::join::{JoinError, JoinRefusal};

use super::args::{Common, InitArgs, JoinArgs, NodeVerb, TokenRole, TokenVerb};
use super::table::{self, Align, Column, Table};
use super::{colourful, connect, doctor, node_file, print, print_json, talk};
use crate::agent::Welcome;
use crate::api::client::unexpected;
use crate::api::{RaftReport, Request, Response, TokenInfo};
use crate::cluster::membership::{Node, Role, Token};
use crate::cluster::{State, member};
use crate::config::{AGENT_PORT, NodeFile, default_node_name, own_address, write_json};
use crate::doctor::examine;
use crate::exit::{ExitCode, Failure};
use crate::members::Members;

pub(super) fn init(common: &Common, args: InitArgs) -> Result<(), Failure> {
    let what = "cannot make a cluster";
    require_new(common, what)?;
    let name = args.name.unwrap_or_else(default_node_name);
    let listen = listen_address(args.listen, OUTSIDE, what)?;
    let dirs = common.dirs();
    let now = SystemTime::now();
    let authority = Authority::create(&args.cluster, now).map_err(|error| failed(what, &error))?;
    let identity = authority.issue(&name, now).map_err(|error| failed(what, &error))?;
    dirs.make_state().map_err(|error| failed(what, &error))?;
    authority.save(&dirs.authority()).map_err(|error| failed(what, &error))?;
    identity.save(&dirs.identity()).map_err(|error| failed(what, &error))?;
    let mut tokens = TokenStore::default();
    let token = tokens.create(authority.pin(), args.ttl, now).map_err(|error| failed(what, &error))?;
    let me = Node { name: name.clone(), addr: Some(listen), role: Role::Server };
    let tokens = tokens.records().map(|record| Token { record: record.clone(), role: Role::Node }).collect();
    let state = State::founded(vec![(identity.id(), me)], tokens);
    member::found(&dirs.cluster_log(), identity.id(), &state).map_err(|error| failed(what, &error))?;
    // Last, since this file makes the machine a node.
    let node = NodeFile { cluster: args.cluster, name, listen, server: true };
    write_json(&dirs.node_file(), &node).map_err(|error| failed(what, &error))?;

    talk(common, &format!("cluster {} made; this node: {} ({listen})", node.cluster, node.name));
    talk(common, &doctor::summary(&examine(&doctor::place(common)?)));
    talk(common, "start its agent:\n  homing agent");
    let ttl = table::duration(args.ttl);
    talk(common, &format!("add a machine (one use, {ttl}); run there:"));
    print(&join_line(&listen.to_string(), &token.to_string()))
}

pub(super) async fn join(common: &Common, args: JoinArgs) -> Result<(), Failure> {
    let what = format!("cannot join the cluster at {}", args.addr);
    require_new(common, &what)?;
    let token: JoinToken = args.token.parse().map_err(|error| failed(&what, &error).next(TOKEN_NEXT))?;
    let name = args.name.unwrap_or_else(default_node_name);
    let listen = listen_address(args.listen, args.addr.ip(), &what)?;
    let dirs = common.dirs();
    // Before the token is used up.
    dirs.make_state().map_err(|error| failed(&what, &error))?;
    let joined =
        transport::join::join(args.addr, &token, &name).await.map_err(|error| refused(&what, &error))?;
    let welcome = Welcome::parse(&joined.peers);
    joined.identity.save(&dirs.identity()).map_err(|error| failed(&what, &error))?;
    let mut members = Members::default();
    let nodes = 1 + welcome.members.into_iter().filter(|member| members.learn(member.clone())).count();
    members.save(&dirs.members_file()).map_err(|error| failed(&what, &error))?;
    if welcome.server {
        member::join(&dirs.cluster_log()).map_err(|error| failed(&what, &error))?;
    }
    let node = NodeFile { cluster: welcome.cluster, name, listen, server: welcome.server };
    write_json(&dirs.node_file(), &node).map_err(|error| failed(&what, &error))?;

    talk(common, &format!("joined {} as {} ({listen}); {nodes} nodes", node.cluster, node.name));
    talk(common, "start its agent:\n  homing agent");
    Ok(())
}

pub(super) async fn token(common: &Common, verb: TokenVerb) -> Result<(), Failure> {
    let mut client = connect(common).await?;
    match verb {
        TokenVerb::Create { ttl, role } => {
            let request = Request::TokenCreate { ttl, server: role == TokenRole::Server };
            match client.ask(&request, |_, _| {}).await? {
                Response::Token { token, addr } => {
                    talk(common, &format!("one use, {}; run on the new machine:", table::duration(ttl)));
                    print(&join_line(&addr, &token))
                }
                other => Err(unexpected(&other)),
            }
        }
        TokenVerb::List(args) => match client.ask(&Request::TokenList, |_, _| {}).await? {
            Response::Tokens(tokens) if args.json => {
                print_json(&serde_json::json!({ "v": 1, "tokens": tokens }))
            }
            Response::Tokens(tokens) => print(&token_table(&tokens, colourful(common.color))),
            other => Err(unexpected(&other)),
        },
        TokenVerb::Revoke { id } => match client.ask(&Request::TokenRevoke { id }, |_, _| {}).await? {
            Response::Revoked => Ok(()),
            other => Err(unexpected(&other)),
        },
    }
}

pub(super) async fn node(common: &Common, verb: NodeVerb) -> Result<(), Failure> {
    let NodeVerb::Revoke { name } = verb;
    match connect(common).await?.ask(&Request::NodeRevoke { name }, |_, _| {}).await? {
        Response::Revoked => Ok(()),
        other => Err(unexpected(&other)),
    }
}

pub(super) async fn raft_status(common: &Common, json: bool) -> Result<(), Failure> {
    match connect(common).await?.ask(&Request::RaftStatus, |_, _| {}).await? {
        Response::Raft(report) if json => print_json(&serde_json::json!({ "v": 1, "raft": report })),
        Response::Raft(report) => print(&raft_table(&report, colourful(common.color))),
        other => Err(unexpected(&other)),
    }
}

fn raft_table(report: &RaftReport, colourful: bool) -> String {
    let Some(status) = &report.status else {
        return format!("this node is no server; it knows what is agreed up to entry {}\n", report.applied);
    };
    let name = |id: &u64| report.servers.get(id).cloned().unwrap_or_else(|| format!("{id:016x}"));
    let leader = if status.leader == 0 { "nobody".into() } else { name(&status.leader) };
    let mut text = format!("term {}, led by {leader}, agreed up to entry {}\n", status.term, status.commit);
    let mut table = Table::new(RAFT_COLUMNS);
    for id in status.conf.voters.iter().chain(&status.conf.learners) {
        let votes = if status.conf.voters.contains(id) { "votes" } else { "follows" };
        let heard = if status.alive.contains(id) { "yes" } else { "no" };
        let entry = status.matched.get(id).map_or("-".into(), u64::to_string);
        table.row(vec![name(id), votes.into(), heard.into(), entry]);
    }
    text.push_str(&table.render(colourful));
    text
}

fn require_new(common: &Common, what: &str) -> Result<(), Failure> {
    let Some(node) = node_file(common)? else { return Ok(()) };
    let why = format!("this machine is {} of {} already", node.name, node.cluster);
    let next = format!("use it, or remove {} to begin anew", common.dirs().state.display());
    Err(Failure::new(ExitCode::Failed, what, why).next(next))
}

fn listen_address(given: Option<SocketAddr>, towards: IpAddr, what: &str) -> Result<SocketAddr, Failure> {
    if let Some(listen) = given {
        return Ok(listen);
    }
    own_address(towards).map(|ip| (ip, AGENT_PORT).into()).map_err(|error| {
        let why = format!("this machine's address is not clear: {error}");
        Failure::new(ExitCode::Failed, what, why).next("give it with --listen IP")
    })
}

fn failed(what: &str, error: &dyn std::error::Error) -> Failure {
    Failure::from_error(ExitCode::Failed, what, error)
}

fn refused(what: &str, error: &JoinError) -> Failure {
    let (code, next) = match error {
        JoinError::Endpoint(EndpointError::Version { .. }) => {
            (ExitCode::Version, "install the same version on both machines")
        }
        JoinError::Endpoint(EndpointError::WrongPeer { .. }) => {
            (ExitCode::NotAllowed, "the token is of another cluster; check the address and the token")
        }
        JoinError::Endpoint(_) | JoinError::Silent | JoinError::Frame(_) => {
            (ExitCode::NoAgent, "see there whether `homing agent` runs and whether UDP gets through")
        }
        JoinError::Refused(JoinRefusal::Token(_)) => (ExitCode::NotAllowed, TOKEN_NEXT),
        JoinError::Refused(JoinRefusal::NoQuorum(_)) => {
            (ExitCode::NoAgent, "the token is still good; see there: homing raft status")
        }
        JoinError::Refused(JoinRefusal::NameTaken(_)) => (ExitCode::Failed, "give another one with --name"),
        JoinError::Refused(JoinRefusal::Signing(_)) | JoinError::Identity(_) => {
            (ExitCode::Failed, "see the agent's messages there")
        }
    };
    Failure::from_error(code, what, error).next(next)
}

fn join_line(addr: &str, token: &str) -> String {
    format!("homing join {addr} {token}\n")
}

fn token_table(tokens: &[TokenInfo], colourful: bool) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut table = Table::new(TOKEN_COLUMNS);
    for token in tokens {
        let left = Duration::from_secs(token.expires_unix_s.saturating_sub(now));
        table.row(vec![token.id.clone(), table::duration(left)]);
    }
    table.render(colourful)
}

const TOKEN_COLUMNS: &[Column] = &[("TOKEN", Align::Left), ("HOLDS FOR", Align::Right)];

const RAFT_COLUMNS: &[Column] =
    &[("SERVER", Align::Left), ("PART", Align::Left), ("HEARD", Align::Left), ("ENTRY", Align::Right)];

const TOKEN_NEXT: &str = "make a new one there: homing token create";

/// An address of the outside world (reserved for documentation), to find the way that leads there.
const OUTSIDE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
