//! Opens a page in headless Chromium and tells what its document looks like once laid out. The page stands unmodified
//! in a frame of a page of ours, whose script measures it from outside: its own policy would let no script run inside.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use serde::Deserialize;

const MEASURE: &str = include_str!("measure.js");
const FLAGS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Dark,
    Light,
}

/// What was found at one width of the window.
#[derive(Debug, Deserialize)]
pub struct Laid {
    pub width: u32,
    pub dark: bool,
    pub charts: usize,
    pub labels: usize,
    /// Each fault in words: labels that overlap or leave their plot, contents wider than the page, poor contrast.
    pub faults: Vec<String>,
    /// Addresses that the page asked for.
    pub requests: Vec<String>,
}

pub struct Seen {
    pub laid: Vec<Laid>,
    /// What the page wrote to the console, errors of its policy included.
    pub console: Vec<String>,
}

/// Lays `page` out at each width.
pub fn open(name: &str, page: &str, scheme: Scheme, widths: &[u32]) -> Seen {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let wrapper = folder.path().join("wrapper.html");
    fs::write(&wrapper, wrap(page, widths)).expect("written");
    // For whoever wants to look at it.
    fs::write(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.html")), page)
        .expect("written");
    let program = std::env::var("TORC_CHROMIUM").unwrap_or("chromium".into());
    let output = Command::new(&program)
        .args(FLAGS)
        .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
        .arg(format!("--blink-settings=preferredColorScheme={}", u8::from(scheme == Scheme::Light)))
        .args(["--window-size=1400,1000", "--timeout=30000", "--dump-dom"])
        .arg(format!("file://{}", wrapper.display()))
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}; tests/install gets it"));
    let dom = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let found = dom
        .split_once("<pre id=\"found\">")
        .and_then(|(_, rest)| rest.split_once("</pre>"))
        .unwrap_or_else(|| panic!("{name}: no measurement in the page:\n{dom}\n{errors}"));
    let text = found.0.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    let console = errors.lines().filter(|line| line.contains("CONSOLE")).map(String::from).collect();
    let laid = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}: {text}"));
    Seen { laid, console }
}

fn wrap(page: &str, widths: &[u32]) -> String {
    let quoted = serde_json::to_string(page).expect("a string").replace('<', "\\u003c");
    format!(
        "<!doctype html><meta charset=utf-8><meta name=color-scheme content='light dark'><body><pre id=found></pre>\
         <script>const page = {quoted};\nconst widths = {widths:?};\n{MEASURE}</script>"
    )
}
