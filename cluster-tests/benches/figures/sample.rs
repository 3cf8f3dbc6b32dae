//! Repeated measurements: their median, and how far they are apart.

use serde::Serialize;

/// What one thing was measured to be, again and again, in the order of the repetitions.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub(crate) struct Sample(Vec<f64>);

impl Sample {
    /// The measurement of repetition `i` of both, as a ratio.
    pub(crate) fn ratio(&self, other: &Sample) -> Sample {
        self.0.iter().zip(&other.0).map(|(value, other)| value / other).collect()
    }

    /// Every value times `factor`.
    pub(crate) fn scaled(&self, factor: f64) -> Sample {
        self.0.iter().map(|value| value * factor).collect()
    }

    /// One over every value.
    pub(crate) fn inverse(&self) -> Sample {
        self.0.iter().map(|value| 1.0 / value).collect()
    }

    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// The middle value; NaN of none.
    pub(crate) fn median(&self) -> f64 {
        let sorted = self.sorted();
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => f64::NAN,
            count if count % 2 == 1 => sorted[middle],
            _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
        }
    }

    /// The value that this part of all do not exceed; NaN of none.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of their number")]
    pub(crate) fn upper(&self, part: f64) -> f64 {
        let sorted = self.sorted();
        let rank = (sorted.len() as f64 * part).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }

    /// Smallest and largest value.
    pub(crate) fn range(&self) -> (f64, f64) {
        let sorted = self.sorted();
        (sorted.first().copied().unwrap_or(f64::NAN), sorted.last().copied().unwrap_or(f64::NAN))
    }

    /// The interval that holds the true median with a probability of at least 95 %, whatever the distribution: both
    /// ends are measured values, chosen by the binomial distribution of how many values lie below the median. The
    /// whole range if there are too few values for one.
    pub(crate) fn median_interval(&self) -> (f64, f64) {
        let sorted = self.sorted();
        let mut rank = 0;
        // The probability that at most `rank` of the values lie on one side of the median.
        let mut beyond = binomial(sorted.len(), 0);
        while rank < sorted.len() / 2 && 2.0 * beyond <= 1.0 - CONFIDENCE {
            rank += 1;
            beyond += binomial(sorted.len(), rank);
        }
        match rank {
            0 => self.range(),
            _ => (sorted[rank - 1], sorted[sorted.len() - rank]),
        }
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }
}

impl FromIterator<f64> for Sample {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Sample {
        Sample(values.into_iter().collect())
    }
}

/// The probability of exactly `hits` of `count` tosses of a coin.
fn binomial(count: usize, hits: usize) -> f64 {
    let ways = (0..hits).fold(1.0, |ways, hit| ways * (count - hit) as f64 / (hit + 1) as f64);
    ways * 0.5f64.powi(i32::try_from(count).unwrap_or(i32::MAX))
}

const CONFIDENCE: f64 = 0.95;
