//! Programs started at a node from outside.

use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::stream::Stream;
use super::{LabError, LabNode, Ticks, process};

/// A program to be run at a node.
#[derive(Clone, Debug)]
pub struct Program {
    args: Vec<String>,
    env: Vec<(String, String)>,
    user: User,
    is_command: bool,
}

impl Program {
    /// A program by its path, or by its name when it is in `/usr/bin` or `/usr/sbin`; run as [`User::Worker`].
    pub fn new(program: impl Into<PathBuf>) -> Program {
        let program: PathBuf = program.into();
        let args = vec![program.to_string_lossy().into_owned()];
        Program { args, env: Vec::new(), user: User::Worker, is_command: false }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<str>>(mut self, args: &[S]) -> Program {
        self.args.extend(args.iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Adds a variable to the otherwise small environment.
    #[must_use]
    pub fn env(mut self, key: &str, value: &str) -> Program {
        self.env.push((key.to_owned(), value.to_owned()));
        self
    }

    /// What only asks and orders there, and is not looked at itself: it enters a container by its namespaces, since
    /// the engine takes a third of a second for it.
    #[must_use]
    pub(super) fn command(mut self) -> Program {
        self.is_command = true;
        self
    }

    /// Runs it as `user`.
    #[must_use]
    pub fn user(mut self, user: User) -> Program {
        self.user = user;
        self
    }
}

/// Who runs a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// uid 0.
    Root,
    /// uid 1000, without any privilege.
    Worker,
}

impl User {
    /// Of the user and of the group.
    #[must_use]
    pub fn id(self) -> u32 {
        match self {
            User::Root => 0,
            User::Worker => 1000,
        }
    }

    /// The user's name in every node.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            User::Root => "root",
            User::Worker => "worker",
        }
    }

    /// The home directory in a node.
    #[must_use]
    pub fn home(self) -> &'static str {
        match self {
            User::Root => "/root",
            User::Worker => "/home/worker",
        }
    }
}

/// A program that was started at a node.
#[derive(Debug)]
pub struct Running {
    program: String,
    /// `nsenter` or `docker exec`, which ends as the program does.
    child: Child,
    stdin: Option<ChildStdin>,
    output: Stream,
    errors: Stream,
    pid: u32,
    outer_pid: u32,
}

impl Running {
    /// Its pid at the node.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Its pid as this process sees it; 0 if it ended before it could be looked up.
    #[must_use]
    pub fn outer_pid(&self) -> u32 {
        self.outer_pid
    }

    /// The program itself, as [`Running::child`] gives its children.
    #[must_use]
    pub fn whole(&self) -> Part {
        Part { pid: self.pid, outer_pid: self.outer_pid }
    }

    /// Its standard input; dropping it closes the pipe.
    pub fn stdin(&mut self) -> Option<ChildStdin> {
        self.stdin.take()
    }

    /// Feeds `input` to it from a thread, spread evenly over `time`, then closes its standard input.
    pub fn feed(&mut self, input: Vec<u8>, time: Duration) {
        if let Some(mut stdin) = self.stdin.take() {
            let portions = u32::try_from(time.as_millis() / FEED_INTERVAL.as_millis()).unwrap_or(u32::MAX);
            let portion_bytes = input.len().div_ceil(portions.max(1) as usize).max(1);
            thread::spawn(move || {
                for portion in input.chunks(portion_bytes) {
                    // A program may end without having read all; its output tells whether that was right.
                    if stdin.write_all(portion).is_err() {
                        return;
                    }
                    thread::sleep(FEED_INTERVAL.min(time));
                }
            });
        }
    }

    /// Its child that runs a program of this name, as soon as there is one.
    ///
    /// # Errors
    /// [`LabError::Late`] when there is none in time.
    pub fn child(&self, program: &str, patience: Duration) -> Result<Part, LabError> {
        self.whole().child(program, patience).ok_or_else(|| self.late("started that child", patience))
    }

    /// What it has written so far.
    #[must_use]
    pub fn output_so_far(&self) -> Vec<u8> {
        self.output.so_far()
    }

    /// Waits until its output so far satisfies `condition`.
    ///
    /// # Errors
    /// [`LabError::Late`].
    pub fn wait_for_output(
        &self,
        patience: Duration,
        condition: impl Fn(&[u8]) -> bool,
    ) -> Result<(), LabError> {
        let satisfied = self.output.wait(patience, condition);
        satisfied.then_some(()).ok_or_else(|| self.late("written what was expected", patience))
    }

    /// Its standard output so far.
    #[must_use]
    pub fn output(&self) -> Vec<u8> {
        self.output.so_far()
    }

    /// True when it has ended.
    ///
    /// # Errors
    /// [`LabError::Run`].
    pub fn has_ended(&mut self) -> Result<bool, LabError> {
        let status = self.child.try_wait();
        status.map(|status| status.is_some()).map_err(|source| run_error(&self.program, source))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// [`LabError::Late`] after `patience`; the program is killed then.
    pub fn finish(mut self, patience: Duration) -> Result<Finished, LabError> {
        drop(self.stdin.take());
        let deadline = Instant::now() + patience;
        // Its pipes end when it does, except if it has left children behind that hold them.
        let closed = self.output.wait_end(deadline) && self.errors.wait_end(deadline);
        let status = loop {
            match self.child.try_wait().map_err(|source| run_error(&self.program, source))? {
                Some(status) => break status,
                None if Instant::now() >= deadline => return Err(self.late("ended", patience)),
                None => thread::sleep(POLL_INTERVAL),
            }
        };
        if !closed {
            return Err(self.late("closed its output", patience));
        }
        Ok(Finished { code: shell_code(status), output: self.output.take(), errors: self.errors.take() })
    }

    fn late(&self, what: &'static str, patience: Duration) -> LabError {
        LabError::Late { program: self.program.clone(), what, patience }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            process::kill(self.outer_pid);
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A process of a program that was started at a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its pid at the node.
    pub pid: u32,
    /// Its pid as this process sees it.
    pub outer_pid: u32,
}

impl Part {
    /// CPU time of it and of all processes that it has started; nothing once it has ended.
    #[must_use]
    pub fn ticks(&self) -> Ticks {
        process::descendants_ticks(self.outer_pid)
    }

    /// Its child that runs a program of this name, as soon as there is one; none if that takes too long.
    #[must_use]
    pub fn child(&self, program: &str, patience: Duration) -> Option<Part> {
        let deadline = Instant::now() + patience;
        loop {
            let outer_pid = process::child(self.outer_pid, program);
            if let Some(part) =
                outer_pid.and_then(|outer| Some(Part { pid: process::inner_pid(outer)?, outer_pid: outer }))
            {
                return Some(part);
            }
            if Instant::now() > deadline {
                return None;
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// True when it has ended, whether or not its parent knows it yet.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        process::has_ended(self.outer_pid)
    }
}

/// A program that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// The exit code; 128 and the signal if one has ended it.
    pub code: i32,
    /// All of its standard output.
    pub output: Vec<u8>,
    /// All of its standard errors.
    pub errors: Vec<u8>,
}

impl Finished {
    /// The output as text, without space at either end.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).trim().to_owned()
    }
}

pub(super) fn start(node: &LabNode, program: &Program) -> Result<Running, LabError> {
    let (mut command, pid_file) = command(node, program);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let name = program.args.join(" ");
    let mut child = command.spawn().map_err(|source| run_error(&name, source))?;
    let output = Stream::read(child.stdout.take().expect("its output is a pipe"));
    let errors = Stream::read(child.stderr.take().expect("its errors are a pipe"));
    let stdin = child.stdin.take();
    let mut running = Running { program: name, child, stdin, output, errors, pid: 0, outer_pid: 0 };
    running.pid = wait_for_pid(node, &pid_file).ok_or_else(|| running.late("started", START_PATIENCE))?;
    running.outer_pid = process::outer_pid(node.init_pid(), running.pid).unwrap_or_default();
    Ok(running)
}

/// The command that runs `program` at `node`, and the file there in which it tells its pid.
pub(super) fn command(node: &LabNode, program: &Program) -> (Command, String) {
    static STARTED: AtomicU32 = AtomicU32::new(0);
    let number = STARTED.fetch_add(1, Ordering::Relaxed);
    let pid_file = format!("{PID_DIRECTORY}/{}-{number}", std::process::id());
    let mut command = enter(node, program);
    command.args(["/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin", "LANG=C.UTF-8"]);
    command.arg(format!("HOME={}", program.user.home()));
    command.args(program.env.iter().map(|(key, value)| format!("{key}={value}")));
    // The program becomes the shell that has told its own pid.
    command.args(["/bin/sh", "-c", "echo $$ >\"$0\"; exec \"$@\"", &pid_file]).args(&program.args);
    (command, pid_file)
}

fn enter(node: &LabNode, program: &Program) -> Command {
    let user = program.user;
    if let Some(container) = node.container().filter(|_| !program.is_command) {
        return container.exec_command(user.id());
    }
    let mut command = Command::new("nsenter");
    command.args(["-t", &node.init_pid().to_string(), "-m", "-u", "-i", "-n", "-p", "-T"]);
    command.args(["-S", &user.id().to_string(), "-G", &user.id().to_string(), "--"]);
    command
}

/// The pid that a program has told in this file; none if it does not.
pub(super) fn wait_for_pid(node: &LabNode, file: &str) -> Option<u32> {
    let deadline = Instant::now() + START_PATIENCE;
    while Instant::now() < deadline {
        let told = node.read_file(file).ok().and_then(|text| String::from_utf8(text).ok());
        if let Some(pid) = told.and_then(|text| text.strip_suffix('\n')?.parse().ok()) {
            return Some(pid);
        }
        thread::sleep(POLL_INTERVAL);
    }
    None
}

fn shell_code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}

fn run_error(program: &str, source: io::Error) -> LabError {
    LabError::Run { program: program.to_owned(), source }
}

/// Where programs tell their pids, at every node.
pub(super) const PID_DIRECTORY: &str = "/run/lab";

const FEED_INTERVAL: Duration = Duration::from_millis(10);
const POLL_INTERVAL: Duration = Duration::from_millis(2);
const START_PATIENCE: Duration = Duration::from_secs(20);
