//! In which order the processes are shown.

use std::cmp::Ordering;

use crate::model::Process;

/// A column and a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sort {
    pub(crate) by: SortKey,
    pub(crate) reversed: bool,
}

/// The columns to sort by, in the order in which one key goes through them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SortKey {
    Cpu,
    Memory,
    Calls,
    Moves,
    Pid,
    Command,
}

impl SortKey {
    /// The one after this.
    pub(crate) fn next(self) -> SortKey {
        match self {
            SortKey::Cpu => SortKey::Memory,
            SortKey::Memory => SortKey::Calls,
            SortKey::Calls => SortKey::Moves,
            SortKey::Moves => SortKey::Pid,
            SortKey::Pid => SortKey::Command,
            SortKey::Command => SortKey::Cpu,
        }
    }

    /// Its name in the pane's title.
    pub(crate) fn word(self) -> &'static str {
        match self {
            SortKey::Cpu => "cpu",
            SortKey::Memory => "rss",
            SortKey::Calls => "calls",
            SortKey::Moves => "moves",
            SortKey::Pid => "pid",
            SortKey::Command => "command",
        }
    }
}

impl Default for Sort {
    fn default() -> Sort {
        Sort { by: SortKey::Cpu, reversed: false }
    }
}

impl Sort {
    /// Sorts: amounts from large to small, names and numbers from small to large, equal rows by their identity,
    /// so that no row jumps without a cause.
    pub(crate) fn apply(self, processes: &mut [&Process]) {
        processes.sort_by(|a, b| {
            let order = match self.by {
                SortKey::Cpu => amount(b.cpu_percent, a.cpu_percent),
                SortKey::Memory => b.rss_bytes.cmp(&a.rss_bytes),
                SortKey::Calls => b.calls_per_s.total_cmp(&a.calls_per_s),
                SortKey::Moves => b.moves.cmp(&a.moves),
                SortKey::Pid => a.pid.cmp(&b.pid),
                SortKey::Command => a.command.cmp(&b.command),
            };
            let order = if self.reversed { order.reverse() } else { order };
            order.then_with(|| (a.pid, &a.home).cmp(&(b.pid, &b.home)))
        });
    }
}

/// Compares what is shown, whole per cents: noise behind the point must not swap rows.
fn amount(a: Option<f32>, b: Option<f32>) -> Ordering {
    a.unwrap_or(-1.0).round().total_cmp(&b.unwrap_or(-1.0).round())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn rows_come_in_the_order_of_the_chosen_column() {
        let mut small = sample::process(3, "b", "n1", "n1");
        let mut large = sample::process(2, "c", "n1", "n1");
        let mut unknown = sample::process(1, "a", "n1", "n1");
        (small.cpu_percent, large.cpu_percent, unknown.cpu_percent) = (Some(5.0), Some(99.6), None);
        (small.rss_bytes, large.rss_bytes, unknown.rss_bytes) = (Some(9), Some(7), None);
        (small.calls_per_s, large.calls_per_s, unknown.calls_per_s) = (0.0, 1.0, 2.0);
        (small.moves, large.moves, unknown.moves) = (1, 0, 2);
        for (by, expected) in [
            (SortKey::Cpu, [2, 3, 1]),
            (SortKey::Memory, [3, 2, 1]),
            (SortKey::Calls, [1, 2, 3]),
            (SortKey::Moves, [1, 3, 2]),
            (SortKey::Pid, [1, 2, 3]),
            (SortKey::Command, [1, 3, 2]),
        ] {
            let mut rows = [&small, &large, &unknown];
            Sort { by, reversed: false }.apply(&mut rows);
            assert_eq!(rows.map(|row| row.pid), expected, "{by:?}");
            let mut backwards = expected;
            backwards.reverse();
            Sort { by, reversed: true }.apply(&mut rows);
            assert_eq!(rows.map(|row| row.pid), backwards, "{by:?} reversed");
        }
    }

    #[test]
    fn noise_does_not_swap_rows() {
        let mut first = sample::process(1, "a", "n1", "n1");
        let mut second = sample::process(2, "a", "n1", "n1");
        (first.cpu_percent, second.cpu_percent) = (Some(99.8), Some(100.1));
        let mut rows = [&second, &first];
        Sort::default().apply(&mut rows);
        assert_eq!(rows.map(|row| row.pid), [1, 2]);
    }
}
