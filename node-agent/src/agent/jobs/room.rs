//! Where there is room for a task. The one place that chooses its home.

use transport::NodeId;

use crate::mover::place::mib;
use crate::queue::{Home, Spec};

/// A node as whoever places tasks sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) id: NodeId,
    pub(super) name: String,
    /// It answers.
    pub(super) is_up: bool,
    /// It has been heard of: what it has is known.
    pub(super) is_known: bool,
    pub(super) cores: u32,
    /// Cores without a task; below zero if there are more tasks than cores.
    pub(super) cores_free: i64,
    pub(super) memory_bytes: u64,
    pub(super) memory_free_bytes: u64,
}

/// Chooses the home of a task and takes the room that it needs, or says why it has to wait.
///
/// A task is started at its home and moves from there, so cores are counted over all nodes where it may be, and memory
/// at its home. Work that homing did not start takes no core here: it shares them fairly, and moves spread the load.
pub(super) fn take(spec: &Spec, rooms: &mut [Room]) -> Result<NodeId, String> {
    let allowed = |room: &&Room| room.is_up && spec.may_be_at(&room.name);
    let free: i64 = rooms.iter().filter(allowed).map(|room| room.cores_free.max(0)).sum();
    let cores: u32 = rooms.iter().filter(allowed).map(|room| room.cores).sum();
    let home = home(spec, rooms)?;
    if free < i64::from(spec.cpus) {
        return Err(format!("{} of {cores} cores are free, it needs {}", free.max(0), spec.cpus));
    }
    take_at(home, spec, rooms);
    Ok(home)
}

/// Takes the room of a task whose home is chosen: where that has none left, it will move to where there is some.
pub(super) fn take_at(home: NodeId, spec: &Spec, rooms: &mut [Room]) {
    let needed = i64::from(spec.cpus);
    let at_home = rooms.iter().position(|room| room.id == home);
    let is_roomy = |room: &Room| room.is_up && spec.may_be_at(&room.name) && room.cores_free >= needed;
    let elsewhere = || {
        let roomy = rooms.iter().enumerate().filter(|(_, room)| is_roomy(room));
        roomy.max_by_key(|(_, room)| room.cores_free).map(|(index, _)| index)
    };
    let chosen = at_home.filter(|index| is_roomy(&rooms[*index])).or_else(elsewhere).or(at_home);
    if let Some(index) = chosen {
        rooms[index].cores_free -= needed;
    }
    if let Some(index) = at_home {
        rooms[index].memory_free_bytes = rooms[index].memory_free_bytes.saturating_sub(spec.memory_bytes);
    }
}

/// Why no node could ever run a task: one reason each. Empty if one could, or if there is one of which nothing is known.
pub(super) fn obstacles(spec: &Spec, rooms: &[Room]) -> Vec<String> {
    let mut all = Vec::new();
    for room in rooms {
        let reasons = lacks(spec, room);
        if reasons.is_empty() {
            return home_obstacles(spec, rooms);
        }
        all.push(format!("{}: {}", room.name, reasons.join(", ")));
    }
    all
}

fn home(spec: &Spec, rooms: &[Room]) -> Result<NodeId, String> {
    let has_memory = |room: &Room| room.memory_free_bytes >= spec.memory_bytes;
    match &spec.home {
        Home::Node(name) => {
            let home = rooms.iter().find(|room| room.name == *name);
            let Some(home) = home else { return Err(format!("its home {name} is not in the cluster")) };
            if !home.is_up {
                return Err(format!("its home {name} does not answer"));
            }
            if !has_memory(home) {
                return Err(format!(
                    "{} are free at {name}, it needs {}",
                    mib(home.memory_free_bytes),
                    mib(spec.memory_bytes)
                ));
            }
            Ok(home.id)
        }
        Home::Any => {
            let allowed = rooms.iter().filter(|room| room.is_up && spec.may_be_at(&room.name));
            let roomy = allowed.filter(|room| has_memory(room) && room.cores >= spec.cpus);
            let best = roomy
                .max_by_key(|room| (room.cores_free, room.memory_free_bytes, std::cmp::Reverse(room.id)));
            best.map(|room| room.id).ok_or_else(|| {
                format!("no node that answers and that it may use has {} free", mib(spec.memory_bytes))
            })
        }
    }
}

/// It begins at its home, so that must have the memory.
fn home_obstacles(spec: &Spec, rooms: &[Room]) -> Vec<String> {
    let Home::Node(name) = &spec.home else { return Vec::new() };
    let home = rooms.iter().find(|room| room.name == *name && room.is_known);
    let small = home.filter(|room| room.memory_bytes < spec.memory_bytes);
    small.map(|room| format!("{name}, its home: {}", memory(spec, room))).into_iter().collect()
}

fn lacks(spec: &Spec, room: &Room) -> Vec<String> {
    let mut reasons = Vec::new();
    if !spec.may_be_at(&room.name) {
        reasons.push("it must not be there".to_owned());
    }
    if room.is_known && room.cores < spec.cpus {
        reasons.push(format!("{} cores, it needs {}", room.cores, spec.cpus));
    }
    if room.is_known && room.memory_bytes < spec.memory_bytes {
        reasons.push(memory(spec, room));
    }
    reasons
}

fn memory(spec: &Spec, room: &Room) -> String {
    format!("{} of memory, it needs {}", mib(room.memory_bytes), mib(spec.memory_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(number: u8, cores: u32, memory_bytes: u64) -> Room {
        Room {
            id: NodeId([number; 32]),
            name: format!("n{number}"),
            is_up: true,
            is_known: true,
            cores,
            cores_free: i64::from(cores),
            memory_bytes,
            memory_free_bytes: memory_bytes,
        }
    }

    fn spec(cpus: u32, memory_bytes: u64, home: Home) -> Spec {
        Spec { cpus, memory_bytes, ..Spec::new(vec![b"x".to_vec()], b"/".to_vec(), home) }
    }

    fn at(name: &str) -> Home {
        Home::Node(name.into())
    }

    #[test]
    fn tasks_start_at_their_home_as_long_as_the_cluster_has_cores() {
        let mut rooms = [room(1, 2, 100), room(2, 2, 100)];
        let spec = spec(1, 0, at("n1"));
        for _ in 0..4 {
            assert_eq!(take(&spec, &mut rooms), Ok(NodeId([1; 32])));
        }
        assert_eq!(rooms.iter().map(|room| room.cores_free).collect::<Vec<_>>(), [0, 0]);
        assert!(take(&spec, &mut rooms).unwrap_err().contains("0 of 4 cores are free"));
    }

    #[test]
    fn any_home_is_the_one_with_most_room() {
        let mut rooms = [room(1, 2, 100), room(2, 4, 100), room(3, 8, 10)];
        let spec = spec(1, 50, Home::Any);
        assert_eq!(take(&spec, &mut rooms), Ok(NodeId([2; 32])));
        assert_eq!(take(&spec, &mut rooms), Ok(NodeId([2; 32])));
        assert_eq!(take(&spec, &mut rooms), Ok(NodeId([1; 32])));
        assert!(take(&spec, &mut rooms).is_ok() && take(&spec, &mut rooms).is_err(), "no memory is left");
    }

    #[test]
    fn a_home_that_does_not_answer_is_waited_for() {
        let mut rooms = [Room { is_up: false, ..room(1, 2, 100) }, room(2, 2, 100)];
        assert!(take(&spec(1, 0, at("n1")), &mut rooms).unwrap_err().contains("n1 does not answer"));
        assert!(take(&spec(1, 200, at("n2")), &mut rooms).unwrap_err().contains("free at n2"));
    }

    #[test]
    fn needs_that_no_node_meets_are_named_node_by_node() {
        let rooms = [room(1, 2, 100), room(2, 8, 10)];
        assert!(obstacles(&spec(8, 0, at("n1")), &rooms).is_empty());
        let both = obstacles(&spec(4, 50, Home::Any), &rooms);
        assert!(
            matches!(both.as_slice(), [one, two] if one.contains("n1: 2 cores, it needs 4") && two.contains("n2") && two.contains("memory")),
            "{both:?}"
        );
        let home = obstacles(&spec(1, 50, at("n2")), &rooms);
        assert!(matches!(home.as_slice(), [one] if one.contains("n2, its home")), "{home:?}");
        let unknown = [rooms[0].clone(), Room { is_known: false, ..room(2, 0, 0) }];
        assert!(obstacles(&spec(64, 0, Home::Any), &unknown).is_empty(), "it may come back");
    }
}
