//! `ps`, `nodes` and `events`.

use std::cell::Cell;
use std::time::Duration;

use time::{OffsetDateTime, UtcOffset};
use tui::model::{LoggedEvent, Node, Process, ProcessState, View};

use super::args::{Common, EventsArgs, PsArgs};
use super::table::{self, Align, Column, Table, harmless};
use super::{colourful, connect, print, print_json, repeat, wait};
use crate::api::client::{Client, unexpected};
use crate::api::{Request, Response};
use crate::exit::Failure;

pub(super) fn ps(common: &Common, args: &PsArgs) -> Result<(), Failure> {
    let once = || async {
        let view = view(&mut connect(common).await?, args.all).await?;
        if args.json {
            return print_json(&view);
        }
        if args.watch && colourful(common.color) {
            // Home and clear: the table replaces the one before.
            print("\x1b[H\x1b[J")?;
        }
        print(&processes(&view, colourful(common.color)))
    };
    if args.watch { repeat(common, WATCH, once) } else { wait(common, once()) }
}

pub(super) async fn nodes(common: &Common, json: bool) -> Result<(), Failure> {
    let view = view(&mut connect(common).await?, false).await?;
    if json {
        return print_json(&view);
    }
    let mut table = Table::new(NODE_COLUMNS);
    view.nodes.iter().for_each(|node| table.row(node_row(node)));
    print(&table.render(colourful(common.color)))
}

pub(super) fn events(common: &Common, args: &EventsArgs) -> Result<(), Failure> {
    let last = Cell::new(0);
    let once = || async {
        let mut client = connect(common).await?;
        let response = client.ask(&Request::Events { after: last.get() }, |_, _| {}).await?;
        let Response::Events { events, next } = response else { return Err(unexpected(&response)) };
        last.set(next);
        // Where the local offset cannot be told, UTC is still in order.
        let offset = UtcOffset::current_local_offset().unwrap_or(UtcOffset::UTC);
        for event in &events {
            if args.json { print_json(event)? } else { print(&event_line(event, offset))? }
        }
        Ok(())
    };
    if args.follow { repeat(common, FOLLOW, once) } else { wait(common, once()) }
}

/// Asks for everything the agent knows.
pub(super) async fn view(client: &mut Client, all: bool) -> Result<View, Failure> {
    match client.ask(&Request::View { all }, |_, _| {}).await? {
        Response::View(view) => Ok(*view),
        other => Err(unexpected(&other)),
    }
}

fn processes(view: &View, colourful: bool) -> String {
    let mut table = Table::new(PROCESS_COLUMNS);
    view.processes.iter().for_each(|process| table.row(process_row(view, process)));
    table.render(colourful)
}

fn process_row(view: &View, process: &Process) -> Vec<String> {
    let move_under_way = view.moves.iter().find(|moving| moving.process == process.id());
    let at = match move_under_way {
        Some(moving) => format!(">{}", moving.to),
        None => process.at.clone(),
    };
    let pause = process.last_pause_us.map(|micros| table::duration(Duration::from_micros(micros)));
    let note = match (move_under_way, pause) {
        (Some(moving), _) => format!("round {}, {}", moving.round, table::bytes(moving.bytes_sent)),
        (None, Some(pause)) => format!("moved {} times, last pause {pause}", process.moves),
        (None, None) => String::new(),
    };
    let away = process.state != ProcessState::Home;
    vec![
        process.pid.to_string(),
        process.command.chars().take(COMMAND_CHARS).collect(),
        process.user.clone(),
        process.home.clone(),
        at,
        process.state.word().into(),
        process.cpu_percent.map_or("-".into(), |percent| format!("{percent:.0}")),
        process.threads.to_string(),
        process.rss_bytes.map_or("-".into(), table::bytes),
        if away { format!("{:.0}", process.calls_per_s) } else { "-".into() },
        note,
    ]
}

fn node_row(node: &Node) -> Vec<String> {
    let memory = node.mem_used_bytes.zip(node.mem_total_bytes);
    vec![
        node.name.clone(),
        node.state.word().into(),
        node.cpu_percent.map_or("-".into(), |percent| format!("{percent:.0}%")),
        node.cpus.to_string(),
        memory
            .map_or("-".into(), |(used, total)| format!("{} of {}", table::bytes(used), table::bytes(total))),
        node.guests.to_string(),
        node.away.to_string(),
        node.rtt_ms.map_or("-".into(), |rtt| format!("{rtt:.1} ms")),
    ]
}

pub(super) fn event_line(event: &LoggedEvent, offset: UtcOffset) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(event.at_unix_ms) * 1_000_000);
    let clock = time.map_or("--:--:--".into(), |time| table::clock(time, offset));
    format!("{clock}  {}\n", harmless(&event.text))
}

const PROCESS_COLUMNS: &[Column] = &[
    ("PID", Align::Right),
    ("COMMAND", Align::Left),
    ("USER", Align::Left),
    ("HOME", Align::Left),
    ("AT", Align::Left),
    ("STATE", Align::Left),
    ("CPU", Align::Right),
    ("THR", Align::Right),
    ("RSS", Align::Right),
    ("CALLS/s", Align::Right),
    ("NOTE", Align::Left),
];

const NODE_COLUMNS: &[Column] = &[
    ("NODE", Align::Left),
    ("STATE", Align::Left),
    ("CPU", Align::Right),
    ("CPUS", Align::Right),
    ("MEMORY", Align::Left),
    ("GUESTS", Align::Right),
    ("AWAY", Align::Right),
    ("RTT", Align::Right),
];

/// Characters of a command that fit into a table.
const COMMAND_CHARS: usize = 40;

/// Between two tables of `ps -w`.
const WATCH: Duration = Duration::from_secs(1);

/// Between two questions of `events -f`.
const FOLLOW: Duration = Duration::from_millis(250);
