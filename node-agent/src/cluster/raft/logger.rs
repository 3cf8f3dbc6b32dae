//! What the raft crate logs, as events of `tracing`.

use std::fmt::{Arguments, Write};

use slog::{Drain, KV, Key, Level, Logger, Never, OwnedKVList, Record, Serializer};

pub(super) fn logger() -> Logger {
    Logger::root(ToTracing, slog::o!())
}

struct ToTracing;

impl Drain for ToTracing {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, _: &OwnedKVList) -> Result<(), Never> {
        let mut text = Line(record.msg().to_string());
        // A line that cannot be completed is told as far as it goes.
        let _ = record.kv().serialize(record, &mut text);
        match record.level() {
            Level::Critical | Level::Error => tracing::error!("raft: {}", text.0),
            Level::Warning => tracing::warn!("raft: {}", text.0),
            // The crate tells each election at this level; the agent's own log says what matters of it.
            Level::Info | Level::Debug => tracing::debug!("raft: {}", text.0),
            Level::Trace => tracing::trace!("raft: {}", text.0),
        }
        Ok(())
    }
}

struct Line(String);

impl Serializer for Line {
    fn emit_arguments(&mut self, key: Key, value: &Arguments<'_>) -> slog::Result {
        write!(self.0, ", {key} {value}").map_err(slog::Error::from)
    }
}
