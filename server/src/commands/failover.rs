//! FAILOVER: the primary hands its role to a replica.

use super::refusals::quoted;
use super::{Args, Command, Core, Flags, Group, ReplicaFacts, ReplicaState, ReplicationFacts, Run, Task};
use crate::resp::Refusal;

/// What FAILOVER asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FailoverPlan {
    /// Host and port of the replica, as INFO names it; none: the first that has everything.
    pub target: Option<(Box<str>, u16)>,
    pub timeout_ms: Option<u64>,
    /// Do not give up after the timeout: hand over to one that lacks something.
    pub force: bool,
}

impl FailoverPlan {
    pub const UNDER_WAY: &str = "ERR FAILOVER already in progress.";
    pub const NOT_UNDER_WAY: &str = "ERR No failover in progress.";
    pub const NOT_HERE: &str = "ERR FAILOVER is not valid when server is a replica.";

    /// `Err`: why these replicas cannot take over so.
    pub fn check(&self, replicas: &[ReplicaFacts]) -> Result<(), &'static str> {
        if replicas.is_empty() {
            return Err("ERR FAILOVER requires connected replicas.");
        }
        if self.force && (self.timeout_ms.is_none() || self.target.is_none()) {
            return Err("ERR FAILOVER with force option requires both a timeout and target HOST and IP.");
        }
        let Some((host, port)) = &self.target else { return Ok(()) };
        match replicas.iter().find(|replica| replica.port == *port && replica.ip.eq_ignore_ascii_case(host)) {
            None => Err("ERR FAILOVER target HOST and PORT is not a replica."),
            Some(replica) if replica.state != ReplicaState::Online => {
                Err("ERR FAILOVER target replica is not online.")
            }
            Some(_) => Ok(()),
        }
    }

    /// As above, by what is known of the server: `Err`, too, if it is no primary, or in the midst of one.
    pub fn check_server(&self, facts: &ReplicationFacts) -> Result<(), &'static str> {
        if facts.failover != FailoverState::None {
            return Err(FailoverPlan::UNDER_WAY);
        }
        if facts.primary.is_some() {
            return Err(FailoverPlan::NOT_HERE);
        }
        self.check(&facts.replicas)
    }
}

/// How far a failover is, named as INFO names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailoverState {
    #[default]
    None,
    WaitingForSync,
    InProgress,
}

impl FailoverState {
    pub fn name(self) -> &'static str {
        match self {
            FailoverState::None => "no-failover",
            FailoverState::WaitingForSync => "waiting-for-sync",
            FailoverState::InProgress => "failover-in-progress",
        }
    }
}

pub const COMMANDS: &[Command] = &[Command {
    name: "failover",
    full_name: "failover",
    arity: -1,
    flags: Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::STALE),
    run: Run::Node(failover),
    group: Group::Server,
    since: "6.2.0",
    summary: "Hands the role of primary to a replica, without losing a write.",
    syntax: "[TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds]",
    ..Command::BASE
}];

fn failover(_core: &Core, args: &mut Args) -> Result<Task, Refusal> {
    if args.remaining() == 1 && args.option("ABORT") {
        return Ok(Task::AbortFailover);
    }
    let mut plan = FailoverPlan::default();
    while !args.is_empty() {
        let left = args.remaining();
        if left > 1 && plan.timeout_ms.is_none() && args.option("TIMEOUT") {
            let ms = u64::try_from(args.int()?).ok().filter(|ms| *ms > 0);
            plan.timeout_ms = Some(ms.ok_or(Refusal::err("FAILOVER timeout must be greater than 0"))?);
        } else if left > 2 && plan.target.is_none() && args.option("TO") {
            let host = quoted(args.take()?).into();
            // No replica has a port that is none.
            plan.target = Some((host, u16::try_from(args.int()?).unwrap_or_default()));
        } else if !plan.force && args.option("FORCE") {
            plan.force = true;
        } else {
            return Err(Refusal::Syntax);
        }
    }
    Ok(Task::Failover(plan))
}

#[cfg(test)]
mod tests {
    use super::super::shell::Shell;
    use super::*;
    use crate::resp::OwnedArgv;

    fn asked(line: &str) -> Result<Task, String> {
        let shell = Shell::new(1);
        let argv = OwnedArgv::from_iter(line.split(' ').map(str::as_bytes));
        let mut args = Args::new(argv.borrow(), 1, &shell.hasher);
        failover(&shell.cores[0], &mut args).map_err(|refusal| refusal.line().into_owned())
    }

    #[test]
    fn options_come_in_any_order_and_once() {
        let target = Some(("10.0.0.2".into(), 7002));
        let plan = FailoverPlan { target, timeout_ms: Some(50), force: true };
        assert_eq!(asked("FAILOVER"), Ok(Task::Failover(FailoverPlan::default())));
        for line in
            ["FAILOVER TO 10.0.0.2 7002 FORCE TIMEOUT 50", "FAILOVER timeout 50 force to 10.0.0.2 7002"]
        {
            assert_eq!(asked(line), Ok(Task::Failover(plan.clone())), "{line}");
        }
        assert_eq!(asked("FAILOVER abort"), Ok(Task::AbortFailover));
        for line in
            ["x", "ABORT now", "TO a", "FORCE FORCE", "TIMEOUT 5 TIMEOUT 6", "TO a 1 TO b 2", "TIMEOUT"]
        {
            assert_eq!(asked(&format!("FAILOVER {line}")), Err("ERR syntax error".to_owned()), "{line}");
        }
        for line in ["TIMEOUT x", "TO a x"] {
            let why = "ERR value is not an integer or out of range".to_owned();
            assert_eq!(asked(&format!("FAILOVER {line}")), Err(why), "{line}");
        }
        let why = "ERR FAILOVER timeout must be greater than 0".to_owned();
        assert_eq!(asked("FAILOVER TIMEOUT 0"), Err(why));
    }
}
