//! Programs that homing starts.
//!
//! `homing run` registers, then becomes the program, in its own PID. Nothing stays of homing in the program: no parent,
//! no library, no descriptor, so terminal, directory, environment, signals and exit code are the program's own.
//!
//! A submitted job has nobody who waits for it, so it gets a small [parent] of its own, which outlives agents and writes
//! its status down. Below it a process [becomes the program](program) in the same way.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

pub mod launch;
pub mod output;
pub mod parent;
pub mod program;
pub mod record;

use crate::api::client::{Client, unexpected};
use crate::api::{Request, Response};
use crate::exit::{ExitCode, Failure};

/// Takes this process into homing's care.
///
/// # Errors
/// `NotStarted` with the reason if the agent cannot take it.
pub async fn register(socket: &Path) -> Result<(), Failure> {
    let registered = async {
        let mut client = Client::connect(socket).await?;
        match client.ask(&Request::Register, |_, _| {}).await? {
            Response::Registered => Ok(()),
            other => Err(unexpected(&other)),
        }
    };
    registered.await.map_err(|failure| Failure { code: ExitCode::NotStarted, ..failure })
}

/// Replaces this process by the program; returns only if that fails.
#[must_use]
pub fn become_program(command: &[OsString]) -> Failure {
    let Some((program, arguments)) = command.split_first() else {
        return Failure::new(ExitCode::NotStarted, "cannot run", "no program is named");
    };
    cannot_run(program, &Command::new(program).args(arguments).exec())
}

/// Why the kernel did not run a program.
fn cannot_run(program: &OsStr, error: &io::Error) -> Failure {
    let what = format!("cannot run {}", program.to_string_lossy());
    match error.kind() {
        io::ErrorKind::NotFound => {
            Failure::new(ExitCode::CommandNotFound, what, "no such program, or its interpreter is missing")
                .next("check the name and PATH")
        }
        _ => Failure::new(ExitCode::NotExecutable, what, error).next("check that the file may be executed"),
    }
}
