//! Any stage of a pipeline is moved, the others stay.

use std::time::Duration;

use cluster_tests::check::Scenario;
use cluster_tests::lab::{Program, Work};

use super::{Length, Traveller, inputs};

pub(crate) const TRAVELLERS: &[Traveller] = &[
    Traveller { name: "cat_before_sort", needs: &[], code: 0, scenario: |_, length| pipeline("cat", length) },
    Traveller {
        name: "sort_in_the_middle",
        needs: &[],
        code: 0,
        scenario: |_, length| pipeline("sort", length),
    },
    Traveller {
        name: "uniq_after_sort",
        needs: &[],
        code: 0,
        scenario: |_, length| pipeline("uniq", length),
    },
];

/// The first stage gets its input slowly, so that all of them live long enough.
fn pipeline(part: &str, length: Length) -> Scenario {
    Scenario {
        input: inputs::text(length.of(2 << 20, 40 << 20)),
        input_time: length.of(Duration::from_secs(2), Duration::from_secs(30)),
        part: Some(part.into()),
        work: Work::Waits,
        ..Scenario::new(Program::new("sh").args(&["-c", "cat | sort | uniq -c"]))
    }
}
