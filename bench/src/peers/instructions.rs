//! Instructions per request, counted by callgrind over a fixed tape: load on the machine does not change them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    client::Pipe,
    load::Tool,
    results::Metric,
    run::Run,
    servers::{Contender, Kind, Server, Setup, release},
    tape::{self, Piece},
};

const REQUESTS: u64 = 8_000;

/// What is counted of Torc: a function of its example `tape`.
const TORC: &str = "*tape::serve_counted";
/// What is counted of Redis and Valkey: from a readable socket to the reply in the output buffer.
const PEER: &str = "readQueryFromClient";

/// Under valgrind everything takes some fifty times as long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Counts for every server that can be counted. What is missing is an error only if the section was `asked` for.
pub fn count(run: &mut Run<'_>, asked: bool) -> Result<(), String> {
    let tape = match tools(run) {
        Ok(tape) => tape,
        Err(missing) if asked => return Err(missing),
        Err(missing) => {
            eprintln!("instructions are left out: {missing}");
            return Ok(());
        }
    };
    for contender in run.turns(&Kind::PEERS) {
        if contender.kind == Kind::Torc {
            count_torc(run, &tape)?;
        } else {
            count_peer(run, contender)?;
        }
    }
    Ok(())
}

/// Finds Torc's tape, if all else is there too.
fn tools(run: &Run<'_>) -> Result<PathBuf, String> {
    for program in ["valgrind", "vgdb"] {
        let output = Command::new(program).arg("--version").output();
        output.map_err(|error| format!("{program} (package valgrind): {error}"))?;
    }
    let given = run.options.paths.tape.clone();
    let found = given.or_else(|| release("examples/tape").into_iter().find(|path| path.is_file()));
    found.ok_or_else(|| "cargo build --release -p torc-server --example tape, or --tape PATH".into())
}

/// The command line that counts the instructions of `function` and what it calls, and leaves the counts in `dir`.
fn callgrind(function: &str, dir: &Path) -> Vec<String> {
    let out = format!("--callgrind-out-file={}", dir.join("counts").display());
    let toggle = format!("--toggle-collect={function}");
    vec!["valgrind".into(), "-q".into(), "--tool=callgrind".into(), out, toggle]
}

/// The tapes of a run with their kinds; a quick one takes few requests, and only those that go out together.
fn tapes(run: &Run<'_>) -> Vec<(tape::Kind, Vec<Piece>)> {
    let quick = run.options.quick;
    let requests = run.scaled(REQUESTS) as usize;
    let kinds = tape::KINDS.into_iter().filter(|kind| !quick || kind.pipeline > 1);
    kinds.map(|kind| (kind, tape::draw(kind, requests))).collect()
}

fn note(run: &mut Run<'_>, tape: &(tape::Kind, Vec<Piece>), server: Kind, counted: u64) {
    let requests: usize = tape.1.iter().map(|piece| piece.requests).sum();
    let each = counted as f64 / requests as f64;
    run.note(tape.0.name, Tool::Own, server, &[(Metric::Instructions, each)]);
}

/// Every tape in a process of its own, after it has gone by once uncounted.
fn count_torc(run: &mut Run<'_>, program: &Path) -> Result<(), String> {
    let dir = TempDir::new().map_err(|error| format!("temporary directory: {error}"))?;
    let (uncounted, counted) = (dir.path().join("uncounted"), dir.path().join("counted"));
    let fill = tape::fill();
    for tape in tapes(run) {
        tape::write(&uncounted, fill.iter().chain(&tape.1))?;
        tape::write(&counted, &tape.1)?;
        let words = callgrind(TORC, dir.path());
        let output = Command::new(&words[0])
            .args(&words[1..])
            .arg(program)
            .args(tape.0.logged.then_some("--logged"))
            .args([&uncounted, &counted])
            .output()
            .map_err(|error| format!("valgrind: {error}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{} under valgrind: {}: {said}", program.display(), output.status));
        }
        note(run, &tape, Kind::Torc, total(&dir.path().join("counts"))?);
    }
    Ok(())
}

/// All tapes of each sort on one server, after one has gone by uncounted: by then no table is being resized.
fn count_peer(run: &mut Run<'_>, contender: &Contender) -> Result<(), String> {
    let (logged, unlogged) = tapes(run).into_iter().partition(|(kind, _)| kind.logged);
    count_on(run, contender, &["--appendonly", "no"], unlogged)?;
    count_on(run, contender, &["--appendonly", "yes"], logged)
}

fn count_on(
    run: &mut Run<'_>,
    contender: &Contender,
    arguments: &[&'static str],
    tapes: Vec<(tape::Kind, Vec<Piece>)>,
) -> Result<(), String> {
    let dir = TempDir::new().map_err(|error| format!("temporary directory: {error}"))?;
    let setup = Setup {
        under: callgrind(PEER, dir.path()),
        patience: PATIENCE,
        // Timers do as little as they can.
        arguments: [&["--hz", "1"], arguments].concat(),
        ..Setup::on(&[run.options.server_cpu])
    };
    let server = run.start(contender, &setup)?;
    let mut pipe = Pipe::open(server.address, PATIENCE).map_err(|error| error.to_string())?;
    let mut play =
        |tape: &[Piece]| tape.iter().try_for_each(|piece| pipe.order(&piece.bytes, piece.requests));
    play(&tape::fill())?;
    tapes.last().map_or(Ok(()), |(_, last)| play(last))?;
    for (nth, tape) in tapes.into_iter().enumerate() {
        tell(&server, "zero")?;
        play(&tape.1)?;
        tell(&server, "dump")?;
        note(run, &tape, contender.kind, total(&dir.path().join(format!("counts.{}", nth + 1)))?);
    }
    Ok(())
}

/// Has callgrind obey in the midst of the run; it has obeyed when this returns.
fn tell(server: &Server, order: &str) -> Result<(), String> {
    let output = Command::new("vgdb").arg(format!("--pid={}", server.pid())).arg(order).output();
    let output = output.map_err(|error| format!("vgdb: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("vgdb {order}: {said}")) }
}

/// All instructions of one of callgrind's files.
fn total(path: &Path) -> Result<u64, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    match sum(&text) {
        Some(0) | None => Err(format!("{} counts nothing", path.display())),
        Some(count) => Ok(count),
    }
}

fn sum(counts: &str) -> Option<u64> {
    counts.lines().find_map(|line| line.strip_prefix("summary:"))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_a_callgrind_file_is_found() {
        assert_eq!(
            sum("events: Ir\nsummary: 16818659\n\nob=(1)\nfn=(0)\n0 1\ntotals: 9\n"),
            Some(16_818_659)
        );
        assert_eq!(sum("events: Ir\n"), None);
    }
}
