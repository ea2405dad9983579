//! Closed loop: the room that connections had when they were last refilled and that was not used up, since one turn of
//! the worker's loop sends so much and no more. Whoever is owed something is not refilled otherwise.

use std::collections::VecDeque;

use super::super::connection::Connection;

#[derive(Default)]
pub struct Owed {
    debts: Vec<Debt>,
    /// Whose turn it is.
    queue: VecDeque<usize>,
}

#[derive(Clone, Default)]
struct Debt {
    requests: usize,
    queued: bool,
}

impl Owed {
    /// Requests that connection `index` is owed.
    pub fn to(&self, index: usize) -> usize {
        self.debts.get(index).map_or(0, |debt| debt.requests)
    }

    pub fn put(&mut self, index: usize, requests: usize) {
        if self.debts.len() <= index {
            self.debts.resize(index + 1, Debt::default());
        }
        self.debts[index].requests = requests;
    }

    /// Lets connection `index` wait for its turn if it is owed anything and can take it: one whose output is full will
    /// be heard of when the kernel has taken some.
    pub fn wake(&mut self, index: usize, connection: &Connection) {
        let Some(debt) = self.debts.get_mut(index) else { return };
        if debt.requests > 0 && !debt.queued && !connection.full() {
            debt.queued = true;
            self.queue.push_back(index);
        }
    }

    /// The connection whose turn it is.
    pub fn take_first(&mut self) -> Option<usize> {
        let index = self.queue.pop_front()?;
        self.debts[index].queued = false;
        Some(index)
    }

    /// Whether any connection waits for its turn.
    pub fn waiting(&self) -> bool {
        !self.queue.is_empty()
    }
}
