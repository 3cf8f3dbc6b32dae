//! `submit`: makes a job of flags, of a job file, or of a file of command lines.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::Mode;
use rustix::rand::{GetRandomFlags, getrandom};

use super::args::SubmitArgs;
use super::file::{self, CommandLine, JobFile};
use super::{ask, batch};
use crate::api::jobs::{JobRequest, JobResponse, NewJob};
use crate::cli::args::Common;
use crate::cli::{connect, print};
use crate::exit::{ExitCode, Failure};
use crate::queue::{Bytes, Home, Owner, ProgramSpec, Setting, Spec};

pub(in crate::cli) async fn submit(common: &Common, args: SubmitArgs) -> Result<(), Failure> {
    let job = describe(args)?;
    let mut client = connect(common).await?;
    match ask(&mut client, JobRequest::Submit(Box::new(job))).await? {
        JobResponse::Submitted { job } => print(&format!("{job}\n")),
        other => Err(super::unexpected(&other)),
    }
}

fn describe(mut args: SubmitArgs) -> Result<NewJob, Failure> {
    let here = std::env::current_dir()
        .map_err(|error| Failure::new(ExitCode::Failed, "cannot tell the working directory", error))?;
    let (program, of_file) = match &args.batch {
        Some(path) => {
            let text = fs::read(path).map_err(|error| unreadable(path, &error))?;
            let (lines, array) = batch::parse(&text, args.at_most).map_err(|why| wrong(path, &why))?;
            args.array = Some(array);
            (ProgramSpec::Lines(lines), Vec::new())
        }
        None if file::is_one(&args.command) => {
            let path = PathBuf::from(&args.command[0]);
            let file = file::parse(&read(&path)?).map_err(|why| wrong(&path, &why))?;
            fill(&mut args, file)
        }
        None => (ProgramSpec::Command(args.command.iter().map(bytes).collect()), Vec::new()),
    };
    let home = match args.home.as_deref() {
        Some("any") => Home::Any,
        Some(name) => Home::Node(name.into()),
        // The agent knows its own name.
        None => Home::Node(String::new()),
    };
    let dir = args.workdir.map_or_else(|| here.clone(), |dir| here.join(dir));
    let plain = Spec::new(Vec::new(), dir.into_os_string().into_vec(), home);
    let path = |path: Option<PathBuf>| path.map(|path| path.into_os_string().into_vec());
    let spec = Spec {
        name: args.name,
        program,
        array: args.array,
        priority: args.priority.unwrap_or(plain.priority),
        cpus: args.cpus.unwrap_or(plain.cpus),
        memory_bytes: args.mem.unwrap_or(plain.memory_bytes),
        nodes: args.node,
        not_nodes: args.not_node,
        time_limit_ms: args.time_limit.map(millis),
        retries: args.retries.unwrap_or(plain.retries),
        setting: Setting {
            stdin: path(args.stdin),
            stdout: path(args.stdout),
            stderr: path(args.stderr),
            env: environment(args.env_all, of_file, &args.env)?,
            umask: own_umask(),
            ..plain.setting
        },
        ..plain
    };
    let owner = Owner { uid: 0, gid: 0, groups: Vec::new() };
    Ok(NewJob { request: random(), owner, spec, after: args.after, after_any: args.after_any })
}

/// Takes from a job file what no flag says; what it runs and its variables.
fn fill(args: &mut SubmitArgs, file: JobFile) -> (ProgramSpec, Vec<(Bytes, Bytes)>) {
    let text = |text: String| text.into_bytes();
    let command = match file.command {
        CommandLine::Words(words) => words.into_iter().map(text).collect(),
        CommandLine::Line(line) => vec![b"/bin/sh".to_vec(), b"-c".to_vec(), text(line)],
    };
    args.name = args.name.take().or(file.name.map(|name| name.0));
    args.array = args.array.or(file.array.map(|array| array.0));
    args.priority = args.priority.or(file.priority.and_then(|priority| u8::try_from(priority.0).ok()));
    args.cpus = args.cpus.or(file.cpus.map(|cpus| cpus.0));
    args.mem = args.mem.or(file.mem.map(|mem| mem.0));
    args.home = args.home.take().or(file.home.map(|home| home.0));
    args.time_limit = args.time_limit.or(file.time_limit.map(|limit| limit.0));
    args.retries = args.retries.or(file.retries.map(|retries| retries.0));
    args.workdir = args.workdir.take().or(file.workdir.map(|path| path.0.into()));
    args.stdin = args.stdin.take().or(file.stdin.map(|path| path.0.into()));
    args.stdout = args.stdout.take().or(file.stdout.map(|path| path.into_inner().0.into()));
    args.stderr = args.stderr.take().or(file.stderr.map(|path| path.into_inner().0.into()));
    let or = |flags: &mut Vec<String>, names: Vec<String>| {
        if flags.is_empty() {
            *flags = names;
        }
    };
    or(&mut args.after, file.after.into_iter().map(|job| job.0).collect());
    or(&mut args.after_any, file.after_any.into_iter().map(|job| job.0).collect());
    or(&mut args.node, file.node.into_iter().map(|name| name.0).collect());
    or(&mut args.not_node, file.not_node.into_iter().map(|name| name.into_inner().0).collect());
    let env = file.env.into_iter().map(|(key, value)| (text(key.0), text(value.0))).collect();
    (ProgramSpec::Command(command), env)
}

/// The variables of the job: later ones replace earlier ones.
fn environment(
    all: bool,
    of_file: Vec<(Bytes, Bytes)>,
    flags: &[OsString],
) -> Result<Vec<(Bytes, Bytes)>, Failure> {
    let is_basic = |key: &OsStr| {
        let key = key.to_string_lossy();
        BASIC_VARIABLES.contains(&key.as_ref()) || key.starts_with("LC_")
    };
    let own = std::env::vars_os().filter(|(key, _)| all || is_basic(key));
    let mut env: Vec<(Bytes, Bytes)> =
        own.map(|(key, value)| (key.into_vec(), value.into_vec())).chain(of_file).collect();
    for flag in flags {
        let text = flag.as_bytes();
        let variable = match text.iter().position(|byte| *byte == b'=') {
            Some(at) => (text[..at].to_vec(), text[at + 1..].to_vec()),
            None => {
                let value = std::env::var_os(flag).ok_or_else(|| {
                    let what = format!("cannot take over {}", flag.to_string_lossy());
                    Failure::new(ExitCode::Usage, what, "there is no such variable")
                        .next("give it as KEY=VALUE")
                })?;
                (text.to_vec(), value.into_vec())
            }
        };
        env.push(variable);
    }
    let last: Vec<(Bytes, Bytes)> = env
        .iter()
        .enumerate()
        .filter(|(at, (key, _))| !env[at + 1..].iter().any(|(later, _)| later == key))
        .map(|(_, variable)| variable.clone())
        .collect();
    Ok(last)
}

fn read(path: &Path) -> Result<String, Failure> {
    let length = fs::metadata(path).map_err(|error| unreadable(path, &error))?.len();
    if length > FILE_BYTES_MAX {
        return Err(wrong(path, &format!("line 1, column 1: a job file has at most {FILE_BYTES_MAX} bytes")));
    }
    let bytes = fs::read(path).map_err(|error| unreadable(path, &error))?;
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
        let start = good.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        let column = 1 + String::from_utf8_lossy(&good[start..]).chars().count();
        wrong(path, &format!("line {line}, column {column}: this is no UTF-8"))
    })
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(ExitCode::Failed, format!("cannot read {}", path.display()), error)
}

fn wrong(path: &Path, why: &impl std::fmt::Display) -> Failure {
    Failure::new(ExitCode::Usage, format!("cannot understand {}", path.display()), why)
        .next("mend it; nothing was submitted")
}

fn bytes(word: &OsString) -> Bytes {
    word.as_bytes().to_vec()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// This process's umask: it can only be read by setting it.
fn own_umask() -> u32 {
    let mask = rustix::process::umask(Mode::empty());
    rustix::process::umask(mask);
    mask.as_raw_mode()
}

fn random() -> u128 {
    let mut bytes = [0; 16];
    // Up to 256 bytes come whole or not at all, and not at all only before the kernel is up.
    getrandom(&mut bytes, GetRandomFlags::empty()).expect("the kernel gives random bytes");
    u128::from_le_bytes(bytes)
}

/// What a job has of the submitter's environment unless more is asked for.
const BASIC_VARIABLES: [&str; 8] = ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ"];

const FILE_BYTES_MAX: u64 = 256 << 10;
