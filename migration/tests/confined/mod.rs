//! What a body has of its guest node, as that node's kernel tells it.

use std::fs;

use migration::procfs;

/// Asserts that the process has nothing but a user of its own, and one capability among its own kind.
pub(crate) fn check(outer: u32, user: u32) {
    let task = outer.to_string();
    let status = |key: &str| {
        let value = procfs::status_value(&task, key).unwrap_or_else(|error| panic!("{key}: {error}"));
        value.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let four_times = [user; 4].map(|id| id.to_string()).join(" ");
    for (key, expected) in [
        ("Uid", four_times.as_str()),
        ("Gid", &four_times),
        ("Groups", ""),
        ("CapInh", NONE),
        ("CapPrm", CHECKPOINT_RESTORE),
        ("CapEff", CHECKPOINT_RESTORE),
        ("CapBnd", CHECKPOINT_RESTORE),
        ("CapAmb", NONE),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
    ] {
        assert_eq!(status(key), expected, "{key}");
    }
    let link = |pid: &str, name: &str| fs::read_link(format!("/proc/{pid}/ns/{name}")).expect("a namespace");
    for name in ["user", "pid", "net", "mnt", "ipc", "uts", "cgroup", "time"] {
        assert_ne!(link(&task, name), link("self", name), "{name}");
    }
    let names = |path: &str| fs::read_dir(format!("/proc/{task}/{path}")).expect("a directory").count();
    assert_eq!((names("fd"), names("root")), (0, 0));
    let mounts = fs::read_to_string(format!("/proc/{task}/mountinfo")).expect("mounts");
    assert_eq!(mounts.lines().count(), 1, "{mounts}");
    assert!(mounts.contains(" ro,nosuid,nodev,noexec"), "{mounts}");
    let limits = fs::read_to_string(format!("/proc/{task}/limits")).expect("limits");
    for (name, value) in
        [("core file size", 0), ("open files", 16), ("realtime priority", 0), ("file size", 0)]
    {
        let line = limits.lines().find(|line| line.contains(name)).expect(name);
        let both: Vec<_> = line.split_whitespace().filter_map(|word| word.parse::<u64>().ok()).collect();
        assert_eq!(both, [value; 2], "{line}");
    }
    let oom = fs::read_to_string(format!("/proc/{task}/oom_score_adj")).expect("a score");
    assert_eq!(oom.trim(), "500");
    let interfaces = fs::read_to_string(format!("/proc/{task}/net/dev")).expect("interfaces");
    assert_eq!(interfaces.lines().skip(2).filter(|line| !line.trim().starts_with("lo:")).count(), 0);
}

const NONE: &str = "0000000000000000";
const CHECKPOINT_RESTORE: &str = "0000010000000000";
