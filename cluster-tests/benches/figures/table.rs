//! What was measured, as one table for people or one object for programs.

use std::fmt::Write;

use serde::Serialize;

use crate::sample::Sample;

/// One thing that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) unit: Unit,
    pub(crate) values: Sample,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) peer: Option<Peer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) goal: Option<Goal>,
}

/// What it is compared with, measured in the same run, in turn with it.
#[derive(Debug, Serialize)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) values: Sample,
    /// Of the values to the peer's, repetition by repetition.
    pub(crate) ratios: Sample,
}

/// Of the ratio if there is a peer, else of the value.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
    /// The 95 % interval of the median.
    IntervalWithin(f64, f64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Unit {
    #[serde(rename = "us")]
    Micros,
    #[serde(rename = "ms")]
    Millis,
    #[serde(rename = "MB/s")]
    MegabytesPerSecond,
    #[serde(rename = "MB")]
    Megabytes,
}

impl Row {
    pub(crate) fn new(what: impl Into<String>, unit: Unit, values: Sample) -> Row {
        Row { what: what.into(), unit, values, peer: None, goal: None }
    }

    pub(crate) fn against(mut self, name: &'static str, values: &Sample) -> Row {
        let ratios = self.values.ratio(values);
        self.peer = Some(Peer { name, values: values.clone(), ratios });
        self
    }

    pub(crate) fn goal(mut self, goal: Goal) -> Row {
        self.goal = Some(goal);
        self
    }

    fn is_met(&self) -> Option<bool> {
        let judged = self.peer.as_ref().map_or(&self.values, |peer| &peer.ratios);
        self.goal.map(|goal| match goal {
            Goal::AtMost(limit) => judged.median() <= limit,
            Goal::AtLeast(limit) => judged.median() >= limit,
            Goal::IntervalWithin(low, high) => {
                let (from, to) = judged.median_interval();
                low <= from && to <= high
            }
        })
    }

    fn line(&self) -> String {
        let values = format!("{:>9} {:<4}", number(self.values.median()), self.unit.name());
        let (low, high) = self.values.range();
        let spread = format!("{} .. {}", number(low), number(high));
        let mut line = format!("  {:<WHAT$} {values:<14} {spread:<19}", self.what);
        if let Some(peer) = &self.peer {
            let other = format!("{} {}", peer.name, number(peer.values.median()));
            let (low, high) = match self.goal {
                Some(Goal::IntervalWithin(..)) => peer.ratios.median_interval(),
                _ => peer.ratios.range(),
            };
            let ratio = format!("{:.3} ({low:.3} .. {high:.3})", peer.ratios.median());
            let _ = write!(line, " {other:<PEER$} {ratio:<25}");
        } else {
            let _ = write!(line, " {:<PEER$} {:<25}", "", "");
        }
        if let (Some(goal), Some(is_met)) = (self.goal, self.is_met()) {
            let _ = write!(line, " {} {}", goal.text(), if is_met { "met" } else { "MISSED" });
        }
        line.trim_end().to_owned()
    }
}

/// All that a run has measured.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) about: Vec<String>,
    pub(crate) sections: Vec<Section>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Section {
    pub(crate) name: &'static str,
    pub(crate) rows: Vec<Row>,
}

impl Section {
    /// As lines for people.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("\n{}\n", self.name);
        for row in &self.rows {
            text.push_str(&row.line());
            text.push('\n');
        }
        text
    }
}

/// The head of the columns of [`Section::text`].
pub(crate) fn head() -> String {
    format!(
        "  {:<WHAT$} {:<14} {:<19} {:<PEER$} {:<25} goal",
        "", "   median", "smallest .. largest", "compared with", "ratio (of the medians)"
    )
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Unit::Micros => "us",
            Unit::Millis => "ms",
            Unit::MegabytesPerSecond => "MB/s",
            Unit::Megabytes => "MB",
        }
    }
}

impl Goal {
    fn text(self) -> String {
        match self {
            Goal::AtMost(limit) => format!("<= {limit}"),
            Goal::AtLeast(limit) => format!(">= {limit}"),
            Goal::IntervalWithin(low, high) => format!("95 % within {low} .. {high}"),
        }
    }
}

/// Three significant digits.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

const WHAT: usize = 44;
const PEER: usize = 26;
