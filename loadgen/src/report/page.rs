//! A page as data, and its one template: whatever a report shows is a banner, tiles, figures, tables and facts. The
//! page needs nothing beside itself: style sheet and drawings are inline, and its policy forbids every request.

use minijinja::{AutoEscape, Environment, Value, context, value::Serde};
use serde::Serialize;

const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");

#[derive(Serialize)]
pub struct Page {
    pub title: String,
    pub subtitle: String,
    pub banner: Banner,
    pub tiles: Vec<Tile>,
    pub blocks: Vec<Block>,
    /// The report the page was made from, as JSON.
    pub data: String,
}

#[derive(Serialize)]
pub struct Banner {
    /// "good", "bad" or "plain".
    pub mood: &'static str,
    pub word: String,
    pub reasons: Vec<String>,
}

#[derive(Serialize)]
pub struct Tile {
    pub name: String,
    pub value: String,
    pub note: String,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Block {
    Figure(Figure),
    /// Two beside each other.
    Pair {
        figures: [Figure; 2],
    },
    Table(Table),
    Facts {
        title: String,
        rows: Vec<(String, String)>,
    },
}

#[derive(Serialize)]
pub struct Figure {
    pub title: String,
    pub note: String,
    pub legend: Vec<Key>,
    pub svg: String,
}

/// One entry of a legend: the classes of its stroke, and what it stands for.
#[derive(Serialize)]
pub struct Key {
    pub class: String,
    pub text: String,
}

#[derive(Serialize)]
pub struct Table {
    pub title: String,
    pub note: String,
    pub head: Vec<String>,
    pub rows: Vec<Row>,
}

#[derive(Serialize)]
pub struct Row {
    pub class: &'static str,
    pub cells: Vec<Cell>,
}

#[derive(Clone, Default, Serialize)]
pub struct Cell {
    pub text: String,
    /// What the pointer is told over it.
    pub told: String,
    /// A second line, small.
    pub note: String,
    pub class: &'static str,
}

impl Key {
    pub fn new(class: impl Into<String>, text: impl Into<String>) -> Self {
        Self { class: class.into(), text: text.into() }
    }
}

impl Tile {
    pub fn new(name: &str, value: String, note: impl Into<String>) -> Self {
        Self { name: name.into(), value, note: note.into() }
    }
}

impl Cell {
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }
}

impl Page {
    pub fn render(&self) -> String {
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::Html);
        environment.add_template("page", TEMPLATE).expect("the template is part of the program");
        let template = environment.get_template("page").expect("just added");
        // Inside a script element nothing is escaped, and `</script>` would end it.
        let data = Value::from_safe_string(self.data.replace('<', "\\u003c"));
        let style = Value::from_safe_string(STYLE.into());
        template.render(context! { page => Serde(self), style, data }).expect("the template fits the page")
    }
}
