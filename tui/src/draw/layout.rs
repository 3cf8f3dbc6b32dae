//! Where everything stands, by the size of the terminal alone.

use ratatui::layout::Rect;

use crate::app::Pane;

/// A place with its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A pane that can have the keys.
    Pane(Pane),
    /// The flows in one line.
    FlowLine,
    /// Graphs of the nodes' load.
    Load,
    /// The moves under way.
    Moves,
    /// The selected process in full.
    Details,
}

/// The division of the screen.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) header: Rect,
    pub(super) parts: Vec<(Part, Rect)>,
    /// The hint line; empty on small terminals.
    pub(super) hints: Rect,
    pub(super) status: Rect,
    /// False where frames would cost too much of the place.
    pub(super) boxed: bool,
}

/// Lines of a pane besides its rows: two of the frame and the titles.
const FRAME_LINES: u16 = 3;

/// Divides `area`. The pane that has the keys is always there; `lower` is the one of flows and events to show
/// where there is room for one; `zoomed` gives the focused pane everything.
pub(super) fn layout(area: Rect, focused: Pane, lower: Pane, zoomed: bool, nodes: u16) -> Layout {
    let boxed = area.width >= 60 && area.height >= 15;
    let (header, rest) = top(area, 1);
    let (rest, status) = bottom(rest, 1);
    let (body, hints) = bottom(rest, u16::from(boxed));
    let parts = if zoomed || !boxed {
        vec![(Part::Pane(focused), body)]
    } else if area.width >= 140 && area.height >= 40 {
        everything(body, nodes)
    } else if area.width >= 100 && area.height >= 24 {
        side_by_side(body, nodes)
    } else {
        stacked(body, lower, nodes)
    };
    let visible = parts.iter().any(|(part, place)| *part == Part::Pane(focused) && !place.is_empty());
    let parts = if visible { parts } else { vec![(Part::Pane(focused), body)] };
    Layout { header, parts, hints, status, boxed }
}

fn stacked(body: Rect, lower: Pane, nodes: u16) -> Vec<(Part, Rect)> {
    let (node_area, rest) = top(body, (nodes + FRAME_LINES).clamp(4, (body.height / 3).max(4)));
    let roomy = rest.height >= 12;
    let (rest, lower_area) = bottom(rest, if roomy { (rest.height / 3).clamp(5, 14) } else { 0 });
    let (processes, flow_line) = bottom(rest, u16::from(roomy));
    vec![
        (Part::Pane(Pane::Nodes), node_area),
        (Part::Pane(Pane::Processes), processes),
        (Part::FlowLine, flow_line),
        (Part::Pane(lower), lower_area),
    ]
}

fn side_by_side(body: Rect, nodes: u16) -> Vec<(Part, Rect)> {
    let (upper, rest) = top(body, (nodes + FRAME_LINES).clamp(6, (body.height / 3).max(6)));
    let (processes, lower) = bottom(rest, (rest.height / 3).clamp(6, 16));
    let (node_area, load) = left(upper, (body.width * 7 / 10).max(72));
    let (events, flows) = left(lower, body.width * 11 / 20);
    vec![
        (Part::Pane(Pane::Nodes), node_area),
        (Part::Load, load),
        (Part::Pane(Pane::Processes), processes),
        (Part::Pane(Pane::Events), events),
        (Part::Pane(Pane::Flows), flows),
    ]
}

fn everything(body: Rect, nodes: u16) -> Vec<(Part, Rect)> {
    let (rest, details) = bottom(body, 6);
    let (upper, rest) = top(rest, (nodes + FRAME_LINES).clamp(9, (body.height / 3).max(9)));
    let (middle, lower) = bottom(rest, (rest.height / 3).clamp(9, 16));
    let (node_area, load) = left(upper, body.width * 9 / 16);
    let (processes, flows) = left(middle, body.width * 13 / 20);
    let (moves, events) = left(lower, body.width * 3 / 10);
    vec![
        (Part::Pane(Pane::Nodes), node_area),
        (Part::Load, load),
        (Part::Pane(Pane::Processes), processes),
        (Part::Pane(Pane::Flows), flows),
        (Part::Moves, moves),
        (Part::Pane(Pane::Events), events),
        (Part::Details, details),
    ]
}

/// The first `height` lines and the others.
pub(super) fn top(area: Rect, height: u16) -> (Rect, Rect) {
    let height = height.min(area.height);
    (Rect { height, ..area }, Rect { y: area.y + height, height: area.height - height, ..area })
}

/// All lines but the last `height`, and those.
pub(super) fn bottom(area: Rect, height: u16) -> (Rect, Rect) {
    top(area, area.height.saturating_sub(height))
}

/// The first `width` columns and the others.
pub(super) fn left(area: Rect, width: u16) -> (Rect, Rect) {
    let width = width.min(area.width);
    (Rect { width, ..area }, Rect { x: area.x + width, width: area.width - width, ..area })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(width: u16, height: u16, focused: Pane) -> Vec<Part> {
        let layout = layout(Rect::new(0, 0, width, height), focused, Pane::Events, false, 3);
        layout.parts.into_iter().filter(|(_, place)| !place.is_empty()).map(|(part, _)| part).collect()
    }

    #[test]
    fn each_size_shows_what_it_has_room_for() {
        let [nodes, processes, flows, events] =
            [Pane::Nodes, Pane::Processes, Pane::Flows, Pane::Events].map(Part::Pane);
        let p = Pane::Processes;
        assert_eq!(parts(59, 24, p), [processes]);
        assert_eq!(parts(80, 14, p), [processes]);
        assert_eq!(parts(60, 15, p), [nodes, processes]);
        assert_eq!(parts(80, 24, p), [nodes, processes, Part::FlowLine, events]);
        assert_eq!(parts(80, 16, Pane::Events), [events], "the focused pane is never hidden");
        assert_eq!(parts(100, 30, p), [nodes, Part::Load, processes, events, flows]);
        assert_eq!(parts(160, 39, p), parts(100, 30, p));
        assert_eq!(
            parts(160, 50, p),
            [nodes, Part::Load, processes, flows, Part::Moves, events, Part::Details]
        );
    }

    #[test]
    fn parts_never_overlap_nor_leave_the_screen() {
        for width in [1, 2, 59, 60, 80, 99, 100, 139, 140, 200] {
            for height in 1..60 {
                for nodes in [0, 3, 64] {
                    let area = Rect::new(0, 0, width, height);
                    let layout = layout(area, Pane::Nodes, Pane::Flows, false, nodes);
                    let mut all: Vec<Rect> = layout.parts.iter().map(|(_, place)| *place).collect();
                    all.extend([layout.header, layout.hints, layout.status]);
                    for (index, place) in all.iter().enumerate() {
                        assert_eq!(area.union(*place), area, "{width}x{height}");
                        for other in &all[..index] {
                            assert!(
                                place.intersection(*other).is_empty(),
                                "{place} {other} {width}x{height}"
                            );
                        }
                    }
                }
            }
        }
    }
}
