//! One person at one terminal, whose jobs either stay at home or are moved away as soon as they run.

use std::thread;
use std::time::{Duration, Instant};

use cluster_tests::lab::{Ground, Lab, Part, Program, Stay, Terminal, User, Work};
use cluster_tests::support::{PATIENCE, cluster, migrate, wait_for};

/// Plays `scenario` once with all jobs at home and once with all of them away: what is seen must be the same.
pub(crate) fn same_as_native(scenario: fn(&mut Session<'_>)) {
    let lab = cluster(Ground::Namespaces, 2);
    let [native, away] = [false, true].map(|is_away| {
        let mut session = Session::new(&lab, is_away);
        scenario(&mut session);
        session
    });
    for ((what, native), (_, away)) in native.took.iter().zip(&away.took) {
        println!("{what}: {native:.1?} native, {away:.1?} away");
    }
    if native.seen != away.seen {
        lab.nodes().iter().for_each(|node| println!("{}", node.logs()));
    }
    assert_eq!(away.seen, native.seen, "away (left) it is not as it is natively (right)");
}

pub(crate) struct Session<'a> {
    pub(crate) lab: &'a Lab,
    pub(crate) terminal: Terminal,
    pub(crate) is_away: bool,
    stay: Option<Stay>,
    seen: Vec<String>,
    took: Vec<(String, Duration)>,
}

impl Session<'_> {
    fn new(lab: &Lab, is_away: bool) -> Session<'_> {
        let terminal = lab.node(1).terminal(User::Worker).unwrap();
        Session { lab, terminal, is_away, stay: None, seen: Vec::new(), took: Vec::new() }
    }

    /// Types a line and notes what it prints.
    pub(crate) fn run(&mut self, line: &str) {
        let shown = self.terminal.run(line).unwrap_or_else(|error| self.give_up(&error));
        self.see(line, &shown);
    }

    /// Starts a job in the foreground, waits until it runs and has said `first`, and moves it.
    pub(crate) fn start(&mut self, line: &str, program: &str, first: &str, work: Work) -> Part {
        self.terminal.begin(line);
        // A key that sends a signal throws away what has not been shown yet.
        self.wait_text(&format!("{line}\n"));
        let job = self.job(program);
        if !first.is_empty() {
            self.wait_text(first);
        }
        self.send_away(job, work);
        job
    }

    /// Starts a job in the background.
    pub(crate) fn start_behind(&mut self, line: &str, program: &str, work: Work) -> Part {
        // What the shell says of the pid differs each time.
        self.terminal.run(&format!("{line} &")).unwrap_or_else(|error| self.give_up(&error));
        let job = self.job(program);
        self.send_away(job, work);
        job
    }

    /// The shell's job that runs this program.
    pub(crate) fn job(&self, program: &str) -> Part {
        self.terminal
            .shell()
            .child(program, PATIENCE)
            .unwrap_or_else(|| panic!("the shell has not started {program}"))
    }

    /// Moves a job if jobs are to be away in this session.
    pub(crate) fn send_away(&mut self, job: Part, work: Work) {
        self.stay = None;
        if self.is_away {
            migrate(self.lab, job.pid, "n2");
            self.stay = Some(Stay::prove(job.outer_pid, self.lab.node(2), work, PATIENCE).unwrap());
        }
    }

    /// Moves a job that may be refused now; then nothing has changed.
    pub(crate) fn try_move(&mut self, job: Part, to: &str) {
        if self.is_away {
            let moved = self.lab.node(1).homing(&["move", &job.pid.to_string(), to]).unwrap();
            let said = String::from_utf8_lossy(&moved.errors).into_owned();
            println!("move to {to}: {} {} {said}", moved.code, moved.text());
            match moved.code {
                0 if to == "home" => self.stay = None,
                0 => {
                    self.stay =
                        Some(Stay::prove(job.outer_pid, self.lab.node(2), Work::Waits, PATIENCE).unwrap())
                }
                REFUSED => {}
                code => self.give_up(&format!("code {code}: {said}")),
            }
        }
    }

    /// Presses keys, waits for the prompt and notes how long that took and what was shown.
    pub(crate) fn press_and_wait(&mut self, name: &str, keys: &str) {
        let started = Instant::now();
        self.terminal.press(keys);
        let shown = self.terminal.wait_prompt().unwrap_or_else(|error| self.give_up(&error));
        self.note_time(name, started);
        self.see(name, &shown);
    }

    /// Waits for these words. What came before them may be in any order and is not noted.
    pub(crate) fn wait_text(&mut self, words: &str) {
        self.terminal.wait_text(words).unwrap_or_else(|error| self.give_up(&error));
        self.see("words", words);
    }

    /// Brings a stopped job to the front, and waits until it goes on there: a key that comes before the shell has
    /// handed over the terminal is the shell's.
    pub(crate) fn in_front_again(&mut self, job: Part, work: Work) {
        self.terminal.begin("fg");
        match work {
            Work::Computes => self.wait_until_it("works again", job, true),
            Work::Waits => self.wait_text("goes on\n"),
        }
    }

    /// Waits until the job computes no more, or does again.
    pub(crate) fn wait_until_it(&mut self, name: &str, job: Part, works: bool) {
        let started = Instant::now();
        wait_for(name, || {
            let before = self.ticks(job);
            thread::sleep(TICKS_WINDOW);
            (self.ticks(job) - before >= WORKS_TICKS_MIN) == works
        });
        self.note_time(name, started);
    }

    /// Sends a signal from elsewhere, as its owner may.
    pub(crate) fn signal(&self, job: Part, signal: &str) {
        let kill = Program::new("kill").args(&[&format!("-{signal}"), &job.pid.to_string()]);
        let finished = self.lab.node(1).exec(&kill).unwrap().finish(PATIENCE).unwrap();
        assert_eq!(finished.code, 0, "{}", String::from_utf8_lossy(&finished.errors));
    }

    pub(crate) fn note_time(&mut self, name: &str, started: Instant) {
        self.took.push((name.to_owned(), started.elapsed()));
    }

    pub(crate) fn see(&mut self, what: &str, shown: &str) {
        self.seen.push(format!("{what}: {}", shown.trim()));
    }

    /// User time wherever it is spent, in clock ticks.
    fn ticks(&self, job: Part) -> u64 {
        self.stay.map_or_else(|| job.ticks().user, |stay| stay.away_ticks().user)
    }

    /// Closes the terminal, as one does with its window.
    pub(crate) fn hang_up(&mut self) {
        let next = self.lab.node(1).terminal(User::Worker).unwrap();
        std::mem::replace(&mut self.terminal, next).hang_up().unwrap();
    }

    fn give_up(&self, error: &str) -> ! {
        self.lab.nodes().iter().for_each(|node| println!("{}", node.logs()));
        let place = if self.is_away { "away" } else { "at home" };
        panic!("{place}, after {:#?}: {error}", self.seen)
    }
}

/// For a look whether somebody computes.
const TICKS_WINDOW: Duration = Duration::from_millis(150);

/// Time is counted by sampling: whoever computes all the time gets fifteen ticks in that window on a free core.
const WORKS_TICKS_MIN: u64 = 3;

/// The exit code of a move that cannot be now.
const REFUSED: i32 = 6;
