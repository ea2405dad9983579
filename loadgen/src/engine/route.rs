//! Which connection takes the next request.

use std::ops::Range;

use super::connection::Connection;
use crate::plan::Plan;

/// Connections of one thread take turns. What falls due together goes to one of them as far as it has room, for that is
/// one write; then it is the next one's turn.
pub struct Router {
    /// One for each command if commands are kept apart, else one for all.
    turns: Vec<Turn>,
    apart: bool,
}

/// Whose turn it is among the connections from `first` on.
struct Turn {
    first: usize,
    count: usize,
    turn: usize,
}

impl Router {
    /// For a thread of the plan's run with so many connections.
    pub fn new(plan: &Plan, connections: usize) -> Self {
        let turn = |range: Range<usize>| Turn { first: range.start, count: range.len(), turn: 0 };
        let turns = if plan.apart {
            plan.shares(connections).into_iter().map(turn).collect()
        } else {
            vec![turn(0..connections)]
        };
        Self { turns, apart: plan.apart }
    }

    /// The first connection in turn with room for a request of `command`, with at most `pipeline` outstanding on each.
    pub fn pick(&mut self, command: u16, connections: &[Connection], pipeline: usize) -> Option<usize> {
        let Turn { first, count, turn } = &mut self.turns[if self.apart { usize::from(command) } else { 0 }];
        let connections = &connections[*first..*first + *count];
        let (before, from) = connections.split_at(*turn);
        let found = from.iter().chain(before).position(|connection| connection.room(pipeline) > 0)?;
        *turn = (*turn + found) % *count;
        Some(*first + *turn)
    }

    /// What was due has been given out.
    pub fn advance(&mut self) {
        for Turn { count, turn, .. } in self.turns.iter_mut().filter(|turn| turn.count > 0) {
            *turn = (*turn + 1) % *count;
        }
    }
}
