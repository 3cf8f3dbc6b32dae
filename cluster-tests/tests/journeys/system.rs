//! Programs of the distribution, as they are installed.

use cluster_tests::check::Scenario;
use cluster_tests::lab::{LabNode, Program, Work};

use super::{Length, Traveller, inputs};

pub(crate) const TRAVELLERS: &[Traveller] = &[
    Traveller { name: "python", needs: &["python3"], code: 0, scenario: python },
    Traveller { name: "bash", needs: &[], code: 3, scenario: bash },
    Traveller { name: "perl", needs: &["perl"], code: 0, scenario: perl },
    Traveller { name: "sha256sum", needs: &[], code: 0, scenario: sha256sum },
    Traveller { name: "xz", needs: &["xz"], code: 0, scenario: xz },
    Traveller { name: "gcc", needs: &["gcc"], code: 0, scenario: gcc },
    Traveller { name: "pestered", needs: &["python3"], code: 0, scenario: pestered },
    Traveller { name: "java", needs: &["java"], code: 0, scenario: java },
];

/// Threads, subprocesses, and a file read line by line.
fn python(_: &LabNode, length: Length) -> Scenario {
    let script = "\
import hashlib, subprocess, sys, threading
results = {}
def work(number):
    value = str(number).encode()
    for _ in range(int(sys.argv[1]) * 3000):
        value = hashlib.sha256(value).digest()
    results[number] = value.hex()
threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
for thread in threads:
    thread.start()
counts = {}
with open('/tmp/lines') as lines:
    for number, line in enumerate(lines):
        word, amount, _ = line.split()
        counts[word] = counts.get(word, 0) + int(amount)
        if number % 4000 == 0:
            told = subprocess.run(['tr', 'a-z', 'A-Z'], input=line, capture_output=True, text=True)
            print(number, told.stdout.strip(), told.returncode, flush=True)
for thread in threads:
    thread.join()
print(sorted(counts.items()), sorted(results.items()))
";
    let program = Program::new("python3").args(&["-c", script, length.of("150", "4000")]);
    with_file(program, "/tmp/lines", inputs::text(length.of(1 << 20, 10 << 20)))
}

/// A loop with pipes and command substitution.
fn bash(_: &LabNode, length: Length) -> Scenario {
    let script = "\
sum=0
for ((round = 1; round <= $0; round++)); do
    top=$(seq $((round * 50)) | sort -rn | head -n 3 | tr '\\n' ,)
    sum=$(((sum * 31 + $(echo \"$round\" | cksum | cut -d ' ' -f 1)) % 1000003))
    for ((step = 0; step < $1; step++)); do ((sum = (sum * 7 + step) % 1000003)); done
    echo \"$round $top $sum\"
done
while read -r word number rest; do ((sum += number)); done </tmp/lines
echo \"$sum\"
exit 3
";
    let program =
        Program::new("bash").args(&["-c", script, length.of("10", "80"), length.of("20000", "80000")]);
    with_file(program, "/tmp/lines", inputs::text(length.of(20_000, 200_000)))
}

fn perl(_: &LabNode, length: Length) -> Scenario {
    let script = "\
my ($rounds, %seen) = @ARGV;
for my $round (1 .. $rounds) {
    open my $lines, '<', '/tmp/lines' or die $!;
    while (<$lines>) { $seen{$1} = ($seen{$1} * 31 + $2) % 1000003 if /^(\\w+) (\\d+)/ }
    printf \"%d %s\\n\", $round, join ',', map { \"$_=$seen{$_}\" } sort keys %seen;
}
";
    let program = Program::new("perl").args(&["-e", script, length.of("25", "500")]);
    with_file(program, "/tmp/lines", inputs::text(1 << 20))
}

fn sha256sum(_: &LabNode, length: Length) -> Scenario {
    let program = Program::new("sha256sum").args(&["/tmp/data"]);
    with_file(program, "/tmp/data", inputs::text(length.of(200 << 20, 4 << 30)))
}

fn xz(_: &LabNode, length: Length) -> Scenario {
    let program = Program::new("xz").args(&["-T2", "-6", "--block-size=2MiB", "-c", "/tmp/data"]);
    with_file(program, "/tmp/data", inputs::text(length.of(4 << 20, 80 << 20)))
}

/// The compiler proper is moved: the driver only waits for it.
fn gcc(_: &LabNode, length: Length) -> Scenario {
    let program = Program::new("gcc").args(&["-O2", "-c", "-o", "/tmp/large.o", "/tmp/large.c"]);
    let mut scenario = with_file(program, "/tmp/large.c", inputs::c_source(length.of(250, 7000)));
    scenario.part = Some("cc1".into());
    scenario.results = vec!["/tmp/large.o".into()];
    scenario
}

/// Signals that it ignores and signals that it handles reach it all the time, also while it waits for nothing.
fn pestered(_: &LabNode, length: Length) -> Scenario {
    let script = "\
import os, signal, sys, time
seen = {signal.SIGUSR1: 0, signal.SIGUSR2: 0}
def note(number, frame):
    seen[number] += 1
for number in seen:
    signal.signal(number, note)
pest = os.fork()
if pest == 0:
    while True:
        for number in (signal.SIGURG, signal.SIGUSR1, signal.SIGWINCH, signal.SIGCHLD, signal.SIGUSR2, signal.SIGCONT):
            try:
                os.kill(os.getppid(), number)
            except OSError:
                os._exit(0)
            time.sleep(0.0007)
parent = os.getppid()
for round in range(int(sys.argv[1])):
    time.sleep(0.0025)
    now = os.getppid()
    if now != parent:
        print('wrong: parent', now, 'instead of', parent, 'in round', round)
    until = time.monotonic() + 0.002
    while time.monotonic() < until:
        pass
os.kill(pest, signal.SIGKILL)
print(os.waitpid(pest, 0)[1], all(seen.values()))
";
    let program = Program::new("python3").args(&["-c", script, length.of("300", "5000")]);
    Scenario { work: Work::Waits, ..Scenario::new(program) }
}

/// The compiler runs in the same process, before the program itself. Left to itself it would use a quarter of the
/// machine's memory before it collects any garbage.
fn java(_: &LabNode, length: Length) -> Scenario {
    let program = Program::new("java").args(&["-Xmx128m", "/tmp/Threads.java", length.of("30", "4000")]);
    with_file(program, "/tmp/Threads.java", include_bytes!("../../programs/Threads.java").to_vec())
}

fn with_file(program: Program, path: &str, content: Vec<u8>) -> Scenario {
    Scenario { files: vec![(path.into(), content)], ..Scenario::new(program) }
}
