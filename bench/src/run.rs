//! What the measurements of a run share: who takes part and in which order, ports, and where figures go. Within every
//! repetition the servers take turns on each measurement, starting with another one each time.

use std::sync::atomic::AtomicBool;

use clap::{Args, ValueEnum};

use crate::{
    Common,
    load::Tool,
    report::{Environment, Report},
    results::{Metric, Of, Results},
    servers::{Contender, Kind, Server, Setup, find_all},
};

/// Which parts of a command are asked for.
#[derive(Args, Clone)]
pub struct Sections<S: ValueEnum + Send + Sync + 'static> {
    /// What to measure [default: all]
    #[arg(long = "sections", value_enum, value_delimiter = ',')]
    list: Vec<S>,
}

impl<S: ValueEnum + PartialEq + Send + Sync + 'static> Sections<S> {
    /// Whether this one was asked for by name.
    pub fn names(&self, section: &S) -> bool {
        self.list.contains(section)
    }

    pub fn wants(&self, section: &S) -> bool {
        self.list.is_empty() || self.names(section)
    }

    /// What the files are called: `all` with all sections, else `command` and those that were asked for, so that
    /// they do not replace the whole.
    pub fn results(&self, all: &str, command: &str) -> String {
        if self.list.is_empty() {
            return all.to_owned();
        }
        let values = self.list.iter().filter_map(ValueEnum::to_possible_value);
        values.fold(command.to_owned(), |name, value| name + "-" + value.get_name())
    }
}

/// Has `measure` fill a run in which those of `kinds` take part that the options ask for, and writes the report, which
/// is told what `measure` returned.
pub fn carry_out<T>(
    options: &Common,
    kinds: &[Kind],
    stop: &AtomicBool,
    measure: impl FnOnce(&mut Run<'_>) -> Result<T, String>,
    report: impl FnOnce(&[Kind], &Results, T) -> Report,
) -> Result<(), String> {
    let environment = Environment::read();
    let contenders = find_all(options, kinds)?;
    let mut run = Run::new(options, &contenders, stop)?;
    let told = measure(&mut run)?;
    let kinds: Vec<Kind> = contenders.iter().map(|contender| contender.kind).collect();
    report(&kinds, &run.results, told).write(options, &environment, &contenders, &run.results)
}

pub struct Run<'a> {
    pub options: &'a Common,
    contenders: &'a [Contender],
    pub stop: &'a AtomicBool,
    pub results: Results,
    pub rep: u32,
    /// Servers started so far; picks ports.
    started: u16,
}

impl<'a> Run<'a> {
    /// A run without figures yet; its loads stay on their CPU.
    pub fn new(
        options: &'a Common,
        contenders: &'a [Contender],
        stop: &'a AtomicBool,
    ) -> Result<Self, String> {
        pin(&[options.load_cpu])?;
        Ok(Self { options, contenders, stop, results: Results::default(), rep: 0, started: 0 })
    }

    /// Makes every measurement of the sections asked for once in each repetition.
    pub fn repeat<S: ValueEnum + Copy + PartialEq + Send + Sync>(
        &mut self,
        sections: &Sections<S>,
        mut measure: impl FnMut(&mut Self, S) -> Result<(), String>,
    ) -> Result<(), String> {
        for rep in 0..self.reps() {
            self.rep = rep;
            for &section in S::value_variants().iter().filter(|section| sections.wants(section)) {
                measure(self, section)?;
            }
        }
        Ok(())
    }

    fn reps(&self) -> u32 {
        if self.options.quick { 1 } else { self.options.reps }
    }

    /// The full count, or a hundredth of it in a quick run.
    pub fn scaled(&self, count: u64) -> u64 {
        if self.options.quick { count / 100 } else { count }
    }

    /// Those of `kinds` that take part, rotated by the repetition.
    pub fn turns(&self, kinds: &[Kind]) -> Vec<&'a Contender> {
        let mut turns: Vec<&Contender> =
            self.contenders.iter().filter(|contender| kinds.contains(&contender.kind)).collect();
        if !turns.is_empty() {
            let shift = self.rep as usize % turns.len();
            turns.rotate_left(shift);
        }
        turns
    }

    pub fn start(&mut self, contender: &Contender, setup: &Setup) -> Result<Server, String> {
        self.started = self.started.wrapping_add(1);
        Server::start(contender, setup, self.options.port, self.started, self.stop)
    }

    pub fn note(&mut self, workload: &str, tool: Tool, server: Kind, figures: &[(Metric, f64)]) {
        let mut line = String::new();
        for &(metric, value) in figures {
            self.results.add(Of { workload, tool, metric }, server, self.rep, value);
            line.push_str(&format!(" {}={value:.3}", metric.name()));
        }
        eprintln!("[{}/{}] {workload} {} {}:{line}", self.rep + 1, self.reps(), server.label(), tool.name());
    }
}

/// Confines this program, and the load it starts, to `cpus`.
pub fn pin(cpus: &[usize]) -> Result<(), String> {
    torc_loadgen::pin(cpus).map_err(|error| format!("cannot run on CPU {cpus:?}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::Section;

    #[test]
    fn results_of_some_sections_have_a_name_of_their_own() {
        let results = |list| Sections { list }.results("", "peers");
        assert_eq!(results(Vec::new()), "");
        assert_eq!(results(vec![Section::Memory, Section::Idle]), "peers-memory-idle");
    }
}
