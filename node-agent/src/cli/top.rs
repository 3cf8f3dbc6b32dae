//! `homing top`: feeds the dashboard with views and does what its keys ask for.

use std::pin::pin;
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, kill_process};
use time::UtcOffset;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{interval, timeout};
use tui::model::ProcessRef;
use tui::terminal::Terminal;
use tui::{App, Event, Request as Wish, Theme};

use super::args::{Color, Common};
use super::movement::explained;
use super::show::view;
use super::{block_on, connect};
use crate::api::client::unexpected;
use crate::api::{MoveRequest, Request, Response, Target};
use crate::exit::{ExitCode, Failure};

pub(super) fn top(common: &Common) -> Result<(), Failure> {
    // It can be told only as long as there is one thread.
    let offset = UtcOffset::current_local_offset().unwrap_or(UtcOffset::UTC);
    show(common, offset, async {
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => drop(terminate.recv().await),
            Err(_) => std::future::pending().await,
        }
    })
}

/// Shows the dashboard until the user quits it or `stop` ends.
pub(super) fn show(
    common: &Common,
    offset: UtcOffset,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Failure> {
    // The first view is asked for before the terminal changes, so that a missing agent is an ordinary message.
    let first = block_on(async { view(&mut connect(common).await?, false).await })??;
    let node = first.node.clone();
    let (events, received) = mpsc::channel();
    // The receiver is here; it cannot be gone.
    let _ = events.send(Event::View(first));
    let feeder = {
        let (common, events) = (common.clone(), events.clone());
        move || feed(&common, stop, &events)
    };
    std::thread::spawn(feeder);
    let theme = match common.color {
        Color::Never => Theme::Mono,
        Color::Always => Theme::Default,
        Color::Auto => Theme::from_environment(),
    };
    let failed = |error: &dyn std::error::Error| {
        Failure::from_error(ExitCode::Failed, "cannot show the dashboard", error)
            .next("run it in a terminal; `homing ps` and `homing nodes` need none")
    };
    let terminal = Terminal::enter().map_err(|error| failed(&error))?;
    let ask = |wish: Wish| {
        let (common, events, node) = (common.clone(), events.clone(), node.clone());
        std::thread::spawn(move || {
            let result = fulfil(&common, &node, &wish).map_err(|failure| failure.to_string());
            // The dashboard may have ended meanwhile.
            let _ = events.send(Event::RequestDone(wish, result));
        });
    };
    tui::run(terminal, App::new(theme, offset.whole_seconds()), &received, ask)
        .map_err(|error| failed(&error))
}

/// Sends a view every second, or why there is none, until the dashboard or the process ends.
fn feed(common: &Common, stop: impl Future<Output = ()>, events: &mpsc::Sender<Event>) {
    let feeding = block_on(async {
        let mut stop = pin!(stop);
        let mut seconds = interval(PERIOD);
        let mut client = None;
        loop {
            tokio::select! {
                _ = seconds.tick() => {}
                () = &mut stop => return drop(events.send(Event::Stop)),
            }
            let looked = timeout(ANSWER_MAX, async {
                let connected = match client.take() {
                    Some(connected) => connected,
                    None => connect(common).await?,
                };
                let connected = client.insert(connected);
                view(connected, false).await
            });
            let event = match looked.await {
                Ok(Ok(view)) => Event::View(view),
                Ok(Err(failure)) => Event::Disconnected(failure.to_string()),
                Err(_) => Event::Disconnected("the agent gives no answer".into()),
            };
            if matches!(event, Event::Disconnected(_)) {
                client = None;
            }
            if events.send(event).is_err() {
                return;
            }
        }
    });
    if let Err(failure) = feeding {
        // The dashboard may have ended meanwhile.
        let _ = events.send(Event::Disconnected(failure.to_string()));
    }
}

fn fulfil(common: &Common, node: &str, wish: &Wish) -> Result<String, Failure> {
    let own = |process: &ProcessRef| {
        if process.home == node {
            return Ok(process.pid);
        }
        let (what, why) =
            (format!("cannot: {wish}"), format!("its home is {}, this is {node}", process.home));
        Err(Failure::new(ExitCode::NotFound, what, why).next(format!("run `homing top` at {}", process.home)))
    };
    let request = match wish {
        Wish::Move { process, node } => move_request(own(process)?, Target::Node(node.clone())),
        Wish::Home { process } => move_request(own(process)?, Target::Home),
        Wish::Why { process } => Request::Why { pid: own(process)?, node: None },
        Wish::Signal { process, signal } => return send_signal(own(process)?, signal.number(), wish),
        Wish::Quit => return Ok(String::new()),
    };
    let asked = block_on(async { connect(common).await?.ask(&request, |_, _| {}).await })?;
    match asked? {
        Response::Moved { from, report } => {
            Ok(format!("moved {from} -> {}, epoch {}", report.at, report.epoch))
        }
        Response::AlreadyThere { at } => Ok(format!("it is at {at} already")),
        Response::Why(report) => Ok(explained(&report)),
        other => Err(unexpected(&other)),
    }
}

fn move_request(pid: u32, to: Target) -> Request {
    Request::Move(MoveRequest { pid, to, dry_run: false, wait: true })
}

/// The signal goes to the deputy as everyone else's would, with the rights of this user.
fn send_signal(pid: u32, number: i32, wish: &Wish) -> Result<String, Failure> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let signal = rustix::process::Signal::from_named_raw(number);
    let failed = |why: &dyn std::fmt::Display| Failure::new(ExitCode::Failed, format!("cannot: {wish}"), why);
    let (Some(pid), Some(signal)) = (pid, signal) else { return Err(failed(&"there is no such process")) };
    kill_process(pid, signal).map_err(|error| failed(&error))?;
    Ok(format!("done: {wish}"))
}

const PERIOD: Duration = Duration::from_secs(1);

const ANSWER_MAX: Duration = Duration::from_secs(3);
