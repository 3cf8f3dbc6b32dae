//! Many jobs, and jobs that are told what to do.

use cluster_tests::lab::Ground;
use cluster_tests::support::wait_for;

use crate::desk::Desk;

pub(crate) fn arrays(ground: Ground) {
    let desk = Desk::new(ground, 1);
    // Each task tells when it begins and ends; an index too many at a time would be seen.
    let task =
        "echo + >>/tmp/trace; echo index $HOMING_TASK; sleep 0.1; echo - >>/tmp/trace; [ $HOMING_TASK != 4 ]";
    desk.node().write_file("/tmp/task", task.as_bytes()).unwrap();
    desk.node().write_file("/tmp/trace", b"").unwrap();
    let job = desk.submit("--array 0-7%2 -- sh /tmp/task");
    let after = desk.submit(&format!("--after {job} -- true"));
    let anyway = desk.submit(&format!("--after-any {job} -- cp /tmp/trace /tmp/seen"));
    assert!(desk.row(&anyway)["note"].as_str().unwrap().contains(&format!("job {job}")));
    assert_eq!(desk.wait(&job), 1, "one of them fails");
    let trace = desk.file("/tmp/trace");
    let (mut now, mut most) = (0, 0);
    for line in trace.lines() {
        now += if line == "+" { 1 } else { -1 };
        most = most.max(now);
    }
    assert_eq!((trace.lines().count(), now), (16, 0), "{trace}");
    assert!(most <= 2, "{most} at a time");
    for index in 0..8 {
        assert_eq!(desk.homing(&format!("logs {job}_{index}")).text(), format!("index {index}"));
        assert_eq!(desk.wait(&format!("{job}_{index}")), i32::from(index == 4));
    }
    assert_eq!(desk.wait(&after), 143);
    assert_eq!(desk.wait(&anyway), 0);
    assert_eq!(desk.file("/tmp/seen"), trace, "it ran when all was over");

    let twice = "echo x >>/tmp/tries; [ $(wc -l </tmp/tries) = 3 ]";
    desk.node().write_file("/tmp/twice", twice.as_bytes()).unwrap();
    desk.node().write_file("/tmp/tries", b"").unwrap();
    let job = desk.submit("--retries 5 -- sh /tmp/twice");
    assert_eq!(desk.wait(&job), 0);
    assert_eq!((desk.file("/tmp/tries").lines().count(), desk.row(&job)["attempt"].as_u64()), (3, Some(2)));

    let job = desk.submit("--time-limit 300ms -- sleep 4243");
    assert_eq!(desk.wait(&job), 124);
    assert_eq!(desk.count("sleep 4243"), 0);
}

pub(crate) fn control(ground: Ground) {
    let desk = Desk::new(ground, 1);
    let cores = desk.row_of_node();
    // Everything is busy, so that the next one waits.
    let busy = desk.submit(&format!("--cpus {cores} -- sleep 4244"));
    let job = desk.submit("--name it -- echo it ran");
    assert!(desk.row("it")["note"].as_str().unwrap().contains("cores are free"), "{}", desk.row("it"));
    desk.done("hold it");
    assert_eq!(desk.row("it")["state"], "held");
    desk.done(&format!("cancel {busy}"));
    assert_eq!(desk.wait(&busy), 143);
    wait_for("no sleeper", || desk.count("sleep 4244") == 0);
    assert_eq!(desk.row("it")["state"], "held");
    desk.done("resume it");
    assert_eq!(desk.wait(&job), 0);
    assert_eq!(desk.homing(&format!("logs {job}")).text(), "it ran");

    let trap = "trap 'echo heard; exit 5' USR1; echo up; while :; do sleep 0.01; done";
    desk.node().write_file("/tmp/trap", trap.as_bytes()).unwrap();
    let job = desk.submit("-- sh /tmp/trap");
    wait_for("its handler", || desk.homing(&format!("logs {job}")).text() == "up");
    let why = desk.refused(6, &format!("hold {job}"));
    assert!(why.contains("kill -s STOP"), "{why}");
    desk.done(&format!("kill -s STOP {job}"));
    desk.done(&format!("kill -s USR1 {job}"));
    desk.done(&format!("kill -s CONT {job}"));
    assert_eq!(desk.wait(&job), 5);
    assert_eq!(desk.homing(&format!("logs {job}")).text(), "up\nheard");
    assert!(desk.refused(6, &format!("kill {job}")).contains("it is over"));
    assert!(desk.refused(3, "kill 999").contains("999"));

    // One that ignores the request is killed.
    desk.node().write_file("/tmp/deaf", b"trap '' TERM; echo up; while :; do sleep 0.01; done").unwrap();
    let job = desk.submit("-- sh /tmp/deaf");
    wait_for("its handler", || desk.homing(&format!("logs {job}")).text() == "up");
    desk.done(&format!("cancel {job}"));
    assert_eq!(desk.wait(&job), 143);
    assert_eq!(desk.count("/tmp/deaf"), 0);
}

impl Desk {
    fn row_of_node(&self) -> u64 {
        let listed: serde_json::Value = serde_json::from_str(&self.done("nodes --json")).unwrap();
        listed["nodes"][0]["cpus"].as_u64().unwrap()
    }
}
