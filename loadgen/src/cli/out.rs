//! What becomes of the figures.

use std::path::PathBuf;

use clap::{ArgAction, Args};

use super::values;
use crate::{
    plan::Plan,
    report::{
        COLUMNS,
        output::{Output, Style},
    },
    verdict::Objective,
};

#[derive(Args, Debug)]
pub struct Out {
    #[command(flatten)]
    pub shown: Shown,
    /// Write the JSON report here
    #[arg(long)]
    pub json_out_file: Option<PathBuf>,
    /// Runs one after the other; each has the next seed and writes files of its own (run.1.json, …)
    #[arg(long, default_value_t = 1, value_parser = values::count::<usize>)]
    pub run_count: usize,
    /// Exit with 2 if a command's response time is above it, e.g. p99=1ms; may be repeated
    #[arg(long, value_parser = values::objective)]
    slo: Vec<Objective>,
}

/// How a report is shown; of measuring and of rendering again.
#[derive(Args, Debug)]
pub struct Shown {
    /// One line a command, no progress line
    #[arg(short = 'q', long)]
    pub quiet: bool,
    /// Print comma-separated values instead of the table
    #[arg(long, conflicts_with = "quiet")]
    csv: bool,
    /// Percentiles of the table and of CSV [default: 50,99,99.9,99.99]
    #[arg(long, value_delimiter = ',', value_parser = values::percentile, value_name = "P,P,...")]
    print_percentiles: Vec<f64>,
    /// Write the HTML page here
    #[arg(long)]
    html_out_file: Option<PathBuf>,
    /// Write PREFIX.<command>.<response|service>.hgrm and PREFIX.hlog
    #[arg(long, value_name = "PREFIX")]
    hdr_file_prefix: Option<PathBuf>,
    /// Exit with 3 if the figures are INVALID; `false` leaves it at the words
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, default_value_t = true, default_missing_value = "true")]
    pub fail_on_invalid: bool,
}

impl Out {
    pub fn apply(&self, plan: Plan) -> Plan {
        Plan { objectives: self.slo.clone(), ..plan }
    }

    pub fn output(&self) -> Output {
        Output { json: self.json_out_file.clone(), ..self.shown.output() }
    }
}

impl Shown {
    pub fn output(&self) -> Output {
        let asked = self.print_percentiles.clone();
        Output {
            style: match (self.csv, self.quiet) {
                (true, _) => Style::Csv,
                (false, true) => Style::Quiet,
                (false, false) => Style::Table,
            },
            quantiles: if asked.is_empty() { COLUMNS.into() } else { asked },
            json: None,
            html: self.html_out_file.clone(),
            hdr: self.hdr_file_prefix.clone(),
        }
    }
}
