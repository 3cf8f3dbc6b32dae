//! All that a job's parent has to know: one attempt of one task.

use serde::{Deserialize, Serialize};

use crate::exit::{ExitCode, Failure};
use crate::queue::{Bytes, End, Job, Owner, ProgramSpec, Setting, TaskId};

/// One attempt of one task, as its home starts it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    /// Which task.
    pub task: TaskId,
    /// Which attempt of it.
    pub attempt: u32,
    /// As whom it runs.
    pub owner: Owner,
    /// The program and its arguments.
    pub command: Vec<Bytes>,
    /// In which surroundings.
    pub setting: Setting,
    /// For how long it may run.
    pub time_limit_ms: Option<u64>,
    /// The agent's socket, to tell it of the end.
    pub agent: Bytes,
}

impl Launch {
    /// What becomes of a task of `job` in its attempt `attempt`.
    #[must_use]
    pub fn of(job: &Job, index: u32, attempt: u32, agent: Bytes) -> Launch {
        let spec = &job.spec;
        let task = TaskId { job: job.id, index };
        let command = match &spec.program {
            ProgramSpec::Command(command) => command.clone(),
            ProgramSpec::Lines(lines) => {
                let line = usize::try_from(index).ok().and_then(|index| lines.get(index));
                vec![b"/bin/sh".to_vec(), b"-c".to_vec(), line.cloned().unwrap_or_default()]
            }
        };
        let mut setting = spec.setting.clone();
        let env = &mut setting.env;
        env.push((JOB_VARIABLE.into(), job.id.to_string().into()));
        env.push((ATTEMPT_VARIABLE.into(), attempt.to_string().into()));
        if spec.array.is_some() {
            env.push((INDEX_VARIABLE.into(), index.to_string().into()));
        }
        for path in [&mut setting.stdin, &mut setting.stdout, &mut setting.stderr].into_iter().flatten() {
            *path = fill(path, task);
        }
        Launch {
            task,
            attempt,
            owner: job.owner.clone(),
            command,
            setting,
            time_limit_ms: spec.time_limit_ms,
            agent,
        }
    }
}

/// A failure to start, as the queue remembers it.
#[must_use]
pub fn not_started(failure: &Failure) -> End {
    let code = match failure.code {
        ExitCode::NotExecutable | ExitCode::CommandNotFound => failure.code as u8,
        _ => ExitCode::NotStarted as u8,
    };
    let reason = format!("{}: {}", failure.what, failure.why.join("; "));
    End::NotStarted { code, reason: reason.chars().take(REASON_CHARS_MAX).collect() }
}

/// Puts the job's number for `%j` and the index for `%a`, as Slurm does.
fn fill(path: &[u8], task: TaskId) -> Bytes {
    let mut filled = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, after)) = rest.split_first() {
        match (byte, after.first()) {
            (b'%', Some(b'j')) => filled.extend(task.job.to_string().bytes()),
            (b'%', Some(b'a')) => filled.extend(task.index.to_string().bytes()),
            (b'%', Some(b'%')) => filled.push(b'%'),
            _ => {
                filled.push(byte);
                rest = after;
                continue;
            }
        }
        rest = &after[1..];
    }
    filled
}

/// A program's own job number.
pub const JOB_VARIABLE: &str = "HOMING_JOB";

/// Its index in the array.
pub const INDEX_VARIABLE: &str = "HOMING_TASK";

/// Its attempt, from 0.
pub const ATTEMPT_VARIABLE: &str = "HOMING_ATTEMPT";

/// Characters of a reason that go into the record.
const REASON_CHARS_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_are_filled_in() {
        let task = TaskId { job: 71, index: 3 };
        for (pattern, name) in
            [("out", "out"), ("%j/%a.txt", "71/3.txt"), ("100%%", "100%"), ("%x%", "%x%"), ("", "")]
        {
            assert_eq!(fill(pattern.as_bytes(), task), name.as_bytes(), "{pattern}");
        }
    }
}
