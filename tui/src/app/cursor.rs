//! A selection that follows its row, not its place: lists are sorted anew all the time.

/// The selected row of a list whose rows are named by `K`.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<K> {
    key: Option<K>,
    /// Where the row was last, used when it is gone.
    index: usize,
}

/// A step of the selection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    By(isize),
    First,
    Last,
}

impl<K> Default for Cursor<K> {
    fn default() -> Cursor<K> {
        Cursor { key: None, index: 0 }
    }
}

impl<K: Clone + PartialEq> Cursor<K> {
    /// The selected index in this list; `None` only if it is empty.
    pub(crate) fn index(&self, rows: &[K]) -> Option<usize> {
        let last = rows.len().checked_sub(1)?;
        let found = self.key.as_ref().and_then(|key| rows.iter().position(|row| row == key));
        Some(found.unwrap_or(self.index.min(last)))
    }

    /// Selects another row of this list.
    pub(crate) fn step(&mut self, rows: &[K], step: Step) {
        let (Some(index), Some(last)) = (self.index(rows), rows.len().checked_sub(1)) else { return };
        self.index = match step {
            Step::By(distance) => index.saturating_add_signed(distance).min(last),
            Step::First => 0,
            Step::Last => last,
        };
        self.key = rows.get(self.index).cloned();
    }

    /// Takes note of where the selected row is now, so that its neighbour is selected when it goes.
    pub(crate) fn settle(&mut self, rows: &[K]) {
        if let Some(index) = self.index(rows) {
            self.index = index;
            self.key = rows.get(index).cloned();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_selection_follows_its_row_and_stays_near_when_the_row_goes() {
        let mut cursor = Cursor::default();
        assert_eq!(cursor.index(&[] as &[char]), None);
        cursor.step(&['a', 'b', 'c'], Step::By(1));
        assert_eq!(cursor.index(&['a', 'b', 'c']), Some(1));
        assert_eq!(cursor.index(&['b', 'c', 'a']), Some(0), "sorted anew");
        cursor.settle(&['c', 'a', 'b']);
        assert_eq!(cursor.index(&['c', 'a']), Some(1), "gone, and it was the last");
    }

    #[test]
    fn steps_stop_at_both_ends() {
        let rows = ['a', 'b', 'c'];
        for (step, expected) in [
            (Step::By(10), 2),
            (Step::By(-10), 0),
            (Step::Last, 2),
            (Step::First, 0),
            (Step::By(isize::MIN), 0),
        ] {
            let mut cursor = Cursor::default();
            cursor.step(&rows, Step::By(1));
            cursor.step(&rows, step);
            assert_eq!(cursor.index(&rows), Some(expected), "{step:?}");
        }
    }
}
