//! Key locks of one shard, held only by transactions over several shards and by what waits behind them.
//!
//! Every owner waits only for owners of a lower or equal order: a ticket that would have to wait for a
//! higher one is refused and comes back with a new number. Waits therefore cannot form a cycle, on one
//! shard or across shards, and no transaction needs a time-out.
//!
//! Keys are locked by their 64-bit hash: two keys that share one merely wait for each other. Databases
//! are not told apart, so SELECT inside MULTI does not matter to locking.

use std::collections::HashMap;

use crate::commands::Access;

/// Who holds or awaits locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Owner {
    /// A transaction over several shards, by ticket.
    Ticket(u64),
    /// A command of this shard alone, by its place in the shard's parking.
    Parked(usize),
}

/// What an owner asks for: keys by hash, or the whole shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LockSet {
    pub keys: Vec<(u64, Access)>,
    pub whole: Option<Access>,
}

impl LockSet {
    /// Locks each key once, for writing if any of its uses writes.
    pub fn normalise(&mut self) {
        self.keys.sort_unstable_by_key(|&(key, access)| (key, access == Access::Read));
        self.keys.dedup_by_key(|(key, _)| *key);
    }

    fn writes(&self) -> bool {
        self.whole == Some(Access::Write) || self.keys.iter().any(|&(_, access)| access == Access::Write)
    }
}

/// Lock modes as a bit each, so that what is ahead in a queue is one mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    IntentRead = 1,
    IntentWrite = 2,
    Read = 4,
    Write = 8,
}

impl Mode {
    /// Modes that cannot be held beside this one.
    fn excludes(self) -> u8 {
        match self {
            Mode::IntentRead => Mode::Write as u8,
            Mode::IntentWrite => Mode::Read as u8 | Mode::Write as u8,
            Mode::Read => Mode::IntentWrite as u8 | Mode::Write as u8,
            Mode::Write => u8::MAX,
        }
    }

    fn intent(access: Access) -> Mode {
        if access == Access::Read { Mode::IntentRead } else { Mode::IntentWrite }
    }

    fn full(access: Access) -> Mode {
        if access == Access::Read { Mode::Read } else { Mode::Write }
    }
}

#[derive(Debug)]
struct Waiter {
    owner: Owner,
    mode: Mode,
    /// The ticket, or for a parked command the highest order it waits behind.
    order: u64,
    blocked: bool,
}

#[derive(Debug, Default)]
struct Holding {
    /// Queue names: the key's hash, or `None` for the whole shard.
    queues: Vec<Option<u64>>,
    /// Queues in which something ahead excludes this owner.
    blocked: usize,
}

#[derive(Debug, Default)]
pub struct Locks {
    keys: HashMap<u64, Vec<Waiter>>,
    whole: Vec<Waiter>,
    owners: HashMap<Owner, Holding>,
}

impl Locks {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.owners.is_empty()
    }

    /// Whether `set` cannot be had at once.
    pub fn conflict(&self, set: &LockSet) -> bool {
        requests(set).any(|(name, mode)| self.queue(name).iter().any(|ahead| excludes(mode, ahead)))
    }

    /// The highest order among owners that `set` would wait for.
    fn highest_ahead(&self, set: &LockSet) -> u64 {
        let ahead = |(name, mode)| {
            self.queue(name).iter().filter(move |ahead| excludes(mode, ahead)).map(|ahead| ahead.order).max()
        };
        requests(set).filter_map(ahead).max().unwrap_or(0)
    }

    /// Queues a ticket's locks: `None` if it would wait for a higher ticket (nothing is queued then),
    /// else whether it holds them all at once.
    pub fn schedule(&mut self, ticket: u64, set: &LockSet) -> Option<bool> {
        (self.highest_ahead(set) <= ticket).then(|| self.enqueue(Owner::Ticket(ticket), ticket, set))
    }

    /// Queues a command of this shard behind what it conflicts with; true if nothing does.
    pub fn park(&mut self, place: usize, set: &LockSet) -> bool {
        self.enqueue(Owner::Parked(place), self.highest_ahead(set), set)
    }

    fn enqueue(&mut self, owner: Owner, order: u64, set: &LockSet) -> bool {
        let mut holding = Holding::default();
        for (name, mode) in requests(set) {
            let queue = match name {
                Some(key) => self.keys.entry(key).or_default(),
                None => &mut self.whole,
            };
            let blocked = queue.iter().any(|ahead| excludes(mode, ahead));
            queue.push(Waiter { owner, mode, order, blocked });
            holding.queues.push(name);
            holding.blocked += usize::from(blocked);
        }
        let granted = holding.blocked == 0;
        self.owners.insert(owner, holding);
        granted
    }

    /// Lets go of all that `owner` holds or awaits; those that hold all their locks now go to `granted`.
    pub fn release(&mut self, owner: Owner, granted: &mut Vec<Owner>) {
        let Some(holding) = self.owners.remove(&owner) else { return };
        for name in holding.queues {
            let queue = match name {
                Some(key) => self.keys.get_mut(&key).expect("an owner's queue exists while it waits in it"),
                None => &mut self.whole,
            };
            queue.retain(|waiter| waiter.owner != owner);
            let mut ahead = 0u8;
            for waiter in queue.iter_mut() {
                if waiter.blocked && waiter.mode.excludes() & ahead == 0 {
                    waiter.blocked = false;
                    let holding = self.owners.get_mut(&waiter.owner).expect("a waiter has an owner");
                    holding.blocked -= 1;
                    if holding.blocked == 0 {
                        granted.push(waiter.owner);
                    }
                }
                ahead |= waiter.mode as u8;
            }
            if let (Some(key), true) = (name, queue.is_empty()) {
                self.keys.remove(&key);
            }
        }
    }

    fn queue(&self, name: Option<u64>) -> &[Waiter] {
        match name {
            Some(key) => self.keys.get(&key).map_or(&[], Vec::as_slice),
            None => &self.whole,
        }
    }

    /// Every owner is blocked exactly where something ahead excludes it, and only by lower or equal orders.
    pub fn check_invariants(&self) {
        let queues = self.keys.values().chain(std::iter::once(&self.whole));
        let mut blocked: HashMap<Owner, usize> = HashMap::new();
        for queue in queues {
            for (index, waiter) in queue.iter().enumerate() {
                let mut ahead = queue[..index].iter().filter(|ahead| excludes(waiter.mode, ahead)).peekable();
                assert_eq!(waiter.blocked, ahead.peek().is_some(), "{waiter:?}");
                assert!(
                    ahead.all(|ahead| ahead.order <= waiter.order),
                    "{waiter:?} waits for a higher order"
                );
                *blocked.entry(waiter.owner).or_default() += usize::from(waiter.blocked);
            }
        }
        for (owner, holding) in &self.owners {
            assert_eq!(blocked.get(owner).copied().unwrap_or(0), holding.blocked, "{owner:?}");
        }
    }
}

fn excludes(mode: Mode, ahead: &Waiter) -> bool {
    mode.excludes() & ahead.mode as u8 != 0
}

/// The queues a set asks for and the mode in each: keys take the shard's own lock by intent.
fn requests(set: &LockSet) -> impl Iterator<Item = (Option<u64>, Mode)> + '_ {
    let whole = match set.whole {
        Some(access) => Some(Mode::full(access)),
        None if set.keys.is_empty() => None,
        None => Some(Mode::intent(if set.writes() { Access::Write } else { Access::Read })),
    };
    let keys = set.keys.iter().map(|&(key, access)| (Some(key), Mode::full(access)));
    whole.map(|mode| (None, mode)).into_iter().chain(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(keys: &[(u64, Access)]) -> LockSet {
        LockSet { keys: keys.to_vec(), whole: None }
    }

    #[test]
    fn readers_share_and_writers_wait_in_order() {
        let mut locks = Locks::default();
        let (read, write) = (set(&[(7, Access::Read)]), set(&[(7, Access::Write)]));
        assert_eq!(locks.schedule(1, &read), Some(true));
        assert_eq!(locks.schedule(2, &read), Some(true));
        assert_eq!(locks.schedule(3, &write), Some(false));
        assert_eq!(locks.schedule(4, &read), Some(false), "a reader does not overtake a waiting writer");
        locks.check_invariants();
        let mut granted = Vec::new();
        locks.release(Owner::Ticket(1), &mut granted);
        assert_eq!(granted, []);
        locks.release(Owner::Ticket(2), &mut granted);
        assert_eq!(granted, [Owner::Ticket(3)]);
        granted.clear();
        locks.release(Owner::Ticket(3), &mut granted);
        assert_eq!(granted, [Owner::Ticket(4)]);
        granted.clear();
        locks.release(Owner::Ticket(4), &mut granted);
        assert!(locks.is_empty() && locks.keys.is_empty() && locks.whole.is_empty());
    }

    #[test]
    fn a_lower_ticket_is_refused_behind_a_higher_one_unless_they_share() {
        let mut locks = Locks::default();
        assert_eq!(locks.schedule(5, &set(&[(1, Access::Write)])), Some(true));
        assert_eq!(locks.schedule(4, &set(&[(1, Access::Write)])), None);
        assert_eq!(locks.schedule(4, &set(&[(2, Access::Write)])), Some(true));
    }

    #[test]
    fn a_parked_command_counts_as_high_as_what_it_waits_for() {
        let mut locks = Locks::default();
        locks.schedule(5, &set(&[(1, Access::Write)]));
        locks.schedule(9, &set(&[(2, Access::Write)]));
        assert!(!locks.park(0, &set(&[(1, Access::Write), (2, Access::Write)])));
        // It waits on key 1 behind a command that waits for 9: admitting 8 could close a cycle.
        assert_eq!(locks.schedule(8, &set(&[(1, Access::Write)])), None);
        assert_eq!(locks.schedule(10, &set(&[(1, Access::Write)])), Some(false));
        locks.check_invariants();
    }

    #[test]
    fn the_whole_shard_excludes_keys() {
        let mut locks = Locks::default();
        let whole = |access| LockSet { keys: Vec::new(), whole: Some(access) };
        assert_eq!(locks.schedule(1, &whole(Access::Read)), Some(true));
        assert!(!locks.conflict(&set(&[(3, Access::Read)])));
        assert!(locks.conflict(&set(&[(3, Access::Write)])));
        assert_eq!(locks.schedule(2, &whole(Access::Write)), Some(false));
        assert!(locks.conflict(&set(&[(3, Access::Read)])));
        locks.check_invariants();
    }
}
