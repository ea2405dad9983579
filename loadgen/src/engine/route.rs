//! Which connection takes the next request.

use super::connection::Connection;

/// Connections of one thread take turns. What falls due together goes to one of them as far as it has room, for that is
/// one write; then it is the next one's turn.
#[derive(Default)]
pub struct Router {
    turn: usize,
}

impl Router {
    /// The first connection in turn with room, with at most `pipeline` outstanding on each.
    pub fn pick(&mut self, connections: &[Connection], pipeline: usize) -> Option<usize> {
        let (before, from) = connections.split_at(self.turn);
        let found = from.iter().chain(before).position(|connection| connection.room(pipeline) > 0)?;
        self.turn = (self.turn + found) % connections.len();
        Some(self.turn)
    }

    /// What was due has been given out.
    pub fn advance(&mut self, connections: &[Connection]) {
        self.turn = (self.turn + 1) % connections.len();
    }
}
