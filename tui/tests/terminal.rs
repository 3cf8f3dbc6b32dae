//! The dashboard on a terminal, as its bytes and its modes show it: the example runs on a pseudoterminal.
//!
//! Only changed cells are written, so a text is found in the output only if all its cells change.
#![allow(clippy::unwrap_used, reason = "the helpers outside the tests are tests as well")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Termios, Winsize, tcgetattr, tcsetwinsize};

/// Nothing here takes so long on any machine.
const DEADLINE: Duration = Duration::from_secs(20);

const BEGIN: &str = "\x1b[?2026h";
const END: &str = "\x1b[?2026l";
const LEAVE: &str = "\x1b[?1049l";
const SHOW_CURSOR: &str = "\x1b[?25h";

/// A program on a terminal of its own; killed when dropped.
struct Session {
    keyboard: File,
    terminal: OwnedFd,
    child: Child,
    modes_before: String,
    output: Vec<u8>,
}

impl Session {
    fn start(mode: &str) -> Session {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        let path = PathBuf::from(ptsname(&keyboard, Vec::new()).unwrap().into_string().unwrap());
        let terminal = File::options().read(true).write(true).open(path).unwrap();
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&terminal, size).unwrap();
        let modes_before = format!("{:?}", tcgetattr(&terminal).unwrap());
        let child = Command::new(demo())
            .args(mode.split_whitespace())
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .env_remove("RUST_BACKTRACE")
            .stdin(terminal.try_clone().unwrap())
            .stdout(terminal.try_clone().unwrap())
            .stderr(terminal.try_clone().unwrap())
            .spawn();
        Session {
            keyboard: keyboard.into(),
            terminal: terminal.into(),
            child: child.unwrap(),
            modes_before,
            output: Vec::new(),
        }
    }

    fn resize(&mut self, columns: u16, rows: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.terminal, size).unwrap();
        // It is not the controlling terminal of the program, so the kernel does not tell it.
        kill_process(Pid::from_child(&self.child), Signal::WINCH).unwrap();
    }

    fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Reads until the output from now on contains the text and its frame is complete.
    fn expect(&mut self, text: &str) {
        let start = self.output.len();
        let deadline = Instant::now() + DEADLINE;
        loop {
            let shown = String::from_utf8_lossy(&self.output[start..]);
            if shown.contains(text) && shown.ends_with(END) {
                return;
            }
            let shown = shown.into_owned();
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(self.read(left) > 0, "no {text:?} in {shown:?}");
        }
    }

    /// Reads what comes within this time and returns the number of bytes, 0 if none came.
    fn read(&mut self, within: Duration) -> usize {
        let mut ready = [PollFd::new(&self.keyboard, PollFlags::IN)];
        if poll(&mut ready, Some(&within.try_into().unwrap())).unwrap() == 0 {
            return 0;
        }
        let mut buffer = [0; 1 << 16];
        let count = self.keyboard.read(&mut buffer).unwrap();
        self.output.extend_from_slice(&buffer[..count]);
        count
    }

    /// The program's end, and everything that it wrote.
    fn end(&mut self) -> (ExitStatus, String) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            self.read(Duration::from_millis(10));
            if let Some(status) = self.child.try_wait().unwrap() {
                while self.read(Duration::ZERO) > 0 {}
                return (status, String::from_utf8_lossy(&self.output).into_owned());
            }
            assert!(Instant::now() < deadline, "the dashboard did not end");
        }
    }

    fn modes(&self) -> Termios {
        tcgetattr(&self.terminal).unwrap()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // It has ended already in every test that passes.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The example, which is built together with the tests and stands beside them.
fn demo() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().parent().unwrap().join("examples/demo")
}

#[test]
fn quitting_gives_the_terminal_back() {
    for key in ["q", "\x03"] {
        let mut session = Session::start("still");
        session.expect("Processes");
        assert!(!session.modes().local_modes.contains(LocalModes::ICANON));
        session.press(key);
        let (status, output) = session.end();
        assert!(status.success(), "{status}");
        assert_eq!(format!("{:?}", session.modes()), session.modes_before);
        assert!(output.ends_with(&format!("{END}{SHOW_CURSOR}{LEAVE}")), "{output:?}");
    }
}

#[test]
fn a_panic_gives_the_terminal_back_before_its_message() {
    let mut session = Session::start("panics");
    session.expect("python3");
    session.press("w");
    let (status, output) = session.end();
    assert!(!status.success(), "{status}");
    assert_eq!(format!("{:?}", session.modes()), session.modes_before);
    let (_, after) = output.split_once(LEAVE).expect("the alternate screen is left");
    assert!(after.contains("was asked for"), "{after:?}");
}

#[test]
fn every_frame_is_one_synchronized_update_and_nothing_is_written_when_nothing_changes() {
    let mut session = Session::start("still");
    session.expect("python3");
    session.press("?");
    session.expect("Keys");
    session.press("\x1b");
    session.expect(END);
    // At least two views arrive in this time, each like the one before.
    assert_eq!(session.read(Duration::from_millis(2_500)), 0, "an idle dashboard writes");
    session.press("q");
    let (_, output) = session.end();
    let mut outside = String::new();
    let mut rest = output.as_str();
    while let Some((before, frame)) = rest.split_once(BEGIN) {
        outside.push_str(before);
        rest = frame.split_once(END).expect("a frame ends").1;
    }
    outside.push_str(rest);
    assert_eq!(outside, format!("\x1b[?1049h\x1b[?25l{END}{SHOW_CURSOR}{LEAVE}"));
}

#[test]
fn a_resize_is_followed_to_any_size() {
    let mut session = Session::start("still");
    session.expect("Events");
    for step in 0..200_u16 {
        session.resize(1 + step * 37 % 170, 1 + step * 23 % 60);
    }
    session.resize(160, 50);
    session.expect("Moves in progress");
    session.resize(1, 1);
    session.resize(80, 24);
    session.expect("Events");
    session.press("q");
    assert!(session.end().0.success());
}

#[test]
fn a_source_that_ends_is_told_and_the_dashboard_goes_on() {
    let mut session = Session::start("ends 1");
    session.expect("agent not reachable");
    session.press("h");
    session.expect("home to n1: it went away");
    session.press("q");
    assert!(session.end().0.success());
}
