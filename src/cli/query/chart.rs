//! Answers drawn with braille dots: two by four in each character.

use super::{outcome::Outcome, text::rfc3339};

/// Series drawn; more cannot be told apart.
const SERIES_MAX: usize = 6;
/// ANSI colours of the series.
const COLOURS: [u8; SERIES_MAX] = [36, 33, 35, 32, 31, 34];
const ROWS_MIN: usize = 4;
const ROWS_MAX: usize = 20;
const COLUMNS_MIN: usize = 20;

/// What there is to draw on.
#[derive(Debug, Clone, Copy)]
pub struct Terminal {
    pub columns: usize,
    pub rows: usize,
    pub colours: bool,
}

/// Dots of one picture, and which series set each character last.
struct Canvas {
    columns: usize,
    rows: usize,
    dots: Vec<u8>,
    owner: Vec<usize>,
}

impl Canvas {
    /// Sets the dot at `x` from the left and `y` from the top, in dots.
    fn set(&mut self, x: usize, y: usize, series: usize) {
        const BITS: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
        let (column, row) = (x / 2, y / 4);
        if column < self.columns && row < self.rows {
            let cell = row * self.columns + column;
            self.dots[cell] |= BITS[y % 4][x % 2];
            self.owner[cell] = series;
        }
    }

    fn line(&mut self, from: (usize, usize), to: (usize, usize), series: usize) {
        let (dx, dy) = (to.0 as f64 - from.0 as f64, to.1 as f64 - from.1 as f64);
        let steps = dx.abs().max(dy.abs()).max(1.0) as usize;
        for step in 0..=steps {
            let part = step as f64 / steps as f64;
            let (x, y) = (from.0 as f64 + dx * part, from.1 as f64 + dy * part);
            self.set(x.round() as usize, y.round() as usize, series);
        }
    }
}

/// Draws the first few series, with the values at the left and the times below.
pub fn chart(outcome: &Outcome, terminal: Terminal) -> String {
    let lines: Vec<Vec<(f64, f64)>> = outcome
        .series
        .iter()
        .take(SERIES_MAX)
        .map(|series| {
            let number = |(at, value): &(f64, String)| Some((*at, value.parse().ok().filter(|v: &f64| v.is_finite())?));
            series.points.iter().filter_map(number).collect()
        })
        .collect();
    let Some((times, values)) = extent(&lines) else {
        return "nothing to draw: no value is a finite number\n".to_owned();
    };
    let labels = [values.1, (values.0 + values.1) / 2.0, values.0].map(short);
    let margin = labels.iter().map(String::len).max().unwrap_or(0) + 1;
    let columns = terminal.columns.saturating_sub(margin + 2).max(COLUMNS_MIN);
    let rows = terminal.rows.saturating_sub(SERIES_MAX + 4).clamp(ROWS_MIN, ROWS_MAX);
    let cells = columns * rows;
    let mut canvas = Canvas { columns, rows, dots: vec![0; cells], owner: vec![0; cells] };
    let place = |(at, value): (f64, f64)| {
        let part =
            |value: f64, (least, most): (f64, f64)| if most > least { (value - least) / (most - least) } else { 0.5 };
        let x = part(at, times) * (columns * 2 - 1) as f64;
        let y = (1.0 - part(value, values)) * (rows * 4 - 1) as f64;
        (x.round() as usize, y.round() as usize)
    };
    for (index, points) in lines.iter().enumerate() {
        let gap = typical_distance(points) * 2.5;
        for point in points {
            let (x, y) = place(*point);
            canvas.set(x, y, index);
        }
        for pair in points.windows(2).filter(|pair| pair[1].0 - pair[0].0 <= gap) {
            canvas.line(place(pair[0]), place(pair[1]), index);
        }
    }
    let mut out = picture(&canvas, &labels, margin, terminal.colours);
    let (from, to) = (rfc3339(times.0), rfc3339(times.1));
    match columns.checked_sub(from.len() + to.len() + 1) {
        Some(space) => out.push_str(&format!("{:margin$}  {from}{:space$} {to}\n", "", "")),
        None => out.push_str(&format!("from {from}\nto   {to}\n")),
    }
    for (index, series) in outcome.series.iter().take(SERIES_MAX).enumerate() {
        out.push_str(&coloured("●", COLOURS[index], terminal.colours));
        out.push_str(&format!(" {}\n", series.name()));
    }
    if outcome.series.len() > SERIES_MAX {
        out.push_str(&format!("and {} more series that are not drawn\n", outcome.series.len() - SERIES_MAX));
    }
    out
}

fn picture(canvas: &Canvas, labels: &[String; 3], margin: usize, colours: bool) -> String {
    let mut out = String::new();
    for row in 0..canvas.rows {
        let label = match row {
            0 => &labels[0],
            row if row == canvas.rows / 2 => &labels[1],
            row if row + 1 == canvas.rows => &labels[2],
            _ => "",
        };
        out.push_str(&format!("{label:>margin$} ┤"));
        for column in 0..canvas.columns {
            let cell = row * canvas.columns + column;
            let dots = canvas.dots[cell];
            let character = char::from_u32(0x2800 + u32::from(dots)).unwrap_or(' ').to_string();
            let blank = dots == 0;
            out.push_str(&coloured(
                if blank { " " } else { &character },
                COLOURS[canvas.owner[cell]],
                colours && !blank,
            ));
        }
        out.push('\n');
    }
    out
}

/// The first and last time, the least and the most value.
#[allow(clippy::type_complexity, reason = "two pairs, used once")]
fn extent(lines: &[Vec<(f64, f64)>]) -> Option<((f64, f64), (f64, f64))> {
    let points = lines.iter().flatten();
    let start = ((f64::INFINITY, f64::NEG_INFINITY), (f64::INFINITY, f64::NEG_INFINITY));
    let found = points.fold(start, |(times, values), (at, value)| {
        ((times.0.min(*at), times.1.max(*at)), (values.0.min(*value), values.1.max(*value)))
    });
    (found.0.0 <= found.0.1).then_some(found)
}

/// The middle distance in time: where it is much longer there is a gap.
fn typical_distance(points: &[(f64, f64)]) -> f64 {
    let mut distances: Vec<f64> = points.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    distances.sort_by(f64::total_cmp);
    distances.get(distances.len() / 2).copied().unwrap_or(0.0)
}

fn short(value: f64) -> String {
    for (size, unit) in [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")] {
        if value.abs() >= size && value.abs() < 1e15 {
            return format!("{:.2}{unit}", value / size);
        }
    }
    if value != 0.0 && (value.abs() < 1e-3 || value.abs() >= 1e15) {
        format!("{value:.2e}")
    } else {
        format!("{value:.3}")
    }
}

fn coloured(text: &str, colour: u8, colours: bool) -> String {
    if colours { format!("\u{1b}[{colour}m{text}\u{1b}[0m") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::{super::outcome::Series, *};

    fn drawn(points: &[(f64, &str)], columns: usize) -> String {
        let points = points.iter().map(|(at, value)| (*at, (*value).to_owned())).collect();
        let series = vec![Series { labels: vec![], points }];
        chart(&Outcome { series, ..Outcome::default() }, Terminal { columns, rows: 14, colours: false })
    }

    #[test]
    fn a_rising_line_goes_from_the_lower_left_to_the_upper_right() {
        let text = drawn(&[(0.0, "0"), (1.0, "1"), (2.0, "2"), (3.0, "3")], 40);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with(" 3.000 ┤") && !lines[0].ends_with(' '), "{text}");
        assert!(lines[3].starts_with(" 0.000 ┤⣀") || lines[3].starts_with(" 0.000 ┤⡠"), "{text}");
        assert!(lines.iter().all(|line| line.chars().count() <= 41), "{text}");
        assert!(text.contains("1970-01-01T00:00:00Z"), "{text}");
    }

    #[test]
    fn anything_can_be_drawn() {
        drawn(&[(5.0, "7")], 0);
        drawn(&[(0.0, "1e308"), (1.0, "-1e308"), (9e15, "NaN")], 30);
        assert!(drawn(&[(0.0, "NaN")], 80).starts_with("nothing to draw"));
        assert!(drawn(&[], 80).starts_with("nothing to draw"));
        assert_eq!([1234.0, 0.5, 0.0, 1e-9, 2.5e9].map(short), ["1.23k", "0.500", "0.000", "1.00e-9", "2.50G"]);
    }
}
