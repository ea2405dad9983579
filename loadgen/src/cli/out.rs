//! What becomes of the figures.

use std::path::PathBuf;

use clap::{ArgAction, Args};

use super::values;
use crate::{plan::Plan, verdict::Objective};

#[derive(Args, Debug)]
pub struct Out {
    /// No progress line
    #[arg(short = 'q', long)]
    pub quiet: bool,
    /// Write the JSON report here
    #[arg(long)]
    pub json_out_file: Option<PathBuf>,
    /// Exit with 2 if a command's response time is above it, e.g. p99=1ms; may be repeated
    #[arg(long, value_parser = values::objective)]
    slo: Vec<Objective>,
    /// Exit with 3 if the figures are INVALID; `false` leaves it at the words
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, default_value_t = true, default_missing_value = "true")]
    pub fail_on_invalid: bool,
}

impl Out {
    pub fn apply(&self, plan: Plan) -> Plan {
        Plan { objectives: self.slo.clone(), ..plan }
    }
}
