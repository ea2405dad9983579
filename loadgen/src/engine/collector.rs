//! Takes the threads' slices as they come, sums them up for the run and for each second, and gives them back empty.

use std::collections::BTreeMap;

use hdrhistogram::{
    Histogram,
    serialization::{Serializer, V2DeflateSerializer},
};

use super::recorder::{Delivery, SECOND, Slice};
use crate::{
    plan::Plan,
    stats::{CommandStats, Connects, Counts, Outcome, Second, absorb, latencies},
};

pub struct Collector<'a> {
    outcome: Outcome,
    open: bool,
    /// Seconds that not every thread has handed in.
    seconds: BTreeMap<u64, Sum>,
    threads: Vec<Thread>,
    watch: &'a mut dyn FnMut(&Second, &Outcome),
}

#[derive(Clone, Default)]
struct Thread {
    /// Everything before this second is handed in.
    reached: u64,
    busy: u64,
    length: u64,
}

struct Sum {
    /// Of each command.
    responses: Vec<Histogram<u64>>,
    lag: Histogram<u64>,
    counts: Counts,
    length: u64,
    cpu: f64,
}

impl<'a> Collector<'a> {
    pub fn new(plan: &Plan, connects: Connects, watch: &'a mut dyn FnMut(&Second, &Outcome)) -> Self {
        let commands = plan.mix.iter().map(|command| CommandStats::new(&command.name, command.reads()));
        Self {
            outcome: Outcome { connects, ..Outcome::new(commands.collect()) },
            open: plan.open(),
            seconds: BTreeMap::new(),
            threads: vec![Thread::default(); plan.threads],
            watch,
        }
    }

    /// Adds a slice, which can then be used again.
    pub fn take(&mut self, delivery: &mut Delivery) {
        let Delivery { part, slice, last } = delivery;
        self.add(slice);
        let thread = &mut self.threads[*part];
        thread.reached = if *last { u64::MAX } else { slice.second + 1 };
        thread.busy += slice.busy;
        thread.length += slice.length;
        slice.clear();
        self.publish();
    }

    fn add(&mut self, slice: &Slice) {
        let sum = self.seconds.entry(slice.second).or_insert_with(|| Sum {
            responses: vec![latencies(); slice.commands.len()],
            lag: latencies(),
            counts: Counts::default(),
            length: 0,
            cpu: 0.0,
        });
        let totals = self.outcome.commands.iter_mut().zip(&mut sum.responses);
        for ((total, second), part) in totals.zip(&slice.commands) {
            let response = if self.open { &part.response } else { &part.service };
            absorb(&mut total.response, response);
            absorb(&mut total.service, &part.service);
            absorb(second, response);
            total.counts.merge(&part.counts);
            sum.counts.merge(&part.counts);
            for (kind, count) in &part.kinds {
                *total.kinds.entry(kind.clone()).or_default() += count;
            }
        }
        absorb(&mut self.outcome.lag, &slice.lag);
        absorb(&mut self.outcome.window_full, &slice.window_full);
        absorb(&mut sum.lag, &slice.lag);
        sum.length = sum.length.max(slice.length);
        sum.cpu = sum.cpu.max(slice.busy as f64 / slice.length.max(1) as f64);
    }

    /// Turns seconds that every thread has handed in into entries of the series.
    fn publish(&mut self) {
        let reached = self.threads.iter().map(|thread| thread.reached).min().unwrap_or(u64::MAX);
        while let Some(entry) = self.seconds.first_entry().filter(|entry| *entry.key() < reached) {
            let (second, sum) = entry.remove_entry();
            // A run that ends on a full second leaves a stump behind it in which nothing happened.
            if sum.length == 0 && sum.counts == Counts::default() {
                continue;
            }
            let done = sum.finish(second);
            self.outcome.elapsed_ns = ((done.t + done.seconds) * SECOND as f64) as u64;
            self.outcome.scheduled_ns = if self.open { self.outcome.elapsed_ns } else { 0 };
            (self.watch)(&done, &self.outcome);
            self.outcome.series.push(done);
        }
    }

    pub fn finish(mut self) -> Outcome {
        // The threads know them exactly.
        (self.outcome.elapsed_ns, self.outcome.scheduled_ns) = (0, 0);
        let share = |thread: &Thread| thread.busy as f64 / thread.length.max(1) as f64;
        self.outcome.busiest_thread = self.threads.iter().map(share).fold(0.0, f64::max);
        self.outcome
    }
}

impl Sum {
    fn finish(self, second: u64) -> Second {
        let mut serializer = V2DeflateSerializer::new();
        let mut response = latencies();
        let histograms = self.responses.iter().map(|of_command| {
            response.add(of_command).expect("same bounds");
            let mut bytes = Vec::new();
            serializer.serialize(of_command, &mut bytes).expect("memory takes it");
            bytes
        });
        let histograms = histograms.collect();
        Second {
            t: second as f64,
            seconds: self.length as f64 / SECOND as f64,
            counts: self.counts,
            p50: response.value_at_quantile(0.5),
            p99: response.value_at_quantile(0.99),
            max: response.max(),
            lag_p99: self.lag.value_at_quantile(0.99),
            cpu: self.cpu,
            histograms,
        }
    }
}
