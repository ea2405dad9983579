//! Which connection takes the next request.

use super::connection::Connection;

/// Connections of one thread take turns.
#[derive(Default)]
pub struct Router {
    turn: usize,
}

impl Router {
    /// The next connection in turn with room, with at most `pipeline` outstanding on each.
    pub fn pick(&mut self, connections: &[Connection], pipeline: usize) -> Option<usize> {
        let count = connections.len();
        let mut index = self.turn;
        for _ in 0..count {
            let connection = &connections[index];
            let after = if index + 1 == count { 0 } else { index + 1 };
            if connection.room(pipeline) > 0 {
                self.turn = after;
                return Some(index);
            }
            index = after;
        }
        None
    }
}
