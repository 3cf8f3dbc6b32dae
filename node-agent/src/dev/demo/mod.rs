//! `homing dev --demo`: an ordinary program goes round the nodes while it works, again and again.
//!
//! Two things happen at once: the program is asked to count and everything it says is checked, ten times a second;
//! and every two seconds it is moved to the next node. They share nothing but a few figures.

use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::places::{Places, node_name};
use crate::api::client::{Client, unexpected};
use crate::api::{MoveRequest, Request, Response, Target};
use crate::exit::{ExitCode, Failure};
use crate::warden::control::MoveReport;
use program::{Program, ProgramError};

mod program;

/// What the demo tells while it runs.
#[derive(Clone, Debug)]
pub enum Word {
    /// The program runs and has its client.
    Started {
        /// Its pid, from now to its end.
        pid: u32,
    },
    /// It was moved.
    Moved {
        /// Where it was.
        from: String,
        /// In figures.
        report: MoveReport,
        /// How far it has counted; every number up to here has come once, by pipe and by connection.
        count: u64,
        /// The longest time that a count has taken since the last move.
        longest: Duration,
    },
    /// It stays where it is.
    NotMoved(Failure),
}

/// What the demo has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Completed moves.
    pub moves: u32,
    /// Moves that were not done.
    pub failed_moves: u32,
    /// How far the program has counted.
    pub count: u64,
}

/// Runs the demo until `stop` becomes true; then the program goes home and ends.
///
/// # Errors
/// When the program cannot be started, or says anything wrong, or nothing.
pub async fn run(
    homing: &Path,
    places: &Places,
    nodes: u8,
    stop: watch::Receiver<bool>,
    mut say: impl FnMut(Word),
) -> Result<Summary, Failure> {
    let failed = |error: ProgramError| {
        Failure::from_error(ExitCode::Failed, "the demo's program was disturbed", &error)
            .next("see it line by line: homing dev --demo | cat")
    };
    let mut program = Program::start(homing, places).await.map_err(failed)?;
    let pid = program.pid();
    say(Word::Started { pid });
    let (figures, travelling) = (Figures::default(), Cell::new(true));
    let count = async {
        let mut ticks = interval(COUNT_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while travelling.get() {
            ticks.tick().await;
            let (count, took) = program.count().await?;
            figures.longest.set(figures.longest.get().max(took));
            figures.count.send_replace(count);
        }
        program.finish().await
    };
    let travel = async {
        let summary = travel(places, pid, nodes, stop, &figures, &mut say).await;
        travelling.set(false);
        Ok(summary)
    };
    let ((), summary) = tokio::try_join!(count, travel).map_err(failed)?;
    Ok(Summary { count: *figures.count.borrow(), ..summary })
}

#[derive(Default)]
struct Figures {
    count: watch::Sender<u64>,
    longest: Cell<Duration>,
}

impl Figures {
    /// Waits for the count that was under way during a move, which shows that the program goes on; returns the longest
    /// time that a count has taken since the last move.
    async fn next_count(&self) -> Duration {
        let mut counts = self.count.subscribe();
        // The sender is this very struct. A count that does not come ends the demo at the other end.
        let _ = counts.changed().await;
        self.longest.take()
    }
}

/// Moves the program from node to node, and home at the end of each round.
async fn travel(
    places: &Places,
    pid: u32,
    nodes: u8,
    mut stop: watch::Receiver<bool>,
    figures: &Figures,
    say: &mut impl FnMut(Word),
) -> Summary {
    let mut summary = Summary::default();
    let mut next = Instant::now() + MOVE_EVERY;
    let mut route = (2..=nodes).map(|number| Target::Node(node_name(number))).chain([Target::Home]).cycle();
    loop {
        let stopped = tokio::select! {
            () = sleep_until(next) => false,
            // A sender that is gone wants nothing any more.
            _ = stop.wait_for(|&stop| stop) => true,
        };
        next = Instant::now() + MOVE_EVERY;
        let target = if stopped { None } else { route.next() };
        match migrate(places.socket(), pid, target.unwrap_or(Target::Home)).await {
            Ok(None) => {}
            Ok(Some((from, report))) => {
                summary.moves += 1;
                let longest = figures.next_count().await;
                say(Word::Moved { from, report, count: *figures.count.borrow(), longest });
            }
            Err(failure) => {
                summary.failed_moves += 1;
                say(Word::NotMoved(failure));
            }
        }
        if stopped {
            return summary;
        }
    }
}

/// Moves a process; `None` if it is there already.
async fn migrate(socket: &Path, pid: u32, to: Target) -> Result<Option<(String, MoveReport)>, Failure> {
    let request = Request::Move(MoveRequest { pid, to, dry_run: false, wait: true });
    match Client::connect(socket).await?.ask(&request, |_, _| {}).await? {
        Response::Moved { from, report } => Ok(Some((from, report))),
        Response::AlreadyThere { .. } => Ok(None),
        other => Err(unexpected(&other)),
    }
}

const COUNT_EVERY: Duration = Duration::from_millis(100);
const MOVE_EVERY: Duration = Duration::from_secs(2);
