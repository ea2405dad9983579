//! The command line and how it becomes a plan: one file for each group of options. Names follow redis-benchmark and
//! memtier_benchmark; where those two disagree a short option means what redis-benchmark means by it, except `-t` =
//! threads.

pub mod compat;
mod data;
mod load;
mod mix;
mod out;
mod report;
mod scale;
mod secrets;
mod sweep;
mod target;
mod values;

use std::time::Duration;

use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::{
    keys::{KeyRange, Pattern},
    link::Target,
    plan::{End, Plan},
    selftest::Settings,
};
pub use out::{Out, Shown};
pub use report::{CompareArgs, ReportArgs};
pub use scale::{AgentArgs, Scale};
pub use secrets::without_secrets;
pub use sweep::SweepArgs;
pub use target::TargetArgs;
pub use values::objective;

/// Loads a RESP server and measures how it answers.
#[derive(Parser, Debug)]
#[command(name = "torc-loadgen", version, propagate_version = true, disable_help_flag = true)]
pub struct Cli {
    #[arg(long, action = ArgAction::Help, global = true, help = "Print help")]
    help: Option<bool>,
    #[command(subcommand)]
    pub job: Job,
}

#[derive(Subcommand, Debug)]
pub enum Job {
    /// Send a mix of commands in a closed loop, or at a fixed rate with --rate
    Run(Box<RunArgs>),
    /// SET every key of the range once
    Fill(PassArgs),
    /// Wait for leaders (run --agents) and make their runs with them
    Agent(AgentArgs),
    /// GET every key of the range once and check what `fill --data-verify` or `run --data-verify` wrote
    Verify(PassArgs),
    /// Find the highest rate at which each of several servers meets an objective, and draw latency against throughput
    Sweep(Box<SweepArgs>),
    /// Lay the reports of several runs over each other
    Compare(CompareArgs),
    /// Render the report of an earlier run or sweep again
    Report(ReportArgs),
    /// Measure this program itself against a responder that does nothing
    Selftest(SelftestArgs),
}

#[derive(Args, Debug)]
pub struct RunArgs {
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    load: load::LoadArgs,
    #[command(flatten)]
    data: data::Data,
    #[command(flatten)]
    walk: data::Walk,
    #[command(flatten)]
    mix: mix::Mix,
    #[command(flatten)]
    pub scale: Scale,
    #[command(flatten)]
    pub out: Out,
}

/// Of jobs that take every key of the range once.
#[derive(Args, Debug)]
pub struct PassArgs {
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    crowd: load::Crowd,
    #[command(flatten)]
    data: data::Data,
    #[command(flatten)]
    pub out: Out,
}

#[derive(Args, Debug)]
pub struct SelftestArgs {
    /// Length of each measurement
    #[arg(long, allow_hyphen_values = true, value_parser = values::length, default_value = "3")]
    test_time: Duration,
    /// CPUs of the generator and of the responder
    #[arg(long, value_delimiter = ',', default_value = "0,1")]
    cpus: Vec<usize>,
    /// What CPU time is compared with
    #[arg(long, default_value = "redis-benchmark")]
    redis_benchmark: String,
}

impl SelftestArgs {
    pub fn settings(&self) -> Settings {
        Settings {
            length: self.test_time,
            loader_cpu: self.cpus.first().copied().unwrap_or(0),
            responder_cpu: self.cpus.get(1).copied(),
            redis_benchmark: self.redis_benchmark.clone(),
        }
    }
}

/// What `words`, the program's name before them, ask for; help and version are said by way of the error.
pub fn read(words: Vec<String>) -> Result<Cli, clap::Error> {
    Cli::from_arg_matches(&command().try_get_matches_from(words)?)
}

/// The command line's description. A number below 0 is a value, which its option refuses by name, and no option of its
/// own; `-3` behind an option that may stand without a value remains one.
fn command() -> clap::Command {
    let below_zero = |argument: clap::Arg| {
        let wants = argument.get_action().takes_values()
            && !argument.is_positional()
            && argument.get_num_args().is_none_or(|count| count.min_values() > 0);
        if wants { argument.allow_negative_numbers(true) } else { argument }
    };
    Cli::command().mut_subcommands(|job| job.mut_args(below_zero))
}

/// A job that is one run.
pub struct Measurement<'a> {
    pub plan: Plan,
    pub out: &'a Out,
    /// Who makes it, if not this process.
    pub scale: Option<&'a Scale>,
}

impl Measurement<'_> {
    /// The same with keys, values and arrivals of its own: repetitions of one sequence would say nothing of another.
    pub fn repetition(&self, number: usize) -> Self {
        let plan = Plan { seed: self.plan.seed.wrapping_add(number as u64), ..self.plan.clone() };
        Self { plan, ..*self }
    }
}

impl Job {
    /// The run this command line asks for, if it asks for one.
    pub fn measurement(&self) -> Result<Option<Measurement<'_>>, String> {
        let (plan, out, scale) = match self {
            Self::Run(args) => {
                (args.plan()?, &args.out, Some(&args.scale).filter(|scale| !scale.agents.is_empty()))
            }
            Self::Fill(args) => (args.plan(|target, keys| Plan::fill(target, keys, 0))?, &args.out, None),
            Self::Verify(args) => (args.plan(Plan::verify)?, &args.out, None),
            Self::Agent(_) | Self::Selftest(_) | Self::Sweep(_) | Self::Compare(_) | Self::Report(_) => {
                return Ok(None);
            }
        };
        Ok(Some(Measurement { plan, out, scale }))
    }
}

impl RunArgs {
    fn plan(&self) -> Result<Plan, String> {
        let patterns = self.walk.key_pattern;
        let compat = self.load.compat();
        let keys = self.data.keys(patterns.others, compat)?;
        let base = Plan::closed(self.target.target()?, keys, End::Requests(0));
        let mut mix = self.mix.commands(patterns)?;
        let plan = self.walk.apply(self.load.apply(Plan { clients: 50, ..base }));
        let plan = self.out.apply(self.data.apply(plan, compat));
        if plan.data.expiry.is_some() {
            crate::traffic::mix::expire(&mut mix);
        }
        Ok(Plan { mix, preparation: self.mix.preparation(plan.end()), ..plan })
    }
}

impl PassArgs {
    fn plan(&self, base: impl FnOnce(Target, KeyRange) -> Plan) -> Result<Plan, String> {
        let compat = self.crowd.compat();
        let keys = self.data.keys(Pattern::Sequential, compat)?;
        let plan = self.crowd.apply(base(self.target.target()?, keys));
        let mut plan = self.out.apply(self.data.apply(plan, compat));
        if plan.data.expiry.is_some() {
            crate::traffic::mix::expire(&mut plan.mix);
        }
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        plan::{Arrival, Load},
        traffic::{mix::set_get, values::Sizes},
    };
    fn planned(cli: &Cli) -> Result<Plan, String> {
        cli.job.measurement().map(|measurement| measurement.expect("a job that measures").plan)
    }

    fn plan(line: &str) -> Plan {
        let words = compat::translate(line.split(' ').map(str::to_owned).collect()).expect(line);
        let cli = Cli::try_parse_from(words).expect(line);
        let plan = planned(&cli).expect(line);
        assert_eq!(plan.check(), Ok(()), "{line}");
        plan
    }

    fn problem(line: &str) -> String {
        match read(line.split(' ').map(str::to_owned).collect()) {
            Ok(Cli { job: Job::Sweep(args), .. }) => args.contestants().expect_err(line),
            Ok(cli) => planned(&cli).and_then(|plan| plan.check()).expect_err(line),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn options_reach_the_plan() {
        let plan =
            plan("loadgen run -h 127.0.0.2 -p 7000 -c 4 -t 2 -P 8 -n 99 --ratio 1:0 -d 32 --key-maximum 9");
        assert_eq!(plan.target.to_string(), "127.0.0.2:7000");
        assert_eq!((plan.clients, plan.threads, plan.pipeline), (4, 2, 8));
        assert_eq!(plan.data.sizes, Sizes::Fixed(32));
        assert_eq!(plan.load, Load::Closed(End::Requests(99)));
        assert_eq!((plan.mix.len(), plan.mix[0].name.as_str()), (1, "SET"));
        assert_eq!(plan.keys.len(), 10);
    }

    #[test]
    fn a_rate_makes_it_an_open_loop_of_the_test_time() {
        let open = plan("loadgen run --rate 1000 --test-time 2500ms --warmup 1 --ramp 2");
        let end = End::Time(Duration::from_millis(2500));
        assert_eq!(open.load, Load::Open { rate: 1000.0, arrival: Arrival::Poisson, end });
        assert_eq!(open.unmeasured_ns(), 3_000_000_000);
        assert!(problem("loadgen run --arrival constant").contains("--rate"));
    }

    #[test]
    fn fill_sets_and_verify_gets_each_key_once() {
        let fill = plan("loadgen fill --key-minimum 10 --key-maximum 29 -d 3");
        assert_eq!(fill.load, Load::Closed(End::Requests(20)));
        assert_eq!((fill.mix, fill.keys.pattern), (set_get(1, 0), Pattern::Sequential));
        let verify = plan("loadgen verify -r 20");
        assert_eq!((verify.load, verify.data.verify), (Load::Closed(End::Requests(20)), true));
        assert_eq!((verify.mix, verify.min_hit_rate), (set_get(0, 1), Some(1.0)));
    }

    #[test]
    fn commands_have_weights_patterns_and_names_of_their_own() {
        let cli = Cli::try_parse_from([
            "loadgen",
            "run",
            "--command",
            "HSET __key__ f __data__",
            "--command",
            "HGET __key__ f",
            "--command",
            "hget __key__ g",
            "--command-ratio",
            "1",
            "--command-ratio",
            "2",
            "--command-ratio",
            "3",
            "--expiry-range",
            "5-9",
        ]);
        let plan = planned(&cli.expect("parsed")).expect("a plan");
        let mix: Vec<(&str, u32)> =
            plan.mix.iter().map(|command| (command.name.as_str(), command.weight)).collect();
        assert_eq!(mix, [("HSET", 1), ("HGET#1", 2), ("HGET#2", 3)]);
        assert!(plan.mix[2].reads());
        let sets =
            self::plan("loadgen run --tests set,get,lrange_300 --expiry-range 5-9 --key-pattern S:Z").mix;
        assert_eq!(
            (sets[0].words.len(), sets[0].pattern, sets[1].pattern),
            (5, Some(Pattern::Sequential), None)
        );
        assert!(
            problem("loadgen run --command GET --command SET --command-ratio 1").contains("for each or none")
        );
    }

    #[test]
    fn memtiers_counts_are_per_thread_and_connection() {
        let plan = plan("loadgen run --compat memtier -s 127.0.0.3 -c 5 -t 2 -n 100 --rate-limiting 10");
        assert_eq!((plan.clients, plan.threads), (10, 2));
        let end = End::Requests(1000);
        assert_eq!(plan.load, Load::Open { rate: 100.0, arrival: Arrival::Constant, end });
        assert_eq!((plan.key_shape.prefix.as_str(), plan.data.sizes), ("memtier-", Sizes::Fixed(32)));
        assert_eq!(plan.target.to_string(), "127.0.0.3:6379");
    }

    #[test]
    fn nonsense_is_named() {
        for (line, words) in [
            ("loadgen run --tests set,gte", "no test is called \"gte\""),
            ("loadgen run --key-minimum 5 --key-maximum 4", "above key-maximum"),
            ("loadgen run --ratio 0:0", "sends nothing"),
            ("loadgen run --data-size-range 9-4", "ends before it begins"),
            ("loadgen run -n 5 --test-time 3", "cannot be used with"),
            ("loadgen run -r 0", "keyspace of 0"),
            ("loadgen run --agents a:1", "--token-file"),
            ("loadgen run --cluster --pipeline-mode batch", "excludes cluster"),
            ("loadgen run --rfr all", "needs --cluster"),
            ("loadgen run --hotspot 2:1", "between 0 and 1"),
            ("loadgen run --warmup soon", "no time"),
            ("loadgen run --run-count 0", "'--run-count <RUN_COUNT>': it must be at least 1"),
            ("loadgen run -n 0", "'--requests <REQUESTS>': it must be at least 1"),
            ("loadgen run --test-time 0ms", "'--test-time <TEST_TIME>': it must be above 0"),
            ("loadgen run -c 0", "'--clients <CLIENTS>': it must be at least 1"),
            ("loadgen sweep -u a=b -u a=c", "two servers are called a"),
            ("loadgen sweep -u a=b --rates 0", "'--rates <RATES>': it must be at least 1"),
            ("loadgen sweep -u a=b --test-time 0", "'--test-time <TEST_TIME>': it must be above 0"),
            ("loadgen selftest --test-time 0", "'--test-time <TEST_TIME>': it must be above 0"),
            ("loadgen run --rate -5", "'-5' for '--rate <RATE>': wanted a number per second"),
            ("loadgen run --rate=nan", "'nan' for '--rate <RATE>'"),
            ("loadgen run -n -5", "'-5' for '--requests <REQUESTS>'"),
            ("loadgen run --warmup -5s", "'-5s' for '--warmup <WARMUP>'"),
            ("loadgen run --key-minimum -1", "'-1' for '--key-minimum <KEY_MINIMUM>'"),
            ("loadgen run --data-size-range -5-9", "'-5-9' for '--data-size-range <FROM-TO>'"),
        ] {
            assert!(problem(line).contains(words), "{line}: {}", problem(line));
        }
    }
}
