//! The throughput at which servers stop meeting an objective, and how latency grows on the way there. `procedure` says
//! which rate comes next, the caller measures it; what comes out is a report with one point a measurement.

mod drive;
mod procedure;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use drive::{Contestant, Order, Times, drive};
pub use procedure::{Bound, Knee, Met, Phase, Procedure, Settings, Step};

use crate::{
    document::{Document, Env, Quantile, SCHEMA, Server},
    verdict::{Objective, loader_fault},
};

/// Least share of the offered load that must be answered in its time.
const ACHIEVED: f64 = 0.99;

/// A sweep's report: what `report` and other programs read back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SweepReport {
    pub schema: String,
    /// `p99=1ms`, its quantile (0 to 1) and its limit in ns.
    pub slo: String,
    pub quantile: f64,
    pub limit_ns: u64,
    pub env: Env,
    /// Every option as it was resolved, the rate aside.
    pub plan: Value,
    pub servers: Vec<Swept>,
    pub points: Vec<Point>,
}

/// What the sweep says of one server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Swept {
    /// As the command line calls it.
    pub name: String,
    pub server: Server,
    /// Highest rate that met the objective in the search, and what kept it from going higher: "server", "loader",
    /// "max-rate".
    pub knee: f64,
    pub bound: String,
    /// Highest fixed rate up to which every one met the objective, least, median and greatest of the repetitions.
    pub max_rate: Option<MaxRate>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MaxRate {
    pub min: f64,
    pub median: f64,
    pub max: f64,
}

/// One measurement. Latencies are of all commands together, ns.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Point {
    /// Index into `servers`.
    pub server: usize,
    /// "search" or "fixed".
    pub phase: String,
    pub repetition: usize,
    pub rate: f64,
    pub offered: f64,
    pub achieved: f64,
    pub elapsed_ns: u64,
    pub count: u64,
    pub p50: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
    /// At the objective's quantile, and whether there are samples enough to trust it.
    pub value: u64,
    pub trusted: bool,
    /// Whether the objective was met and (nearly) all that was offered was answered without errors.
    pub met: bool,
    /// Whether the figures measure the server.
    pub valid: bool,
    pub reasons: Vec<String>,
    pub errors: u64,
    pub hit_rate: Option<f64>,
    pub loader_cpu: f64,
}

impl Point {
    fn new(step: &Step, objective: &Objective, run: &Document) -> Result<Self, String> {
        let response = run.response()?;
        let found = Quantile::of(&response, objective.quantile);
        let (offered, achieved, errors) = (run.offered(), run.achieved(), run.errors());
        let value = response.value_at_quantile(objective.quantile);
        let mut reasons = run.verdict.reasons.clone();
        if found.is_none() {
            reasons.push(format!("{} samples are too few to judge {}", response.len(), objective.text));
        }
        let (phase, repetition) = match step.phase {
            Phase::Search => ("search", 0),
            Phase::Fixed { repetition } => ("fixed", repetition),
        };
        Ok(Self {
            server: step.server,
            phase: phase.into(),
            repetition,
            rate: step.rate,
            offered,
            achieved,
            elapsed_ns: run.elapsed_ns,
            count: response.len(),
            p50: response.value_at_quantile(0.5),
            p99: response.value_at_quantile(0.99),
            p999: response.value_at_quantile(0.999),
            max: response.max(),
            value,
            trusted: found.as_ref().is_some_and(|found| found.trusted),
            met: found.is_some()
                && value <= objective.limit_ns
                && achieved >= offered * ACHIEVED
                && errors == 0,
            valid: run.verdict.valid && found.is_some(),
            reasons,
            errors,
            hit_rate: run.hit_rate(),
            loader_cpu: run.loader_cpu,
        })
    }
}

/// Called for every step: measures it and returns the run's report.
pub type Measure<'a> = dyn FnMut(&Step) -> Result<Document, String> + 'a;

/// What is known of a sweep at any moment.
pub struct Findings {
    pub points: Vec<Point>,
    pub knees: Vec<Knee>,
    /// Why it ended early.
    pub fault: Option<String>,
}

/// Sweeps `servers` servers: takes each step of the procedure by `measure` and tells `show` what it showed and how
/// many fixed steps remain. A failing measurement ends the sweep with what was found until then.
pub fn sweep(
    settings: &Settings,
    servers: usize,
    objective: &Objective,
    measure: &mut Measure,
    show: &mut dyn FnMut(&Point, usize),
) -> Findings {
    let mut procedure = Procedure::new(settings.clone(), servers);
    let mut points = Vec::new();
    let mut fault = None;
    while let Some(step) = procedure.next() {
        let measured =
            measure(&step).and_then(|run| Ok((Point::new(&step, objective, &run)?, loader_fault(&run)?)));
        match measured {
            Ok((point, loader_fault)) => {
                procedure.record(match (point.met, loader_fault) {
                    (true, _) => Met::Yes,
                    (false, false) => Met::No,
                    (false, true) => Met::LoaderFailed,
                });
                show(&point, procedure.remaining());
                points.push(point);
            }
            Err(problem) => {
                fault = Some(problem);
                break;
            }
        }
    }
    Findings { points, knees: procedure.knees(), fault }
}

impl SweepReport {
    /// The report that `text` holds, if it is a sweep's.
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok().filter(|report: &Self| report.schema == SCHEMA)
    }

    pub fn new(
        objective: &Objective,
        env: Env,
        plan: Value,
        named: Vec<(String, Server)>,
        findings: &Findings,
    ) -> Self {
        let servers = named.into_iter().zip(&findings.knees).enumerate();
        Self {
            schema: SCHEMA.into(),
            slo: objective.text.clone(),
            quantile: objective.quantile,
            limit_ns: objective.limit_ns,
            env,
            plan,
            servers: servers
                .map(|(index, ((name, server), knee))| Swept {
                    name,
                    server,
                    knee: knee.rate,
                    bound: match knee.bound {
                        Bound::Server => "server",
                        Bound::Loader => "loader",
                        Bound::MaxRate => "max-rate",
                    }
                    .into(),
                    max_rate: max_rate(&findings.points, index),
                })
                .collect(),
            points: findings.points.clone(),
        }
    }

    /// Where the search last met the objective on a server; none if it never did.
    pub fn at_knee(&self, server: usize) -> Option<&Point> {
        let knee = self.servers.get(server)?.knee;
        self.points.iter().find(|point| point.server == server && point.rate == knee && point.met)
    }

    /// Whether every server's knee is its own, and was measured well.
    pub fn valid(&self) -> bool {
        let sound = |(index, swept): (usize, &Swept)| {
            swept.bound != "loader" && self.at_knee(index).is_none_or(|point| point.valid)
        };
        self.servers.iter().enumerate().all(sound)
    }

    /// Servers that missed the objective at every rate.
    pub fn never_met(&self) -> impl Iterator<Item = &Swept> {
        self.servers.iter().filter(|swept| swept.knee == 0.0)
    }
}

/// Of each repetition the highest fixed rate up to which all met the objective; then least, median, greatest.
fn max_rate(points: &[Point], server: usize) -> Option<MaxRate> {
    let fixed: Vec<&Point> =
        points.iter().filter(|point| point.server == server && point.phase == "fixed").collect();
    let repetitions = fixed.iter().map(|point| point.repetition + 1).max()?;
    let mut highest: Vec<f64> = (0..repetitions)
        .map(|repetition| {
            let own = fixed.iter().filter(|point| point.repetition == repetition);
            own.take_while(|point| point.met).map(|point| point.rate).last().unwrap_or(0.0)
        })
        .collect();
    highest.sort_by(f64::total_cmp);
    let median = f64::midpoint(highest[(highest.len() - 1) / 2], highest[highest.len() / 2]);
    Some(MaxRate { min: highest[0], median, max: *highest.last()? })
}
