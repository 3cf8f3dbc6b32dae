//! What a user asks to be run.

use serde::{Deserialize, Serialize};

use super::array::Array;
use super::{AFTER_MAX, NAME_BYTES_MAX, PRIORITY, PRIORITY_MAX, RETRIES_MAX};

/// A path, an argument or a variable as the kernel has it.
pub type Bytes = Vec<u8>;

/// The description of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Unique among the user's jobs that are not over.
    pub name: Option<String>,
    /// What to run.
    pub program: ProgramSpec,
    /// Many tasks instead of one.
    pub array: Option<Array>,
    /// 0 to [`PRIORITY_MAX`]; greater goes first.
    pub priority: u8,
    /// What must be over before.
    pub after: Vec<After>,
    /// Cores that one task keeps busy.
    pub cpus: u32,
    /// Memory that one task needs; 0 if that is not known.
    pub memory_bytes: u64,
    /// Where its home is.
    pub home: Home,
    /// The only nodes where it may be; all if empty.
    pub nodes: Vec<String>,
    /// Nodes where it must not be.
    pub not_nodes: Vec<String>,
    /// For how long one attempt may run.
    pub time_limit_ms: Option<u64>,
    /// How often a task that failed is run again.
    pub retries: u32,
    /// In which surroundings.
    pub setting: Setting,
}

/// What a program finds when it begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// The working directory.
    pub dir: Bytes,
    /// A file as standard input; nothing to read without one.
    pub stdin: Option<Bytes>,
    /// A file of the user for standard output; homing keeps the output if there is none.
    pub stdout: Option<Bytes>,
    /// The same for standard error.
    pub stderr: Option<Bytes>,
    /// The environment, whole.
    pub env: Vec<(Bytes, Bytes)>,
    /// As in umask(2).
    pub umask: u32,
    /// As in setrlimit(2), of the submitting process.
    pub limits: Vec<ResourceLimit>,
}

/// What a job runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProgramSpec {
    /// A program with its arguments, the same for each task.
    Command(Vec<Bytes>),
    /// A line for the shell for each task of the array.
    Lines(Vec<Bytes>),
}

/// A job that must be over before another one starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct After {
    /// That job.
    pub job: u64,
    /// Also if it failed; otherwise the waiting job is cancelled then.
    pub any_end: bool,
}

/// Where a job's home is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Home {
    /// At this node: the one where it was submitted, unless the user says otherwise.
    Node(String),
    /// Wherever there is room.
    Any,
}

/// One limit of setrlimit(2); `None` is infinity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceLimit {
    /// The kernel's number for it.
    pub resource: u32,
    /// What is enforced.
    pub soft: Option<u64>,
    /// Up to where the process may raise it.
    pub hard: Option<u64>,
}

impl Spec {
    /// One that runs `command` in `dir` at `home` and asks for nothing else.
    #[must_use]
    pub fn new(command: Vec<Bytes>, dir: Bytes, home: Home) -> Spec {
        Spec {
            name: None,
            program: ProgramSpec::Command(command),
            array: None,
            priority: PRIORITY,
            after: Vec::new(),
            cpus: 1,
            memory_bytes: 0,
            home,
            nodes: Vec::new(),
            not_nodes: Vec::new(),
            time_limit_ms: None,
            retries: 0,
            setting: Setting::of(dir),
        }
    }

    /// Checks what can be checked without knowing the cluster.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn check(&self) -> Result<(), String> {
        self.name.as_deref().map_or(Ok(()), check_name)?;
        self.check_program()?;
        if self.priority > PRIORITY_MAX {
            return Err(format!("a priority is 0 to {PRIORITY_MAX}, not {}", self.priority));
        }
        if self.after.len() > AFTER_MAX {
            return Err(format!("a job waits for at most {AFTER_MAX} others, not {}", self.after.len()));
        }
        if self.cpus == 0 {
            return Err("a job needs at least 1 core".into());
        }
        if self.time_limit_ms == Some(0) {
            return Err("a time limit is more than nothing".into());
        }
        if self.retries > RETRIES_MAX {
            return Err(format!("a job is tried again at most {RETRIES_MAX} times, not {}", self.retries));
        }
        if let Some(node) = self.nodes.iter().find(|node| self.not_nodes.contains(node)) {
            return Err(format!("it may and must not be at {node}"));
        }
        if let Home::Node(home) = &self.home
            && !self.may_be_at(home)
        {
            return Err(format!("its home is to be {home}, where it must not be"));
        }
        if self.setting.dir.first() != Some(&b'/') {
            return Err("the working directory must begin with `/`".into());
        }
        self.check_texts()
    }

    /// True if the user allows this node.
    #[must_use]
    pub fn may_be_at(&self, node: &str) -> bool {
        let named = |list: &[String]| list.iter().any(|name| name == node);
        (self.nodes.is_empty() || named(&self.nodes)) && !named(&self.not_nodes)
    }

    fn check_program(&self) -> Result<(), String> {
        if let Some(array) = self.array {
            array.checked()?;
        }
        match &self.program {
            ProgramSpec::Command(command) if command.first().is_none_or(Vec::is_empty) => {
                Err("no program is named".into())
            }
            ProgramSpec::Lines(lines) => {
                let tasks = self.array.map_or(0, |array| array.count());
                if lines.is_empty() || usize::try_from(tasks) != Ok(lines.len()) {
                    return Err(format!("{} lines for {tasks} tasks", lines.len()));
                }
                Ok(())
            }
            ProgramSpec::Command(_) => Ok(()),
        }
    }

    fn check_texts(&self) -> Result<(), String> {
        let (ProgramSpec::Command(words) | ProgramSpec::Lines(words)) = &self.program;
        let Setting { dir, stdin, stdout, stderr, env, .. } = &self.setting;
        let files = [Some(dir), stdin.as_ref(), stdout.as_ref(), stderr.as_ref()];
        let variables = env.iter().flat_map(|(key, value)| [key, value]);
        if words.iter().chain(files.into_iter().flatten()).chain(variables).any(|text| text.contains(&0)) {
            return Err("no argument, path or variable holds a zero byte".into());
        }
        if let Some((key, _)) = env.iter().find(|(key, _)| key.is_empty() || key.contains(&b'=')) {
            return Err(format!("`{}` is no name of a variable", String::from_utf8_lossy(key)));
        }
        let shared = |path: &&Bytes| !path.windows(2).any(|two| two == b"%a");
        if self.array.is_some() && [stdout, stderr].into_iter().flatten().any(|path| shared(&path)) {
            return Err(
                "the tasks of an array would write over each other's output: put %a into the file's name"
                    .into(),
            );
        }
        Ok(())
    }
}

impl Setting {
    /// In this directory, with nothing to read, output that is kept, and an empty environment.
    #[must_use]
    pub fn of(dir: Bytes) -> Setting {
        Setting {
            dir,
            stdin: None,
            stdout: None,
            stderr: None,
            env: Vec::new(),
            umask: 0o022,
            limits: Vec::new(),
        }
    }
}

/// A name must not look like a job's number.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '+');
    if name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.len() <= NAME_BYTES_MAX
        && name.chars().all(plain)
    {
        return Ok(());
    }
    Err(format!(
        "a job's name is a letter and at most {} more of a-z, A-Z, 0-9, `-`, `.` and `+`, not `{}`",
        NAME_BYTES_MAX - 1,
        name.chars().take(NAME_BYTES_MAX).collect::<String>()
    ))
}
