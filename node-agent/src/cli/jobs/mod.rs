//! The verbs about submitted jobs.

use std::cell::RefCell;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

use super::args::Common;
use super::table::{self, Align, Column, Table};
use super::{colourful, connect, print, print_json, repeat, talk, wait as run};
use crate::api::client::Client;
use crate::api::jobs::{JobRequest, JobResponse, JobRow};
use crate::api::{Request, Response};
use crate::exit::{ExitCode, Failure};

pub mod args;
mod batch;
mod file;
mod logs;
mod submit;

use args::{AttachArgs, JobsArgs, KillArgs, SomeJobs, WaitArgs};
pub(super) use logs::logs;
pub(super) use submit::submit;

pub(super) fn jobs(common: &Common, args: &JobsArgs) -> Result<(), Failure> {
    let once = || async {
        let request = JobRequest::List { job: args.job.clone(), all: args.all };
        let (rows, more) = match ask(&mut connect(common).await?, request).await? {
            JobResponse::Rows { rows, more } => (rows, more),
            other => return Err(unexpected(&other)),
        };
        if args.json {
            return print_json(&serde_json::json!({ "v": 1, "jobs": rows, "more": more }));
        }
        if args.watch && colourful(common.color) {
            // Home and clear: the table replaces the one before.
            print("\x1b[H\x1b[J")?;
        }
        print(&listed(&rows, colourful(common.color)))?;
        if more > 0 {
            talk(common, &format!("and {more} more"));
        }
        Ok(())
    };
    if args.watch { repeat(common, WATCH, once) } else { run(common, once()) }
}

pub(super) async fn kill(common: &Common, args: KillArgs) -> Result<(), Failure> {
    let signal = args.signal;
    each(common, args.jobs, |job| JobRequest::Kill { job, signal }).await
}

pub(super) async fn hold(common: &Common, args: SomeJobs) -> Result<(), Failure> {
    each(common, args.jobs, |job| JobRequest::Hold { job }).await
}

pub(super) async fn resume(common: &Common, args: SomeJobs) -> Result<(), Failure> {
    each(common, args.jobs, |job| JobRequest::Resume { job }).await
}

pub(super) async fn cancel(common: &Common, args: SomeJobs) -> Result<(), Failure> {
    each(common, args.jobs, |job| JobRequest::Cancel { job }).await
}

/// Waits for jobs; the status of the first of them that failed, or 0.
pub(super) async fn wait(common: &Common, args: WaitArgs) -> Result<u8, Failure> {
    let agent = RefCell::new(Patient::new(common).await?);
    let mut status = 0;
    for job in args.jobs {
        let row = agent.borrow_mut().wait(&job).await?;
        let code = row.code.unwrap_or(0);
        if code != 0 {
            talk(common, &format!("{} {}: {}", row.id, row.state, row.note));
        }
        status = if status == 0 { code } else { status };
    }
    Ok(status)
}

/// Shows what a job writes from now on and passes Ctrl-C on to it; the job's status, or 0 when the user leaves.
pub(super) async fn attach(common: &Common, args: AttachArgs) -> Result<u8, Failure> {
    let failed = |error| Failure::new(ExitCode::Failed, "cannot wait for signals", error);
    let mut interrupts = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut quits = signal(SignalKind::quit()).map_err(failed)?;
    talk(common, "Ctrl-C goes to the job, Ctrl-\\ leaves it");
    let mut agent = Patient::new(common).await?;
    let mut showing = std::pin::pin!(logs::show(common, &args.job, u64::MAX, true));
    loop {
        tokio::select! {
            shown = &mut showing => {
                shown?;
                return Ok(agent.wait(&args.job).await?.code.unwrap_or(0));
            }
            _ = interrupts.recv() => {
                let kill = JobRequest::Kill { job: args.job.clone(), signal: libc::SIGINT };
                ask(&mut connect(common).await?, kill).await?;
            }
            _ = quits.recv() => return Ok(0),
        }
    }
}

/// A client that outlives its agent for a while.
pub(super) struct Patient<'a> {
    common: &'a Common,
    client: Option<Client>,
}

impl<'a> Patient<'a> {
    async fn new(common: &'a Common) -> Result<Patient<'a>, Failure> {
        match connect(common).await {
            // An agent that was killed leaves its socket behind.
            Err(failure) if failure.code == ExitCode::NoAgent && common.agent_socket().exists() => {
                Ok(Patient { common, client: None })
            }
            client => Ok(Patient { common, client: Some(client?) }),
        }
    }

    /// Asks until an agent answers: one that was killed may be started again.
    async fn ask(&mut self, request: &JobRequest) -> Result<JobResponse, Failure> {
        let deadline = Instant::now() + AGENT_AWAY_MAX;
        loop {
            let answer = match &mut self.client {
                Some(client) => ask(client, request.clone()).await,
                None => match connect(self.common).await {
                    Ok(client) => {
                        self.client = Some(client);
                        continue;
                    }
                    Err(failure) => Err(failure),
                },
            };
            match answer {
                Err(failure) if failure.code == ExitCode::NoAgent && Instant::now() < deadline => {
                    self.client = None;
                    sleep(AGENT_LOOK).await;
                }
                answer => return answer,
            }
        }
    }

    async fn wait(&mut self, job: &str) -> Result<JobRow, Failure> {
        let mut pause = WAIT_LOOK_MIN;
        loop {
            match self.ask(&JobRequest::Find { job: job.to_owned() }).await? {
                JobResponse::Row(row) if row.code.is_some() => return Ok(*row),
                JobResponse::Row(_) => {}
                other => return Err(unexpected(&other)),
            }
            sleep(pause).await;
            pause = (pause * 2).min(WAIT_LOOK_MAX);
        }
    }
}

/// Reads a job file that is attacked; which mistake there is repeats its words.
#[cfg(test)]
pub(crate) fn read_job_file(text: &str) -> Result<(), ()> {
    file::parse(text).map(drop).map_err(drop)
}

async fn ask(client: &mut Client, request: JobRequest) -> Result<JobResponse, Failure> {
    match client.ask(&Request::Job(request), |_, _| {}).await? {
        Response::Job(response) => Ok(response),
        other => Err(crate::api::client::unexpected(&other)),
    }
}

/// Does the same with each job; the first failure counts, and the others are done all the same.
async fn each(
    common: &Common,
    jobs: Vec<String>,
    request: impl Fn(String) -> JobRequest,
) -> Result<(), Failure> {
    let mut client = connect(common).await?;
    let mut result = Ok(());
    for job in jobs {
        if let Err(failure) = ask(&mut client, request(job)).await {
            if let Err(earlier) = std::mem::replace(&mut result, Err(failure)) {
                talk(common, &format!("homing: {earlier}"));
            }
        }
    }
    result
}

fn unexpected(response: &JobResponse) -> Failure {
    crate::api::client::unexpected(&Response::Job(response.clone()))
}

fn listed(rows: &[JobRow], colourful: bool) -> String {
    let mut table = Table::new(COLUMNS);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    rows.iter().for_each(|row| table.row(cells(row, now)));
    table.render(colourful)
}

fn cells(row: &JobRow, now_unix_ms: u64) -> Vec<String> {
    let dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
    let id = match &row.array {
        Some(array) => format!("{}[{array}]", row.id),
        None => row.id.clone(),
    };
    let shown = match &row.name {
        Some(name) => format!("{name}: {}", row.command),
        None => row.command.clone(),
    };
    let tasks = match &row.array {
        Some(_) => format!(
            "{} of {} over, {} run",
            row.done + row.failed,
            row.waiting + row.running + row.done + row.failed,
            row.running
        ),
        None => String::new(),
    };
    let since = row.ended_unix_ms.or(row.started_unix_ms).unwrap_or(row.submitted_unix_ms);
    let notes = [tasks, row.note.clone()];
    vec![
        id,
        shown.chars().take(COMMAND_CHARS).collect(),
        row.user.clone(),
        dash(&row.home),
        dash(&row.at),
        row.pid.map_or("-".into(), |pid| pid.to_string()),
        row.state.clone(),
        row.code.map_or("-".into(), |code| code.to_string()),
        row.priority.to_string(),
        table::duration(Duration::from_millis(now_unix_ms.saturating_sub(since))),
        notes.iter().filter(|note| !note.is_empty()).cloned().collect::<Vec<_>>().join("; "),
    ]
}

const COLUMNS: &[Column] = &[
    ("JOB", Align::Right),
    ("COMMAND", Align::Left),
    ("USER", Align::Left),
    ("HOME", Align::Left),
    ("AT", Align::Left),
    ("PID", Align::Right),
    ("STATE", Align::Left),
    ("CODE", Align::Right),
    ("PRI", Align::Right),
    ("FOR", Align::Right),
    ("NOTE", Align::Left),
];

/// Characters of a command that fit into a table.
const COMMAND_CHARS: usize = 40;

/// Between two tables of `jobs -w`.
const WATCH: Duration = Duration::from_secs(1);

/// Between two looks at a job that is waited for: short at first, as short jobs are.
const WAIT_LOOK_MIN: Duration = Duration::from_millis(10);

const WAIT_LOOK_MAX: Duration = Duration::from_millis(250);

/// For this long whoever waits for a job also waits for an agent that has gone.
const AGENT_AWAY_MAX: Duration = Duration::from_secs(60);

const AGENT_LOOK: Duration = Duration::from_millis(100);
