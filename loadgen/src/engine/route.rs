//! Which connection takes the next request.

use super::connection::Connection;
use crate::traffic::Request;

/// Connections of one thread take turns.
#[derive(Default)]
pub struct Router {
    turn: usize,
}

impl Router {
    /// The next connection in turn with room for `request`, with at most `pipeline` outstanding on each.
    pub fn pick(&mut self, connections: &[Connection], pipeline: usize, _request: Request) -> Option<usize> {
        let count = connections.len();
        let mut index = self.turn;
        for _ in 0..count {
            let connection = &connections[index];
            let after = if index + 1 == count { 0 } else { index + 1 };
            if connection.alive() && connection.outstanding() < pipeline {
                self.turn = after;
                return Some(index);
            }
            index = after;
        }
        None
    }
}
