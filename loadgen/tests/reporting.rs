//! The program against a live redis-server, as far as its reports go: the files it writes, what it does when it cannot
//! write them, rendering again, comparing and sweeping.

mod browser;

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread,
    time::Duration,
};

use tempfile::TempDir;
use torc_loadgen::{clock::Clock, document::Document, sweep::SweepReport};

/// A redis-server on a free port, ended with this value; the program works in its directory.
struct Redis {
    child: Child,
    port: u16,
    folder: TempDir,
}

impl Redis {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        drop(listener);
        let folder = tempfile::tempdir().expect("a folder");
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server: tests/install gets it");
        let redis = Self { child, port, folder };
        let clock = Clock::start();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(clock.ns() < 10_000_000_000, "redis-server does not start");
            thread::sleep(Duration::from_millis(20));
        }
        redis
    }

    /// Runs the program; `PORT` stands for the server's.
    fn loadgen(&self, line: &str) -> Output {
        let line = line.replace("PORT", &self.port.to_string());
        Command::new(env!("CARGO_BIN_EXE_torc-loadgen"))
            .args(line.split(' '))
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .output()
            .expect("the program starts")
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn keys(&self) -> String {
        let output = Command::new("redis-cli").args(["-p", &self.port.to_string(), "DBSIZE"]).output();
        String::from_utf8_lossy(&output.expect("redis-cli").stdout).trim().into()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn a_run_writes_all_its_files_and_report_renders_them_again() {
    let redis = Redis::start();
    let run = redis.loadgen(
        "run -p PORT -c 5 --rate 2000 --test-time 2 --prefill -r 1000 --fail-on-invalid false --json-out-file \
         run.json --html-out-file run.html --hdr-file-prefix run",
    );
    let (shown, problem) = (text(&run.stdout), text(&run.stderr));
    assert!(run.status.success(), "{problem}");
    assert!(shown.starts_with("redis ") && shown.contains("open loop 2,000/s poisson"), "{shown}");
    let document = Document::read(&redis.path("run.json")).expect("the report");
    let answered: u64 = document.results.iter().map(|result| result.answered).sum();
    assert_eq!(document.response().expect("readable").len(), answered + document.errors());
    assert!(read(&redis.path("run.GET.response.hgrm")).contains("#[Max"));
    let log = read(&redis.path("run.hlog"));
    assert!(log.contains("Tag=SET,") && log.contains("Tag=GET,"), "{log}");

    let again = redis.loadgen("report run.json --fail-on-invalid false --html-out-file again.html");
    assert_eq!(text(&again.stdout), shown);
    assert!(read(&redis.path("again.html")) == read(&redis.path("run.html")), "the same page");
    let seen = browser::open("live", &read(&redis.path("run.html")), browser::Scheme::Dark, &[900]);
    assert_eq!(seen.laid[0].faults, Vec::<String>::new());
    assert_eq!(seen.laid[0].requests, Vec::<String>::new());
    assert_eq!(seen.laid[0].width, 900);
    assert!(seen.laid[0].charts >= 5 && seen.laid[0].labels > 30 && seen.laid[0].dark, "{:?}", seen.laid);
    assert_eq!(seen.console, Vec::<String>::new());
}

#[test]
fn a_report_that_cannot_be_written_is_named_and_still_printed() {
    let redis = Redis::start();
    let full =
        redis.loadgen("run -p PORT -n 500 --json-out-file /dev/full --html-out-file no/such/page.html");
    assert_eq!(full.status.code(), Some(1));
    assert!(text(&full.stdout).contains("loader: cpu"), "{}", text(&full.stdout));
    let problem = text(&full.stderr);
    assert_eq!(problem.lines().count(), 1, "{problem}");
    assert!(problem.contains("cannot write /dev/full: No space left"), "{problem}");
    assert!(problem.contains("cannot write no/such/page.html: No such file"), "{problem}");

    fs::write(redis.path("other.json"), "[]").expect("written");
    for (line, words) in [
        ("report missing.json", "missing.json: No such file"),
        ("report other.json", "other.json is not a report of this program"),
        ("compare other.json", "other.json is not a report of this program"),
    ] {
        let refused = redis.loadgen(line);
        assert_eq!(refused.status.code(), Some(1), "{line}");
        assert!(text(&refused.stderr).contains(words), "{line}: {}", text(&refused.stderr));
    }
}

#[test]
fn repeated_runs_are_numbered_and_compared() {
    let redis = Redis::start();
    let run = redis
        .loadgen("run -p PORT -n 3000 -c 5 --run-count 2 --json-out-file a.json --fail-on-invalid false");
    assert!(run.status.success(), "{}", text(&run.stderr));
    assert!(text(&run.stdout).contains("all runs (2)"), "{}", text(&run.stdout));
    assert!(!redis.path("a.json").exists());
    let options = "--html-out-file compare.html --fail-on-invalid false";
    let compared = redis.loadgen(&format!("compare a.1.json a.2.json b=a.2.json {options}"));
    assert!(compared.status.success(), "{}", text(&compared.stderr));
    let shown = text(&compared.stdout);
    assert!(shown.contains("a (2)") && shown.contains("b (1)"), "{shown}");
    assert!(read(&redis.path("compare.html")).contains("Comparison: a, b"));
}

#[test]
fn a_sweep_finds_what_live_servers_take_and_spares_their_data() {
    let (one, other) = (Redis::start(), Redis::start());
    let servers = format!("-u one=127.0.0.1:PORT -u other=redis://127.0.0.1:{}/", other.port);
    // An objective that nobody misses: the search ends at the highest rate allowed.
    let options = "--slo p50=10s --start-rate 4000 --max-rate 5000 --search-time 300ms --test-time 200ms --warmup \
                   50ms -c 5 --fail-on-invalid false";
    let files =
        "-r 100 --prefill --rates 3 --run-count 2 --json-out-file sweep.json --html-out-file sweep.html";
    let swept = one.loadgen(&format!("sweep {servers} {options} {files}"));
    assert!(swept.status.success(), "{}", text(&swept.stderr));
    let report = SweepReport::parse(&read(&one.path("sweep.json"))).expect("a sweep's report");
    let fixed = report.points.iter().filter(|point| point.phase == "fixed");
    assert_eq!(fixed.clone().count(), 3 * 2 * 2, "rates, repetitions, servers");
    for swept in &report.servers {
        assert!((2000.0..=5000.0).contains(&swept.knee), "{swept:?}");
        assert_eq!(swept.server.name, "redis");
    }
    assert!(fixed.clone().all(|point| point.hit_rate == Some(1.0)), "prefilled once, never emptied");
    assert_eq!((one.keys(), other.keys()), ("100".into(), "100".into()));
    let shown = text(&swept.stdout);
    assert!(shown.starts_with("max rate at p50=10s"), "{shown}");
    let progress = text(&swept.stderr);
    assert!(progress.contains("search one 4,000/s: ") && progress.contains(", 0 to go"), "{progress}");
    let again = one.loadgen("report sweep.json --fail-on-invalid false --html-out-file again.html");
    assert_eq!(text(&again.stdout), shown);
    assert!(read(&one.path("again.html")) == read(&one.path("sweep.html")), "the same page");

    let files = "--csv,--hdr-file-prefix x,--print-percentiles 50";
    for option in files.split(',') {
        let refused = one.loadgen(&format!("report sweep.json {option}"));
        let said = text(&refused.stderr);
        assert!(
            refused.status.code() == Some(1) && said.contains(option.split(' ').next().expect("its name")),
            "{said}"
        );
    }
    let said = text(&one.loadgen("compare sweep.json sweep.json").stderr);
    assert!(said.contains("sweep.json is a sweep's report"), "{said}");
    let said = text(&one.loadgen("run -p PORT -n 1 --cpus 1023").stderr);
    assert!(said.contains("cpus: no thread can run on CPU 1023"), "{said}");

    // Reads alone, so that nothing is written after the emptying.
    let few = "--rates 1 --run-count 1";
    let emptied = one.loadgen(&format!("sweep {servers} {options} --allow-flush {few} --ratio 0:1 -q"));
    assert!(emptied.status.success(), "{}", text(&emptied.stderr));
    assert_eq!(text(&emptied.stderr), "", "-q tells nothing on the way");
    assert_eq!((one.keys(), other.keys()), ("0".into(), "0".into()));

    // Its lines on the way go to a reader that has gone (`2>&1 >/dev/null | head -1`).
    let line = format!("sweep {servers} {options} {few}").replace("PORT", &one.port.to_string());
    let (reader, unread) = std::io::pipe().expect("a pipe");
    drop(reader);
    let program = env!("CARGO_BIN_EXE_torc-loadgen");
    let status = Command::new(program).args(line.split(' ')).stdout(Stdio::null()).stderr(unread).status();
    assert!(status.expect("the program starts").success());
}
