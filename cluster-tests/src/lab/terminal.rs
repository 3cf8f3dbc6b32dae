//! An interactive shell at a node, on a terminal of its own.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::exec::{self, Part, Program, User};
use super::stream::Stream;
use super::{LabError, LabNode, process};

/// An interactive `bash` with job control, as one would type at; it is killed when dropped.
#[derive(Debug)]
pub struct Terminal {
    keyboard: File,
    is_open: Arc<AtomicBool>,
    screen: Stream,
    /// How much of what it shows has been read, line feeds without their carriage returns.
    read_chars: usize,
    child: Child,
    shell: Part,
}

impl Terminal {
    /// Opens a terminal of 80x24 at `node` and waits for the shell's prompt.
    pub(super) fn open(node: &LabNode, user: User) -> Result<Terminal, LabError> {
        let failed = |source| LabError::Run { program: "a terminal".into(), source };
        let (keyboard, line) = pair().map_err(failed)?;
        // The shell becomes the leader of the terminal's session.
        let shell = ["--ctty", "bash", "--norc", "--noprofile", "--noediting", "-i"];
        let shell = Program::new("setsid").args(&shell).user(user).env("PS1", PROMPT).env("TERM", "dumb");
        let (mut command, pid_file) = exec::command(node, &shell);
        let end = || line.try_clone().map_err(failed);
        let child = command.stdin(end()?).stdout(end()?).stderr(end()?).spawn().map_err(failed)?;
        // The terminal ends with the last program that has it.
        drop((command, line));
        let is_open = Arc::new(AtomicBool::new(true));
        let output = Output { master: keyboard.try_clone().map_err(failed)?, is_open: Arc::clone(&is_open) };
        let (screen, shell) = (Stream::read(output), Part { pid: 0, outer_pid: 0 });
        let mut terminal = Terminal { keyboard, is_open, screen, read_chars: 0, child, shell };
        terminal.resize(24, 80).map_err(failed)?;
        let told = exec::wait_for_pid(node, &pid_file);
        let part =
            told.and_then(|pid| Some(Part { pid, outer_pid: process::outer_pid(node.init_pid(), pid)? }));
        terminal.shell = part.ok_or_else(|| late("a shell on a terminal".into(), "started"))?;
        terminal.wait_prompt().map_err(|shown| late(shown, "prompted"))?;
        Ok(terminal)
    }

    /// Types a line and waits for the next prompt; what was written in between, without the echo of the line.
    ///
    /// # Errors
    /// What the terminal shows when the prompt does not come.
    pub fn run(&mut self, line: &str) -> Result<String, String> {
        self.begin(line);
        let shown = self.wait_prompt()?;
        Ok(shown.split_once('\n').map_or_else(String::new, |(_, rest)| rest.to_owned()))
    }

    /// Types a line and does not wait for its end.
    pub fn begin(&mut self, line: &str) {
        self.press(line);
        self.press("\n");
    }

    /// Presses keys; a control key is its control character.
    pub fn press(&mut self, keys: &str) {
        // A terminal that is gone shows nothing any more, which is noticed.
        let _ = self.keyboard.write_all(keys.as_bytes());
    }

    /// Waits for the next prompt; what was written up to it.
    ///
    /// # Errors
    /// What the terminal shows when it does not come.
    pub fn wait_prompt(&mut self) -> Result<String, String> {
        self.wait_text(PROMPT)
    }

    /// Waits for these words; what was written up to them.
    ///
    /// # Errors
    /// What the terminal shows when they do not come.
    pub fn wait_text(&mut self, words: &str) -> Result<String, String> {
        let start = self.read_chars;
        let find = |bytes: &[u8]| {
            let shown = String::from_utf8_lossy(bytes).replace('\r', "");
            let at = shown.get(start..).and_then(|rest| rest.find(words));
            (at, shown)
        };
        self.screen.wait(PATIENCE, |bytes| find(bytes).0.is_some());
        let (at, shown) = find(&self.screen.so_far());
        let Some(at) = at else { return Err(format!("no `{words}` on the terminal: {shown}")) };
        self.read_chars = start + at + words.len();
        Ok(shown[start..start + at].to_owned())
    }

    /// The shell.
    #[must_use]
    pub fn shell(&self) -> Part {
        self.shell
    }

    /// Gives the terminal another size.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn resize(&self, rows: u16, columns: u16) -> io::Result<()> {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(tcsetwinsize(&self.keyboard, size)?)
    }

    /// Closes it, as one does with its window, and waits for the shell's end.
    ///
    /// # Errors
    /// When the shell cannot be waited for.
    pub fn hang_up(mut self) -> io::Result<()> {
        self.is_open.store(false, Ordering::Relaxed);
        self.screen.wait_end(Instant::now() + PATIENCE);
        // The last descriptor of the keyboard's side is this one.
        let nowhere = File::open("/dev/null")?;
        drop(std::mem::replace(&mut self.keyboard, nowhere));
        self.child.wait().map(drop)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.is_open.store(false, Ordering::Relaxed);
        process::kill(self.shell.outer_pid);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What programs write to the terminal, until it is closed.
struct Output {
    master: File,
    is_open: Arc<AtomicBool>,
}

impl Read for Output {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let look = Timespec { tv_sec: 0, tv_nsec: LOOK_NS };
        while self.is_open.load(Ordering::Relaxed) {
            let mut polled = [PollFd::new(&self.master, PollFlags::IN)];
            if poll(&mut polled, Some(&look))? > 0 {
                return self.master.read(buffer);
            }
        }
        Ok(0)
    }
}

fn pair() -> io::Result<(File, OwnedFd)> {
    let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&keyboard)?;
    unlockpt(&keyboard)?;
    let name = ptsname(&keyboard, Vec::new())?.into_string().map_err(io::Error::other)?;
    let line = File::options().read(true).write(true).open(PathBuf::from(name))?;
    Ok((keyboard.into(), line.into()))
}

fn late(program: String, what: &'static str) -> LabError {
    LabError::Late { program, what, patience: PATIENCE }
}

/// What the shell says when it waits for a line.
const PROMPT: &str = "ready> ";

const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks whether the terminal was closed, in nanoseconds.
const LOOK_NS: i64 = 20_000_000;
