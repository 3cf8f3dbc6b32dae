//! Pictures of a comparison, as SVG.

use std::error::Error;
use std::fs;
use std::path::Path;

use plotters::prelude::*;

use super::run::Summary;

/// Writes `slowdowns.svg`, which part of the jobs had at most which slowdown, into `folder`.
///
/// # Errors
/// When the folder cannot be made or the file not be written.
pub fn write(summaries: &[Summary], folder: &Path) -> Result<(), Box<dyn Error + Send + Sync>> {
    fs::create_dir_all(folder)?;
    let file = folder.join("slowdowns.svg");
    let area = SVGBackend::new(&file, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption("Part of the jobs with at most this slowdown", ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(48)
        .build_cartesian_2d((1.0..SLOWDOWN_MAX).log_scale(), 0.0..1.0)?;
    chart.configure_mesh().x_desc("slowdown").y_desc("jobs").draw()?;
    for (number, summary) in summaries.iter().enumerate() {
        let color = Palette99::pick(number).stroke_width(2);
        let line = LineSeries::new(distribution(&summary.slowdowns), color);
        let name = format!("{} {:.2}", summary.policy, summary.mean_slowdown);
        let legend = move |(x, y)| PathElement::new([(x, y), (x + 20, y)], color);
        chart.draw_series(line)?.label(name).legend(legend);
    }
    let labels = chart.configure_series_labels().position(SeriesLabelPosition::LowerRight).draw();
    labels.map_err(|error| error.to_string())?;
    area.present().map_err(|error| error.to_string())?;
    Ok(())
}

/// Points of the distribution, no more than can be seen.
fn distribution(slowdowns: &[f64]) -> Vec<(f64, f64)> {
    let mut sorted = slowdowns.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let point = |place: usize| (sorted[place].min(SLOWDOWN_MAX), place as f64 / sorted.len() as f64);
    (0..sorted.len()).step_by((sorted.len() / POINTS).max(1)).map(point).collect()
}

/// Width and height, in pixels.
const SIZE: (u32, u32) = (960, 600);

/// The right end of the picture.
const SLOWDOWN_MAX: f64 = 30.0;

/// Points of a line.
const POINTS: usize = 500;
