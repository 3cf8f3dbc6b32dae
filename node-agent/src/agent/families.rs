//! The families whose wardens run at this node, as the wardens tell it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::warden::control::{WardenRole, WardenStatus};

/// Families by their warden's socket.
#[derive(Debug, Default)]
pub(super) struct Families(BTreeMap<PathBuf, Family>);

/// One family.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) status: WardenStatus,
    /// Forwarded calls per second.
    pub(super) calls_per_s: f32,
    /// Their payload per second.
    pub(super) call_bytes_per_s: f32,
    asked_at: Instant,
}

impl Families {
    /// Takes in a warden's word; true if it is the first of this warden.
    pub(super) fn update(&mut self, socket: &Path, status: WardenStatus, now: Instant) -> bool {
        let known = self.0.get_mut(socket).filter(|family| family.status.pid == status.pid);
        let Some(family) = known else {
            let family = Family { status, calls_per_s: 0.0, call_bytes_per_s: 0.0, asked_at: now };
            self.0.insert(socket.to_owned(), family);
            return true;
        };
        // Asked before a move that has ended meanwhile.
        if status.epoch < family.status.epoch {
            return false;
        }
        let elapsed = now.duration_since(family.asked_at).as_secs_f32();
        if elapsed >= ELAPSED_MIN_S {
            family.calls_per_s = rate(family.status.calls, status.calls, elapsed);
            family.call_bytes_per_s = rate(family.status.call_bytes, status.call_bytes, elapsed);
            family.asked_at = now;
            family.status = status;
        } else {
            // The counters stay those of the last rate.
            let (calls, call_bytes) = (family.status.calls, family.status.call_bytes);
            family.status = WardenStatus { calls, call_bytes, ..status };
        }
        false
    }

    /// A move of a process of this node has ended there: what was asked a moment ago is out of date, and of a warden
    /// that was started for it nothing may have been heard yet.
    pub(super) fn moved(&mut self, socket: &Path, status: WardenStatus) {
        let known = self.0.get_mut(socket).map(|family| &mut family.status);
        match known {
            Some(known) => (known.at, known.epoch, known.moving) = (status.at, status.epoch, status.moving),
            None => drop(self.update(socket, status, Instant::now())),
        }
    }

    /// A move of a process of this node has failed: it can be asked for again at once.
    pub(super) fn stays(&mut self, pid: u32) {
        let homes = self.0.values_mut().filter(|family| family.status.role == WardenRole::Home);
        for family in homes.filter(|family| family.status.processes.iter().any(|process| process.pid == pid))
        {
            family.status.moving = false;
        }
    }

    /// The last word of the warden at this socket.
    pub(super) fn status(&self, socket: &Path) -> Option<&WardenStatus> {
        self.0.get(socket).map(|family| &family.status)
    }

    /// Drops the family of a warden that is gone.
    pub(super) fn remove(&mut self, socket: &Path) -> Option<Family> {
        self.0.remove(socket)
    }

    /// Drops the families whose warden's socket is not among these, and returns the sockets of those wardens: a warden
    /// that ends in order takes its socket with it.
    pub(super) fn keep_only(&mut self, sockets: &[PathBuf]) -> Vec<PathBuf> {
        let gone: Vec<PathBuf> = self.0.keys().filter(|socket| !sockets.contains(socket)).cloned().collect();
        gone.iter().for_each(|socket| drop(self.0.remove(socket)));
        gone
    }

    /// The family of this node that a process belongs to.
    pub(super) fn of_home_pid(&self, pid: u32) -> Option<&Family> {
        self.homes().find(|family| family.status.processes.iter().any(|process| process.pid == pid))
    }

    /// The family of another node one of whose bodies has this pid here.
    pub(super) fn of_body(&self, local_pid: u32) -> Option<&Family> {
        self.guests()
            .find(|family| family.status.processes.iter().any(|process| process.local_pid == local_pid))
    }

    /// Those whose home this node is and that are away or on the move: at home a process is a plain program of its
    /// own again, also while its warden is still ending.
    pub(super) fn homes(&self) -> impl Iterator<Item = &Family> {
        let is_plain = |status: &WardenStatus| status.at == status.home_name && !status.moving;
        let homes = self.0.values().filter(|family| family.status.role == WardenRole::Home);
        homes.filter(move |family| !is_plain(&family.status))
    }

    /// Those that this node holds for others.
    pub(super) fn guests(&self) -> impl Iterator<Item = &Family> {
        self.0.values().filter(|family| family.status.role == WardenRole::Guest)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 24 bits")]
fn rate(before: u64, after: u64, elapsed_s: f32) -> f32 {
    after.saturating_sub(before) as f32 / elapsed_s
}

/// Below this, chance would look like a rate.
const ELAPSED_MIN_S: f32 = 0.5;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use transport::{Epoch, KeyHash, NodeId, ProcessId};

    use super::*;
    use crate::warden::control::ProcessStatus;

    fn status(role: WardenRole, calls: u64) -> WardenStatus {
        WardenStatus {
            pid: 100,
            key: KeyHash([3; 32]),
            role,
            process: ProcessId { home: NodeId([1; 32]), pid: 7, start_ticks: 1 },
            home_name: "alpha".into(),
            at: "bravo".into(),
            epoch: Epoch(1),
            moving: false,
            processes: vec![ProcessStatus { pid: 7, local_pid: 70, command: "sim".into(), threads: 1 }],
            calls,
            call_bytes: 10 * calls,
            refused_calls: vec![],
        }
    }

    #[test]
    fn a_rate_is_calls_per_time() {
        let (mut families, start) = (Families::default(), Instant::now());
        let socket = Path::new("/r/home-7-1.sock");
        assert!(families.update(socket, status(WardenRole::Home, 100), start));
        assert!(!families.update(socket, status(WardenRole::Home, 150), start + Duration::from_millis(10)));
        families.update(socket, status(WardenRole::Home, 300), start + Duration::from_secs(2));
        let family = families.of_home_pid(7).unwrap();
        assert_eq!((family.calls_per_s, family.call_bytes_per_s), (100.0, 1000.0));
        families.remove(socket);
        assert!(families.of_home_pid(7).is_none());
    }

    #[test]
    fn after_a_failed_move_the_next_one_is_not_busy() {
        let (mut families, socket) = (Families::default(), Path::new("/r/home-7-1.sock"));
        families.update(socket, WardenStatus { moving: true, ..status(WardenRole::Home, 0) }, Instant::now());
        families.stays(8);
        assert!(families.of_home_pid(7).unwrap().status.moving);
        families.stays(7);
        assert!(!families.of_home_pid(7).unwrap().status.moving);
    }

    #[test]
    fn a_move_counts_at_once_and_older_words_do_not_take_it_back() {
        let (mut families, socket) = (Families::default(), Path::new("/r/home-7-1.sock"));
        let stay = |at: &str, epoch| WardenStatus {
            at: at.into(),
            epoch: Epoch(epoch),
            ..status(WardenRole::Home, 0)
        };
        families.moved(socket, stay("bravo", 1));
        assert_eq!(families.of_home_pid(7).unwrap().status.at, "bravo");
        families.moved(socket, stay("alpha", 2));
        assert!(families.of_home_pid(7).is_none());
        families.update(socket, stay("bravo", 1), Instant::now());
        assert!(families.of_home_pid(7).is_none());
        families.update(socket, stay("charlie", 3), Instant::now());
        assert_eq!(families.of_home_pid(7).unwrap().status.at, "charlie");
    }

    #[test]
    fn a_warden_without_a_socket_is_gone() {
        let (mut families, socket) = (Families::default(), PathBuf::from("/r/home-7-1.sock"));
        families.update(&socket, status(WardenRole::Home, 0), Instant::now());
        assert!(families.keep_only(std::slice::from_ref(&socket)).is_empty());
        assert_eq!(families.keep_only(&[]), [socket]);
        assert!(families.of_home_pid(7).is_none());
    }

    #[test]
    fn the_two_ends_are_told_apart() {
        let (mut families, now) = (Families::default(), Instant::now());
        families.update(Path::new("/r/guest.sock"), status(WardenRole::Guest, 0), now);
        assert!(families.of_home_pid(7).is_none());
        assert!(families.of_body(7).is_none());
        assert_eq!(families.of_body(70).unwrap().status.home_name, "alpha");
    }
}
