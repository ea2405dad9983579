//! The pages in a real browser, in both colour schemes and at the narrowest width they promise.

mod browser;
mod sample;

use std::ops::Range;

use browser::{Scheme, open};
use sample::{STEADY, Shape};
use torc_loadgen::{
    report::{self, compare::Group},
    sweep::Settings,
};

const WIDTHS: [u32; 2] = [900, 1280];

#[track_caller]
fn check(name: &str, page: &str, charts: usize) {
    for scheme in [Scheme::Dark, Scheme::Light] {
        let seen = open(name, page, scheme, &WIDTHS);
        assert_eq!(seen.laid.len(), WIDTHS.len(), "{name}, {scheme:?}");
        for laid in seen.laid {
            assert_eq!(laid.faults, Vec::<String>::new(), "{name}, {scheme:?}, {} wide", laid.width);
            assert_eq!(laid.requests, Vec::<String>::new(), "{name} needs nothing beside itself");
            assert_eq!(laid.dark, scheme == Scheme::Dark, "{name}: the browser was not asked for {scheme:?}");
            assert_eq!(laid.charts, charts, "{name}");
            assert!(laid.labels >= charts * 5, "{name}: {} labels", laid.labels);
        }
        assert_eq!(seen.console, Vec::<String>::new(), "{name}, {scheme:?}");
    }
}

fn html(shape: &Shape) -> String {
    report::html(&shape.document()).expect("rendered")
}

#[test]
fn a_run() {
    check("run", &html(&STEADY), 6);
}

#[test]
fn a_stalled_invalid_run_of_a_few_seconds() {
    let shape = Shape { stall: Some(2), valid: false, seconds: 5, rate: 900, ..STEADY };
    check("stalled", &html(&shape), 6);
}

#[test]
fn a_closed_loop_of_many_commands_at_a_high_rate_over_a_long_time() {
    let commands = &["GET", "SET", "HSET", "LPUSH", "ZADD", "EXPIRE", "INCRBYFLOAT", "XADD"];
    let shape = Shape { open: false, commands, seconds: 400, rate: 2_000, median: 300.0, ..STEADY };
    check("closed", &html(&shape), 5);
}

#[test]
fn a_comparison_of_repeated_runs() {
    let group = |name: &str, median: f64, seeds: Range<u64>| {
        let runs = seeds.map(|seed| Shape { seed, seconds: 8, median, ..STEADY }.document());
        Group { name: name.into(), runs: runs.collect() }
    };
    let groups = [
        group("valkey 9.1", 61e3, 1..4),
        group("torc", 48e3, 4..7),
        group("a-server-of-long-name", 2e6, 7..8),
    ];
    check("compare", &report::compare::html(&groups).expect("rendered"), 3);
}

#[test]
fn a_sweep_of_three_servers() {
    let settings = Settings { start: 2_000.0, repetitions: 3, ..Settings::default() };
    let report =
        sample::swept(&[("torc", 17_000.0), ("valkey 9.1", 10_400.0), ("redis 8.2", 7_000.0)], &settings);
    check("sweep", &report::sweep::html(&report).expect("rendered"), 1);
}

#[test]
fn the_browser_sees_what_is_wrong() {
    let page = html(&Shape { seconds: 2, rate: 500, ..STEADY });
    let wrong = r#"<text x="60" y="60">one</text><text x="70" y="62">two</text><text x="990" y="99">outside</text></svg>
<img src="http://127.0.0.1:1/x.png"></figure>"#;
    let spoilt = page.replacen("</svg>\n</figure>", wrong, 1);
    assert_ne!(spoilt, page);
    let seen = open("spoilt", &spoilt, Scheme::Light, &[900]);
    let faults = &seen.laid[0].faults;
    assert!(faults.iter().any(|fault| fault.contains("\"one\" overlaps \"two\"")), "{faults:?}");
    assert!(faults.iter().any(|fault| fault.contains("\"outside\" leaves")), "{faults:?}");
    assert!(!seen.console.is_empty(), "the policy refuses the picture and says so");
}
