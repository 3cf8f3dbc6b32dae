//! What the README says of the code is what the code says.

use ipc_home::syscall::coverage;
use node_agent::config::{AGENT_PORT, WARDEN_PORTS};
use node_agent::members::MEMBERS_MAX;
use node_agent::mover::place::{FAMILIES_MAX, THREADS_MAX};
use node_agent::queue::{ARRAY_TASKS_MAX, QUEUED_PER_UID_MAX, SPEC_BYTES_MAX};

const README: &str = include_str!("../../README.md");

#[test]
fn the_table_of_system_calls_is_the_generated_one() {
    let table = coverage::markdown();
    assert!(README.contains(&table), "replace the table of system calls in README.md by:\n{table}");
}

#[test]
fn the_limits_are_those_of_the_code() {
    for row in [
        format!("| nodes of a cluster | {} |", MEMBERS_MAX + 1),
        format!("| families that a node holds for others | {FAMILIES_MAX} |"),
        format!("| threads of a family | {THREADS_MAX} |"),
        format!("| jobs that are not over, per user | {QUEUED_PER_UID_MAX} |"),
        format!("| tasks of an array | {ARRAY_TASKS_MAX} |"),
        format!("| description of a job | {} KiB |", SPEC_BYTES_MAX >> 10),
        format!("| UDP ports: agent, wardens | {AGENT_PORT}, {WARDEN_PORTS} |"),
    ] {
        assert!(README.contains(&row), "README.md lacks: {row}");
    }
}

#[test]
fn the_trust_sentence_is_there() {
    let text: Vec<&str> = README.split_whitespace().collect();
    let sentence = "Any root user of a node that holds your process can act as you on your home machine. Join only \
                    nodes you would give an ssh key to.";
    assert!(text.join(" ").contains(sentence));
}
