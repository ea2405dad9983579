//! HELP of every container, made from its rows.

use super::{Args, Command, Core, Flags, Group, Run, table};
use crate::resp::{Refusal, Reply};

/// The row of a container's HELP; each container names it in full for itself.
pub const fn help_row(full_name: &'static str, group: Group, since: &'static str) -> Command {
    Command {
        name: "help",
        full_name,
        arity: 2,
        flags: Flags::LOADING.union(Flags::STALE),
        run: Run::Session(help),
        group,
        since,
        summary: "Lists the subcommands.",
        ..Command::BASE
    }
}

fn help(_core: &mut Core, _client: usize, args: &mut Args, reply: &mut Reply) -> Result<(), Refusal> {
    let row = table().find(args.argv().get(0)).expect("HELP runs by its container's name");
    let container = table().row(row);
    reply.array(2 * container.subcommands.len() + 1);
    let name = container.name.to_ascii_uppercase();
    reply.simple(&format!("{name} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for sub in container.subcommands {
        let usage = format!("{} {}", sub.name.to_ascii_uppercase(), sub.syntax);
        reply.simple(usage.trim_end());
        reply.simple(&format!("    {}", sub.summary));
    }
    Ok(())
}
