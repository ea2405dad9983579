//! What a report says on the terminal, in CSV and in histogram files, from documents made up for it.

mod sample;

use std::{fs, path::Path, process::Command};

use hdrhistogram::Histogram;
use sample::{STEADY, Shape};
use serde_json::Value;
use torc_loadgen::{
    document::{Document, merged},
    report::{self, compare},
    sweep::{Settings, SweepReport},
};

const STALLED: Shape = Shape { stall: Some(2), valid: false, seconds: 5, ..STEADY };

/// The cells of the line that starts with `name`.
fn cells<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let line = text.lines().find(|line| line.trim_start().starts_with(name)).expect(name);
    line.split_whitespace().collect()
}

fn number(cell: &str) -> f64 {
    cell.trim_end_matches('*').replace(',', "").parse().expect(cell)
}

#[test]
fn the_table_shows_the_stall_in_the_response_and_not_in_the_service() {
    let document = STALLED.document();
    let text = report::text(&document, &report::COLUMNS).expect("rendered");
    let head =
        "valkey 9.1.2 at 10.0.0.7:6379 | 200 conns = 4 thr x 50 | window 1 | open loop 20,000/s poisson\n";
    assert!(text.starts_with(head), "{text}");
    let (get, service) = (cells(&text, "GET"), cells(&text, "service"));
    // Half a second of one in five: a tenth of all requests waited.
    assert!(number(get[5]) > 400_000.0, "p99 {}", get[5]);
    assert!(number(service[2]) < 1_000.0, "service p99 {}", service[2]);
    let set = cells(&text, "SET");
    assert_eq!((set[3], set[7]), ("-", "-"), "SET reads nothing and has no p99.99");
    assert!(text.contains("errors: GET 7 (unanswered 7); SET 7 (unanswered 7)\n"), "{text}");
    assert!(text.contains("INVALID: 7 requests were never answered; a thread used 97 % of a CPU"), "{text}");
    assert!(text.ends_with("objective missed: p99 = 1.42 ms, wanted 1 ms\n"), "{text}");
}

#[test]
fn a_star_marks_what_is_not_trusted_and_a_closed_loop_says_so() {
    let document = Shape { seconds: 5, ..STEADY }.document();
    let text = report::text(&document, &[0.5, 0.999, 0.9999]).expect("rendered");
    assert!(text.contains("VALID     * below trusted sample count"), "{text}");
    let get = cells(&text, "GET");
    // 90,000 GETs: 90 lie beyond p99.9, 9 beyond p99.99.
    assert!(get[5].ends_with('*') && get[6] == "-" && !get[4].ends_with('*'), "{get:?}");
    let closed = Shape { open: false, seconds: 2, ..STEADY }.document();
    let text = report::text(&closed, &report::COLUMNS).expect("rendered");
    assert!(text.contains("closed loop") && !text.contains("service"), "{text}");
    assert!(!text.contains("lag"), "nothing is due in a closed loop: {text}");
}

#[test]
fn a_slow_clock_is_warned_of() {
    let warned = |source: &str| {
        let mut document = Shape { seconds: 2, ..STEADY }.document();
        document.env.clocksource = source.into();
        let text = report::text(&document, &report::COLUMNS).expect("rendered");
        text.contains(&format!("warning: the clock source is {source}:"))
    };
    assert!(warned("hpet") && warned("acpi_pm"));
    assert!(!warned("tsc") && !warned("kvm-clock") && !warned(""));
}

#[test]
fn csv_has_a_row_a_command_and_kind_with_as_many_cells_as_its_head() {
    let document = Shape { seconds: 3, ..STEADY }.document();
    let csv = report::csv(&document, &report::COLUMNS).expect("rendered");
    let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows.len(), 5);
    assert!(rows.iter().all(|row| row.len() == rows[0].len()), "{csv}");
    let p99 = rows[0].iter().position(|name| *name == "p99_us").expect("a p99");
    let expected = document.results[0].response.histogram().expect("readable").value_at_quantile(0.99);
    assert_eq!(rows[1][..2], ["GET", "response"]);
    assert!((rows[1][p99].parse::<f64>().expect("a number") * 1000.0 - expected as f64).abs() < 1.0);
    let quiet = report::quiet(&document).expect("rendered");
    assert!(quiet.starts_with("GET: ") && quiet.contains(" requests per second, p50=0."), "{quiet}");
}

#[test]
fn a_report_read_back_renders_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("run.json");
    let document = STALLED.document();
    fs::write(&path, serde_json::to_vec(&document).expect("serialised")).expect("written");
    let again = Document::read(&path).expect("read");
    let text = |document| report::text(document, &report::COLUMNS).expect("rendered");
    assert_eq!(text(&again), text(&document));
    assert!(report::html(&again) == report::html(&document), "the same page");
    let mut garbled = document.clone();
    garbled.results[0].service.hdr_v2_deflate_b64 = "AAAA".into();
    fs::write(&path, serde_json::to_vec(&garbled).expect("serialised")).expect("written");
    let problem = Document::read(&path).expect_err("garbled");
    assert!(problem.contains("run.json: a histogram cannot be read"), "{problem}");
    fs::write(&path, "{}").expect("written");
    let problem = Document::read(&path).expect_err("not a report");
    assert!(problem.contains("run.json is not a report of this program"), "{problem}");
}

#[test]
fn a_page_cannot_be_broken_out_of() {
    let mut document = Shape { seconds: 2, rate: 500, ..STEADY }.document();
    let evil = "</script><script>alert(1)</script>\"'&";
    document.results[0].cmd = evil.into();
    document.server.name = evil.into();
    document.verdict.reasons = vec![evil.into()];
    document.env.argv = vec![evil.into()];
    let page = report::html(&document).expect("rendered");
    assert!(!page.contains("<script>") && page.matches("</script>").count() == 1, "{page}");
    let data = page.split_once("id=\"report\">").and_then(|(_, rest)| rest.split_once("</script>"));
    let back: Document = serde_json::from_str(data.expect("embedded").0).expect("JSON");
    assert_eq!(back.results[0].cmd, evil);
}

#[test]
fn a_comparison_judges_by_the_ranges_of_repetitions() {
    let group = |name: &str, median: f64, seed: u64| {
        let runs = (seed..seed + 3).map(|seed| Shape { seed, seconds: 2, median, ..STEADY }.document());
        compare::Group { name: name.into(), runs: runs.collect() }
    };
    let text = |other| compare::text(&[group("old", 61e3, 1), other]).expect("rendered");
    let faster = text(group("new", 50e3, 7));
    let p99 = cells(&faster, "p99 µs");
    assert_eq!(p99.last(), Some(&"better"), "{faster}");
    let alike = text(group("again", 61e3, 7));
    assert_eq!(cells(&alike, "p99.9 µs").last(), Some(&"same"), "{alike}");
    let mut other = group("other", 61e3, 7);
    other.runs[0].plan["clients"] = 50.into();
    other.runs[1].verdict.valid = false;
    let text = text(other);
    assert!(text.contains("not the same load: clients is 200 in old, 50 in other"), "{text}");
    assert!(text.contains("other: 1 of 3 runs INVALID"), "{text}");
}

#[test]
fn a_sweep_names_each_servers_highest_rate_at_the_objective() {
    let settings = Settings { start: 1_000.0, repetitions: 2, ..Settings::default() };
    let report = sample::swept(&[("fast", 16_000.0), ("slow", 8_000.0)], &settings);
    // The model reaches 1 ms at p99 where its median is about 400 µs: at nine tenths of its capacity.
    let knees: Vec<f64> = report.servers.iter().map(|swept| swept.knee).collect();
    assert!((0.8..0.96).contains(&(knees[0] / 16_000.0)), "{knees:?}");
    assert!((knees[0] / knees[1] / 2.0 - 1.0).abs() < 0.05, "{knees:?}");
    let fast = report.servers[0].max_rate.expect("measured at fixed rates");
    assert!(fast.max <= knees[0] * 1.02 && fast.min >= knees[0] * 0.85, "{fast:?}");
    assert!(report.valid());
    let text = report::sweep::text(&report);
    assert!(text.starts_with("max rate at p99=1ms"), "{text}");
    assert_eq!(cells(&text, "slow").last(), Some(&"server"), "{text}");
    let overloaded = report.points.iter().filter(|point| !point.valid);
    assert!(overloaded.clone().count() > 0 && overloaded.clone().all(|point| !point.met));
    let json = serde_json::to_string(&report).expect("serialised");
    let again: SweepReport = serde_json::from_str(&json).expect("read");
    assert_eq!(report::sweep::text(&again), text);
}

/// Runs the public Python package over `paths`.
fn read_hdr(paths: &[&Path]) -> Value {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("python3")
        .arg(here.join("tests/read_hdr.py"))
        .args(paths)
        .env("PYTHONPATH", here.join("../tests/.deps/python"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("python3");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "tests/install gets the package hdrhistogram: {errors}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Both libraries round the rank of a quantile in their own way, which may take the counter beside.
fn assert_same_values(found: &Value, histogram: &Histogram<u64>) {
    let found: Vec<f64> = serde_json::from_value(found.clone()).expect("numbers");
    for (q, found) in [0.5, 0.9, 0.99, 0.999, 1.0].into_iter().zip(found) {
        let expected = histogram.value_at_quantile(q) as f64;
        assert!((found / expected - 1.0).abs() < 0.0011, "q {q}: {found}, expected {expected}");
    }
}

#[test]
fn the_public_hdrhistogram_package_reads_the_same_figures_from_the_files() {
    let document = Shape { seconds: 6, stall: Some(3), ..STEADY }.document();
    let folder = tempfile::tempdir().expect("a folder");
    let files = report::hdr::files(&document, &folder.path().join("out")).expect("rendered");
    for (path, bytes) in &files {
        fs::write(path, bytes).expect("written");
    }
    let names: Vec<String> =
        files.iter().map(|(path, _)| path.file_name().expect("a name").to_string_lossy().into()).collect();
    assert_eq!(
        names,
        [
            "out.GET.response.hgrm",
            "out.GET.service.hgrm",
            "out.SET.response.hgrm",
            "out.SET.service.hgrm",
            "out.hlog"
        ]
    );
    let paths: Vec<&Path> = files.iter().map(|(path, _)| path.as_path()).collect();
    let read = read_hdr(&paths);
    let of = |index: usize| &read[paths[index].to_str().expect("UTF-8")];

    let log = of(4);
    let intervals = log["intervals"].as_array().expect("a list");
    let mut expected = Vec::new();
    for interval in &document.series {
        let names = document.results.iter().map(|result| result.cmd.as_str());
        expected.extend(names.zip(interval.histograms().expect("readable")));
    }
    assert_eq!(intervals.len(), expected.len());
    for (found, (name, histogram)) in intervals.iter().zip(expected) {
        assert_eq!(found["tag"], name);
        assert_eq!(found["count"], histogram.len());
        assert_eq!(found["end_ms"].as_f64().unwrap() - found["start_ms"].as_f64().unwrap(), 1000.0);
        assert_same_values(&found["values"], &histogram);
    }
    let whole = merged(document.results.iter().map(|result| &result.response)).expect("merged");
    assert_eq!(log["whole"]["count"], whole.len());
    assert_same_values(&log["whole"]["values"], &whole);

    let get = document.results[0].response.histogram().expect("readable");
    let distribution = of(0);
    assert_eq!(
        distribution["head"],
        serde_json::json!(["Value", "Percentile", "TotalCount", "1/(1-Percentile)"])
    );
    let rows = distribution["rows"].as_array().expect("rows");
    let last = rows.last().expect("a row");
    assert_eq!((last[1].as_f64(), last[2].as_u64(), last.get(3)), (Some(1.0), None, None));
    assert_eq!(last[2].as_f64(), Some(get.len() as f64));
    for row in rows {
        let (ms, q) = (row[0].as_f64().expect("ms"), row[1].as_f64().expect("q"));
        assert!((ms - get.value_at_quantile(q) as f64 / 1e6).abs() <= ms * 0.001 + 1e-6, "{row}");
    }
}
