//! What the machine must have: processor, memory, clocks, directories.

use std::path::Path;

use rustix::fs::{Access, access};

use super::{Check, read};
use crate::config::Dirs;
use crate::proc;

pub(super) fn checks(dirs: &Dirs) -> Vec<Check> {
    vec![
        processor(),
        memory(proc::memory_free_bytes()),
        clock_source(&read("/sys/devices/system/clocksource/clocksource0/current_clocksource")),
        cgroups(Path::new("/sys/fs/cgroup")),
        directory("run directory", &dirs.run),
        directory("state directory", &dirs.state),
        directory("/dev/shm", Path::new("/dev/shm")),
    ]
}

fn processor() -> Check {
    let cpu = proc::cpu();
    if !cpu.flags.iter().any(|flag| flag == "xsave") {
        return Check::fail(
            "processor",
            "no XSAVE: registers cannot be carried",
            "use an x86_64 of this century",
        );
    }
    let detail = format!("{} features, XSAVE area of {} bytes", cpu.flags.len(), cpu.xsave_bytes);
    Check::ok("processor", detail)
}

fn memory(free_bytes: u64) -> Check {
    let detail = format!("{} MiB free", free_bytes >> 20);
    if free_bytes >= MEMORY_MIN_BYTES {
        return Check::ok("memory", detail);
    }
    Check::note("memory", detail, "this node will refuse most bodies; stop something")
}

fn clock_source(source: &str) -> Check {
    match source {
        "tsc" | "kvm-clock" | "" => {
            Check::ok("clock", if source.is_empty() { "unknown source" } else { source })
        }
        slow => Check::note(
            "clock",
            format!("{slow}: reading the time costs a system call here"),
            "see why the kernel rejected tsc: dmesg | grep -i tsc",
        ),
    }
}

fn cgroups(root: &Path) -> Check {
    if root.join("cgroup.controllers").exists() {
        return Check::ok("cgroups", "version 2");
    }
    if root.join("memory").exists() {
        return Check::note("cgroups", "version 1: limits of bodies use it", "boot with cgroup version 2");
    }
    Check::note("cgroups", "none mounted: bodies have no limits but rlimits", "mount cgroup version 2")
}

/// Looks at the directory, or at what it would be made in.
fn directory(name: &'static str, path: &Path) -> Check {
    let existing = path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"));
    match access(existing, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => Check::ok(name, format!("{} can be written", path.display())),
        Err(error) => Check::fail(
            name,
            format!("{} cannot be written: {error}", existing.display()),
            "run as root, or give other directories with --run-dir and --state-dir",
        ),
    }
}

const MEMORY_MIN_BYTES: u64 = 256 << 20;

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn limits_are_told() {
        assert_eq!(memory(MEMORY_MIN_BYTES).state, State::Ok);
        assert_eq!(memory(0).state, State::Note);
        assert_eq!(clock_source("hpet").state, State::Note);
        assert_eq!(clock_source("tsc").state, State::Ok);
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(cgroups(dir.path()).state, State::Note);
        assert_eq!(directory("run directory", &dir.path().join("a/b")).state, State::Ok);
        assert_eq!(directory("run directory", Path::new("/dev/null/x")).state, State::Fail);
    }
}
