//! Job files, batches, and all that is refused.

use cluster_tests::lab::{Ground, User, homing};
use cluster_tests::support::wait_for;

use crate::desk::{Desk, LONG};

pub(crate) fn refusals(ground: Ground) {
    let desk = Desk::new(ground, 1);
    let file = |text: &str| desk.node().write_file("/tmp/job.toml", text.as_bytes()).unwrap();
    for (text, place) in [
        ("command = [\"true\"]\nnmae = \"x\"\n", "line 2, column 1"),
        ("command = [\"true\"\n", "line 1, column 18"),
        ("command = \"true\"\n  cpus = \"two\"\n", "line 2, column 10"),
    ] {
        file(text);
        let why = desk.refused(2, "submit /tmp/job.toml");
        assert!(why.contains("/tmp/job.toml") && why.contains(place), "{why}");
    }
    assert!(desk.refused(1, "submit /tmp/none.toml").contains("/tmp/none.toml"));
    let why = desk.refused(6, "submit --cpus 9999 --mem 900T -- true");
    assert!(why.contains("n1") && why.contains("9999") && why.contains("memory"), "{why}");
    assert!(desk.refused(3, "submit --home n9 -- true").contains("there are n1"));
    assert!(desk.refused(3, "submit --after 99 -- true").contains("99"));
    assert!(desk.refused(2, "submit --array 0-3 --stdout same -- true").contains("%a"));
    let job = desk.submit(&format!("--name same -- sleep {}", LONG.as_secs()));
    assert!(desk.refused(1, "submit --name same -- true").contains(&format!("job {job} is named same")));
    // Somebody else's job.
    let homing = homing().unwrap();
    let root =
        desk.run_as(User::Root, &format!("{} submit -- sleep {}", homing.display(), LONG.as_secs())).text();
    for verb in ["kill", "hold", "resume", "cancel", "logs"] {
        assert!(desk.refused(4, &format!("{verb} {root}")).contains("belongs to root"), "{verb}");
    }
    let row = desk.row(&root);
    assert_eq!(row["command"], "sleep", "arguments of others are not shown");
    let cancelled = desk.run_as(User::Root, &format!("{} cancel {root} {job}", homing.display()));
    assert_eq!(cancelled.code, 0, "root may");
    assert_eq!(desk.wait(&format!("{job} {root}")), 143);
    let jobs = desk.done("jobs --json");
    assert!(jobs.contains("\"jobs\":[]"), "nothing half done: {jobs}");
    wait_for("no sleeper", || desk.count(&format!("sleep {}", LONG.as_secs())) == 0);
}

pub(crate) fn batches(ground: Ground) {
    let desk = Desk::new(ground, 1);
    let lines = "# a comment\necho one\n\necho two; exit 3\necho $HOMING_TASK three | tr a-z A-Z\n";
    desk.node().write_file("/tmp/lines", lines.as_bytes()).unwrap();
    let job = desk.submit("--batch /tmp/lines --at-most 2");
    assert_eq!(desk.wait(&job), 3);
    for (index, (text, code)) in [("one", 0), ("two", 3), ("2 THREE", 0)].into_iter().enumerate() {
        assert_eq!(desk.homing(&format!("logs {job}_{index}")).text(), text);
        assert_eq!(desk.wait(&format!("{job}_{index}")), code);
    }
    let file = "name = \"render\"\ncommand = [\"sh\", \"-c\", \"pwd; echo $MODE $HOMING_TASK; exit 2\"]\narray = \"5-6%1\"\nworkdir = \"/tmp\"\nhome = \"any\"\nretries = 1\nenv = { MODE = \"fast\" }\n";
    desk.node().write_file("/tmp/render.toml", file.as_bytes()).unwrap();
    let job = desk.submit("/tmp/render.toml");
    assert_eq!(desk.wait("render"), 2);
    assert_eq!(desk.homing(&format!("logs {job}_6")).text(), "/tmp\nfast 6");
    assert_eq!(desk.row(&format!("{job}_6"))["attempt"], 1);
}
