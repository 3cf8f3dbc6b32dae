//! The dashboard over the demo, in a real terminal that is resized meanwhile.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use cluster_tests::lab;

use crate::support::{Ground, eventually};

pub(crate) fn the_dashboard_shows_the_demo() {
    let ground = Ground::new();
    let mut dev = ground.ready_dev(&["--nodes", "3", "--demo"]);
    let interface = ground.interface();
    dev.wait_for("n1 -> n2");
    let screen = Screen::open(&ground);
    let [before, after] = ["before", "after"].map(|name| ground.directory().join(name));
    let top = format!("{} top", lab::homing().unwrap().display());
    screen.type_line(&format!(
        "stty -g >{}; {top}; stty -g >{}; echo it is over",
        before.display(),
        after.display()
    ));
    for (columns, rows) in [(80, 24), (160, 50), (80, 24), (100, 30), (160, 50)] {
        screen.resize(columns, rows);
        // A frame of that size, with the nodes, the process that goes round, and what it sends home from a guest.
        screen.wait_for(&format!("a whole dashboard of {columns}x{rows}"), |lines| {
            let has = |words: &str| lines.iter().any(|line| line.contains(words));
            let is_whole = lines.first().is_some_and(|line| line.starts_with(" dev at n1  nodes 3/3"))
                && lines
                    .iter()
                    .filter(|line| line.chars().count() == columns && line.ends_with(['┐', '┘']))
                    .count()
                    > 2;
            let nodes = ["n1", "n2", "n3"].iter().all(|name| has(&format!("{name}   ok")));
            is_whole && nodes && has("perl") && has("counter.pl") && shows_flow(lines)
        });
    }
    // Whoever an event is about is named once.
    screen.wait_for("an event", |lines| lines.iter().any(|line| line.contains(" perl: moved n")));
    let moved = screen.lines().into_iter().filter(|line| line.contains(" perl: moved n"));
    let events = moved.map(|line| line.rsplit("││").next().unwrap_or_default().to_owned());
    assert_eq!(events.filter(|event| event.matches("perl").count() > 1).collect::<Vec<_>>(), [""; 0]);
    assert_eq!(screen.state("#{alternate_on} #{cursor_flag}"), "1 0");

    screen.press("q");
    screen.wait_for("the shell", |lines| lines.iter().any(|line| line == "it is over"));
    assert_eq!(screen.state("#{alternate_on} #{cursor_flag} #{mouse_any_flag} #{keypad_flag}"), "0 1 0 0");
    let modes = [before, after].map(|file| std::fs::read_to_string(file).unwrap());
    assert_eq!(modes[0], modes[1], "the terminal's modes are as they were");
    drop(screen);
    dev.interrupt();
    assert_eq!(dev.finish(), 0, "{}", dev.said());
    ground.assert_nothing_left(&interface);
}

/// Calls of the program's body at a guest: as a line, a row of the list or a cell of the matrix, by the room there is.
fn shows_flow(lines: &[String]) -> bool {
    let line = |line: &String| ["n2>n1 calls", "n3>n1 calls"].iter().any(|words| line.contains(words));
    let cell = |line: &String| {
        let pane = line.rsplit_once("││").map_or("", |(_, pane)| pane);
        let words: Vec<&str> = pane.split_whitespace().collect();
        match words[..] {
            ["n2" | "n3", "n1", "calls", ..] => true,
            ["n2" | "n3", to_home, ..] => to_home.ends_with("/s"),
            _ => false,
        }
    };
    lines.iter().any(|shown| line(shown) || cell(shown))
}

/// A shell in a tmux of its own.
struct Screen {
    socket: PathBuf,
}

impl Screen {
    fn open(ground: &Ground) -> Screen {
        let screen = Screen { socket: ground.directory().join("tmux") };
        let mut command =
            screen.command(&["new-session", "-d", "-x", "80", "-y", "24", "bash --norc --noprofile"]);
        let opened =
            command.env("HOMING_RUN_DIR", ground.run_dir()).env_remove("HOMING_SOCKET").output().unwrap();
        assert!(opened.status.success(), "{opened:?}");
        screen
    }

    fn type_line(&self, line: &str) {
        self.tmux(&["send-keys", "-l", line]);
        self.press("Enter");
    }

    fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    fn resize(&self, columns: usize, rows: usize) {
        self.tmux(&["resize-window", "-x", &columns.to_string(), "-y", &rows.to_string()]);
    }

    fn lines(&self) -> Vec<String> {
        let shown = self.tmux(&["capture-pane", "-p"]);
        String::from_utf8_lossy(&shown.stdout).lines().map(|line| line.trim_end().to_owned()).collect()
    }

    /// What tmux knows of the terminal's state.
    fn state(&self, format: &str) -> String {
        String::from_utf8_lossy(&self.tmux(&["display-message", "-p", format]).stdout).trim().to_owned()
    }

    #[track_caller]
    fn wait_for(&self, what: &str, condition: impl Fn(&[String]) -> bool) {
        assert!(eventually(|| condition(&self.lines())), "{what} is not on:\n{}", self.lines().join("\n"));
    }

    fn tmux(&self, args: &[&str]) -> Output {
        let output = self.command(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        output
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(&self.socket).args(["-f", "/dev/null"]).args(args).stdin(Stdio::null());
        // A shell of the test's own terminal may be in a tmux too.
        command.env_remove("TMUX").env("LC_ALL", "C.UTF-8");
        command
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // With its server everything in it ends.
        let _ = self.command(&["kill-server"]).output();
    }
}
