//! Job control: keys, signals and ends, as the person at the terminal and the parent see them.

use std::time::Instant;

use cluster_tests::lab::{Work, homing};
use cluster_tests::support::{PATIENCE, is_full, wait_for};

use crate::session::Session;

/// Computes and makes no call.
const SPIN: &str = "perl -e '1 while 1'";

/// Is in one call all the time.
const SLEEP: &str = "sleep 1000";

/// Is in one call nearly all the time; in front, it tells when it was stopped.
const WAIT: &str = r#"perl -MPOSIX -e '$SIG{CONT} = sub { print "goes on\n" if tcgetpgrp(0) == getpgrp }; $| = 1; print "up\n"; sleep 1 while 1'"#;

pub(crate) fn keys_and_signals_end_a_job(session: &mut Session<'_>) {
    session.run("ulimit -c 0; trap -p");
    for (line, program, work) in [(SPIN, "perl", Work::Computes), (SLEEP, "sleep", Work::Waits)] {
        for (name, key) in [("Ctrl-C", "\x03"), ("Ctrl-\\", "\x1c")] {
            session.start(line, program, "", work);
            session.press_and_wait(&format!("{name} to {program}"), key);
            session.run("echo $?");
        }
        for signal in ["TERM", "KILL", "HUP", "SEGV"] {
            let job = session.start_behind(line, program, work);
            let started = Instant::now();
            session.run(&format!("kill -{signal} %1; wait %1; echo $?"));
            session.note_time(&format!("kill -{signal} to {program}"), started);
            assert!(job.has_ended());
        }
    }
    let leave = r#"perl -e '$SIG{USR1} = sub { exit 3 }; $| = 1; print "up\n"; 1 while 1'"#;
    let job = session.start(leave, "perl", "up\n", Work::Computes);
    session.signal(job, "USR1");
    session.press_and_wait("an exit in a handler", "");
    session.run("echo $?");
}

pub(crate) fn a_job_stops_and_goes_on(session: &mut Session<'_>) {
    for (line, first, work) in [(SPIN, "", Work::Computes), (WAIT, "up\n", Work::Waits)] {
        let name = if work == Work::Computes { "one that computes" } else { "one that waits" };
        let job = session.start(line, "perl", first, work);
        session.press_and_wait(&format!("Ctrl-Z to {name}"), "\x1a");
        session.run("echo $?; jobs");
        if work == Work::Computes {
            session.wait_until_it("stands still", job, false);
        }
        session.in_front_again(job, work);
        session.press_and_wait(&format!("Ctrl-Z again to {name}"), "\x1a");
        session.run("bg >/dev/null; until jobs -r | grep -q .; do :; done; jobs");
        session.run("kill -STOP %1; until jobs -s | grep -q .; do :; done; jobs");
        session.run("kill -CONT %1; until jobs -r | grep -q .; do :; done; jobs");
        session.run("kill %1; wait %1; echo $?");
    }
}

/// A stopped job may be moved, and stays stopped; or it is refused, and stays where it is.
pub(crate) fn a_stopped_job_stays_stopped(session: &mut Session<'_>) {
    for (line, first, work) in [(SPIN, "", Work::Computes), (WAIT, "up\n", Work::Waits)] {
        let job = session.start(line, "perl", first, work);
        for to in ["home", "n2", "home"] {
            session.press_and_wait("Ctrl-Z", "\x1a");
            session.try_move(job, to);
            session.run("jobs");
            session.wait_until_it("stands still", job, false);
            session.in_front_again(job, work);
        }
        session.press_and_wait("Ctrl-C", "\x03");
        session.run("echo $?");
    }
}

/// The parent is at home, whether its child is or not.
pub(crate) fn a_parent_sees_its_child(session: &mut Session<'_>) {
    session.lab.node(1).write_file("/tmp/parent", PARENT.as_bytes()).unwrap();
    for last in
        [("USR1", "exits with 5."), ("TERM", "ends by 15."), ("KILL", "ends by 9."), ("SEGV", "ends by 11.")]
    {
        session.terminal.begin("python3 /tmp/parent");
        let parent = session.job("python3");
        session.wait_text("up\n");
        let child = parent.child("python3", PATIENCE).unwrap();
        session.send_away(child, Work::Computes);
        let steps = [
            ("STOP", "stops by 19."),
            ("CONT", "goes on."),
            ("TSTP", "stops by 20."),
            ("CONT", "goes on."),
            last,
        ];
        for (signal, word) in steps {
            let started = Instant::now();
            session.signal(child, signal);
            session.wait_text(word);
            session.note_time(&format!("SIGCHLD after {signal}"), started);
        }
        session.press_and_wait("end of the parent", "");
    }
}

pub(crate) fn timeout_ends_it(session: &mut Session<'_>) {
    let homing = homing().unwrap();
    let jobs = [(SPIN, "perl", Work::Computes), (SLEEP, "sleep", Work::Waits)];
    for (line, program, work) in jobs.into_iter().take(if is_full() { 2 } else { 1 }) {
        let started = Instant::now();
        session.terminal.begin(&format!("timeout 3 {} run -- {line}", homing.display()));
        let job = session.job("timeout").child(program, PATIENCE).unwrap();
        session.send_away(job, work);
        session.press_and_wait("the end", "");
        session.note_time(&format!("timeout 3 homing run, {program}"), started);
        let elapsed_s = started.elapsed().as_secs_f32();
        assert!((3.0..6.0).contains(&elapsed_s), "{elapsed_s} s");
        session.run("echo $?");
        assert!(job.has_ended());
    }
}

pub(crate) fn the_terminal_is_its_own(session: &mut Session<'_>) {
    session.lab.node(1).write_file("/tmp/watch", WATCH.as_bytes()).unwrap();
    session.start("perl /tmp/watch", "perl", "up\n", Work::Computes);
    for (rows, columns) in [(50, 160), (24, 80)] {
        let started = Instant::now();
        session.terminal.resize(rows, columns).unwrap();
        session.wait_text(&format!("size {rows} {columns}."));
        session.note_time("SIGWINCH", started);
    }
    session.press_and_wait("Ctrl-C", "\x03");

    session.start("cat", "cat", "", Work::Waits);
    for line in ["one", "two"] {
        session.terminal.begin(line);
        session.wait_text(&format!("{line}\n"));
        session.wait_text(&format!("{line}\n"));
    }
    session.press_and_wait("Ctrl-D", "\x04");
    session.run("echo $?");

    // Who reads from behind is stopped, and gets its line once it is in front.
    session.start_behind("{ sleep 1; exec head -n 1; }", "bash", Work::Waits);
    session.run("until jobs -s | grep -q .; do :; done; jobs");
    session.terminal.begin("fg");
    session.wait_text("head -n 1; }\n");
    session.terminal.begin("a line");
    session.wait_text("a line\n");
    session.press_and_wait("the line", "");
    session.run("echo $?");
}

pub(crate) fn a_hangup_ends_it(session: &mut Session<'_>) {
    let note = "perl -e '$SIG{HUP} = sub { open my $file, q(>), q(/tmp/note); print $file qq(hung up\\n); exit }; 1 while 1'";
    let jobs = [("perl", note, Work::Computes), ("sleep", SLEEP, Work::Waits)]
        .map(|(program, line, work)| session.start_behind(line, program, work));
    let home = session.lab.node(1);
    home.write_file("/tmp/note", b"").unwrap();
    let started = Instant::now();
    session.hang_up();
    for job in jobs {
        wait_for("the end of the job", || job.has_ended());
    }
    session.note_time("SIGHUP", started);
    let note = home.read_file("/tmp/note").unwrap();
    session.see("the note", &String::from_utf8_lossy(&note));
}

/// Tells of every change of its child, which computes and makes no call.
const PARENT: &str = r#"
import os, signal, time
ended = False
def changed(*_):
    global ended
    while not ended:
        pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
        if pid == 0:
            return
        ended = os.WIFEXITED(status) or os.WIFSIGNALED(status)
        word = ("goes on" if os.WIFCONTINUED(status)
                else f"stops by {os.WSTOPSIG(status)}" if os.WIFSTOPPED(status)
                else f"ends by {os.WTERMSIG(status)}" if os.WIFSIGNALED(status)
                else f"exits with {os.WEXITSTATUS(status)}")
        # A handler may come within a handler, which `print` does not allow.
        os.write(1, f"it {word}.\n".encode())
signal.signal(signal.SIGCHLD, changed)
if os.fork() == 0:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGUSR1, lambda *_: os._exit(5))
    print("up", flush=True)
    while True:
        pass
while not ended:
    time.sleep(0.02)
"#;

/// Says its terminal's size whenever that changes; 0x5413 is TIOCGWINSZ.
const WATCH: &str = r#"
$SIG{WINCH} = sub {
    my $size = "\0" x 8;
    ioctl STDIN, 0x5413, $size or die $!;
    print "size @{[unpack 'SS', $size]}.\n";
};
$| = 1;
print "up\n";
1 while 1;
"#;
