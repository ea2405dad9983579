//! Writes the results down: a JSON file for programs, a Markdown file for people, the same table on the terminal.

use std::{fmt::Write, fs, path::Path, process::Command};

use serde_json::{Value, json};

use crate::{
    Common,
    bars::Verdict,
    load::Tool,
    results::{Metric, Of, Results, Spread},
    servers::{Contender, Kind},
};

/// Where the figures are kept.
const KEPT: &str = env!("CARGO_MANIFEST_DIR");

/// Where and how the run was made.
pub struct Environment {
    cpu: String,
    cpus: usize,
    kernel: String,
    date: String,
    commit: String,
    command: String,
    load_average: String,
}

impl Environment {
    pub fn read() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let info = read("/proc/cpuinfo");
        let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Self {
            cpu: model.map_or("unknown", |(_, name)| name).to_owned(),
            cpus: info.lines().filter(|line| line.starts_with("processor")).count(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            date: output("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
            commit: output("git", &["-C", KEPT, "rev-parse", "--short", "HEAD"]),
            command: std::env::args().skip(1).fold("torc-bench".into(), |line, word| line + " " + &word),
            load_average: read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
        }
    }

    pub fn machine(&self) -> String {
        format!("{} × {}, Linux {}", self.cpus, self.cpu, self.kernel)
    }

    pub fn occasion(&self) -> String {
        let Self { commit, date, load_average, command, .. } = self;
        format!("commit {commit}, {date}, load average {load_average} at the start.\n`{command}`")
    }

    pub fn json(&self) -> Value {
        json!({
            "cpu": self.cpu, "cpus": self.cpus, "kernel": self.kernel, "date": self.date, "commit": self.commit,
            "command": self.command, "load_average": self.load_average,
        })
    }
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.ok().filter(|text| !text.is_empty()).unwrap_or_else(|| "unknown".into())
}

/// What a command makes of its results.
pub struct Report {
    pub title: &'static str,
    /// How it was measured, one paragraph.
    pub about: String,
    /// What its files are called behind `results`.
    pub name: String,
    pub bars: Vec<Verdict>,
    /// The tables behind the bars.
    pub tables: String,
}

impl Report {
    /// Writes both files and prints the table.
    pub fn write(
        &self,
        options: &Common,
        environment: &Environment,
        contenders: &[Contender],
        results: &Results,
    ) -> Result<(), String> {
        let table = self.markdown(options, environment, contenders);
        let json = self.json(environment, contenders, results);
        write_files(options.out.as_deref(), options.quick, &self.name, &json, &table)
    }

    fn markdown(&self, options: &Common, e: &Environment, contenders: &[Contender]) -> String {
        let mut out = head(self.title, options.quick);
        let versions: Vec<String> = contenders
            .iter()
            .filter(|contender| !matches!(contender.kind, Kind::TorcNoSpin | Kind::Echo))
            .map(|contender| format!("{} {}", contender.kind.label(), contender.version))
            .collect();
        let _ = write!(
            out,
            "{}, loopback; {}; {}\n\n{}\n\n",
            e.machine(),
            versions.join(", "),
            e.occasion(),
            self.about
        );
        out + &bars_table(&self.bars) + &self.tables
    }

    fn json(&self, e: &Environment, contenders: &[Contender], results: &Results) -> Value {
        let measurements: Vec<Value> = results
            .list
            .iter()
            .map(|one| {
                json!({
                    "workload": one.workload,
                    "tool": one.tool.name(),
                    "server": one.server.label(),
                    "repetition": one.rep + 1,
                    "metric": one.metric.name(),
                    "value": one.value,
                })
            })
            .collect();
        let bars: Vec<Value> = self.bars
            .iter()
            .map(|verdict| {
                json!({
                    "what": verdict.what,
                    "torc": verdict.torc.map(|spread| spread.median),
                    "against": verdict.other.as_ref().map(|(label, spread)| json!({ "who": label, "value": spread.median })),
                    "ratio": verdict.ratio.map(|spread| spread.median),
                    "bar": verdict.wanted,
                    "met": verdict.met,
                })
            })
            .collect();
        json!({
            "schema": "torc-bench/1",
            "environment": e.json(),
            "servers": contenders.iter().map(|one| json!({ "name": one.kind.label(), "version": one.version })).collect::<Vec<_>>(),
            "bars": bars,
            "measurements": measurements,
        })
    }
}

/// The heading, and a warning where one is due.
pub fn head(title: &str, quick: bool) -> String {
    let mut out = format!("# {title}\n\n");
    if quick {
        out.push_str("**A quick run: it shows that everything works; the figures mean nothing.**\n\n");
    }
    out
}

/// Writes `results-NAME.json` and `RESULTS-NAME.md`, and prints the latter. A quick run must not replace the figures that are
/// kept.
pub fn write_files(
    out: Option<&Path>,
    quick: bool,
    name: &str,
    json: &Value,
    table: &str,
) -> Result<(), String> {
    let name = if name.is_empty() { String::new() } else { format!("-{name}") };
    write_file(out, quick, &format!("results{name}.json"), &format!("{json:#}\n"))?;
    write_file(out, quick, &format!("RESULTS{name}.md"), table)?;
    println!("{table}");
    Ok(())
}

/// Writes one file of a command's results.
pub fn write_file(out: Option<&Path>, quick: bool, file: &str, text: &str) -> Result<(), String> {
    let usual = if quick { std::env::temp_dir().join("torc-bench-quick") } else { KEPT.into() };
    let dir = out.unwrap_or(&usual);
    fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let path = dir.join(file);
    fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    eprintln!("wrote {}", path.display());
    Ok(())
}

fn bars_table(list: &[Verdict]) -> String {
    if list.iter().all(|verdict| verdict.met.is_none()) {
        return String::new();
    }
    let mut out = String::from(
        "## Bars\n\n| what | Torc | against | ratio | bar | met? |\n|---|---|---|---|---|---|\n",
    );
    for verdict in list {
        let other = verdict.other.as_ref();
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} |",
            verdict.what,
            cell(verdict.torc, verdict.digits),
            other.map_or("–".into(), |(label, spread)| format!(
                "{label} {}",
                cell(Some(*spread), verdict.digits)
            )),
            cell(verdict.ratio, 2),
            verdict.wanted,
            match verdict.met {
                Some(true) => "yes",
                Some(false) => "**no**",
                None => "not measured",
            },
        );
    }
    out + "\n"
}

/// A row of a table of figures: what it is called, which figure, decimals.
pub type Row<'a> = (&'a str, Of<'a>, usize);

/// A table with a row for each of `rows` and a column for each server.
pub fn figures_table(results: &Results, kinds: &[Kind], title: &str, rows: &[Row<'_>]) -> String {
    let rows = rows.iter().map(|&(name, of, digits)| {
        let cells = kinds.iter().map(|&kind| cell(results.spread(of, kind), digits));
        (name.to_owned(), cells.collect())
    });
    table(title, kinds, &[], rows.collect())
}

/// Shorthand for rows of tables.
pub fn of(workload: &str, tool: Tool, metric: Metric) -> Of<'_> {
    Of { workload, tool, metric }
}

/// One table with a column per server and those of `more`; rows without any figure are left out, and the whole if none is left.
pub fn table(title: &str, kinds: &[Kind], more: &[&str], rows: Vec<(String, Vec<String>)>) -> String {
    let rows: Vec<_> = rows.into_iter().filter(|(_, cells)| cells.iter().any(|cell| cell != "–")).collect();
    if rows.is_empty() {
        return String::new();
    }
    let heads: Vec<&str> = kinds.iter().map(|kind| kind.label()).chain(more.iter().copied()).collect();
    let mut out = format!("## {title}\n\n| | {} |\n|---|{}\n", heads.join(" | "), "---|".repeat(heads.len()));
    for (name, cells) in rows {
        let _ = writeln!(out, "| {name} | {} |", cells.join(" | "));
    }
    out + "\n"
}

pub fn cell(spread: Option<Spread>, digits: usize) -> String {
    match spread {
        None => "–".into(),
        Some(Spread { median, min, max }) if min == max => format!("{median:.digits$}"),
        Some(Spread { median, min, max }) => format!("{median:.digits$} ({min:.digits$}–{max:.digits$})"),
    }
}
