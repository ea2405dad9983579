//! FAILOVER on the primary: writes stop, a replica comes to have all there is, and this server asks it to take over.
//!
//! Knows when; pausing writes, the change of role and the link are the caller's business.

use super::primary::Primary;
use crate::commands::{FailoverPlan, FailoverState};

/// Where a replica is found: host and port.
pub type Address = (Box<str>, u16);

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Follow this replica, and ask it to be the primary.
    HandOver(Address),
    /// It comes to nothing: writes go on.
    Abort(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Writes that had begun are yet to end.
    Pausing,
    /// The stream stands still, and no replica is known to have all of it.
    Waiting,
    /// The replica has been chosen.
    HandingOver,
}

#[derive(Debug)]
pub struct Failover {
    target: Option<Address>,
    /// Ms; `None`: never.
    until: Option<u64>,
    force: bool,
    stage: Stage,
}

impl Failover {
    /// `Err`: why there can be none.
    pub fn begin(plan: FailoverPlan, primary: &Primary, now: u64) -> Result<Failover, &'static str> {
        plan.check(&primary.facts(now))?;
        let FailoverPlan { target, timeout_ms, force } = plan;
        let until = timeout_ms.map(|ms| now.saturating_add(ms));
        Ok(Failover { target, until, force, stage: Stage::Pausing })
    }

    pub fn state(&self) -> FailoverState {
        match self.stage {
            Stage::Pausing | Stage::Waiting => FailoverState::WaitingForSync,
            Stage::HandingOver => FailoverState::InProgress,
        }
    }

    /// Whether the stream has yet to come to stand.
    pub fn is_pausing(&self) -> bool {
        self.stage == Stage::Pausing
    }

    /// Whether the replica has been chosen: from here on only its answer, or somebody's word, ends it.
    pub fn hands_over(&self) -> bool {
        self.stage == Stage::HandingOver
    }

    /// No write is under way any more, nor will one begin: the stream's end stays where it is.
    pub fn frozen(&mut self) {
        if self.stage == Stage::Pausing {
            self.stage = Stage::Waiting;
        }
    }

    /// What is due, once. The stream ends at `end`.
    pub fn next(&mut self, primary: &Primary, end: u64, now: u64) -> Option<Step> {
        if self.hands_over() {
            return None;
        }
        let chosen = match &self.target {
            _ if self.until.is_some_and(|until| now >= until) => match self.target.take() {
                Some(target) if self.force => Some(target),
                _ => return Some(Step::Abort("no replica caught up before the timeout")),
            },
            _ if self.stage == Stage::Pausing => None,
            target => primary.caught_up(target.as_ref(), end),
        };
        let chosen = chosen?;
        self.stage = Stage::HandingOver;
        Some(Step::HandOver(chosen))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::{ReplicaIdentity, SyncRequest};
    use crate::replication::{Bounds, History, Next};

    const END: u64 = 100;

    fn plan(port: Option<u16>, timeout_ms: Option<u64>, force: bool) -> FailoverPlan {
        FailoverPlan { target: port.map(|port| ("10.0.0.9".into(), port)), timeout_ms, force }
    }

    /// With a replica on port 1 that has acknowledged up to 99, and one on port 2 that waits for its snapshot.
    fn primary() -> Primary {
        let bounds = Bounds {
            backlog: 1000,
            backlog_ttl_ms: 0,
            most_kept: 1000,
            timeout_ms: 1000,
            ping_ms: 1000,
            diskless: true,
            delay_ms: 0,
            most_waiting: 0,
            most_lag_ms: 1000,
        };
        let id = "a".repeat(40);
        let mut primary = Primary::new(History::new(id.clone()), bounds);
        for (port, offset) in [(1, 91), (2, -1)] {
            let request = SyncRequest::Partial { replid: id.as_str().into(), offset };
            let identity = ReplicaIdentity { port, eof: true, ..ReplicaIdentity::default() };
            primary.admit(u32::from(port), ("10.0.0.9:5".into(), request, identity), (90, None), 0);
        }
        primary.append(&[b'x'; 10], false);
        while let Some(Next::Send(_)) = primary.next_send(1) {
            primary.sent(1, 0);
        }
        acknowledge(&mut primary, END - 1);
        primary
    }

    fn acknowledge(primary: &mut Primary, offset: u64) {
        primary.received(1, format!("REPLCONF ACK {offset}\r\n").as_bytes(), 0);
    }

    #[test]
    fn it_needs_a_replica_that_could_take_over() {
        let primary = primary();
        let refused = |plan| Failover::begin(plan, &primary, 0).map(|_| ()).unwrap_err();
        let alone = Primary::new(History::new("b".repeat(40)), primary.bounds());
        let why = Failover::begin(plan(None, None, true), &alone, 0).map(|_| ()).unwrap_err();
        assert!(why.contains("requires connected replicas"));
        assert!(refused(plan(Some(1), None, true)).contains("with force option requires both"));
        assert!(refused(plan(None, Some(5), true)).contains("with force option requires both"));
        assert!(refused(plan(Some(3), None, false)).contains("is not a replica"));
        assert!(refused(plan(Some(2), None, false)).contains("is not online"));
        assert!(Failover::begin(plan(Some(1), Some(5), true), &primary, 0).is_ok());
    }

    #[test]
    fn the_replica_that_has_everything_is_asked() {
        let mut primary = primary();
        for port in [None, Some(1)] {
            acknowledge(&mut primary, END - 1);
            let mut failover = Failover::begin(plan(port, None, false), &primary, 0).unwrap();
            assert_eq!(failover.next(&primary, END - 1, 0), None, "writes are under way");
            failover.frozen();
            assert_eq!(failover.next(&primary, END, 10), None, "a byte is missing");
            assert_eq!(failover.state(), FailoverState::WaitingForSync);
            acknowledge(&mut primary, END);
            let target = ("10.0.0.9".into(), 1);
            assert_eq!(failover.next(&primary, END, 11), Some(Step::HandOver(target)));
            assert_eq!(
                (failover.state(), failover.next(&primary, END, 12)),
                (FailoverState::InProgress, None)
            );
            primary = self::primary();
        }
    }

    #[test]
    fn time_ends_it_or_forces_it() {
        let primary = primary();
        let mut patient = Failover::begin(plan(Some(1), Some(50), false), &primary, 0).unwrap();
        patient.frozen();
        assert_eq!(patient.next(&primary, END, 49), None);
        assert!(matches!(patient.next(&primary, END, 50), Some(Step::Abort(_))));
        let mut forced = Failover::begin(plan(Some(1), Some(50), true), &primary, 0).unwrap();
        assert_eq!(forced.next(&primary, END, 49), None);
        assert_eq!(forced.next(&primary, END, 50), Some(Step::HandOver(("10.0.0.9".into(), 1))));
    }
}
