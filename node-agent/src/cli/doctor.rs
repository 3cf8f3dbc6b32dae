//! Prints what `homing doctor` finds.

use super::args::Common;
use super::table::{Align, Column, Table};
use super::{block_on, colourful, node_file, print, print_json, talk};
use crate::api::client::Client;
use crate::config::{AGENT_PORT, WARDEN_PORTS};
use crate::doctor::{Check, Place, State, examine};
use crate::exit::{ExitCode, Failure};

pub(super) fn doctor(common: &Common, json: bool) -> Result<(), Failure> {
    let checks = examine(&place(common)?);
    if json {
        print_json(&serde_json::json!({ "v": 1, "checks": checks }))?;
    } else {
        let mut table = Table::new(COLUMNS);
        for check in &checks {
            table.row(vec![check.name.into(), check.state.word().into(), check.detail.clone()]);
            if let Some(fix) = &check.fix {
                table.row(vec![String::new(), String::new(), format!("fix: {fix}")]);
            }
        }
        print(&table.render(colourful(common.color)))?;
        talk(common, &summary(&checks));
    }
    let failing: Vec<String> = checks.iter().filter(|check| check.state == State::Fail).map(reason).collect();
    if failing.is_empty() {
        return Ok(());
    }
    let what = "programs cannot move from or to this machine".into();
    Err(Failure { code: ExitCode::Failed, what, why: failing, next: None })
}

/// `19 ok, 1 note`.
pub(super) fn summary(checks: &[Check]) -> String {
    let count = |state: State| checks.iter().filter(|check| check.state == state).count();
    let parts = [(State::Ok, "ok"), (State::Note, "to note"), (State::Fail, "failing")];
    let parts = parts.into_iter().map(|(state, word)| (count(state), word)).filter(|(count, _)| *count > 0);
    let parts: Vec<String> = parts.map(|(count, word)| format!("{count} {word}")).collect();
    format!("checks: {}", parts.join(", "))
}

/// Where this machine's node is, or would be with the defaults.
pub(super) fn place(common: &Common) -> Result<Place, Failure> {
    let node = node_file(common)?;
    let socket = common.agent_socket();
    let agent_runs = block_on(async { Client::connect(&socket).await.is_ok() })?;
    Ok(Place {
        dirs: common.dirs(),
        ip: node.as_ref().map(|node| node.listen.ip()),
        agent_port: node.as_ref().map_or(AGENT_PORT, |node| node.listen.port()),
        ports: WARDEN_PORTS.parse().expect("the default is a range"),
        agent_runs,
    })
}

fn reason(check: &Check) -> String {
    let fix = check.fix.as_deref().unwrap_or("unknown");
    format!("{}: {}; fix: {fix}", check.name, check.detail)
}

const COLUMNS: &[Column] = &[("CHECK", Align::Left), ("STATE", Align::Left), ("SEEN", Align::Left)];
