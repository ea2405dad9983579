//! Concurrent histories: what clients called when, what they were answered, and whether one order explains it all.
//!
//! The checker is Wing and Gong's search with Lowe's memory: take any call that nothing pending must precede, see
//! whether the model gives the recorded reply, go on; never visit the same set of calls with the same state twice.

use std::collections::HashSet;
use std::time::Instant;

/// Keys of a round. Few: every round's calls must meet.
pub const KEYS: usize = 5;

/// Calls of a round, one bit each in the search.
pub const MOST_CALLS: usize = 64;

/// The model's keyspace; values are short text.
pub type State = [Option<String>; KEYS];

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Get(usize),
    Set(usize, String),
    Incr(usize),
    Append(usize, String),
    MGet(Vec<usize>),
    MSet(Vec<(usize, String)>),
    MSetNx(Vec<(usize, String)>),
    Del(Vec<usize>),
    Rename(usize, usize),
    Copy(usize, usize),
    Exec(Vec<Op>),
}

/// A reply, as far as these commands have them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Ok,
    Int(i64),
    Text(Option<String>),
    Error,
    Many(Vec<Answer>),
    /// The connection was lost: it may have taken effect or not, and nobody knows what was answered.
    Unknown,
}

#[derive(Clone, Debug)]
pub struct Call {
    pub client: usize,
    pub op: Op,
    pub answer: Answer,
    pub from: Instant,
    pub to: Instant,
}

impl Op {
    /// The keys it names.
    pub fn keys(&self) -> Vec<usize> {
        match self {
            Op::Get(key) | Op::Set(key, _) | Op::Incr(key) | Op::Append(key, _) => vec![*key],
            Op::MGet(keys) | Op::Del(keys) => keys.clone(),
            Op::MSet(pairs) | Op::MSetNx(pairs) => pairs.iter().map(|pair| pair.0).collect(),
            Op::Rename(from, to) | Op::Copy(from, to) => vec![*from, *to],
            Op::Exec(ops) => ops.iter().flat_map(Op::keys).collect(),
        }
    }

    /// What the reference answers in this state, and the state it leaves.
    pub fn apply(&self, state: &mut State) -> Answer {
        match self {
            Op::Get(key) => Answer::Text(state[*key].clone()),
            Op::Set(key, value) => {
                state[*key] = Some(value.clone());
                Answer::Ok
            }
            Op::Incr(key) => incr(&mut state[*key]),
            Op::Append(key, tail) => {
                let text = state[*key].get_or_insert_default();
                text.push_str(tail);
                Answer::Int(text.len() as i64)
            }
            Op::MGet(keys) => {
                Answer::Many(keys.iter().map(|key| Answer::Text(state[*key].clone())).collect())
            }
            Op::MSet(pairs) => {
                pairs.iter().for_each(|(key, value)| state[*key] = Some(value.clone()));
                Answer::Ok
            }
            Op::MSetNx(pairs) => {
                let free = pairs.iter().all(|(key, _)| state[*key].is_none());
                if free {
                    pairs.iter().for_each(|(key, value)| state[*key] = Some(value.clone()));
                }
                Answer::Int(free.into())
            }
            Op::Del(keys) => {
                Answer::Int(keys.iter().filter(|key| state[**key].take().is_some()).count() as i64)
            }
            Op::Rename(from, to) => match state[*from].take() {
                Some(value) => {
                    state[*to] = Some(value);
                    Answer::Ok
                }
                None => Answer::Error,
            },
            Op::Copy(from, to) => copy(state, *from, *to),
            Op::Exec(ops) => Answer::Many(ops.iter().map(|op| op.apply(state)).collect()),
        }
    }
}

fn incr(value: &mut Option<String>) -> Answer {
    let old: i64 = match value {
        None => 0,
        Some(text) => match text.parse::<i64>() {
            // The protocol's integers have one spelling.
            Ok(number) if number.to_string() == *text => number,
            _ => return Answer::Error,
        },
    };
    match old.checked_add(1) {
        Some(new) => {
            *value = Some(new.to_string());
            Answer::Int(new)
        }
        None => Answer::Error,
    }
}

fn copy(state: &mut State, from: usize, to: usize) -> Answer {
    if from == to {
        return Answer::Error;
    }
    let copied = state[from].is_some() && state[to].is_none();
    if copied {
        state[to] = state[from].clone();
    }
    Answer::Int(copied.into())
}

/// Whether some order of the calls explains every answer. The order respects real time (a call that was answered
/// before another was sent precedes it) and, for calls of one client that name a common key, the client's own order:
/// calls in one pipeline overlap in real time but reach each key as they were sent.
pub fn linearizable(start: &State, calls: &[Call]) -> bool {
    assert!(calls.len() <= MOST_CALLS, "a round has at most {MOST_CALLS} calls");
    let before: Vec<u64> = calls.iter().enumerate().map(|(index, _)| predecessors(calls, index)).collect();
    let mut seen = HashSet::new();
    let mut stack = vec![(0u64, start.clone())];
    let all = if calls.len() == 64 { u64::MAX } else { (1 << calls.len()) - 1 };
    while let Some((done, state)) = stack.pop() {
        if done == all {
            return true;
        }
        for (index, call) in calls.iter().enumerate() {
            let bit = 1u64 << index;
            if done & bit != 0 || before[index] & !done != 0 {
                continue;
            }
            let mut next = state.clone();
            if call.answer == Answer::Unknown && seen.insert((done | bit, state.clone())) {
                stack.push((done | bit, state.clone()));
            }
            let answer = call.op.apply(&mut next);
            let fits = answer == call.answer || call.answer == Answer::Unknown;
            if fits && seen.insert((done | bit, next.clone())) {
                stack.push((done | bit, next));
            }
        }
    }
    false
}

fn predecessors(calls: &[Call], index: usize) -> u64 {
    let call = &calls[index];
    let keys = call.op.keys();
    let mut mask = 0;
    for (other_index, other) in calls.iter().enumerate() {
        let shares = || other.op.keys().iter().any(|key| keys.contains(key));
        if other.to < call.from || (other.client == call.client && other_index < index && shares()) {
            mask |= 1 << other_index;
        }
    }
    mask
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock;

    /// Calls given as (client, from, to, op, answer), times in milliseconds.
    fn calls(rows: &[(usize, u64, u64, Op, Answer)]) -> Vec<Call> {
        let zero = clock::now();
        let at = |ms: u64| zero + Duration::from_millis(ms);
        let call = |row: &(usize, u64, u64, Op, Answer)| Call {
            client: row.0,
            from: at(row.1),
            to: at(row.2),
            op: row.3.clone(),
            answer: row.4.clone(),
        };
        rows.iter().map(call).collect()
    }

    fn text(text: &str) -> Answer {
        Answer::Text(Some(text.to_owned()))
    }

    #[test]
    fn a_stale_read_is_refused_and_a_concurrent_one_is_not() {
        let set = Op::Set(0, "1".to_owned());
        let stale = calls(&[(0, 0, 1, set.clone(), Answer::Ok), (1, 2, 3, Op::Get(0), Answer::Text(None))]);
        assert!(!linearizable(&State::default(), &stale));
        let concurrent = calls(&[(0, 0, 3, set, Answer::Ok), (1, 2, 4, Op::Get(0), Answer::Text(None))]);
        assert!(linearizable(&State::default(), &concurrent));
    }

    #[test]
    fn half_an_mset_is_refused() {
        let set = Op::MSet(vec![(0, "1".to_owned()), (1, "1".to_owned())]);
        let half = Answer::Many(vec![text("1"), Answer::Text(None)]);
        let history = calls(&[(0, 0, 9, set.clone(), Answer::Ok), (1, 1, 8, Op::MGet(vec![0, 1]), half)]);
        assert!(!linearizable(&State::default(), &history));
        let whole = Answer::Many(vec![text("1"), text("1")]);
        let history = calls(&[(0, 0, 9, set, Answer::Ok), (1, 1, 8, Op::MGet(vec![0, 1]), whole)]);
        assert!(linearizable(&State::default(), &history));
    }

    #[test]
    fn a_pipeline_keeps_the_order_of_each_key() {
        let incr = |answer| (0, 0, 9, Op::Incr(0), Answer::Int(answer));
        assert!(linearizable(&State::default(), &calls(&[incr(1), incr(2)])));
        assert!(!linearizable(&State::default(), &calls(&[incr(2), incr(1)])));
    }

    #[test]
    fn two_readers_must_agree_on_the_order_of_two_writes() {
        let set = |client, value: &str| (client, 0, 9, Op::Set(0, value.to_owned()), Answer::Ok);
        let get = |client, from, value| (client, from, from + 1, Op::Get(0), text(value));
        let split = calls(&[set(0, "a"), set(1, "b"), get(2, 1, "a"), get(3, 3, "b"), get(2, 5, "a")]);
        assert!(!linearizable(&State::default(), &split));
    }
}
