//! One plot as SVG text. Colours are classes that the page's style sheet gives a light and a dark value; labels stand
//! only along the axes, where `Axis` keeps them apart.

use std::fmt::Write;

use super::axis::{Axis, Tick};

/// Outer size of a plot in its own pixels.
#[derive(Clone, Copy)]
pub struct Frame {
    pub width: f64,
    pub height: f64,
}

/// The whole width of the page, and two beside each other.
pub const WIDE: Frame = Frame { width: 1000.0, height: 340.0 };
pub const LOW: Frame = Frame { width: 1000.0, height: 250.0 };
pub const HALF: Frame = Frame { width: 490.0, height: 230.0 };

const LEFT: f64 = 72.0;
const RIGHT: f64 = 34.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 48.0;

impl Frame {
    /// First and last pixel of the plot across.
    pub fn across(self) -> (f64, f64) {
        (LEFT, self.width - RIGHT)
    }

    /// Lowest and highest pixel of the plot; pixels count downwards.
    pub fn upwards(self) -> (f64, f64) {
        (self.height - BOTTOM, TOP)
    }
}

/// An axis with what is written along it.
pub struct Ruler {
    pub axis: Axis,
    pub ticks: Vec<Tick>,
    pub name: String,
}

pub type Points = Vec<(f64, f64)>;

pub struct Chart {
    x: Axis,
    y: Axis,
    svg: String,
}

impl Chart {
    /// An empty plot; `about` tells it to those who cannot see it.
    pub fn new(frame: Frame, about: &str, x: Ruler, y: Ruler) -> Self {
        let Frame { width, height } = frame;
        let mut svg = format!(
            r#"<svg viewBox="0 0 {width} {height}" role="img" aria-label="{}"><g class="grid">"#,
            escaped(about)
        );
        let ((left, right), (bottom, top)) = (frame.across(), frame.upwards());
        let mut labels = String::new();
        for tick in &y.ticks {
            let at = y.axis.at(tick.value);
            let _ = write!(svg, r#"<path d="M{left} {at:.1}H{right}"/>"#);
            let (text_x, text_y) = (left - 10.0, at + 4.0);
            let label = escaped(&tick.label);
            let _ = write!(labels, r#"<text class="end" x="{text_x}" y="{text_y:.1}">{label}</text>"#);
        }
        for tick in &x.ticks {
            let at = x.axis.at(tick.value);
            let _ = write!(svg, r#"<path d="M{at:.1} {top}V{bottom}"/>"#);
            let text_y = bottom + 18.0;
            let label = escaped(&tick.label);
            let _ = write!(labels, r#"<text class="mid" x="{at:.1}" y="{text_y}">{label}</text>"#);
        }
        let middle = f64::midpoint(left, right);
        let (name_x, name_y) = (escaped(&x.name), escaped(&y.name));
        let _ = write!(
            svg,
            r#"</g><path class="base" d="M{left} {bottom}H{right}"/><g class="labels">{labels}<text class="name mid" x="{middle}" y="{}">{name_x}</text><text class="name" x="6" y="14">{name_y}</text></g>"#,
            height - 8.0,
        );
        Self { x: x.axis, y: y.axis, svg }
    }

    /// The points joined; `class` is one of the page's strokes, `s0`, `s1`, …, with `dash` if broken.
    pub fn line(&mut self, points: &[(f64, f64)], class: &str) {
        if points.len() == 1 {
            return self.dots(points, class);
        }
        let path = self.path(points.iter());
        if !path.is_empty() {
            let _ = write!(self.svg, r#"<path class="line {class}" d="{path}"/>"#);
        }
    }

    /// The room between two lines.
    pub fn band(&mut self, lower: &[(f64, f64)], upper: &[(f64, f64)], class: &str) {
        let path = self.path(lower.iter().chain(upper.iter().rev()));
        if !path.is_empty() {
            let _ = write!(self.svg, r#"<path class="band {class}" d="{path}Z"/>"#);
        }
    }

    pub fn dots(&mut self, points: &[(f64, f64)], class: &str) {
        for &(x, y) in points.iter().filter(|(x, y)| x.is_finite() && y.is_finite()) {
            let (x, y) = (self.x.at(x), self.y.at(y));
            let _ = write!(self.svg, r#"<circle class="dot {class}" cx="{x:.1}" cy="{y:.1}" r="4"/>"#);
        }
    }

    /// A vertical mark through the whole plot, with what the pointer is told over it.
    pub fn upright(&mut self, x: f64, class: &str, told: &str) {
        let (at, told) = (self.x.at(x), escaped(told));
        let _ = write!(
            self.svg,
            r#"<path class="rule {class}" d="M{at:.1} {}V{}"><title>{told}</title></path>"#,
            self.y.from, self.y.to,
        );
    }

    /// A horizontal limit through the whole plot; nothing where it lies outside.
    pub fn limit(&mut self, y: f64, class: &str) {
        if (self.y.low..=self.y.high).contains(&y) {
            let at = self.y.at(y);
            let _ = write!(
                self.svg,
                r#"<path class="rule {class}" d="M{} {at:.1}H{}"/>"#,
                self.x.from, self.x.to
            );
        }
    }

    /// Filled boxes between values of both axes, all of one class.
    pub fn boxes(&mut self, boxes: &[[(f64, f64); 2]], class: &str) {
        let mut path = String::new();
        for [(x1, y1), (x2, y2)] in boxes {
            let (left, right) = (self.x.at(*x1), self.x.at(*x2));
            let (low, high) = (self.y.at(*y1), self.y.at(*y2));
            let _ = write!(path, "M{left:.1} {low:.1}H{right:.1}V{high:.1}H{left:.1}Z");
        }
        if !path.is_empty() {
            let _ = write!(self.svg, r#"<path class="cell {class}" d="{path}"/>"#);
        }
    }

    pub fn finish(mut self) -> String {
        self.svg.push_str("</svg>");
        self.svg
    }

    fn path<'a>(&self, points: impl Iterator<Item = &'a (f64, f64)>) -> String {
        let mut path = String::new();
        for &(x, y) in points.filter(|(x, y)| x.is_finite() && y.is_finite()) {
            let verb = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{verb}{:.1} {:.1}", self.x.at(x), self.y.at(y));
        }
        path
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
