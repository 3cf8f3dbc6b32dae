//! `homing dev`: asks the keeper for nodes, shows what happens there, and has them ended.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use time::{OffsetDateTime, UtcOffset};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::sleep;

use super::args::{Common, DevArgs};
use super::show::event_line;
use super::{block_on, print, table, top};
use crate::api::client::{Client, unexpected};
use crate::api::{Request, Response};
use crate::config::RUN_DIR;
use crate::dev::demo::{self, Summary, Word};
use crate::dev::hold::{Hold, gone};
use crate::dev::keeper::protocol::FromKeeper;
use crate::dev::places::{Places, node_name};
use crate::exit::{ExitCode, Failure};

pub(super) fn dev(common: &Common, args: &DevArgs) -> Result<(), Failure> {
    if !rustix::process::geteuid().is_root() {
        let why = "it makes namespaces and network interfaces, which only root may";
        let failure = Failure::new(ExitCode::NotAllowed, "cannot make nodes on this machine", why);
        return Err(failure.next("sudo homing dev"));
    }
    if args.demo && args.nodes < 2 {
        let why = "with one node there is nowhere to go";
        return Err(Failure::new(ExitCode::Usage, "cannot show a move", why).next("--nodes 2 or more"));
    }
    let program = std::env::current_exe()
        .map_err(|error| Failure::new(ExitCode::Failed, "cannot find the homing program", error))?;
    // It can be told only as long as there is one thread.
    let offset = UtcOffset::current_local_offset().unwrap_or(UtcOffset::UTC);
    let show = Show { common: common.clone(), args: args.clone(), places: places(common), program, offset };
    block_on(show.run())?
}

/// Where the nodes of this command line are.
pub(super) fn places(common: &Common) -> Places {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    Places::new(&absolute(&common.run_dir), &absolute(&common.agent_socket()))
}

/// One `homing dev`.
struct Show {
    common: Common,
    args: DevArgs,
    places: Places,
    program: PathBuf,
    offset: UtcOffset,
}

impl Show {
    async fn run(&self) -> Result<(), Failure> {
        let stop = stop_on_signals()?;
        self.clear().await?;
        let asked = Instant::now();
        let mut hold = Hold::start(&self.program, &self.places, self.args.nodes)?;
        let what = "cannot make nodes on this machine";
        match hold.hear().await {
            Some(FromKeeper::Ready) => print(&self.introduction(asked.elapsed()))?,
            Some(FromKeeper::Failed(failure)) => return Err(failure),
            _ => return Err(gone(what)),
        }
        if let Some(limit) = self.args.limit {
            let stop = stop.clone();
            tokio::spawn(async move {
                sleep(limit).await;
                stop.send_replace(true);
            });
        }
        let mut said = Vec::new();
        let worked = tokio::select! {
            worked = self.work(&stop) => worked,
            () = listen(&mut hold, |sentence| match self.has_dashboard() {
                // The screen belongs to the dashboard; they are printed when that is gone.
                true => said.push(sentence),
                false => self.say(&sentence),
            }) => return Err(gone("the nodes are gone")),
        };
        said.iter().for_each(|sentence| self.say(sentence));
        let stopped = hold.stop(|sentence| self.say(sentence)).await;
        worked.and(stopped)
    }

    /// Ends what a `homing dev` that was killed has left, and refuses to disturb a node that is none of `dev`.
    async fn clear(&self) -> Result<(), Failure> {
        if let Some(hold) = Hold::take_over(&self.places).await? {
            self.say("a former `homing dev` was killed; its processes are brought home, its nodes ended");
            return hold.stop(|sentence| self.say(sentence)).await;
        }
        if !self.places.root().exists() && Client::connect(self.places.socket()).await.is_ok() {
            let what = "cannot make nodes on this machine";
            let why = format!("an agent serves it already, at {}", self.places.socket().display());
            let next = "use that cluster, stop its agent, or give --run-dir another directory";
            return Err(Failure::new(ExitCode::Failed, what, why).next(next));
        }
        Ok(())
    }

    /// Shows what was asked for, until the user or a signal ends it.
    async fn work(&self, stop: &watch::Sender<bool>) -> Result<(), Failure> {
        let demo = async {
            let result = match self.args.demo {
                true => self.demo(stop).await,
                false => Ok(()),
            };
            if self.args.demo {
                stop.send_replace(true);
            }
            result
        };
        let rest = async {
            match (self.has_dashboard(), self.args.demo) {
                (true, _) => self.dashboard(stop).await,
                (false, true) => Ok(()),
                (false, false) => self.events(stop).await,
            }
        };
        let (demo, rest) = tokio::join!(demo, rest);
        demo.and(rest)
    }

    fn has_dashboard(&self) -> bool {
        self.args.tui || (self.args.demo && std::io::stdout().is_terminal())
    }

    async fn dashboard(&self, stop: &watch::Sender<bool>) -> Result<(), Failure> {
        let (common, offset, mut stopped) = (self.common.clone(), self.offset, stop.subscribe());
        let shown = tokio::task::spawn_blocking(move || {
            top::show(&common, offset, async move {
                // A sender that is gone wants nothing any more.
                let _ = stopped.wait_for(|&stop| stop).await;
            })
        });
        let result = shown
            .await
            .unwrap_or_else(|error| Err(Failure::new(ExitCode::Failed, "cannot show the dashboard", error)));
        stop.send_replace(true);
        result
    }

    async fn demo(&self, stop: &watch::Sender<bool>) -> Result<(), Failure> {
        let tell = |word| {
            if !self.has_dashboard() {
                self.say(&demo_line(&word));
            }
        };
        let summary = demo::run(&self.program, &self.places, self.args.nodes, stop.subscribe(), tell).await?;
        let Summary { moves, failed_moves, count } = summary;
        self.say(&format!(
            "{moves} moves, {failed_moves} failed; counted to {count} without a gap, on one TCP connection"
        ));
        Ok(())
    }

    /// Prints what the agent of n1 notes.
    async fn events(&self, stop: &watch::Sender<bool>) -> Result<(), Failure> {
        let mut stopped = stop.subscribe();
        let mut after = 0;
        loop {
            // An agent that was killed is no reason to end: the keeper tells of it, and moved programs go on.
            if let Ok(mut client) = Client::connect(self.places.socket()).await {
                match client.ask(&Request::Events { after }, |_, _| {}).await {
                    Ok(Response::Events { events, next }) => {
                        after = next;
                        events.iter().try_for_each(|event| print(&event_line(event, self.offset)))?;
                    }
                    Ok(other) => return Err(unexpected(&other)),
                    Err(failure) => tracing::debug!("{failure}"),
                }
            }
            tokio::select! {
                () = sleep(EVENTS_EVERY) => {}
                _ = stopped.wait_for(|&stop| stop) => return Ok(()),
            }
        }
    }

    fn introduction(&self, took: Duration) -> String {
        let others: Vec<String> = (2..=self.args.nodes).map(node_name).collect();
        let names =
            std::iter::once("n1 (this machine)".to_owned()).chain(others).collect::<Vec<_>>().join(", ");
        let homing = std::env::args().next().unwrap_or_else(|| "homing".into());
        let socket = match self.places.socket() == Path::new(RUN_DIR).join("agent.sock") {
            true => String::new(),
            false => format!(" --socket {}", self.places.socket().display()),
        };
        format!(
            "{} nodes ready in {:.2} s: {names}; from another terminal:\n  \
             {homing}{socket} run -- CMD     start a program, or find one that runs: ps --all\n  \
             {homing}{socket} move PID n2    let it go on at n2; `home` brings it back\n  \
             {homing}{socket} top            watch\n\
             Ctrl-C brings every process home and ends the nodes\n",
            self.args.nodes,
            took.as_secs_f32(),
        )
    }

    fn say(&self, sentence: &str) {
        // With standard output gone there is nobody to tell, and still everything to end.
        let _ = print(&format!("{}  {sentence}\n", table::clock(OffsetDateTime::now_utc(), self.offset)));
    }
}

async fn listen(hold: &mut Hold, mut say: impl FnMut(String)) {
    while let Some(word) = hold.hear().await {
        if let FromKeeper::Said(sentence) = word {
            say(sentence);
        }
    }
}

/// Becomes true on SIGINT, SIGTERM or SIGHUP.
fn stop_on_signals() -> Result<watch::Sender<bool>, Failure> {
    let (stop, _) = watch::channel(false);
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        let mut signals =
            signal(kind).map_err(|error| Failure::new(ExitCode::Failed, "cannot wait for signals", error))?;
        let stop = stop.clone();
        tokio::spawn(async move {
            signals.recv().await;
            stop.send_replace(true);
        });
    }
    Ok(stop)
}

fn demo_line(word: &Word) -> String {
    match word {
        Word::Started { pid } => format!("perl runs at n1 as {pid}, reads a pipe and has a TCP client"),
        Word::Moved { from, report, count, longest } => format!(
            "{from} -> {}  pause {}, sent {} in {}; counted to {count} without a gap, longest wait {}",
            report.at,
            table::duration(Duration::from_micros(report.pause_us)),
            table::bytes(report.bytes_sent),
            table::duration(Duration::from_micros(report.total_us)),
            table::duration(*longest),
        ),
        Word::NotMoved(failure) => failure.to_string(),
    }
}

const EVENTS_EVERY: Duration = Duration::from_millis(250);
