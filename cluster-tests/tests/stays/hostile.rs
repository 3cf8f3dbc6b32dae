//! Programs that attack the node where their body is.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Instant;

use cluster_tests::lab::{Ground, Lab, LabNode, NAME_PORT, Program, Running, User};
use cluster_tests::programs::HostileProgram;
use cluster_tests::support::{PATIENCE, cluster, migrate};
use ipc_home::syscall::table::calls;
use ipc_home::syscall::vocabulary::Class;
use tempfile::TempDir;

use super::answers::mark;
use super::go;

/// Whatever it looks for, it finds what is at home, or a refusal.
pub(crate) fn probes(ground: Ground) {
    let lab = cluster(ground, 2);
    let marks = mark(&lab);
    let (home, guest) = (lab.node(1), lab.node(2));
    let bait = guest.exec(&Program::new("python3").args(&["-u", "-c", BAIT, guest.name()])).unwrap();
    bait.wait_for_output(PATIENCE, |output| output == b"there\n").unwrap();
    let foreign = marks[1].pid().to_string();
    let mut hostile = start(home, HostileProgram::Probes, &[guest.name(), &NAME_PORT.to_string(), &foreign]);
    let before = state(guest);
    go(&lab, hostile.whole(), 2);
    let mut stdin = hostile.stdin().unwrap();
    stdin.write_all(b"\n").unwrap();
    let told =
        hostile.wait_for_output(PATIENCE, |output| output.windows(SEEN.len()).any(|part| part == SEEN));
    let said = String::from_utf8_lossy(&hostile.output()).into_owned();
    assert!(told.is_ok() && !said.contains("wrong:"), "{said}\n{}", guest.logs());
    // It has put code of its own where homing's was, which must not run when it is captured.
    go(&lab, hostile.whole(), 1);
    stdin.write_all(b"\n").unwrap();
    let finished = hostile.finish(PATIENCE).unwrap();
    println!("{}", finished.text().lines().last().unwrap_or_default());
    assert_eq!(finished.code, 0, "{said}");
    is_unharmed(&lab, &before);
}

/// Each of 470 numbers, and some beyond, with three sets of arguments.
pub(crate) fn sweep(ground: Ground) {
    let lab = cluster(ground, 2);
    let (home, guest) = (lab.node(1), lab.node(2));
    let mut table = String::new();
    let mut local = Vec::new();
    for row in calls() {
        let (class, errno) = match row.class {
            // Since Linux 6.14 and 6.18; both do nothing but for the kernel's own code in a probed program.
            _ if ["uretprobe", "uprobe"].contains(&row.name) => ('K', 0),
            Class::Local => ('L', 0),
            Class::Home => ('H', 0),
            Class::Special(_) => ('S', 0),
            Class::Refuse(errno) => ('R', errno),
        };
        writeln!(table, "{} {class} {errno}", row.nr).unwrap();
        local.extend((row.class == Class::Local).then_some(row.name));
    }
    home.write_file("/tmp/calls", table.as_bytes()).unwrap();
    let mut hostile = start(home, HostileProgram::Sweep, &["/tmp/calls"]);
    let before = state(guest);
    go(&lab, hostile.whole(), 2);
    hostile.stdin().unwrap().write_all(b"\n").unwrap();
    let finished = hostile.finish(4 * PATIENCE).unwrap();
    println!("{} calls run at the guest: {}\n{}", local.len(), local.join(" "), finished.text());
    assert_eq!(finished.code, 0, "{}\n{}", finished.text(), guest.logs());
    assert!(local.len() <= LOCAL_MAX);
    // All but rt_sigreturn, which ends whoever was in no handler.
    let answered = format!("answered: local {},", 3 * (local.len() - 1));
    assert!(finished.text().contains(&answered), "{answered} is not in {}", finished.text());
    is_unharmed(&lab, &before);
}

fn start(home: &LabNode, program: HostileProgram, args: &[&str]) -> Running {
    let directory = TempDir::new().unwrap();
    home.install(&program.build(directory.path()).unwrap(), "/tmp/hostile").unwrap();
    let running = home.exec(&Program::new("/tmp/hostile").args(args).user(User::Worker)).unwrap();
    running.wait_for_output(PATIENCE, |output| output.ends_with(b"ready\n")).unwrap();
    running
}

/// What an attacker would have changed.
fn state(node: &LabNode) -> String {
    let asked = node.exec(&Program::new("sh").args(&["-c", STATE]).user(User::Root)).unwrap();
    asked.finish(PATIENCE).unwrap().text()
}

/// The guest is as it was, and takes the next program.
#[track_caller]
fn is_unharmed(lab: &Lab, before: &str) {
    let deadline = Instant::now() + PATIENCE;
    // Its warden may still be on its way out.
    while state(lab.node(2)) != before && Instant::now() < deadline {}
    assert_eq!(state(lab.node(2)), before);
    let next = lab.node(1).exec(&Program::new("sleep").args(&["1000"])).unwrap();
    go(lab, next.whole(), 2);
    migrate(lab, next.pid(), "home");
}

const SEEN: &[u8] = b"saw the guest\n";

/// The aim of the design.
const LOCAL_MAX: usize = 45;

/// What the guest has to find.
const BAIT: &str = "
import ctypes, socket, sys, time
listening = [socket.socket(socket.AF_UNIX) for _ in range(2)]
for one, name in zip(listening, ('\\0only-at-', '/tmp/socket-at-')):
    one.bind(name + sys.argv[1])
    one.listen()
libc = ctypes.CDLL(None)
key = 0x686f6d65
assert libc.msgget(key, 0o1666) >= 0 and libc.semget(key, 1, 0o1666) >= 0
libc.mq_open(b'/only-away', 0o100, 0o666, None)
print('there')
time.sleep(1000)
";

const STATE: &str = "
hostname; cat /etc/passwd /etc/hostname /tmp/own-file 2>&1; cat /proc/self/mountinfo | sort
ls -a / /tmp /home /root /var/tmp; ls /tmp/core* 2>&1; cat /proc/net/dev | cut -d: -f1; cat /proc/sysvipc/msg | wc -l
cat /proc/sys/kernel/core_pattern /proc/swaps; date +%Y-%m-%d; ps -e -o user=,comm= | grep -v -e ps -e sh -e sort | sort -u
";
