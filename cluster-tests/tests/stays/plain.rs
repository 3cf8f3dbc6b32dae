//! A program that has come back is as plain as one that was never away.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::thread;
use std::time::Duration;

use cluster_tests::lab::{Ground, Program};
use cluster_tests::support::{PATIENCE, cluster, wait_for};

use super::go;

/// A server that nobody started with homing, and that has nothing to do.
pub(crate) fn python(ground: Ground) {
    let lab = cluster(ground, 3);
    let home = lab.node(1);
    home.write_file("/tmp/page", b"served by n1\n").unwrap();
    let serve = ["-m", "http.server", "8000", "--directory", "/tmp"];
    let server = home.exec(&Program::new("python3").args(&serve)).unwrap();
    wait_for("the server's answer", || page(home.address()).is_some());
    let part = server.whole();
    let mut before = seen(part.outer_pid);
    wait_for("its rest", || {
        thread::sleep(REST);
        let former = std::mem::replace(&mut before, seen(part.outer_pid));
        former == before && before["status Threads"] == "1"
    });
    assert!(before.len() > LEAST_SEEN && before["status TracerPid"] == "0", "{before:?}");
    for route in [&[2, 1][..], &[3, 2, 1], &[2, 3, 2, 1]] {
        route.iter().for_each(|&to| go(&lab, part, to));
        let after = seen(part.outer_pid);
        for (what, value) in &before {
            assert_eq!(lines_of_one(after.get(what), value), [""; 0], "{what} after {route:?}");
        }
        assert_eq!(after.len(), before.len());
        assert_eq!(page(home.address()).as_deref(), Some("served by n1\n"));
    }
}

/// The lines that only one of two texts has.
fn lines_of_one<'a>(one: Option<&'a String>, other: &'a str) -> Vec<&'a str> {
    let (one, other): (Vec<_>, Vec<_>) =
        (one.map_or("", |text| text).lines().collect(), other.lines().collect());
    let only = |these: &[&'a str], those: &[&'a str]| {
        these.iter().filter(|line| !those.contains(line)).copied().collect::<Vec<_>>()
    };
    [only(&one, &other), only(&other, &one)].concat()
}

/// The body of a page.
pub(crate) fn page(server: Ipv4Addr) -> Option<String> {
    let mut connection = TcpStream::connect_timeout(&(server, 8000).into(), PATIENCE).ok()?;
    connection.set_read_timeout(Some(PATIENCE)).ok()?;
    connection.write_all(b"GET /page HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).ok()?;
    Some(answer.split_once("\r\n\r\n")?.1.to_owned())
}

/// What the kernel shows of a process that does nothing, from outside.
fn seen(pid: u32) -> BTreeMap<String, String> {
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
    let link = |name: &str| fs::read_link(format!("/proc/{pid}/{name}")).unwrap().display().to_string();
    let mut seen = BTreeMap::new();
    for name in ["maps", "limits", "cmdline", "environ", "comm", "cgroup", "oom_score_adj", "mountinfo"] {
        seen.insert(name.to_owned(), read(name));
    }
    for name in ["exe", "cwd", "root", "ns/mnt", "ns/net", "ns/pid", "ns/time", "ns/user", "ns/uts"] {
        seen.insert(name.to_owned(), link(name));
    }
    let status = read("status");
    for line in status.lines().filter_map(|line| line.split_once(":\t")) {
        if STATUS.contains(&line.0) {
            seen.insert(format!("status {}", line.0), line.1.trim().to_owned());
        }
    }
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
        let name = format!("fd/{}", entry.unwrap().file_name().to_str().unwrap());
        seen.insert(name.clone(), link(&name));
    }
    seen.insert("text that was written to".into(), dirty_text(&read("smaps")).join(", "));
    seen
}

/// Mappings of executable file pages with a private copy of one.
fn dirty_text(smaps: &str) -> Vec<String> {
    let mut dirty = Vec::new();
    let mut mapping = "";
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        match (words.next().unwrap_or_default(), words.next().unwrap_or_default()) {
            ("Private_Dirty:", amount)
                if amount != "0" && mapping.contains(" r-xp ") && mapping.contains('/') =>
            {
                dirty.push(format!("{mapping}: {amount} KiB"));
            }
            (range, protection) if !range.ends_with(':') && protection.len() == 4 => mapping = line,
            _ => {}
        }
    }
    dirty
}

const STATUS: [&str; 22] = [
    "Name",
    "Umask",
    "Tgid",
    "Pid",
    "PPid",
    "TracerPid",
    "Uid",
    "Gid",
    "FDSize",
    "Groups",
    "NSpid",
    "Threads",
    "SigPnd",
    "ShdPnd",
    "SigBlk",
    "SigIgn",
    "SigCgt",
    "CapPrm",
    "CapEff",
    "NoNewPrivs",
    "Seccomp",
    "Seccomp_filters",
];
const LEAST_SEEN: usize = 40;

/// A program that shows the same twice, so long apart, is at rest.
const REST: Duration = Duration::from_millis(300);
