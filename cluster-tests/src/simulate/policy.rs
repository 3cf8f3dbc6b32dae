//! What is compared.

use std::time::Duration;

use node_agent::balance::Tunables;

/// A way to decide where jobs run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Policy {
    /// One shared machine of all processors, which moves everything for free: what nobody can reach.
    Ideal,
    /// This project's policy.
    Homing,
    /// The same, with profiles of programs that were run before.
    HomingProfile,
    /// Every job where it was submitted.
    HomeOnly,
    /// Every job at a random node.
    Random,
    /// The least loaded node that is known.
    LeastLoaded,
    /// The same, and the target may refuse.
    LeastLoadedHandshake,
    /// This project's placement without its moves.
    StretchPlacement,
    /// The less loaded of two random nodes, which are asked.
    PowerOfTwo,
    /// Opportunity cost for placement: E-PVM of Amir and others, 2000.
    EPvm,
    /// Opportunity cost for placement and moves: Enhanced MOSIX of the same paper.
    EMosix,
    /// Least loaded, and moves by age: Harchol-Balter and Downey, 1996.
    HarcholBalter,
}

impl Policy {
    /// All, in the order of the tables.
    pub const ALL: [Policy; 12] = [
        Policy::Ideal,
        Policy::Homing,
        Policy::HomingProfile,
        Policy::HomeOnly,
        Policy::Random,
        Policy::LeastLoaded,
        Policy::LeastLoadedHandshake,
        Policy::StretchPlacement,
        Policy::PowerOfTwo,
        Policy::EPvm,
        Policy::EMosix,
        Policy::HarcholBalter,
    ];

    /// Its name on the command line and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Policy::Ideal => "ideal",
            Policy::Homing => "homing",
            Policy::HomingProfile => "homing-profile",
            Policy::HomeOnly => "home-only",
            Policy::Random => "random",
            Policy::LeastLoaded => "least-loaded",
            Policy::LeastLoadedHandshake => "least-loaded-handshake",
            Policy::StretchPlacement => "stretch-placement",
            Policy::PowerOfTwo => "power-of-two",
            Policy::EPvm => "e-pvm",
            Policy::EMosix => "e-mosix",
            Policy::HarcholBalter => "harchol-balter",
        }
    }

    /// The policy of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Policy> {
        Policy::ALL.into_iter().find(|policy| policy.name() == name)
    }

    /// Whether it looks at what other nodes tell.
    #[must_use]
    pub fn listens(self) -> bool {
        !matches!(self, Policy::Ideal | Policy::HomeOnly | Policy::Random | Policy::PowerOfTwo)
    }

    /// Whether it moves what runs.
    #[must_use]
    pub fn moves(self) -> bool {
        matches!(self, Policy::Homing | Policy::HomingProfile | Policy::EMosix | Policy::HarcholBalter)
    }

    /// The constants that it runs with: those that move by load alone look less often and let processes stay longer, as
    /// their authors have it, which suits them better than this project's.
    #[must_use]
    pub fn tunables(self) -> Tunables {
        let ours = Tunables::default();
        match self {
            Policy::EMosix | Policy::HarcholBalter => {
                Tunables { tick: Duration::from_secs(1), residency: Duration::from_secs(10), ..ours }
            }
            _ => ours,
        }
    }
}
