//! A node that does not take a program says why, and the program goes on where it is.

use cluster_tests::lab::{Ground, Lab, User, kill};
use cluster_tests::support::{cluster, is_full, migrate, place, wait_for};

use crate::work::Worker;

/// How a target is made to refuse, and what is said of it.
struct Refusal<'a> {
    flags: &'a [&'a str],
    code: i32,
    words: &'a [&'a str],
}

pub(crate) fn a_target_that_refuses_says_why(ground: Ground) {
    let lab = cluster(ground, 3);
    let worker = Worker::start(lab.node(1), "refusals", User::Worker);
    let refusals = [
        Refusal {
            flags: &["--without-cpu", "sse4_2,sse2"],
            code: 6,
            words: &["its processor lacks sse2, sse4_2"],
        },
        Refusal {
            flags: &["--guest-memory", "1M"],
            code: 6,
            words: &["it has 65 MiB free", "the program needs"],
        },
        Refusal { flags: &["--speak-version", "9"], code: 8, words: &["version", "9, 8"] },
    ];
    // Its home is left for one of the others first, then the other way round.
    for from in ["n1", "n3"] {
        if from != "n1" {
            migrate(&lab, worker.pid(), from);
        }
        if from == "n1" {
            end_agent(&lab);
            refused(&lab, &worker, from, "n2", 6, &["n2", "answer"]);
        }
        refused(&lab, &worker, from, "n4", 3, &["no node is named n4: the nodes are n1, n2, n3"]);
        // What a program needs is known in another way when it is away: by its memory at the guest.
        let is_wanted =
            |refusal: &&Refusal<'_>| from == "n1" || is_full() || refusal.flags.contains(&"--guest-memory");
        for Refusal { flags, code, words } in refusals.iter().filter(is_wanted) {
            restart(&lab, flags);
            // The other agents learn that their old connection is dead when it gives no answer.
            wait_for("word of the new agent", || {
                let told = lab.node(1).homing(&["why", &worker.pid().to_string(), "n2"]).unwrap().text();
                words.iter().all(|words| told.contains(words))
            });
            refused(&lab, &worker, from, "n2", *code, words);
        }
    }
    restart(&lab, &[]);
    lab.wait_for_members().unwrap();
    migrate(&lab, worker.pid(), "n2");
    worker.wait_for_more();
    println!("{} lines are those of the native run", worker.finish());
}

/// Nothing but the refusal has happened.
fn refused(lab: &Lab, worker: &Worker<'_>, from: &str, to: &str, code: i32, words: &[&str]) {
    for more in [&[][..], &["--dry-run"]] {
        let moved = lab.node(1).homing(&[&["move", &worker.pid().to_string(), to], more].concat()).unwrap();
        let said = String::from_utf8_lossy(&moved.errors);
        assert_eq!(moved.code, code, "{said}");
        assert!(words.iter().all(|words| said.contains(words)), "{words:?} are not in: {said}");
        println!("code {code}: {}", said.trim());
    }
    assert_eq!(place(lab, worker.pid()).map(|(at, _)| at).as_deref(), Some(from));
    worker.wait_for_more();
    if from == "n1" {
        let status = lab.node(1).read_file(&format!("/proc/{}/status", worker.pid())).unwrap();
        assert!(String::from_utf8_lossy(&status).contains("TracerPid:\t0\n"));
    }
}

fn restart(lab: &Lab, flags: &[&str]) {
    end_agent(lab);
    lab.node(2).start_agent_with(flags, &[]).unwrap();
}

fn end_agent(lab: &Lab) {
    if let Some(agent) = lab.node(2).agent_pid() {
        kill(agent);
        wait_for("the end of the agent", || lab.node(2).agent_pid().is_none());
    }
}
