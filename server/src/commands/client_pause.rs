//! CLIENT PAUSE and UNPAUSE: clients' commands wait for a while. The sessions do the waiting, each on its own core.

use super::refusals::subcommand_arity;
use super::{Args, Command, Core, Ctx, Flags};
use crate::resp::{Refusal, parse_i64};

/// What CLIENT PAUSE asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientPause {
    /// All commands wait, not only those that may change data.
    pub all: bool,
    /// Unix ms.
    pub until: i64,
}

impl ClientPause {
    /// Whether a command of this row waits.
    pub fn holds(self, row: &Command) -> bool {
        self.all || row.flags.intersects(Flags::WRITE.union(Flags::MAY_REPLICATE))
    }
}

/// A later pause can make one that lasts longer and holds more, never less.
pub fn pause(core: &mut Core, ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    if args.remaining() > 2 {
        return Err(subcommand_arity(args.argv()));
    }
    let timeout = args.take()?;
    let all = args.option("ALL") || !args.option("WRITE");
    if !args.is_empty() {
        return Err(Refusal::err("CLIENT PAUSE mode must be WRITE or ALL"));
    }
    let timeout = parse_i64(timeout).ok_or(Refusal::err("timeout is not an integer or out of range"))?;
    if timeout < 0 {
        return Err(Refusal::err("timeout is negative"));
    }
    let until = core.now.checked_add(timeout).ok_or(Refusal::err("timeout is out of range"))?;
    let before = core.client_pause.unwrap_or(ClientPause { all: false, until: 0 });
    core.client_pause = Some(ClientPause { all: all || before.all, until: until.max(before.until) });
    ctx.reply.ok();
    Ok(())
}

/// The pause is over at once: the turn ends it, with what waited.
pub fn unpause(core: &mut Core, ctx: &mut Ctx, _args: &mut Args) -> Result<(), Refusal> {
    if let Some(pause) = &mut core.client_pause {
        pause.until = 0;
    }
    ctx.reply.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::shell::Shell;
    use super::*;

    #[test]
    fn a_later_pause_never_ends_an_earlier_one_sooner() {
        let mut shell = Shell::new(2);
        assert_eq!(shell.run("CLIENT PAUSE 1000 write"), "+OK|");
        assert_eq!(shell.run("CLIENT PAUSE 500"), "+OK|");
        let core = &shell.cores[0];
        let pause = core.client_pause;
        assert_eq!(pause, Some(ClientPause { all: true, until: core.now + 1000 }));
        assert_eq!(shell.run("CLIENT UNPAUSE"), "+OK|");
        assert_eq!(shell.cores[1].client_pause.map(|pause| pause.until), Some(0));
    }

    #[test]
    fn what_is_no_pause_is_refused() {
        let mut shell = Shell::new(1);
        let integer = "-ERR timeout is not an integer or out of range|";
        let arity = "-ERR unknown subcommand or wrong number of arguments for 'PAUSE'. Try CLIENT HELP.|";
        for (command, refusal) in [
            ("CLIENT PAUSE x", integer),
            ("CLIENT PAUSE x sometimes", "-ERR CLIENT PAUSE mode must be WRITE or ALL|"),
            ("CLIENT PAUSE -1", "-ERR timeout is negative|"),
            ("CLIENT PAUSE 9223372036854775807", "-ERR timeout is out of range|"),
            ("CLIENT PAUSE 1 WRITE ALL", arity),
        ] {
            assert_eq!(shell.run(command), refusal, "{command}");
        }
        assert_eq!(shell.cores[0].client_pause, None);
    }
}
