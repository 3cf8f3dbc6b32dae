//! Wardens that are shell scripts: how their agent bears with them.

use std::os::unix::fs::PermissionsExt;

use migration::cpu::CpuNeeds;
use transport::{Epoch, KeyHash};

use super::*;
use crate::warden::control::Needs;

/// A nursery whose wardens are this shell script.
fn nursery(dir: &Path, script: &str) -> Nursery {
    let program = dir.join("homing");
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    Nursery {
        program,
        dir: dir.to_owned(),
        ip: [127, 0, 0, 1].into(),
        ports: "1-2".parse().unwrap(),
        node_name: "alpha".into(),
        node_id: NodeId([1; 32]),
        allow_root: false,
        lease_s: 120,
        guest_memory_bytes: None,
        starting: Mutex::new(()),
        births: RwLock::new(()),
    }
}

fn offer() -> Offer {
    let process = ProcessId { home: NodeId([1; 32]), pid: 7, start_ticks: 5 };
    let needs = Needs { memory_bytes: 0, processes: 1, threads: 1, uid: 1000, cpu: CpuNeeds::default() };
    let (home_name, command) = ("alpha".into(), "sim".into());
    Offer { process, home_name, command, epoch: Epoch(1), home_key: KeyHash([2; 32]), needs }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

#[tokio::test]
async fn a_warden_that_ends_is_quoted() {
    let dir = tempfile::tempdir().unwrap();
    let nursery = nursery(dir.path(), "echo first >&2; echo no memory >&2; exit 1");
    let error = nursery.home_warden(7, 5, soon()).await.unwrap_err();
    assert_eq!(error.line(), "it ended: no memory");
    let error = nursery.guest_warden(&offer(), soon()).await.unwrap_err();
    assert_eq!(error.line(), "it ended: no memory");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "only the script is left");
}

#[tokio::test]
async fn a_warden_that_hangs_is_ended_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let nursery = nursery(dir.path(), "echo $$ >$0.pid; exec sleep 100");
    let at_once = || Instant::now() + Duration::from_millis(300);
    assert!(matches!(nursery.guest_warden(&offer(), at_once()).await, Err(WardenError::Late)));
    let pid = fs::read_to_string(dir.path().join("homing.pid")).unwrap();
    assert!(!Path::new("/proc").join(pid.trim()).exists(), "it is gone");
    assert!(matches!(nursery.home_warden(7, 5, at_once()).await, Err(WardenError::Late)));
    assert!(nursery.sockets().is_empty());
}

#[tokio::test]
async fn the_socket_of_a_dead_warden_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("home-7-5.sock");
    assert!(matches!(status(&socket).await, Err(WardenError::Gone)));
    drop(tokio::net::UnixListener::bind(&socket).unwrap());
    assert!(matches!(status(&socket).await, Err(WardenError::Gone)));
    assert_eq!(nursery(dir.path(), "").sockets(), std::slice::from_ref(&socket));
    remove_remains(&socket);
    assert!(!socket.exists());
}

#[tokio::test]
async fn a_warden_that_thinks_nobody_needs_it_is_started_again() {
    let dir = tempfile::tempdir().unwrap();
    let script = "[ -e $0.once ] && { echo again >&2; exit 1; }; touch $0.once; exit 0";
    let error = nursery(dir.path(), script).home_warden(7, 5, soon()).await.unwrap_err();
    assert_eq!(error.line(), "it ended: again");
}

#[tokio::test]
async fn what_a_dead_warden_has_left_stays_while_the_next_one_starts() {
    let dir = tempfile::tempdir().unwrap();
    let nursery = nursery(dir.path(), "");
    let socket = nursery.home_socket(7, 5);
    drop(tokio::net::UnixListener::bind(&socket).unwrap());
    let birth = nursery.births.read().await;
    nursery.sweep(&socket);
    assert!(socket.exists(), "it may be the next one's by now");
    drop(birth);
    nursery.sweep(&socket);
    assert!(!socket.exists());
}

#[tokio::test]
async fn a_warden_that_waits_for_nobody_does_not_keep_the_next_one_out() {
    let dir = tempfile::tempdir().unwrap();
    let nursery = nursery(dir.path(), "");
    let first = nursery.guest_socket(offer().process, 3);
    let waits = tokio::net::UnixListener::bind(&first).unwrap();
    let second = nursery.guest_socket(offer().process, 3);
    assert!(second != first && nursery.sockets_of(offer().process).contains(&first));
    drop(waits);
    assert_eq!(nursery.guest_socket(offer().process, 3), first);
}

#[tokio::test]
async fn a_silent_warden_does_not_hold_up_its_agent() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("home-7-5.sock");
    let _listener = tokio::net::UnixListener::bind(&socket).unwrap();
    assert!(matches!(status(&socket).await, Err(WardenError::Late)));
}

#[test]
fn a_loss_is_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let nursery = nursery(dir.path(), "");
    fs::write(dir.path().join("home-25-777.lost"), "no sign of life").unwrap();
    fs::write(dir.path().join("home-26-778.sock"), "").unwrap();
    assert_eq!(nursery.losses(), [(25, "no sign of life".to_owned())]);
    assert_eq!(nursery.losses(), []);
}
