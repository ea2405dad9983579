//! Clients that wait until enough servers have their writes: WAIT and WAITAOF.

/// What a client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// So many replicas have applied the stream.
    Applied { replicas: usize },
    /// So many replicas have it on their disks, and, if `local`, so have we.
    Durable { local: bool, replicas: usize },
}

/// How many have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    pub local: bool,
    pub replicas: usize,
}

#[derive(Debug)]
struct Waiter<T> {
    who: T,
    goal: Goal,
    offset: u64,
    /// Ms; `None`: for ever.
    until: Option<u64>,
}

/// All who wait, `T` naming one.
#[derive(Debug)]
pub struct Waiters<T> {
    waiting: Vec<Waiter<T>>,
}

impl<T> Default for Waiters<T> {
    fn default() -> Self {
        Waiters { waiting: Vec::new() }
    }
}

impl<T> Waiters<T> {
    /// `who` waits for the stream up to `offset`, until `until`, ms.
    pub fn add(&mut self, who: T, goal: Goal, offset: u64, until: Option<u64>) {
        self.waiting.push(Waiter { who, goal, offset, until });
    }

    /// Those who are gone wait no more.
    pub fn forget(&mut self, is_gone: impl Fn(&T) -> bool) {
        self.waiting.retain(|waiter| !is_gone(&waiter.who));
    }

    /// All of them wait no more.
    pub fn drain(&mut self) -> impl Iterator<Item = T> {
        self.waiting.drain(..).map(|waiter| waiter.who)
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// When the next one's time is up, ms.
    pub fn next_end(&self) -> Option<u64> {
        self.waiting.iter().filter_map(|waiter| waiter.until).min()
    }

    /// Takes out those who have what they want or whose time is up. `reached` says how far a goal's offset has come.
    pub fn settle(
        &mut self,
        now: u64,
        reached: impl Fn(Goal, u64) -> Reached,
    ) -> impl Iterator<Item = (T, Goal, Reached)> {
        let done = move |waiter: &mut Waiter<T>| {
            let Reached { local, replicas } = reached(waiter.goal, waiter.offset);
            let well = match waiter.goal {
                Goal::Applied { replicas: wanted } => replicas >= wanted,
                Goal::Durable { local: here, replicas: wanted } => replicas >= wanted && (local || !here),
            };
            let over = well || waiter.until.is_some_and(|until| now >= until);
            over.then_some(Reached { local, replicas })
        };
        let mut settled = Vec::new();
        let mut index = 0;
        while index < self.waiting.len() {
            match done(&mut self.waiting[index]) {
                Some(reached) => {
                    let Waiter { who, goal, .. } = self.waiting.remove(index);
                    settled.push((who, goal, reached));
                }
                None => index += 1,
            }
        }
        settled.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiters_leave_when_they_have_enough_or_their_time_is_up() {
        let mut waiters = Waiters::default();
        waiters.add("two", Goal::Applied { replicas: 2 }, 10, None);
        waiters.add("late", Goal::Applied { replicas: 9 }, 10, Some(50));
        waiters.add("disk", Goal::Durable { local: true, replicas: 0 }, 20, Some(90));
        assert_eq!(waiters.next_end(), Some(50));
        let names = |waiters: &mut Waiters<&'static str>, now, reached: Reached| -> Vec<&str> {
            waiters.settle(now, |_, _| reached).map(|(who, ..)| who).collect()
        };
        assert!(names(&mut waiters, 10, Reached { local: false, replicas: 1 }).is_empty());
        assert_eq!(names(&mut waiters, 11, Reached { local: false, replicas: 2 }), ["two"]);
        assert_eq!(names(&mut waiters, 50, Reached { local: false, replicas: 2 }), ["late"]);
        assert_eq!(names(&mut waiters, 51, Reached { local: true, replicas: 0 }), ["disk"]);
        assert!(waiters.is_empty());
    }
}
