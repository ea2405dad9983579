//! Brings a report to the terminal and into files. The terminal comes first: a full disk must not cost the figures.

use std::{
    ffi::OsString,
    fs,
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
};

use super::{COLUMNS, csv, hdr, html, quiet, text};
use crate::document::Document;

/// What is wanted of a report.
#[derive(Clone, Debug, Default)]
pub struct Output {
    pub style: Style,
    /// Quantiles of the table and of CSV, 0 to 1.
    pub quantiles: Vec<f64>,
    pub json: Option<PathBuf>,
    pub html: Option<PathBuf>,
    /// Prefix of the HdrHistogram files.
    pub hdr: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    #[default]
    Table,
    /// A line a command.
    Quiet,
    Csv,
}

impl Output {
    /// Prints the report and writes its files, all that can be; says which could not.
    pub fn deliver(&self, document: &Document) -> Result<(), String> {
        let shown = match self.style {
            Style::Table => text(document, &self.quantiles),
            Style::Quiet => quiet(document),
            Style::Csv => csv(document, &self.quantiles),
        };
        let mut problems = Vec::new();
        let mut keep = |result: Result<(), String>| problems.extend(result.err());
        keep(shown.and_then(|text| print(&text)));
        if let Some(path) = &self.json {
            keep(json(document).and_then(|text| write(path, text.as_bytes())));
        }
        if let Some(path) = &self.html {
            keep(html(document).and_then(|page| write(path, page.as_bytes())));
        }
        if let Some(prefix) = &self.hdr {
            for (path, bytes) in hdr::files(document, prefix)? {
                keep(write(&path, &bytes));
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
    }

    /// What is wanted that only a run's report has, by its option.
    pub fn of_runs_only(&self) -> Option<&'static str> {
        let wanted = [
            ("--csv", self.style == Style::Csv),
            ("--hdr-file-prefix", self.hdr.is_some()),
            ("--print-percentiles", self.quantiles != COLUMNS),
        ];
        wanted.into_iter().find_map(|(option, wanted)| wanted.then_some(option))
    }

    /// The same with files of their own for repetition `number`: `run.json` becomes `run.3.json`.
    pub fn numbered(&self, number: usize) -> Self {
        let own = |path: &Option<PathBuf>| path.as_deref().map(|path| numbered(path, number));
        let hdr = self.hdr.as_ref().map(|prefix| {
            let mut name = prefix.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        });
        Self { json: own(&self.json), html: own(&self.html), hdr, ..self.clone() }
    }
}

/// Any report of this program as the text of a JSON file.
pub fn json(report: &impl serde::Serialize) -> Result<String, String> {
    serde_json::to_string_pretty(report).map(|text| text + "\n").map_err(|error| error.to_string())
}

/// `run.json` with 3 is `run.3.json`.
fn numbered(path: &Path, number: usize) -> PathBuf {
    let mut name = OsString::from(path.file_stem().unwrap_or_default());
    name.push(format!(".{number}"));
    if let Some(ending) = path.extension() {
        name.push(".");
        name.push(ending);
    }
    path.with_file_name(name)
}

pub fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    fs::write(path, bytes).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

/// To standard output. A reader that has gone (`| head`) wanted no more.
pub fn print(text: &str) -> Result<(), String> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(format!("cannot print the report: {error}"))
        }
        _ => Ok(()),
    }
}

/// One line to standard error, as good as it can be: with nobody left to read it there is nobody to tell, and that is
/// no reason to end (`eprintln!` would).
pub fn tell(line: &str) {
    let _ = io::stderr().lock().write_all(format!("{line}\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_get_files_of_their_own() {
        let path = |text: &str| Some(PathBuf::from(text));
        let output = Output {
            json: path("a.b/run.json"),
            html: path("page"),
            hdr: path("out/x.y"),
            ..Output::default()
        };
        let third = output.numbered(3);
        assert_eq!(third.json, path("a.b/run.3.json"));
        assert_eq!(third.html, path("page.3"));
        assert_eq!(third.hdr, path("out/x.y.3"));
    }
}
