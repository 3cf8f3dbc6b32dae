//! A job is a plain program of its owner.

use cluster_tests::lab::{Ground, User, homing};
use cluster_tests::support::{PATIENCE, migrate, place, wait_for};

use crate::deaths::has_socket;
use crate::desk::Desk;

/// Everything that a program has from whoever starts it.
const MIRROR: &str = "id -u; id -g; id -G; pwd; umask; ulimit -a; env -u HOMING_JOB -u HOMING_ATTEMPT -u _ -u OLDPWD -u PWD | sort; cat; grep -E '^(Cap|Sig[BIC]|NoNewPrivs|Seccomp:|Threads)' /proc/self/status; readlink /proc/self/exe; echo error >&2; exit 7";

pub(crate) fn as_its_owner(ground: Ground) {
    let desk = Desk::new(ground, 1);
    for user in [User::Worker, User::Root] {
        let home = user.home();
        let homing = homing().unwrap();
        // A group that only this process has, limits and a mask that are not the usual ones.
        let own = |line: &str| {
            let id = user.id();
            let line = line.replace('\'', "'\\''");
            let groups = if user == User::Root { "--groups 0,44,1234" } else { "--keep-groups" };
            desk.run_as(User::Root, &format!("setpriv --reuid {id} --regid {id} {groups} env HOME={home} EXTRA=1 sh -c 'cd /tmp && umask 027 && ulimit -n 777 && ulimit -S -c 0 && {line}'"))
        };
        desk.node().write_file("/tmp/mirror", MIRROR.as_bytes()).unwrap();
        desk.node().write_file("/tmp/input", b"what it reads\n").unwrap();
        let native = own("sh /tmp/mirror </tmp/input");
        let job = own(&format!("{} submit --env EXTRA --stdin input -- sh /tmp/mirror", homing.display()));
        assert_eq!(job.code, 0, "{}", String::from_utf8_lossy(&job.errors));
        let job = job.text();
        let waited = desk.run_as(user, &format!("{} wait {job}", homing.display()));
        let logs = desk.run_as(user, &format!("{} logs {job}", homing.display()));
        assert_eq!(logs.text(), native.text(), "{}", desk.logs());
        assert_eq!((waited.code, logs.errors), (native.code, native.errors));
        assert_eq!(native.code, 7);
    }
    for (line, code) in [("sh -c \"kill -9 \\$\\$\"", 137), ("/no/such/program", 127), ("/etc/passwd", 126)] {
        let job = desk.submit(&format!("-- {line}"));
        assert_eq!(desk.wait(&job), code, "{line}");
    }
    let job = desk.submit("--workdir /root/none -- true");
    assert_eq!(desk.wait(&job), 125);
    assert!(desk.row(&job)["note"].as_str().unwrap().contains("/root/none"));
}

pub(crate) fn output(ground: Ground) {
    let desk = Desk::new(ground, 1);
    // It says a word each time it is asked for one.
    let asks = "for n in 1 2 3; do until [ -e /tmp/say$n ]; do sleep 0.01; done; echo word $n; echo error $n >&2; done";
    desk.node().write_file("/tmp/asks", asks.as_bytes()).unwrap();
    let job = desk.submit("-- sh /tmp/asks");
    let follower = desk.start_homing(&format!("logs -f {job}"));
    let attached = desk.start_homing(&format!("attach {job}"));
    wait_for("its question", || has_socket(attached.outer_pid()));
    let mut expected = String::new();
    for number in 1..=3 {
        desk.node().write_file(&format!("/tmp/say{number}"), b"").unwrap();
        expected.push_str(&format!("word {number}\n"));
        follower.wait_for_output(PATIENCE, |output| output == expected.as_bytes()).unwrap();
    }
    let followed = follower.finish(PATIENCE).unwrap();
    assert_eq!(String::from_utf8_lossy(&followed.errors), "error 1\nerror 2\nerror 3\n");
    let attached = attached.finish(PATIENCE).unwrap();
    let seen = attached.text();
    assert!(attached.code == 0 && seen.ends_with("word 3") && expected.trim().ends_with(&seen), "{seen}");
    // As much as is kept, compared byte by byte, and more than that.
    let many = desk.submit("-- seq 1 1000000");
    assert_eq!(desk.wait(&many), 0);
    let native = desk.run_as(User::Worker, "seq 1 1000000");
    assert_eq!(desk.homing(&format!("logs {many}")).output, native.output);
    let more = desk.submit("-- sh -c \"seq 1 8000000; echo end\"");
    assert_eq!(desk.wait(&more), 0);
    let logs = desk.homing(&format!("logs {more}"));
    let text = String::from_utf8_lossy(&logs.output);
    assert!(text.ends_with("7999999\n8000000\nend\n"), "the end is there");
    assert!(text.len() <= 32 << 20, "no more than that: {}", text.len());
    assert!(String::from_utf8_lossy(&logs.errors).contains("were dropped"));
    // A file of its own.
    let own = desk.submit("--stdout out.%j --stderr out.%j -- sh -c \"echo out; echo err >&2\"");
    assert_eq!(desk.wait(&own), 0);
    assert_eq!(desk.file(&format!("/home/worker/out.{own}")), "out\nerr\n");
    let stat = desk.run_as(User::Worker, &format!("stat -c %U:%a out.{own}")).text();
    assert_eq!(stat, "worker:644");
    assert!(String::from_utf8_lossy(&desk.homing(&format!("logs {own}")).errors).contains("goes to"));
}

pub(crate) fn moves(ground: Ground) {
    let desk = Desk::new(ground, 2);
    let count = "$|=1; for $n (1..400) { print \"$n\\n\"; select undef, undef, undef, 0.01 } exit 9";
    desk.node().write_file("/tmp/count", count.as_bytes()).unwrap();
    let job = desk.submit("-- perl /tmp/count");
    desk.wait_for_state(&job, "running");
    let pid = u32::try_from(desk.row(&job)["pid"].as_u64().unwrap()).unwrap();
    wait_for("the agent's care", || place(&desk.lab, pid).is_some());
    migrate(&desk.lab, pid, "n2");
    assert_eq!(desk.row(&job)["at"], "n2", "{}", desk.row(&job));
    migrate(&desk.lab, pid, "home");
    migrate(&desk.lab, pid, "n2");
    assert_eq!(desk.wait(&job), 9);
    let native = desk.run_as(User::Worker, "seq 1 400");
    assert_eq!(desk.homing(&format!("logs {job}")).output, native.output);
}
