//! What the threads of a program wait for, looked up before it is frozen, since a frozen thread does not tell it.
//!
//! A call that goes on after an interruption has the number of `restart_syscall` from then on, whichever it was; and
//! how long a thread has been waiting is known to nobody but the scheduler.

use std::collections::HashMap;
use std::fs;

use crate::procfs;

/// By thread id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waits(HashMap<u32, Wait>);

/// What one thread waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Wait {
    /// The call that `restart_syscall` goes on with.
    continues: Option<u64>,
    /// Where it waited: its next instruction.
    rip: u64,
    /// Since when, at least, in nanoseconds.
    waited_ns: Option<u64>,
}

impl Waits {
    /// Looks at every thread of a process that runs.
    #[must_use]
    pub fn of(pid: u32) -> Waits {
        let mut waits = HashMap::new();
        for tid in procfs::threads(pid).unwrap_or_default() {
            if let Some(wait) = look(pid, tid) {
                waits.insert(tid, wait);
            }
        }
        Waits(waits)
    }

    /// The number of the call that a thread at `rip` goes on with by `restart_syscall`.
    #[must_use]
    pub fn continued(&self, tid: u32, rip: u64) -> Option<u64> {
        self.0.get(&tid).filter(|wait| wait.rip == rip)?.continues
    }

    /// How long a thread at `rip` has waited at least, in nanoseconds.
    #[must_use]
    pub fn waited_ns(&self, tid: u32, rip: u64) -> Option<u64> {
        self.0.get(&tid).filter(|wait| wait.rip == rip)?.waited_ns
    }
}

fn look(pid: u32, tid: u32) -> Option<Wait> {
    // Of a thread that does not wait the file says "running".
    let text = fs::read_to_string(format!("/proc/{pid}/task/{tid}/syscall")).ok()?;
    let call = Call::parse(&text)?;
    match call.nr {
        libc::SYS_restart_syscall => {
            let place = fs::read_to_string(format!("/proc/{pid}/task/{tid}/wchan")).unwrap_or_default();
            Some(Wait { continues: call.continued(&place), rip: call.rip, waited_ns: None })
        }
        libc::SYS_epoll_wait | libc::SYS_epoll_pwait
            if (1..=INT_MAX).contains(&(call.args[3] & u64::from(u32::MAX))) =>
        {
            let waited_ns = waited_ns(pid, tid);
            Some(Wait { continues: None, rip: call.rip, waited_ns })
        }
        _ => None,
    }
}

/// A line of `/proc/PID/task/TID/syscall`.
#[derive(Debug, PartialEq, Eq)]
struct Call {
    nr: i64,
    args: [u64; 6],
    rip: u64,
}

impl Call {
    fn parse(line: &str) -> Option<Call> {
        let mut words = line.split_whitespace();
        let nr = words.next()?.parse().ok()?;
        let mut numbers = words.map(|word| u64::from_str_radix(word.trim_start_matches("0x"), 16));
        let mut args = [0; 6];
        for arg in &mut args {
            *arg = numbers.next()?.ok()?;
        }
        let rip = numbers.nth(1)?.ok()?;
        Some(Call { nr, args, rip })
    }

    /// Only four calls have a restart block; the kernel function in which the thread sleeps tells them apart, and
    /// `clock_nanosleep` begins with the number of a clock where `nanosleep` has a pointer.
    fn continued(&self, place: &str) -> Option<u64> {
        let nr = if place.contains("futex") {
            libc::SYS_futex
        } else if place.contains("poll") {
            libc::SYS_poll
        } else if place == "0" || place.is_empty() {
            return None;
        } else if self.args[0] < CLOCKS_MAX {
            libc::SYS_clock_nanosleep
        } else {
            libc::SYS_nanosleep
        };
        Some(nr.cast_unsigned())
    }
}

/// How long a sleeping thread has been off its processor, by that processor's clock: never more than the truth, for the
/// clock stands still while the host has the processor.
fn waited_ns(pid: u32, tid: u32) -> Option<u64> {
    let since = exec_start_ns(&format!("/proc/{pid}/task/{tid}"))?;
    let stat = procfs::text(format!("/proc/{pid}/task/{tid}/stat")).ok()?;
    let processor = stat.rsplit_once(')')?.1.split_whitespace().nth(PROCESSOR_FIELD - 3)?.parse().ok()?;
    let now = crate::sys::clock::on_processor(processor, || exec_start_ns("/proc/thread-self")).ok()??;
    now.checked_sub(since)
}

/// When a task was last seen on a processor, in nanoseconds of that processor's scheduler clock.
fn exec_start_ns(task: &str) -> Option<u64> {
    let text = procfs::text(format!("{task}/sched")).ok()?;
    let line = text.lines().find(|line| line.starts_with("se.exec_start"))?;
    let (millis, rest) = line.split_once(':')?.1.trim().split_once('.')?;
    Some(millis.parse::<u64>().ok()? * 1_000_000 + rest.parse::<u64>().ok()?)
}

/// More than there are clock ids; less than the lowest address that can be mapped.
const CLOCKS_MAX: u64 = 4096;
const INT_MAX: u64 = i32::MAX as u64;
/// `processor` in proc(5)'s list for `stat`.
const PROCESSOR_FIELD: usize = 39;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_continued_call_is_told_by_where_it_sleeps() {
        let call = |args| Call { nr: 219, args, rip: 1 };
        let pointer = 0x7ffc_0000_0000;
        assert_eq!(call([pointer, 1, 30, 0, 0, 0]).continued("poll_schedule_timeout.constprop.0"), Some(7));
        assert_eq!(call([pointer, 0x89, 0, 0, 0, 0]).continued("futex_do_wait"), Some(202));
        assert_eq!(call([0, 0, pointer, pointer, 0, 0]).continued("do_syscall_64"), Some(230));
        assert_eq!(call([pointer, 0, 0, 0, 0, 0]).continued("hrtimer_nanosleep"), Some(35));
        assert_eq!(call([pointer, 0, 0, 0, 0, 0]).continued("0"), None);
    }

    #[test]
    fn a_sleeping_threads_line_is_taken_apart() {
        let line = "232 0x3 0x5652b7f4a040 0x3ff 0x7530 0x0 0x0 0x7fff7634e2f8 0x7f249e526ef3\n";
        let call = Call::parse(line).expect("a call");
        assert_eq!((call.nr, call.args[3], call.rip), (232, 0x7530, 0x7f24_9e52_6ef3));
        assert_eq!(Call::parse("running\n"), None);
    }

    #[test]
    fn the_time_of_a_sleep_is_measured() {
        let mut sleeper = std::process::Command::new("sleep").arg("60").spawn().expect("sleep");
        let pid = sleeper.id();
        let asleep =
            || fs::read_to_string(format!("/proc/{pid}/syscall")).is_ok_and(|line| line.starts_with("230"));
        while !asleep() {
            std::thread::yield_now();
        }
        std::thread::sleep(std::time::Duration::from_millis(300));
        let waited = waited_ns(pid, pid).expect("a time");
        sleeper.kill().expect("an end");
        sleeper.wait().expect("its end");
        assert!((150_000_000..10_000_000_000).contains(&waited), "{waited} ns");
    }
}
