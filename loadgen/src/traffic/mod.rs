//! Which request comes next: the commands of the mix in turn, their keys, their values, and the bytes of it all. Pure:
//! the plan, its seed and the thread's number decide every byte, so the same plan sends the same requests to every
//! server. Knows nothing of connections or time.

pub mod keys;
pub mod mix;
pub mod named;
pub mod permutation;
pub mod random;
pub mod template;
pub mod values;
pub mod verify;

use crate::plan::Plan;
use keys::Keys;
use random::{Purpose, Random};
use template::Template;
use values::Values;

/// What one request is: a command of the mix, by its index, and the number of its (first) key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    pub command: u16,
    pub key: u64,
}

/// One thread's endless supply of requests.
pub struct Traffic {
    commands: Vec<Command>,
    turns: mix::Turns,
    numbers: Numbers,
}

struct Command {
    template: Template,
    keys: Keys,
}

/// What the placeholders of a template are filled from.
pub struct Numbers {
    values: Values,
    random: Random,
    /// Next value of `__seq__`.
    sequence: u64,
    sequence_step: u64,
    /// Bound of `__rand_int__`, exclusive.
    bound: u64,
    /// Seconds of `__expiry__`.
    expiry: (u64, u64),
}

impl Traffic {
    /// The supply of thread `part` of `parts`, which has `lanes` connections. `plan` was checked.
    pub fn new(plan: &Plan, part: u64, parts: u64, lanes: u64) -> Self {
        let commands = plan.mix.iter().enumerate().map(|(index, command)| {
            let range = keys::KeyRange { pattern: command.pattern.unwrap_or(plan.keys.pattern), ..plan.keys };
            let stream = random::stream(plan.seed, part, Purpose::Keys(index as u64));
            Command {
                template: Template::new(&command.words, &plan.key_shape, &plan.data),
                keys: Keys::new(range, &plan.key_law, keys::Part { part, parts, lanes }, plan.seed, stream),
            }
        });
        Self {
            commands: commands.collect(),
            turns: mix::Turns::new(plan.mix.iter().map(|command| command.weight)),
            numbers: Numbers {
                values: Values::new(&plan.data, part, random::stream(plan.seed, part, Purpose::Values)),
                random: random::stream(plan.seed, part, Purpose::Numbers),
                sequence: part,
                sequence_step: parts,
                bound: plan.keys.last.saturating_add(1),
                expiry: plan.data.expiry.unwrap_or((1, 1)),
            },
        }
    }

    /// Decides the next request; every decision of a request is made here or in `encode`, in this order, so that a
    /// request that is never sent still uses up its part of the random numbers.
    pub fn choose(&mut self) -> Request {
        let command = self.turns.next_command();
        Request { command, key: self.commands[usize::from(command)].keys.next_key() }
    }

    /// Appends the bytes of `request` to `out`.
    pub fn encode(&mut self, request: Request, out: &mut Vec<u8>) {
        let command = &mut self.commands[usize::from(request.command)];
        command.template.encode(request.key, &mut command.keys, &mut self.numbers, out);
    }
}

#[cfg(test)]
mod same_seed {
    use super::*;
    use crate::{
        keys::{KeyRange, Pattern},
        plan::End,
    };

    fn bytes(seed: u64, part: u64) -> Vec<u8> {
        let keys = KeyRange { first: 0, last: 9999, pattern: Pattern::Zipf };
        let mut plan = Plan::closed(std::net::SocketAddr::from(([127, 0, 0, 1], 1)), keys, End::Requests(1));
        plan.seed = seed;
        plan.data =
            values::DataPlan { sizes: values::Sizes::Range(1, 99), random: true, ..values::DataPlan::of(1) };
        plan.mix = vec![
            mix::CommandPlan::parse("SET __key__ __data__").expect("a command"),
            mix::CommandPlan::parse("ZADD z __score__ __rand_int__:__seq__").expect("a command"),
        ];
        let mut traffic = Traffic::new(&plan, part, 2, 3);
        let mut out = Vec::new();
        for _ in 0..500 {
            let request = traffic.choose();
            traffic.encode(request, &mut out);
        }
        out
    }

    #[test]
    fn a_seed_repeats_every_byte_and_threads_and_seeds_differ() {
        assert_eq!(bytes(7, 0), bytes(7, 0));
        assert_ne!(bytes(7, 0), bytes(7, 1));
        assert_ne!(bytes(7, 0), bytes(8, 0));
    }
}
