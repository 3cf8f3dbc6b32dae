//! The loop: events in, requests out, frames on the terminal when something changed.

use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use crate::app::{App, update};
use crate::draw;
use crate::event::{Event, Request};
use crate::pace::Pace;
use crate::screen::Screen;
use crate::terminal::{Terminal, TerminalError};

/// How long the caller's events may wait: the time that one look for keys takes at most.
const LOOK_MAX: Duration = Duration::from_millis(50);

/// What the user is told when the caller's end of the events is gone.
const SOURCE_ENDED: &str = "it went away; start the dashboard again";

/// Keys, and as many events of the caller, that are handled before the screen gets its turn.
const BATCH_MAX: usize = 256;

/// How often the time is told, for messages to disappear.
const TICK: Duration = Duration::from_secs(1);

/// Runs the dashboard until the user quits or `events` brings [`Event::Stop`]. Each request but the last,
/// [`Request::Quit`], goes to `ask`, which must not block; its result comes back as [`Event::RequestDone`].
///
/// When the other end of `events` is dropped the dashboard goes on and says that the agent is not reachable.
///
/// # Errors
///
/// When the terminal cannot be read or drawn on. It is restored in any case, as `terminal` is dropped.
pub fn run(
    terminal: Terminal,
    mut app: App,
    events: &Receiver<Event>,
    mut ask: impl FnMut(Request),
) -> Result<(), TerminalError> {
    let start = Instant::now();
    let mut screen = Screen::new(terminal.output());
    let mut pace = Pace::default();
    let mut source_ended = false;
    let mut next_tick = Duration::ZERO;
    let (columns, rows) = terminal.size()?;
    update(&mut app, Event::Resize { columns, rows });
    pace.urgent(start.elapsed());
    loop {
        let now = start.elapsed();
        if now >= next_tick {
            next_tick = now + TICK;
            pace.changed(now, app.rate_hz());
        }
        if pace.wait(now) == Some(Duration::ZERO) {
            let (columns, rows) = terminal.size()?;
            screen.show(columns, rows, |buffer| draw::frame(&app, buffer)).map_err(TerminalError::Draw)?;
            pace.drawn(now);
        }
        let mut batch = Vec::new();
        let mut within = pace.wait(now).unwrap_or(LOOK_MAX).min(LOOK_MAX);
        while batch.len() < BATCH_MAX
            && let Some(event) = terminal.next_event(within)?
        {
            within = Duration::ZERO;
            batch.push(event);
        }
        while batch.len() < 2 * BATCH_MAX && !source_ended {
            match events.try_recv() {
                Ok(event) => batch.push(event),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    source_ended = true;
                    batch.push(Event::Disconnected(SOURCE_ENDED.to_owned()));
                }
            }
        }
        let now = start.elapsed();
        update(&mut app, Event::Tick(now));
        for event in batch {
            match event {
                Event::View(_) => pace.changed(now, app.rate_hz()),
                Event::Resize { .. } => pace.resized(now),
                _ => pace.urgent(now),
            }
            match update(&mut app, event) {
                None => {}
                Some(Request::Quit) => return Ok(()),
                // Nobody is left to do it, so nobody would tell the user.
                Some(request) if source_ended => {
                    update(&mut app, Event::RequestDone(request, Err(SOURCE_ENDED.to_owned())));
                }
                Some(request) => ask(request),
            }
        }
    }
}
