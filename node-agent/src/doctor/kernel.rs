//! What the kernel must be able to do.

use std::path::Path;

use super::{Check, read};

pub(super) fn checks() -> Vec<Check> {
    let status = read("/proc/self/status");
    vec![
        release(&read("/proc/sys/kernel/osrelease")),
        userfaultfd(&read("/proc/sys/vm/unprivileged_userfaultfd")),
        seccomp(&read("/proc/sys/kernel/seccomp/actions_avail")),
        own_filter(&status),
        namespaces(|name| Path::new("/proc/self/ns").join(name).exists()),
        user_namespaces(&read("/proc/sys/user/max_user_namespaces")),
        capabilities(&status),
        ptrace_scope(&read("/proc/sys/kernel/yama/ptrace_scope")),
        pid_max(&read("/proc/sys/kernel/pid_max")),
    ]
}

fn release(release: &str) -> Check {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= KERNEL_MIN {
        return Check::ok("kernel", release);
    }
    let (major, minor) = KERNEL_MIN;
    let detail = format!("{release}: dirty pages cannot be followed (PAGEMAP_SCAN, UFFD_FEATURE_WP_ASYNC)");
    Check::fail("kernel", detail, format!("install Linux {major}.{minor} or newer"))
}

fn userfaultfd(sysctl: &str) -> Check {
    // The value does not matter to root; that the file is there tells that the kernel has the call.
    if sysctl.is_empty() {
        return Check::fail("userfaultfd", "not in this kernel", "use a kernel with CONFIG_USERFAULTFD");
    }
    Check::ok("userfaultfd", "there")
}

fn seccomp(actions: &str) -> Check {
    let missing: Vec<&str> = SECCOMP_ACTIONS
        .into_iter()
        .filter(|wanted| !actions.split(' ').any(|action| action == *wanted))
        .collect();
    if missing.is_empty() {
        return Check::ok("seccomp", "user notification and traces");
    }
    let detail = format!("actions are missing: {}", missing.join(", "));
    Check::fail(
        "seccomp",
        detail,
        "use a kernel with CONFIG_SECCOMP_FILTER; in a container give seccomp=unconfined",
    )
}

/// Wardens suspend the filter of a body for the calls that they make in it, which the kernel allows to nobody who has a
/// filter himself.
fn own_filter(status: &str) -> Check {
    let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:")).map_or("0", str::trim);
    if mode == "0" {
        return Check::ok("own filter", "none");
    }
    let fix = "in a container give seccomp=unconfined; in a unit leave out SystemCallFilter";
    Check::fail("own filter", "this process is under a seccomp filter: bodies could not be built", fix)
}

fn namespaces(exists: impl Fn(&str) -> bool) -> Check {
    let missing: Vec<&str> = NAMESPACES.into_iter().filter(|name| !exists(name)).collect();
    if missing.is_empty() {
        return Check::ok("namespaces", NAMESPACES.join(" "));
    }
    let fix = "use a kernel with CONFIG_NAMESPACES and all its kinds";
    Check::fail("namespaces", format!("missing: {}", missing.join(", ")), fix)
}

fn user_namespaces(max: &str) -> Check {
    match max.parse::<u64>() {
        Ok(0) => Check::fail(
            "user namespaces",
            "switched off: bodies could not be kept apart",
            "sysctl -w user.max_user_namespaces=15000",
        ),
        Ok(max) => Check::ok("user namespaces", format!("up to {max}")),
        Err(_) => Check::fail("user namespaces", "not in this kernel", "use a kernel with CONFIG_USER_NS"),
    }
}

fn capabilities(status: &str) -> Check {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = line.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok()).unwrap_or(0);
    let missing: Vec<&str> =
        CAPABILITIES.into_iter().filter(|(bit, _)| set & (1 << bit) == 0).map(|(_, name)| name).collect();
    if missing.is_empty() {
        return Check::ok("capabilities", "all that wardens need");
    }
    let fix = "run as root; in a container give --cap-add SYS_PTRACE --cap-add SYS_ADMIN --cap-add NET_ADMIN";
    Check::fail("capabilities", format!("missing: {}", missing.join(", ")), fix)
}

fn ptrace_scope(scope: &str) -> Check {
    match scope {
        "" => Check::ok("ptrace", "not restricted"),
        "3" => Check::fail(
            "ptrace",
            "kernel.yama.ptrace_scope is 3: nobody may trace until the next boot",
            "set kernel.yama.ptrace_scope to 1 in /etc/sysctl.d and boot again",
        ),
        scope => Check::ok("ptrace", format!("kernel.yama.ptrace_scope is {scope}, which root may pass")),
    }
}

fn pid_max(text: &str) -> Check {
    match text.parse::<u64>() {
        Ok(max) if max >= PID_MAX_MIN => Check::ok("pid_max", text),
        _ => Check::note(
            "pid_max",
            format!("{text}: a body keeps its pid, and pids of other nodes may be greater"),
            "sysctl -w kernel.pid_max=4194304",
        ),
    }
}

/// The first with `PAGEMAP_SCAN` and `UFFD_FEATURE_WP_ASYNC`.
const KERNEL_MIN: (u32, u32) = (6, 7);

const SECCOMP_ACTIONS: [&str; 5] = ["user_notif", "trace", "errno", "kill_process", "allow"];

const NAMESPACES: [&str; 8] = ["pid", "time", "net", "user", "mnt", "ipc", "uts", "cgroup"];

/// Numbers of `linux/capability.h`.
const CAPABILITIES: [(u32, &str); 6] = [
    (5, "CAP_KILL"),
    (6, "CAP_SETGID"),
    (7, "CAP_SETUID"),
    (18, "CAP_SYS_CHROOT"),
    (19, "CAP_SYS_PTRACE"),
    (21, "CAP_SYS_ADMIN"),
];

/// The usual value of small machines.
const PID_MAX_MIN: u64 = 32_768;

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn old_kernels_fail() {
        for (text, state) in [
            ("6.7.0", State::Ok),
            ("6.18.44-fc-v669", State::Ok),
            ("7.0.0-rc1", State::Ok),
            ("6.1.0-18-amd64", State::Fail),
            ("5.15.0", State::Fail),
            ("", State::Fail),
        ] {
            assert_eq!(release(text).state, state, "{text}");
        }
    }

    #[test]
    fn each_missing_thing_is_named() {
        assert_eq!(
            seccomp("kill_process kill_thread trap errno user_notif trace log allow").state,
            State::Ok
        );
        assert!(seccomp("kill_process errno trace allow").detail.contains("user_notif"));
        assert!(namespaces(|name| name != "time").detail.contains("time"));
        assert!(capabilities("CapEff:\t0000000000000000").detail.contains("CAP_SYS_PTRACE"));
        assert_eq!(capabilities("CapEff:\t000001ffffffffff").state, State::Ok);
        assert_eq!(own_filter("Seccomp:\t0\nSeccomp_filters:\t0").state, State::Ok);
        assert_eq!(own_filter("Seccomp:\t2\nSeccomp_filters:\t1").state, State::Fail);
        assert_eq!(ptrace_scope("3").state, State::Fail);
        assert_eq!(ptrace_scope("1").state, State::Ok);
        assert_eq!(user_namespaces("0").state, State::Fail);
        assert_eq!(userfaultfd("").state, State::Fail);
        assert_eq!(pid_max("1000").state, State::Note);
    }
}
