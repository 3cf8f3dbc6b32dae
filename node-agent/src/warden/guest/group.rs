//! The family's control groups: what it may take of its guest node at most.
//!
//! Version 1 and version 2, whichever holds a controller here. Where none can be made (in a container the tree is
//! read-only in most cases) a family has the limits of its processes only; `homing doctor` says so.
//!
//! ```text
//! the warden's own group
//! └── homing-NAMESPACE-WARDEN      memory, pids
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use migration::sys::wait;

/// The groups of one family, one for each hierarchy.
#[derive(Debug)]
pub(super) struct Group {
    places: Vec<Place>,
}

/// A group in one hierarchy.
#[derive(Debug)]
struct Place {
    dir: PathBuf,
    version: Version,
    memory: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Group {
    /// Makes the groups of the family that this warden keeps; `memory_bytes` is for all its processes together.
    pub(super) fn make(memory_bytes: u64) -> Group {
        let (mounts, own) = (text("/proc/self/mountinfo"), text("/proc/self/cgroup"));
        let name = format!("{}{}", prefix(), std::process::id());
        let mut places = Vec::new();
        for hierarchy in hierarchies(&mounts, &own) {
            sweep(&hierarchy.dir);
            match hierarchy.group(&name, memory_bytes) {
                Ok(place) => places.push(place),
                Err(error) => {
                    tracing::warn!(dir = %hierarchy.dir.display(), %error, "no control group here for a family");
                }
            }
        }
        Group { places }
    }

    /// Whoever writes 0 there is in the groups, with all that it starts.
    pub(super) fn doors(&self) -> Vec<PathBuf> {
        self.places.iter().map(|place| place.dir.join("cgroup.procs")).collect()
    }

    /// Processes of the family that the kernel has killed for want of memory.
    pub(super) fn memory_kills(&self) -> u64 {
        let counts = self.places.iter().filter(|place| place.memory).map(|place| {
            let file = if place.version == Version::One { "memory.oom_control" } else { "memory.events" };
            let text = text(place.dir.join(file));
            text.lines()
                .find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse::<u64>().ok())
                .unwrap_or(0)
        });
        counts.sum()
    }

    /// Removes the groups once their last processes are gone; must run on the thread that traces them, for which the last
    /// ones wait. What is left then goes with the next family's.
    pub(super) async fn remove(self) {
        let deadline = Instant::now() + REMOVE_LIMIT;
        let mut left: Vec<PathBuf> = self.places.into_iter().map(|place| place.dir).collect();
        loop {
            while let Ok(Some(_)) = wait::any() {}
            left.retain(|dir| {
                fs::remove_dir(dir).is_err_and(|error| error.kind() != io::ErrorKind::NotFound)
            });
            if left.is_empty() || Instant::now() > deadline {
                return;
            }
            tokio::time::sleep(REMOVE_PAUSE).await;
        }
    }
}

/// What a family may take where nobody has said what guests may: nine tenths of all, so that the node's own programs are
/// not the ones that want for memory.
pub(super) fn most_memory() -> u64 {
    let text = text("/proc/meminfo");
    let total =
        text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok());
    total.map_or(u64::MAX >> 1, |kib: u64| kib * 1024 / 10 * 9)
}

/// One that has controllers for families, at this process's own group.
#[derive(Debug, PartialEq, Eq)]
struct Hierarchy {
    dir: PathBuf,
    version: Version,
    memory: bool,
    pids: bool,
}

impl Hierarchy {
    fn group(&self, name: &str, memory_bytes: u64) -> io::Result<Place> {
        if self.version == Version::Two {
            // Refused for a group that has processes of its own: then the unit needs `DelegateSubgroup=agent`.
            let wanted = [("+memory", self.memory), ("+pids", self.pids)];
            let wanted: Vec<_> =
                wanted.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect();
            fs::write(self.dir.join("cgroup.subtree_control"), wanted.join(" "))?;
        }
        let dir = self.dir.join(name);
        fs::create_dir(&dir)?;
        let place = Place { dir, version: self.version, memory: self.memory };
        self.limit(&place, memory_bytes).inspect_err(|_| drop(fs::remove_dir(&place.dir)))?;
        Ok(place)
    }

    fn limit(&self, place: &Place, memory_bytes: u64) -> io::Result<()> {
        let set = |file: &str, value: String| fs::write(place.dir.join(file), value);
        if self.memory && self.version == Version::One {
            set("memory.limit_in_bytes", memory_bytes.to_string())?;
            // Without swap accounting there is no such file.
            let _ = set("memory.memsw.limit_in_bytes", memory_bytes.to_string());
        } else if self.memory {
            set("memory.max", memory_bytes.to_string())?;
            let _ = set("memory.swap.max", "0".to_owned());
        }
        if self.pids { set("pids.max", TASKS_MAX.to_string()) } else { Ok(()) }
    }
}

/// The hierarchies with the controllers that matter.
fn hierarchies(mounts: &str, own: &str) -> Vec<Hierarchy> {
    mounts.lines().filter_map(|line| hierarchy(line, own)).collect()
}

/// From a line of `/proc/self/mountinfo` (proc_pid_mountinfo(5)) and the text of `/proc/self/cgroup`.
fn hierarchy(mount: &str, own: &str) -> Option<Hierarchy> {
    let (place, kind) = mount.split_once(" - ")?;
    let mut kind = kind.split(' ');
    let version = match kind.next()? {
        "cgroup" => Version::One,
        "cgroup2" => Version::Two,
        _ => return None,
    };
    let options = kind.nth(1)?;
    let [root, at] = place.split(' ').skip(3).take(2).collect::<Vec<_>>()[..] else { return None };
    let has = |list: &str, wanted: &str| list.split([',', ' ', '\n']).any(|one| one == wanted);
    let path = own.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let is_it = match version {
            Version::One => options.split(',').any(|option| has(controllers, option) && !option.is_empty()),
            Version::Two => controllers.is_empty(),
        };
        is_it.then_some(path)
    })?;
    let inside = Path::new(path).strip_prefix(root).ok()?;
    let mut dir = Path::new(at).join(inside);
    if version == Version::Two && inside.file_name().is_some_and(|name| name == AGENT_GROUP) {
        dir.pop();
    }
    let controllers = match version {
        Version::One => options.to_owned(),
        Version::Two => text(dir.join("cgroup.controllers")),
    };
    let (memory, pids) = (has(&controllers, "memory"), has(&controllers, "pids"));
    (memory || pids).then_some(Hierarchy { dir, version, memory, pids })
}

/// Removes what wardens have left that were killed.
fn sweep(dir: &Path) {
    let prefix = prefix();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let warden = name.to_str().and_then(|name| name.strip_prefix(&prefix));
        if warden.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            // It may still have processes on their way out.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// Of the names of this node's groups: other nodes of the machine count their processes by themselves.
fn prefix() -> String {
    let namespace = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let digits: String = namespace.to_string_lossy().chars().filter(char::is_ascii_digit).collect();
    format!("homing-{digits}-")
}

fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The threads that a family may have, with room for those that start and end at once, and its init.
const TASKS_MAX: u32 = 4096 + 256;
/// Where systemd puts the agent with `DelegateSubgroup=agent`, so that its own group can have others below it.
const AGENT_GROUP: &str = "agent";
const REMOVE_LIMIT: Duration = Duration::from_secs(1);
const REMOVE_PAUSE: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "9:name=systemd:/\n8:pids:/\n4:memory:/job/7\n0::/user.slice/agent\n";

    #[test]
    fn hierarchies_are_found_by_their_controllers() {
        let memory = "30 20 0:27 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory";
        let below = "30 20 0:27 /job /mnt rw,relatime shared:5 - cgroup cgroup rw,memory";
        let found = |line| hierarchy(line, OWN).map(|found| (found.dir, found.memory, found.pids));
        assert_eq!(found(memory), Some(("/sys/fs/cgroup/memory/job/7".into(), true, false)));
        assert_eq!(found(below), Some(("/mnt/7".into(), true, false)));
        let pids = "31 20 0:28 / /sys/fs/cgroup/pids rw - cgroup none rw,pids";
        assert_eq!(found(pids), Some(("/sys/fs/cgroup/pids/".into(), false, true)));
        for other in [
            "32 20 0:29 / /sys/fs/cgroup/cpu rw - cgroup none rw,cpu",
            "33 20 0:30 / /sys/fs/cgroup/systemd rw - cgroup none rw,xattr,name=systemd",
            "34 20 0:31 / /proc rw - proc proc rw",
            "35 20 0:27 /elsewhere /mnt rw - cgroup cgroup rw,memory",
            "",
        ] {
            assert_eq!(found(other), None, "{other}");
        }
    }

    /// Where groups can be made, as on a machine that is no container.
    #[tokio::test]
    async fn a_family_that_takes_too_much_is_killed_and_counted() {
        let group = Group::make(32 << 20);
        if !group.places.iter().any(|place| place.memory) {
            eprintln!("no control group for memory can be made here");
            return;
        }
        assert_eq!(group.memory_kills(), 0);
        let doors =
            group.doors().iter().map(|door| format!("echo 0 >{} && ", door.display())).collect::<String>();
        let script = format!("{doors}exec tail -c 500M /dev/zero");
        let ended = std::process::Command::new("sh").args(["-c", &script]).status().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ended), Some(libc::SIGKILL), "{ended}");
        assert_eq!(group.memory_kills(), 1);
        let dirs: Vec<PathBuf> = group.places.iter().map(|place| place.dir.clone()).collect();
        group.remove().await;
        assert!(dirs.iter().all(|dir| !dir.exists()), "{dirs:?}");
    }
}
