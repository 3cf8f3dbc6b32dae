//! `logs`: what a job has written, standard output to standard output and standard error to standard error.

use std::io::Write;
use std::time::Duration;

use tokio::time::sleep;

use super::args::LogsArgs;
use super::{Patient, unexpected};
use crate::api::jobs::{JobRequest, JobResponse, Output};
use crate::cli::args::Common;
use crate::cli::talk;
use crate::exit::{ExitCode, Failure};
use crate::job::output::Stream;

pub(in crate::cli) async fn logs(common: &Common, args: LogsArgs) -> Result<(), Failure> {
    show(common, &args.job, 0, args.follow).await
}

/// Shows what a task has written from byte `offset` of each output on, and what it still writes if `follow`.
pub(super) async fn show(common: &Common, job: &str, offset: u64, follow: bool) -> Result<(), Failure> {
    let mut agent = Patient::new(common).await?;
    let mut readers =
        Stream::ALL.map(|stream| Reader { stream, offset, attempt: None, over: false, told: false });
    loop {
        let mut news = false;
        for reader in &mut readers {
            news |= reader.read(common, &mut agent, job).await?;
        }
        let done = readers.iter().all(|reader| reader.over);
        if !news && (done || !follow) {
            return Ok(());
        }
        if !news {
            sleep(FOLLOW).await;
        }
    }
}

/// One output and how far it was read.
struct Reader {
    stream: Stream,
    offset: u64,
    attempt: Option<u32>,
    over: bool,
    told: bool,
}

impl Reader {
    /// Shows the next piece; true if there was one.
    async fn read(&mut self, common: &Common, agent: &mut Patient<'_>, job: &str) -> Result<bool, Failure> {
        let request = JobRequest::Output { job: job.to_owned(), stream: self.stream, offset: self.offset };
        let Output { piece, attempt, over, file, dropped_bytes } = match agent.ask(&request).await? {
            JobResponse::Output(output) => *output,
            other => return Err(unexpected(&other)),
        };
        if self.attempt.replace(attempt).is_some_and(|before| before != attempt) {
            talk(common, &format!("{job} is tried again: attempt {attempt}"));
            (self.offset, self.told) = (0, false);
            return Ok(true);
        }
        if let Some(path) = file.filter(|_| !self.told) {
            talk(common, &format!("{} goes to {}", self.name(), String::from_utf8_lossy(&path)));
            self.told = true;
        }
        if piece.offset > self.offset {
            talk(
                common,
                &format!(
                    "{} bytes of {} were dropped: only the last are kept",
                    piece.offset - self.offset,
                    self.name()
                ),
            );
        }
        if over && dropped_bytes > 0 && !self.told {
            talk(
                common,
                &format!("{dropped_bytes} bytes of output could not be kept: its node's disk was full"),
            );
            self.told = true;
        }
        self.over = over;
        self.offset = piece.offset + piece.bytes.len() as u64;
        self.write(&piece.bytes)?;
        Ok(!piece.bytes.is_empty())
    }

    fn write(&self, bytes: &[u8]) -> Result<(), Failure> {
        let written = match self.stream {
            Stream::Out => std::io::stdout().write_all(bytes).and_then(|()| std::io::stdout().flush()),
            Stream::Err => std::io::stderr().write_all(bytes),
        };
        written.map_err(|error| Failure::new(ExitCode::Failed, "cannot write the output", error))
    }

    fn name(&self) -> &'static str {
        match self.stream {
            Stream::Out => "standard output",
            Stream::Err => "standard error",
        }
    }
}

/// Between two looks for more output.
const FOLLOW: Duration = Duration::from_millis(100);
