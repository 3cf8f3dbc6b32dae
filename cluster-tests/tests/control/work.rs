//! A program whose every line depends on all that it has done before, and that ends when it is told to.

use std::time::Duration;

use cluster_tests::check::Difference;
use cluster_tests::lab::{LabNode, Program, Running, User};
use cluster_tests::support::PATIENCE;

/// Three threads change a heap of 4 MiB in turn and tell what they found there.
const SCRIPT: &str = r#"
import hashlib, os, queue, sys, threading, time
stop, count, pause = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
heap = [bytearray([number]) * 65536 for number in range(64)]
asks, answers = [queue.SimpleQueue() for _ in range(3)], queue.SimpleQueue()
def work(ask):
    while True:
        number = ask.get()
        page = heap[number % len(heap)]
        digest = hashlib.sha256(page).digest()
        page[number * 7919 % 65536] = digest[0]
        answers.put(digest.hex()[:16])
for ask in asks:
    threading.Thread(target=work, args=(ask,), daemon=True).start()
number = 0
while number < count if count else not os.path.exists(stop):
    asks[number % 3].put(number)
    print(number, answers.get(), flush=True)
    number += 1
    time.sleep(pause)
"#;

pub(crate) struct Worker<'a> {
    home: &'a LabNode,
    stop: String,
    user: User,
    pub(crate) running: Running,
}

impl Worker<'_> {
    pub(crate) fn start<'a>(home: &'a LabNode, name: &str, user: User) -> Worker<'a> {
        let stop = format!("/tmp/stop-{name}");
        let program = Program::new("python3").args(&["-c", SCRIPT, &stop, "0", PAUSE_S]).user(user);
        let worker = Worker { home, stop, user, running: home.exec(&program).unwrap() };
        worker.wait_for_more();
        worker
    }

    pub(crate) fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Waits until it has written a few lines more.
    #[track_caller]
    pub(crate) fn wait_for_more(&self) {
        let before = self.lines();
        let goes_on = self.running.wait_for_output(PATIENCE, |output| lines(output) >= before + MORE_LINES);
        goes_on.unwrap_or_else(|error| panic!("it stands still after {before} lines: {error}"));
    }

    /// How many lines it has written.
    pub(crate) fn lines(&self) -> usize {
        lines(&self.running.output_so_far())
    }

    /// Ends it, and checks that it has done what it does when nobody disturbs it.
    pub(crate) fn finish(self) -> usize {
        self.home.write_file(&self.stop, b"").unwrap();
        let moved = self.running.finish(PATIENCE).unwrap();
        assert_eq!(moved.code, 0, "{}", String::from_utf8_lossy(&moved.errors));
        let count = lines(&moved.output);
        let program = Program::new("python3").args(&["-c", SCRIPT, &self.stop, &count.to_string(), "0"]);
        let native = self.home.exec(&program.user(self.user)).unwrap().finish(NATIVE_PATIENCE).unwrap();
        if let Some(difference) = Difference::between(&native.output, &moved.output) {
            panic!("it wrote something else than natively: {difference}");
        }
        count
    }
}

fn lines(output: &[u8]) -> usize {
    output.iter().filter(|&&byte| byte == b'\n').count()
}

/// Between two lines, so that the machine has time for something else.
const PAUSE_S: &str = "0.002";

/// Enough to know that every thread goes on.
const MORE_LINES: usize = 12;

const NATIVE_PATIENCE: Duration = Duration::from_secs(300);
