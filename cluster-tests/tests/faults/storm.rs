//! Many programs that move all the time, while agents die and come back: none is lost, none differs from a native run.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cluster_tests::lab::{Ground, Lab, Program, Running, User, kill};
use cluster_tests::support::{
    Chance, PATIENCE, cluster, is_full, nobody_is_away, place, try_to_migrate, wait_for,
};

/// For a minute, or ten.
pub(crate) fn programs_and_agents(ground: Ground) {
    let lab = cluster(ground, 3);
    let mut programs: Vec<Running> = (0..PROGRAMS).map(|number| start(&lab, number)).collect();
    let mut chance = Chance::new();
    let length = Duration::from_secs(if is_full() { 600 } else { 60 });
    let storm =
        Storm { lab: &lab, programs: &programs, end: Instant::now() + length, counts: Counts::default() };
    thread::scope(|scope| {
        for _ in 0..MOVERS {
            let (storm, chance) = (&storm, chance.split());
            scope.spawn(move || storm.move_about(chance));
        }
        storm.kill_agents(chance);
    });
    let Counts { moved, refused, killed } = storm.counts;
    let [moved, refused, killed] = [moved, refused, killed].map(AtomicU64::into_inner);
    println!("{moved} moves, {refused} that did not come about, {killed} agents killed");
    assert!(moved >= MOVES_MIN && killed >= KILLS_MIN, "that was no storm");
    lab.wait_for_members().unwrap();
    for (number, program) in programs.iter_mut().enumerate() {
        assert!(!program.has_ended().unwrap(), "program {number} is lost");
    }
    // After everything that has happened the next move succeeds, for each.
    for program in &programs {
        let is_home = || place(&lab, program.pid()).is_none_or(|(at, state)| at == "n1" && state == "home");
        wait_for("a program that comes home", || {
            is_home() || try_to_migrate(&lab, program.pid(), "home").is_ok()
        });
    }
    lab.node(1).write_file(STOP, b"").unwrap();
    let lines: usize = programs.into_iter().enumerate().map(|(number, program)| end(number, program)).sum();
    println!("{lines} lines of {PROGRAMS} programs are those of a native run");
    wait_for("the end of what is left", || {
        nobody_is_away(&lab) && lab.nodes().iter().all(|node| node.home_wardens().is_empty())
    });
}

struct Storm<'a> {
    lab: &'a Lab,
    programs: &'a [Running],
    end: Instant,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    moved: AtomicU64,
    refused: AtomicU64,
    killed: AtomicU64,
}

impl Storm<'_> {
    fn move_about(&self, mut chance: Chance) {
        while Instant::now() < self.end {
            let program = &self.programs[chance.below(self.programs.len())];
            let to = ["n2", "n3", "home"][chance.below(3)];
            let moved = self.lab.node(1).homing(&["move", &program.pid().to_string(), to]).unwrap();
            if moved.code == 0 {
                self.counts.moved.fetch_add(1, Ordering::Relaxed);
            } else {
                // It is there already, or on its way, or an agent is not there.
                self.counts.refused.fetch_add(1, Ordering::Relaxed);
                thread::sleep(PAUSE);
            }
        }
    }

    fn kill_agents(&self, mut chance: Chance) {
        while Instant::now() < self.end {
            thread::sleep(Duration::from_millis(500 + u64::try_from(chance.below(2500)).unwrap()));
            let node = self.lab.node(1 + chance.below(3));
            kill(node.agent_pid().unwrap());
            self.counts.killed.fetch_add(1, Ordering::Relaxed);
            wait_for("the end of the agent", || node.agent_pid().is_none());
            thread::sleep(Duration::from_millis(u64::try_from(chance.below(500)).unwrap()));
            node.start_agent().unwrap();
        }
    }
}

/// One of three kinds: it reckons, says so, and rests, until a file is there.
fn start(lab: &Lab, number: usize) -> Running {
    let (interpreter, flag, text) = KINDS[number % KINDS.len()];
    let program = Program::new(interpreter).args(&[flag, text, STOP]).user(User::Worker);
    let program = lab.node(1).exec(&program).unwrap();
    program.wait_for_output(PATIENCE, |output| !output.is_empty()).unwrap();
    program
}

/// It ends as it does when nobody disturbs it; how many lines it has written.
fn end(number: usize, program: Running) -> usize {
    let finished = program.finish(PATIENCE).unwrap();
    let (text, errors) = (finished.text(), String::from_utf8_lossy(&finished.errors).into_owned());
    assert_eq!(finished.code, 0, "program {number}: {errors}");
    let lines: Vec<&str> = text.lines().collect();
    let (last, lines) = lines.split_last().unwrap();
    assert_eq!(*last, format!("end {}", lines.len()), "program {number}: {errors}");
    let mut sum = 1_u64;
    for (line, count) in lines.iter().zip(1..) {
        sum = (sum * FACTOR + count) % MODULUS;
        assert_eq!(*line, format!("{count} {sum}"), "program {number}");
    }
    lines.len()
}

/// All of them reckon the same.
const KINDS: [(&str, &str, &str); 3] =
    [("python3", "-c", PYTHON), ("perl", "-e", PERL), ("bash", "-c", BASH)];

const PYTHON: &str = r#"
import os, sys, threading, time
count, total = 0, 1
lines = []
def reckon():
    global count, total
    count += 1
    total = (total * 31 + count) % 1000003
    lines.append(f"{count} {total}")
while not os.path.exists(sys.argv[1]):
    thread = threading.Thread(target=reckon)
    thread.start()
    thread.join()
    print(lines.pop(), flush=True)
    time.sleep(0.05)
print("end", count)
"#;

const PERL: &str = r#"
$| = 1;
my ($stop, $count, $sum) = ($ARGV[0], 0, 1);
until (-e $stop) {
    $count++;
    $sum = ($sum * 31 + $count) % 1000003;
    print "$count $sum\n";
    select(undef, undef, undef, 0.05);
}
print "end $count\n";
"#;

/// With a process of its own for each line, and a program for each rest.
const BASH: &str = r#"
count=0 sum=1
until [ -e "$0" ]; do
    count=$((count + 1))
    sum=$(echo $(( (sum * 31 + count) % 1000003 )))
    echo "$count $sum"
    sleep 0.2
done
echo "end $count"
"#;

const FACTOR: u64 = 31;
const MODULUS: u64 = 1_000_003;
const PROGRAMS: usize = 64;
const MOVERS: usize = 3;

/// After an order that was refused.
const PAUSE: Duration = Duration::from_millis(50);

/// What makes it a storm, also on a busy machine.
const MOVES_MIN: u64 = 50;
const KILLS_MIN: u64 = 5;

/// At home: all programs end when it is there.
const STOP: &str = "/tmp/stop";
