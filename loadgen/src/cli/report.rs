//! Reports of earlier runs, rendered again and compared.

use std::path::PathBuf;

use clap::{ArgAction, Args};

use super::Shown;

#[derive(Args, Debug)]
pub struct ReportArgs {
    /// JSON report of a run or a sweep
    pub file: PathBuf,
    #[command(flatten)]
    pub shown: Shown,
}

#[derive(Args, Debug)]
pub struct CompareArgs {
    /// JSON reports, each PATH or NAME=PATH; reports of one name (run.1.json, run.2.json) are repetitions
    #[arg(required = true, value_name = "[NAME=]PATH")]
    pub files: Vec<String>,
    /// Write the HTML page here
    #[arg(long)]
    pub html_out_file: Option<PathBuf>,
    /// Exit with 3 if a run is INVALID; `false` leaves it at the words
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, default_value_t = true, default_missing_value = "true")]
    pub fail_on_invalid: bool,
}
