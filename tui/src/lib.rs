//! Shows: the terminal dashboard over plain view types.
//!
//! The caller sends [`Event`]s with [`model::View`]s in them, and does what the [`Request`]s ask for:
//!
//! ```text
//! caller --Event--> update(&mut App, Event) --Option<Request>--> caller
//!                        |
//!                   draw::frame(&App, &mut Buffer) --> screen: the changed cells only
//! ```
//!
//! [`update`] and [`draw::frame`] know no terminal and no clock; [`run`] joins them to one.

#![forbid(unsafe_code)]

mod app;
pub mod draw;
mod event;
mod keys;
pub mod model;
mod pace;
mod run;
#[cfg(test)]
mod sample;
pub mod screen;
pub mod terminal;
mod theme;

pub use app::{App, update};
pub use event::{Event, Key, Request, Signal};
pub use run::run;
pub use theme::Theme;
