//! Arrays of tasks, written as Slurm does: `0-99%8`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The tasks of an array: from `first` to `last` by `step`, so many of them at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Array {
    first: u32,
    last: u32,
    step: u32,
    at_once: Option<u32>,
}

impl Array {
    /// Tasks 0 to `count` - 1.
    #[must_use]
    pub fn of(count: u32, at_once: Option<u32>) -> Option<Array> {
        Array { first: 0, last: count.checked_sub(1)?, step: 1, at_once }.checked().ok()
    }

    /// The index of the first task.
    #[must_use]
    pub fn first(&self) -> u32 {
        self.first
    }

    /// The index that follows `index`.
    #[must_use]
    pub fn next(&self, index: u32) -> Option<u32> {
        index.checked_add(self.step).filter(|next| *next <= self.last)
    }

    /// True if it has such a task.
    #[must_use]
    pub fn contains(&self, index: u32) -> bool {
        (self.first..=self.last).contains(&index) && (index - self.first).is_multiple_of(self.step)
    }

    /// How many tasks it has.
    #[must_use]
    pub fn count(&self) -> u32 {
        (self.last - self.first) / self.step + 1
    }

    /// How many may run at once.
    #[must_use]
    pub fn at_once(&self) -> Option<u32> {
        self.at_once
    }

    pub(super) fn checked(self) -> Result<Array, String> {
        if self.step == 0 {
            return Err("the step of an array is at least 1".into());
        }
        if self.first > self.last {
            return Err(format!("an array goes up, not from {} to {}", self.first, self.last));
        }
        if self.at_once == Some(0) {
            return Err("at least 1 task must be allowed to run at once".into());
        }
        if (self.last - self.first) / self.step >= ARRAY_TASKS_MAX {
            return Err(format!("an array has at most {ARRAY_TASKS_MAX} tasks"));
        }
        Ok(self)
    }
}

impl FromStr for Array {
    type Err = String;

    fn from_str(text: &str) -> Result<Array, String> {
        let parse = || {
            let (range, at_once) = match text.split_once('%') {
                Some((range, at_once)) => (range, Some(number(at_once)?)),
                None => (text, None),
            };
            let (range, step) = match range.split_once(':') {
                Some((range, step)) => (range, number(step)?),
                None => (range, 1),
            };
            let (first, last) = range.split_once('-')?;
            Some(Array { first: number(first)?, last: number(last)?, step, at_once })
        };
        parse().ok_or_else(|| format!("`{text}` is no array such as 0-99, 0-99%8 or 0-90:10"))?.checked()
    }
}

impl fmt::Display for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)?;
        if self.step != 1 {
            write!(f, ":{}", self.step)?;
        }
        self.at_once.iter().try_for_each(|count| write!(f, "%{count}"))
    }
}

fn number(digits: &str) -> Option<u32> {
    let plain = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

/// Tasks of one array.
pub const ARRAY_TASKS_MAX: u32 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_are_written_as_slurm_does() {
        for (text, count) in [("0-99%8", 100), ("0-99", 100), ("5-5", 1), ("0-90:10", 10), ("1-10:4%2", 3)] {
            let array: Array = text.parse().unwrap();
            assert_eq!((array.count(), array.to_string().as_str()), (count, text));
            let indices = std::iter::successors(Some(array.first()), |index| array.next(*index));
            let indices: Vec<u32> = indices.collect();
            assert_eq!(indices.len(), count as usize);
            assert!(indices.iter().all(|index| array.contains(*index)), "{text}: {indices:?}");
        }
        let bad = [
            "",
            "7",
            "9-0",
            "0-",
            "-1-4",
            "0-9%0",
            "0-9:0",
            "0-100000",
            "1,3",
            "0-9%",
            "0-4294967296",
            "+0-9",
        ];
        for bad in bad {
            assert!(bad.parse::<Array>().is_err(), "{bad}");
        }
        assert_eq!("0-99999".parse::<Array>().unwrap().count(), ARRAY_TASKS_MAX);
    }
}
