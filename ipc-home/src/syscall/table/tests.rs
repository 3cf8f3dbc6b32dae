use std::collections::BTreeMap;

use super::*;
use crate::syscall::vocabulary::Special;

const HEADER: &str = "/usr/include/x86_64-linux-gnu/asm/unistd_64.h";

#[test]
fn numbers_and_names_are_the_kernel_headers() {
    let Ok(header) = std::fs::read_to_string(HEADER) else {
        eprintln!("ignored: {HEADER} is not installed");
        return;
    };
    let kernel: BTreeMap<u32, &str> = header
        .lines()
        .filter_map(|line| line.strip_prefix("#define __NR_")?.split_once(' '))
        .map(|(name, nr)| (nr.trim().parse().unwrap(), name))
        .collect();
    assert!(kernel.len() > 300, "{HEADER} lists only {} calls", kernel.len());
    for (&nr, &name) in kernel.range(..NR_END) {
        assert_eq!(row(nr).map(|row| row.name), Some(name), "number {nr}");
    }
    let newest = *kernel.keys().last().unwrap();
    for row in calls().filter(|row| row.nr <= newest && !kernel.contains_key(&row.nr)) {
        assert!(matches!(row.name, "uretprobe" | "uprobe"), "{} is not in {HEADER}", row.name);
    }
}

#[test]
fn every_number_outside_the_gap_has_one_row() {
    for nr in 0..NR_END + 10 {
        let expected = nr < NR_END && !(NR_GAP.0..NR_GAP.1).contains(&nr);
        assert_eq!(row(nr).is_some(), expected, "number {nr}");
    }
    assert_eq!(calls().count(), 383);
    assert!(calls().all(|listed| row(listed.nr) == Some(listed)));
}

#[test]
fn names_are_unique() {
    let names: std::collections::BTreeSet<_> = calls().map(|row| row.name).collect();
    assert_eq!(names.len(), calls().count());
}

#[test]
fn what_opens_the_guest_host_is_never_local() {
    let locals: Vec<_> = calls().filter(|row| row.class == Class::Local).map(|row| row.name).collect();
    for name in
        ["openat", "socket", "connect", "kill", "mount", "execve", "bpf", "unshare", "read", "uname", "ioctl"]
    {
        assert!(!locals.contains(&name), "{name}");
    }
    assert!(locals.len() <= 45, "{} local calls: {locals:?}", locals.len());
}

#[test]
fn the_calls_of_the_design_stand_as_it_says() {
    let class = |nr| row(nr).unwrap().class;
    assert_eq!(class(0), Class::Home);
    assert_eq!(class(9), Class::Special(Special::Mmap));
    assert_eq!(class(202), Class::Local);
    assert_eq!(class(101), Class::Refuse(libc::ENOSYS));
}
