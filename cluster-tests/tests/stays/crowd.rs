//! A family that starts more threads in one stay than there can be streams for them at once.

use std::time::Duration;

use cluster_tests::lab::{Ground, Program};
use cluster_tests::support::cluster;

use super::go;

/// Each thread has a stream of its own while it lives, and no longer.
pub(crate) fn python(ground: Ground) {
    let lab = cluster(ground, 2);
    let home = lab.node(1);
    let program = home.exec(&Program::new("python3").args(&["-c", CROWD, GO, &THREADS.to_string()])).unwrap();
    go(&lab, program.whole(), 2);
    home.write_file(GO, b"").unwrap();
    let finished = program.finish(PATIENCE).unwrap();
    assert_eq!(
        (finished.code, finished.text()),
        (0, THREADS.to_string()),
        "{}\n{}",
        String::from_utf8_lossy(&finished.errors),
        home.logs()
    );
}

const CROWD: &str = "
import os, sys, threading, time
parent, answers = os.getppid(), []
while not os.path.exists(sys.argv[1]):
    time.sleep(0.01)
for _ in range(int(sys.argv[2])):
    thread = threading.Thread(target=lambda: answers.append(os.getppid()))
    thread.start()
    thread.join()
print(answers.count(parent))
";

const GO: &str = "/tmp/go";

/// A connection has 4,096 streams at once.
const THREADS: u32 = 4_500;

const PATIENCE: Duration = Duration::from_secs(300);
