//! A move that stands still at a named instant, so that something can be killed just then.

use cluster_tests::lab::{Lab, LabNode, Program, User, homing, is_suspended, kill, resume};
use cluster_tests::support::{PATIENCE, migrate, place, restart, wait_for};

use super::case::Ledger;

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Victim {
    /// The agent of this node.
    Agent(usize),
    HomeWarden,
    /// The newest guest warden of this node.
    GuestWarden(usize),
}

/// Where the program is after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Where it was to go: nobody who was needed for that has died.
    Moved,
    /// Where it was.
    Stays,
    /// Nobody was told.
    Either,
}

/// What happens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strike {
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
    /// An instant of the home warden, as `HOMING_FAIL` names it.
    pub(crate) at: &'static str,
    pub(crate) victim: Victim,
    pub(crate) outcome: Outcome,
}

impl Strike {
    /// Of a move from `n2` to `n3`.
    pub(crate) fn on_hop(at: &'static str, victim: Victim, outcome: Outcome) -> Strike {
        Strike { from: "n2", to: "n3", at, victim, outcome }
    }

    /// Of a move from home to `n2`.
    pub(crate) fn on_leave(at: &'static str, victim: Victim, outcome: Outcome) -> Strike {
        Strike { from: "home", to: "n2", at, victim, outcome }
    }

    /// Moves the ledger and strikes; it goes on wherever it is then.
    pub(crate) fn make(&self, lab: &Lab, ledger: &Ledger<'_>) {
        let home = lab.node(1);
        ledger.bring_home();
        // The warden of a program that leaves has its agent's environment; from home to n2 it comes by once before.
        let time = if self.from == "home" { 1 } else { 2 };
        restart(lab, 1..=1, &[], &[("HOMING_FAIL", &format!("home.{}:stop {time}", self.at))]);
        if self.from != "home" {
            migrate(lab, ledger.pid(), self.from);
        }
        let earlier: Vec<u32> = lab.nodes().iter().flat_map(LabNode::guest_wardens).collect();
        let order = Program::new(homing().unwrap()).args(&["move", &ledger.pid().to_string(), self.to]);
        let order = home.exec(&order.user(User::Root)).unwrap();
        let stopped = || home.home_wardens().into_iter().find(|warden| is_suspended(*warden));
        wait_for("a warden that stands still", || stopped().is_some());
        let warden = stopped().unwrap();
        let victim = match self.victim {
            Victim::Agent(number) => lab.node(number).agent_pid(),
            Victim::HomeWarden => Some(warden),
            Victim::GuestWarden(number) => {
                lab.node(number).guest_wardens().into_iter().filter(|pid| !earlier.contains(pid)).max()
            }
        };
        kill(victim.unwrap_or_else(|| panic!("{self:?}: nobody is there to be killed")));
        resume(warden);
        let told = order.finish(PATIENCE).unwrap();
        if let Victim::Agent(number) = self.victim {
            wait_for("the end of the agent", || lab.node(number).agent_pid().is_none());
            lab.node(number).start_agent().unwrap();
        }
        // Later wardens are not to stop.
        if self.victim != Victim::Agent(1) {
            restart(lab, 1..=1, &[], &[]);
        }
        lab.wait_for_members().unwrap();
        let [from, to] = [self.from, self.to].map(|name| if name == "home" { "n1" } else { name });
        let mut at = String::new();
        wait_for("a program that is somewhere", || {
            let expected = if home.home_wardens().is_empty() { "home" } else { "away" };
            let found = place(lab, ledger.pid()).filter(|(_, state)| state == expected);
            found.map(|(node, _)| at = node).is_some()
        });
        let said = String::from_utf8_lossy(&told.errors).into_owned();
        println!("{self:?}: code {}, at {at}: {}", told.code, said.trim());
        match self.outcome {
            Outcome::Moved => assert_eq!((at.as_str(), told.code), (to, 0), "{said}"),
            Outcome::Stays => assert!(at == from && told.code != 0, "it is at {at}: {said}"),
            Outcome::Either => assert!([from, to].contains(&at.as_str()), "it is at {at}"),
        }
        ledger.wait_for_more();
    }
}
