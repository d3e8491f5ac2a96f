//! Plots as SVG, written by hand: lines over a few values, and bars.

use std::fmt::Write as _;

/// A line: its name and a value for each place on the axis, not a number where there is none.
pub(crate) type Line = (String, Vec<f64>);

/// Lines over values that stand side by side, each with its own text.
pub(crate) fn lines(title: &str, axes: (&str, &str), places: &[String], lines: &[Line]) -> String {
    let most = lines.iter().flat_map(|(_, values)| values);
    let top = round_up(most.copied().fold(0.0, f64::max));
    let mut svg = frame(title, axes, top);
    let x = |index: usize| {
        let step = PLOT_WIDTH / places.len().max(1) as f64;
        LEFT + step * (index as f64 + 0.5)
    };
    for (index, place) in places.iter().enumerate() {
        text(&mut svg, (x(index), BOTTOM + 18.0), "middle", place);
    }
    for (number, (name, values)) in lines.iter().enumerate() {
        let color = COLORS[number % COLORS.len()];
        let at = |(index, value): (usize, &f64)| format!("{:.1},{:.1}", x(index), y(*value, top));
        // What was not measured is left out.
        let known = values
            .iter()
            .enumerate()
            .filter(|(_, value)| value.is_finite());
        let points: Vec<String> = known.map(at).collect();
        let _ = writeln!(
            svg,
            "<polyline fill=\"none\" stroke=\"{color}\" stroke-width=\"2\" points=\"{}\"/>",
            points.join(" ")
        );
        for point in &points {
            let (cx, cy) = point.split_once(',').unwrap_or_default();
            let _ = writeln!(
                svg,
                "<circle cx=\"{cx}\" cy=\"{cy}\" r=\"3\" fill=\"{color}\"/>"
            );
        }
        legend(&mut svg, number, name);
    }
    svg + "</svg>\n"
}

/// Groups of bars, one bar for each line.
pub(crate) fn bars(title: &str, axes: (&str, &str), places: &[String], lines: &[Line]) -> String {
    let most = lines.iter().flat_map(|(_, values)| values);
    let top = round_up(most.copied().fold(0.0, f64::max));
    let mut svg = frame(title, axes, top);
    let group = PLOT_WIDTH / places.len().max(1) as f64;
    let width = group * 0.8 / lines.len().max(1) as f64;
    for (index, place) in places.iter().enumerate() {
        let middle = LEFT + group * (index as f64 + 0.5);
        text(&mut svg, (middle, BOTTOM + 18.0), "middle", place);
        for (number, (_, values)) in lines.iter().enumerate() {
            let value = values.get(index).copied().unwrap_or(f64::NAN);
            if !value.is_finite() {
                continue;
            }
            let left = LEFT + group * (index as f64 + 0.1) + width * number as f64;
            let (high, color) = (y(value, top), COLORS[number % COLORS.len()]);
            let _ = writeln!(
                svg,
                "<rect x=\"{left:.1}\" y=\"{high:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{color}\"/>",
                width * 0.92,
                BOTTOM - high
            );
        }
    }
    for (number, (name, _)) in lines.iter().enumerate() {
        legend(&mut svg, number, name);
    }
    svg + "</svg>\n"
}

/// Title, axes and grid.
fn frame(title: &str, (x_axis, y_axis): (&str, &str), top: f64) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n\
         <text x=\"{LEFT}\" y=\"20\" font-size=\"14\" font-weight=\"bold\">{}</text>\n",
        escaped(title)
    );
    text(&mut svg, (LEFT, 38.0), "start", y_axis);
    let middle = LEFT + PLOT_WIDTH / 2.0;
    text(&mut svg, (middle, BOTTOM + 38.0), "middle", x_axis);
    for step in 0..=STEPS {
        let value = top * f64::from(step) / f64::from(STEPS);
        let height = y(value, top);
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" y1=\"{height:.1}\" x2=\"{}\" y2=\"{height:.1}\" stroke=\"#dddddd\"/>",
            LEFT + PLOT_WIDTH
        );
        text(&mut svg, (LEFT - 8.0, height + 4.0), "end", &number(value));
    }
    svg
}

fn legend(svg: &mut String, number: usize, name: &str) {
    let top = TOP + 20.0 * number as f64;
    let left = LEFT + PLOT_WIDTH + 16.0;
    let color = COLORS[number % COLORS.len()];
    let _ = writeln!(
        svg,
        "<rect x=\"{left}\" y=\"{top}\" width=\"12\" height=\"12\" fill=\"{color}\"/>"
    );
    text(svg, (left + 18.0, top + 10.0), "start", name);
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, words: &str) {
    let words = escaped(words);
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"#333333\">{words}</text>"
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

fn y(value: f64, top: f64) -> f64 {
    BOTTOM - (BOTTOM - TOP) * value / top.max(f64::MIN_POSITIVE)
}

/// The next number that ends a scale well.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let unit = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];
    let fits = steps.iter().find(|step| *step * unit >= value);
    fits.map_or(value, |step| step * unit)
}

/// As short as it can be said.
fn number(value: f64) -> String {
    let text = if value >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    };
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 64.0;
const TOP: f64 = 52.0;
const BOTTOM: f64 = 300.0;
const PLOT_WIDTH: f64 = 500.0;
const STEPS: u32 = 5;
/// Told apart without colours too: from dark to light.
const COLORS: [&str; 6] = [
    "#1b4f72", "#d35400", "#27ae60", "#8e44ad", "#7f8c8d", "#f1c40f",
];
