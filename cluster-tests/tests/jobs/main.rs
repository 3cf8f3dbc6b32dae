//! Submitted jobs on real agents: each output and each status is compared with a run without homing.
#![allow(clippy::unwrap_used, reason = "a test without the built-in harness")]

use std::process::ExitCode;

use cluster_tests::harness::Tests;
use cluster_tests::lab::Ground;
use cluster_tests::support::on_grounds;

mod deaths;
mod desk;
mod files;
mod order;
mod plain;

fn main() -> ExitCode {
    let tests: [(&str, fn(Ground)); 9] = [
        ("a_job_runs_as_if_its_owner_had_started_it", plain::as_its_owner),
        ("output_is_kept_and_followed", plain::output),
        ("a_job_moves_like_any_process", plain::moves),
        ("no_death_of_an_agent_loses_a_job", deaths::agents),
        ("a_killed_parent_takes_its_program_with_it", deaths::parents),
        ("arrays_dependencies_and_retries", order::arrays),
        ("jobs_are_held_signalled_and_ended", order::control),
        ("what_cannot_be_done_is_refused_with_its_reason", files::refusals),
        ("job_files_and_batches_are_understood", files::batches),
    ];
    tests.into_iter().fold(Tests::new(), |all, (name, run)| on_grounds(all, &[], name, run)).run()
}
