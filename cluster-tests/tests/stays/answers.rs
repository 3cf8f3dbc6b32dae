//! A program that is away gets its home's answers, never the guest's.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ChildStdin;
use std::time::{SystemTime, UNIX_EPOCH};

use cluster_tests::lab::{Ground, Lab, LabNode, NAME_PORT, Program, Running, User};
use cluster_tests::support::{PATIENCE, cluster};
use serde_json::Value;

use super::go;

/// One program that asks with its own system calls.
pub(crate) fn python(ground: Ground) {
    let lab = cluster(ground, 3);
    let _marks = mark(&lab);
    let home = lab.node(1);
    let program = Program::new("python3").args(&["-u", "-c", PYTHON, &NAME_PORT.to_string()]);
    let mut asked = Asked::start(home, &program.user(User::Worker));
    let at_home = asked.ask();
    assert_eq!(at_home["name on 127.0.0.1"], "n1");
    assert_eq!(at_home["hosts"], serde_json::json!(["n1", "n1", "n1"]));
    assert!(at_home["/etc/passwd"].as_str().unwrap().contains("marker-n1:"));
    assert_eq!(at_home["own file"], "of n1");
    let part = asked.running.whole();
    assert_eq!(at_home["ids"][0], part.pid);
    for to in [2, 3, 2, 1] {
        go(&lab, part, to);
        let (earliest, now) = (uptime_s(home), unix_s());
        let mut answers = asked.ask();
        let (latest, later) = (uptime_s(home), unix_s());
        for (clock, from, until) in [
            ("CLOCK_REALTIME", now, later),
            ("CLOCK_BOOTTIME", earliest, latest),
            ("CLOCK_MONOTONIC", earliest - offset(&at_home), latest - offset(&at_home)),
            ("/proc/uptime", earliest, latest),
        ] {
            let told = answers["clocks"][clock].as_f64().unwrap();
            assert!(
                (from - SLACK_S..=until + SLACK_S).contains(&told),
                "{clock} at n{to}: {told}, not {from}"
            );
        }
        runs_at_home(&answers["programs"], to);
        for what in ["clocks", "programs"] {
            answers[what] = at_home[what].clone();
        }
        for (what, expected) in at_home.as_object().unwrap() {
            assert_eq!(&answers[what], expected, "{what} at n{to}");
        }
    }
    assert_eq!(asked.end(), 0);
}

/// A shell that asks by programs of its own, which start while it is away.
pub(crate) fn shell(ground: Ground) {
    let lab = cluster(ground, 3);
    let _marks = mark(&lab);
    let mut asked = Asked::start(lab.node(1), &Program::new("sh").args(&["-c", SHELL]).user(User::Root));
    let at_home = asked.ask_lines();
    assert_eq!(at_home["uname"], "n1");
    assert_eq!(at_home["own file"], "of n1");
    assert!(at_home["passwd"].starts_with("marker-n1:"));
    let part = asked.running.whole();
    for to in [2, 3, 1] {
        go(&lab, part, to);
        let mut answers = asked.ask_lines();
        let programs = answers.remove("programs").unwrap();
        runs_at_home(&programs.split(' ').map(Value::from).collect(), to);
        for (what, answer) in answers {
            assert_eq!(answer, at_home[&what], "{what} at n{to}");
        }
    }
    assert_eq!(asked.end(), 0);
}

/// A program that answers on its standard output for each line of input.
struct Asked {
    running: Running,
    stdin: ChildStdin,
    questions: usize,
}

impl Asked {
    fn start(home: &LabNode, program: &Program) -> Asked {
        let mut running = home.exec(program).unwrap();
        let stdin = running.stdin().unwrap();
        Asked { running, stdin, questions: 0 }
    }

    fn ask_text(&mut self) -> String {
        writeln!(self.stdin, "?").unwrap();
        self.questions += 1;
        let answered = self
            .running
            .wait_for_output(PATIENCE, |output| output.split(|byte| *byte == END).count() > self.questions);
        let output = self.running.output();
        answered.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output)));
        let answers: Vec<_> = output.split(|byte| *byte == END).collect();
        String::from_utf8(answers[self.questions - 1].to_vec()).unwrap()
    }

    fn ask(&mut self) -> Value {
        serde_json::from_str(&self.ask_text()).unwrap()
    }

    /// Answers of the form `what=answer`.
    fn ask_lines(&mut self) -> BTreeMap<String, String> {
        let text = self.ask_text();
        let lines = text.lines().filter_map(|line| line.split_once('='));
        lines.map(|(what, answer)| (what.to_owned(), answer.trim().to_owned())).collect()
    }

    fn end(self) -> i32 {
        drop(self.stdin);
        self.running.finish(PATIENCE).unwrap().code
    }
}

/// Gives each node a file and a process that no other node has.
pub(crate) fn mark(lab: &Lab) -> Vec<Running> {
    let marked = lab.nodes().iter().map(|node| {
        let program = format!("/tmp/only-at-{}", node.name());
        node.write_file("/tmp/own-file", format!("of {}\n", node.name()).as_bytes()).unwrap();
        node.install("/usr/bin/sleep".as_ref(), &program).unwrap();
        node.exec(&Program::new(program).args(&["1000"])).unwrap()
    });
    marked.collect()
}

/// The mark of home is among the programs that were seen, and no other node's.
fn runs_at_home(programs: &Value, at: usize) {
    let programs = programs.as_array().unwrap();
    let marks: Vec<_> =
        programs.iter().filter(|name| name.as_str().unwrap().starts_with("only-at-")).collect();
    assert_eq!(marks, ["only-at-n1"], "seen at n{at}: {programs:?}");
}

fn uptime_s(node: &LabNode) -> f64 {
    let told = node.exec(&Program::new("cat").args(&["/proc/uptime"])).unwrap().finish(PATIENCE).unwrap();
    told.text().split(' ').next().unwrap().parse().unwrap()
}

/// By how much CLOCK_BOOTTIME is ahead of CLOCK_MONOTONIC at home.
fn offset(at_home: &Value) -> f64 {
    let clock = |name: &str| at_home["clocks"][name].as_f64().unwrap();
    clock("CLOCK_BOOTTIME") - clock("CLOCK_MONOTONIC")
}

fn unix_s() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

/// Behind each answer.
const END: u8 = b'\x04';

/// Other nodes' clocks are a thousand seconds away.
const SLACK_S: f64 = 1.0;

const PYTHON: &str = r#"
import fcntl, glob, json, os, pwd, resource, socket, struct, sys, time

def read(path):
    with open(path) as file:
        return file.read()

def told():
    with socket.create_connection(('127.0.0.1', int(sys.argv[1]))) as server:
        return server.makefile().readline().strip()

def interfaces():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        names = [name for _, name in socket.if_nameindex()]
        addresses = {}
        for name in names:
            try:
                raw = fcntl.ioctl(out, 0x8915, struct.pack('256s', name.encode()))
                addresses[name] = socket.inet_ntoa(raw[20:24])
            except OSError as error:
                addresses[name] = error.errno
        return addresses

def programs():
    seen = []
    for path in glob.glob('/proc/[0-9]*/comm'):
        try:
            seen.append(read(path).strip())
        except OSError:
            pass
    return sorted(seen)

def status():
    lines = dict(line.split(':\t', 1) for line in read('/proc/self/status').splitlines() if ':\t' in line)
    return [lines[key].strip() for key in ('Name', 'Pid', 'PPid', 'Uid', 'Gid', 'Groups', 'Threads')]

def clocks():
    names = ('CLOCK_REALTIME', 'CLOCK_MONOTONIC', 'CLOCK_BOOTTIME')
    clocks = {name: time.clock_gettime(getattr(time, name)) for name in names}
    return clocks | {'/proc/uptime': float(read('/proc/uptime').split()[0])}

for line in sys.stdin:
    root = os.stat('/')
    print(json.dumps({
        '/etc/passwd': read('/etc/passwd'),
        'own user': pwd.getpwuid(os.getuid()).pw_name,
        'hosts': [socket.gethostname(), os.uname().nodename, read('/etc/hostname').strip()],
        'kernel': list(os.uname()),
        'name on 127.0.0.1': told(),
        'interfaces': interfaces(),
        'own file': read('/tmp/own-file').strip(),
        'ids': [os.getpid(), os.getppid(), os.getuid(), os.geteuid(), os.getgid(), os.getgroups(), os.getsid(0), os.getpgrp()],
        'places': [os.getcwd(), os.readlink('/proc/self/exe'), os.readlink('/proc/self/cwd'), os.readlink('/proc/self/root')],
        'command': [read('/proc/self/cmdline'), read('/proc/self/comm'), read('/proc/%d/comm' % os.getpid())],
        'environment': dict(os.environ),
        'descriptors': [os.readlink('/proc/self/fd/%d' % fd) for fd in (0, 1, 2)],
        'status': status(),
        'mounts': read('/proc/self/mountinfo'),
        'cgroup': read('/proc/self/cgroup'),
        'sockets': [line.split()[1:4] for line in read('/proc/net/udp').splitlines()[1:] if ':1E45 ' in line],
        'namespaces': [os.readlink('/proc/self/ns/' + name) for name in ('mnt', 'net', 'uts', 'ipc', 'pid', 'user')],
        'root': [root.st_dev, root.st_ino],
        'limits': [resource.getrlimit(limit) for limit in range(16)],
        'programs': programs(),
        'clocks': clocks(),
    }) + '\x04', end='')
"#;

const SHELL: &str = r#"
while read -r line; do
    echo "uname=$(uname -a | cut -d ' ' -f 2)"
    echo "hostname=$(hostname) $(cat /etc/hostname)"
    echo "passwd=$(grep ^marker- /etc/passwd)"
    echo "user=$(id -un) $(id -u) $(id -G)"
    echo "own file=$(cat /tmp/own-file)"
    echo "ids=$$ $PPID"
    echo "place=$(pwd) $(readlink /proc/$$/exe) $(readlink /proc/$$/root)"
    echo "parent=$(sh -c 'echo $PPID')"
    echo "descriptors=$(readlink /proc/$$/fd/0) $(readlink /proc/$$/fd/1)"
    echo "name on 127.0.0.1=$(perl -MIO::Socket::INET -e 'print IO::Socket::INET->new("127.0.0.1:7")->getline')"
    echo "programs=$(ps -e -o comm= | tr '\n' ' ' | tr -s ' ')"
    printf '\004'
done
"#;
