//! Which keys, and what is in them.

use clap::Args;

use super::{load::Compat, values};
use crate::{
    keys::{Hotspot, KeyLaw, KeyRange, Pattern},
    plan::{KeyShape, Plan},
    traffic::values::{DataPlan, Sizes},
};

#[derive(Args, Debug)]
pub struct Data {
    /// Keys 0 to N-1
    #[arg(short = 'r', long, value_name = "N", conflicts_with_all = ["key_minimum", "key_maximum"])]
    keyspace: Option<u64>,
    /// First key number [default: 0]
    #[arg(long)]
    key_minimum: Option<u64>,
    /// Last key number [default: 99999]
    #[arg(long)]
    key_maximum: Option<u64>,
    /// What every key begins with [default: key:]
    #[arg(long)]
    key_prefix: Option<String>,
    /// Bytes of a key, prefix included, padded with zeros; 0 = as short as it can be [default: 16]
    #[arg(long)]
    key_width: Option<usize>,
    /// Draws are permuted, so that hot keys do not lie side by side
    #[arg(long)]
    scramble: bool,
    /// Bytes of a value [default: 16]
    #[arg(short = 'd', long)]
    data_size: Option<usize>,
    /// Bytes of a value, evenly between these
    #[arg(long, allow_hyphen_values = true, value_parser = values::range, value_name = "FROM-TO", conflicts_with = "data_size")]
    data_size_range: Option<(u64, u64)>,
    /// Bytes of values and how often they come, e.g. 32:9,1024:1
    #[arg(long, value_parser = values::size_list, conflicts_with_all = ["data_size", "data_size_range"])]
    data_size_list: Option<Sizes>,
    /// Values of random bytes
    #[arg(short = 'R', long)]
    random_data: bool,
    /// Seconds that SETs let their keys live, evenly between these
    #[arg(long, allow_hyphen_values = true, value_parser = values::range, value_name = "FROM-TO")]
    expiry_range: Option<(u64, u64)>,
    /// Values carry key, version and checksum, and GETs check them
    #[arg(long)]
    data_verify: bool,
    /// Decides keys, values and arrivals
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// How the range is walked; of jobs that do not simply take every key once.
#[derive(Args, Debug)]
pub struct Walk {
    /// R = random, S = sequential, P = a sequence per connection, G = gaussian, Z = zipf, H = hotspot; or one for
    /// SETs and one for GETs, e.g. S:Z
    #[arg(long, value_parser = patterns, default_value = "R")]
    pub key_pattern: Patterns,
    /// Exponent of pattern Z
    #[arg(long, default_value_t = 1.0)]
    key_zipf_exp: f64,
    /// Of pattern G, in keys [default: a sixth of the range]
    #[arg(long)]
    key_stddev: Option<f64>,
    /// Of pattern G, a key number [default: the middle of the range]
    #[arg(long)]
    key_median: Option<f64>,
    /// Share of the keys and of the requests they get, for pattern H
    #[arg(long, value_parser = values::hotspot, default_value = "0.2:0.8")]
    hotspot: Hotspot,
    /// SET every key of the range first
    #[arg(long)]
    prefill: bool,
    /// Least share of reads that must find a value, 0 to 1
    #[arg(long)]
    min_hit_rate: Option<f64>,
}

/// Of SETs and of everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patterns {
    pub sets: Pattern,
    pub others: Pattern,
}

fn patterns(text: &str) -> Result<Patterns, String> {
    let (sets, others) = text.split_once(':').unwrap_or((text, text));
    Ok(Patterns { sets: pattern(sets)?, others: pattern(others)? })
}

/// A pattern by its letter.
pub fn pattern(text: &str) -> Result<Pattern, String> {
    clap::ValueEnum::from_str(text, true).map_err(|_| format!("{text:?} is none of R, S, P, G, Z and H"))
}

impl Data {
    pub fn keys(&self, pattern: Pattern, compat: Option<Compat>) -> Result<KeyRange, String> {
        let last = if compat.is_some() { 10_000_000 } else { 99_999 };
        let (first, last) = match self.keyspace {
            Some(0) => return Err("a keyspace of 0 keys has none to send".into()),
            Some(count) => (0, count - 1),
            None => (self.key_minimum.unwrap_or(0), self.key_maximum.unwrap_or(last)),
        };
        if first > last {
            return Err(format!("key-minimum {first} is above key-maximum {last}"));
        }
        Ok(KeyRange { first, last, pattern })
    }

    pub fn apply(&self, plan: Plan, compat: Option<Compat>) -> Plan {
        let (prefix, width, size) = if compat.is_some() { ("memtier-", 0, 32) } else { ("key:", 16, 16) };
        let key_shape = KeyShape {
            prefix: self.key_prefix.clone().unwrap_or_else(|| prefix.into()),
            width: self.key_width.unwrap_or(width),
        };
        let verify = self.data_verify || plan.data.verify;
        let sizes = match (&self.data_size_list, self.data_size_range) {
            (Some(list), _) => list.clone(),
            (None, Some((low, high))) => Sizes::Range(low as usize, high as usize),
            (None, None) => {
                // Room for what verification needs, unless a size is asked for.
                let least = if verify { crate::traffic::verify::HEADER } else { 0 };
                Sizes::Fixed(self.data_size.unwrap_or(size.max(least)))
            }
        };
        let data = DataPlan { sizes, random: self.random_data, verify, expiry: self.expiry_range };
        let key_law = KeyLaw { scramble: self.scramble, ..plan.key_law };
        Plan { key_shape, key_law, data, seed: self.seed, ..plan }
    }
}

impl Walk {
    pub fn apply(&self, plan: Plan) -> Plan {
        let key_law = KeyLaw {
            zipf_exponent: self.key_zipf_exp,
            stddev: self.key_stddev,
            median: self.key_median,
            hotspot: self.hotspot,
            ..plan.key_law
        };
        Plan { key_law, prefill: self.prefill, min_hit_rate: self.min_hit_rate, ..plan }
    }
}
