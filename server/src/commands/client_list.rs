//! CLIENT LIST and CLIENT KILL: every core looks at its own connections.

use super::parts::{all_elements, bulk, integer, sum};
use super::refusals::quoted;
use super::{Args, Ask, Client, ClientFlags, Core, Ctx, Task};
use crate::resp::{Refusal, Reply, elements, parse_i64};

impl Client {
    /// One line of CLIENT LIST, without its line end. Times are in seconds, sizes in bytes.
    pub fn describe(&self, now: i64) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let multi = if self.is(ClientFlags::MULTI) { self.queued as i64 } else { -1 };
        format!(
            "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={} db={} sub=0 psub=0 ssub=0 multi={} \
             qbuf={} qbuf-free=0 argv-mem=0 multi-mem={} rbs=0 rbp=0 obl={} oll=0 omem={} tot-mem={} \
             events=r cmd={} user={} redir=-1 resp={} lib-name={} lib-ver={}",
            self.id,
            self.addr,
            self.laddr,
            self.fd,
            text(&self.name),
            (now - self.created).max(0) / 1000,
            (now - self.last_active).max(0) / 1000,
            self.flag_letters(),
            self.db,
            multi,
            self.input_bytes,
            self.multi_bytes,
            self.output_bytes,
            self.output_bytes,
            self.memory(),
            self.last_command,
            if self.is(ClientFlags::PRIMARY) { "(superuser)" } else { "default" },
            if self.resp3 { 3 } else { 2 },
            text(&self.lib_name),
            text(&self.lib_ver),
        )
    }

    /// Bytes the connection holds, its buffers included.
    pub fn memory(&self) -> usize {
        size_of::<Client>() + self.input_bytes + self.output_bytes + self.multi_bytes
    }

    /// Whether the peer is on this machine.
    pub fn is_local(&self) -> bool {
        let local = ["127.", "[::1]:", "[::ffff:127."];
        self.is(ClientFlags::UNIX_SOCKET) || local.iter().any(|prefix| self.addr.starts_with(prefix))
    }

    fn flag_letters(&self) -> String {
        const LETTERS: &[(ClientFlags, char)] = &[
            (ClientFlags::REPLICA, 'S'),
            (ClientFlags::PRIMARY, 'M'),
            (ClientFlags::MULTI, 'x'),
            (ClientFlags::BLOCKED, 'b'),
            (ClientFlags::CLOSE_AFTER_REPLY, 'c'),
            (ClientFlags::KILLED, 'A'),
            (ClientFlags::UNIX_SOCKET, 'U'),
            (ClientFlags::NO_EVICT, 'e'),
            (ClientFlags::NO_TOUCH, 'T'),
        ];
        let letters: String =
            LETTERS.iter().filter(|(flag, _)| self.is(*flag)).map(|(_, letter)| *letter).collect();
        if letters.is_empty() { "N".to_owned() } else { letters }
    }
}

/// What kind of connection CLIENT LIST and KILL can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Normal,
    Master,
    Replica,
    Pubsub,
}

impl Type {
    fn parse(word: &[u8]) -> Result<Type, Refusal> {
        const WORDS: &[(&str, Type)] = &[
            ("normal", Type::Normal),
            ("slave", Type::Replica),
            ("replica", Type::Replica),
            ("pubsub", Type::Pubsub),
            ("master", Type::Master),
        ];
        let known = WORDS.iter().find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes()));
        known
            .map(|(_, kind)| *kind)
            .ok_or_else(|| Refusal::Err(format!("Unknown client type '{}'", quoted(word)).into()))
    }
}

/// There is no pub/sub.
fn type_of(client: &Client) -> Type {
    match client {
        _ if client.is(ClientFlags::REPLICA) => Type::Replica,
        _ if client.is(ClientFlags::PRIMARY) => Type::Master,
        _ => Type::Normal,
    }
}

/// Which connections CLIENT KILL means: those that fit whatever is given.
#[derive(Debug, Default)]
struct Filter<'a> {
    id: Option<u64>,
    kind: Option<Type>,
    addr: Option<&'a [u8]>,
    laddr: Option<&'a [u8]>,
    /// Seconds.
    max_age: Option<i64>,
    /// Whether the connection that asks is spared.
    spare_caller: bool,
}

impl<'a> Filter<'a> {
    /// `CLIENT KILL addr`, or pairs of filter and value.
    fn parse(args: &mut Args<'a>) -> Result<Filter<'a>, Refusal> {
        if args.remaining() == 1 {
            return Ok(Filter { addr: Some(args.take()?), ..Filter::default() });
        }
        let mut filter = Filter { spare_caller: true, ..Filter::default() };
        while !args.is_empty() {
            filter.parse_pair(args)?;
        }
        Ok(filter)
    }

    fn parse_pair(&mut self, args: &mut Args<'a>) -> Result<(), Refusal> {
        if args.remaining() < 2 {
            return Err(Refusal::Syntax);
        }
        if args.option("ID") {
            let id = parse_i64(args.take()?).filter(|id| *id > 0);
            self.id = Some(id.ok_or(Refusal::err("client-id should be greater than 0"))? as u64);
        } else if args.option("TYPE") {
            self.kind = Some(Type::parse(args.take()?)?);
        } else if args.option("ADDR") {
            self.addr = Some(args.take()?);
        } else if args.option("LADDR") {
            self.laddr = Some(args.take()?);
        } else if args.option("USER") {
            let user = args.take()?;
            if user != b"default" {
                return Err(Refusal::Err(format!("No such user '{}'", quoted(user)).into()));
            }
        } else if args.option("MAXAGE") {
            let age = args.int_or(Refusal::err("maxage is not an integer or out of range"))?;
            if age <= 0 {
                return Err(Refusal::err("maxage should be greater than 0"));
            }
            self.max_age = Some(age);
        } else if args.option("SKIPME") {
            self.spare_caller = match args.take()? {
                word if word.eq_ignore_ascii_case(b"yes") => true,
                word if word.eq_ignore_ascii_case(b"no") => false,
                _ => return Err(Refusal::Syntax),
            };
        } else {
            return Err(Refusal::Syntax);
        }
        Ok(())
    }

    fn matches(&self, client: &Client, caller: u64, now: i64) -> bool {
        let is = |wanted: Option<&[u8]>, text: &str| wanted.is_none_or(|wanted| wanted == text.as_bytes());
        !(self.spare_caller && client.id == caller)
            && self.id.is_none_or(|id| id == client.id)
            && self.kind.is_none_or(|kind| kind == type_of(client))
            && is(self.addr, &client.addr)
            && is(self.laddr, &client.laddr)
            && self.max_age.is_none_or(|age| (now - client.created) / 1000 >= age)
    }
}

/// Condemns this core's share, links between servers being the first core's, and answers how many. The caller, should it kill itself, still gets its reply.
pub fn kill(core: &mut Core, ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    let filter = Filter::parse(args)?;
    let mut killed = 0;
    for (key, client) in core.clients.iter_mut().filter(|(_, client)| !client.is(ClientFlags::APPLIER)) {
        let gone = client.is(ClientFlags::KILLED) || core.doomed.contains(&key);
        if gone || !filter.matches(client, core.caller, core.now) {
            continue;
        }
        killed += 1;
        if client.id == core.caller {
            client.flags.insert(ClientFlags::CLOSE_AFTER_REPLY);
        } else {
            core.doomed.push(key);
        }
    }
    let (caller, now) = (core.caller, core.now);
    let links = if core.index == 0 { &mut core.node.replication.links[..] } else { &mut [] };
    for link in links.iter_mut().filter(|link| !link.is(ClientFlags::KILLED)) {
        if filter.matches(link, caller, now) {
            killed += 1;
            link.flags.insert(ClientFlags::KILLED);
            core.asks.push(Ask { task: Task::EndLink(link.id), reply_to: None });
        }
    }
    ctx.reply.int(killed);
    Ok(())
}

pub fn merge_kill(parts: &[&[u8]], _core: &Core, args: &mut Args, reply: &mut Reply) -> Result<(), Refusal> {
    match (args.remaining(), sum(parts)) {
        (1, 0) => return Err(Refusal::err("No such client")),
        (1, _) => reply.ok(),
        (_, killed) => reply.int(killed),
    }
    Ok(())
}

/// Answers an array of pairs: id and line.
pub fn list(core: &mut Core, ctx: &mut Ctx, args: &mut Args) -> Result<(), Refusal> {
    let (kind, ids) = parse_list(args)?;
    let links = if core.index == 0 { &core.node.replication.links[..] } else { &[] };
    let wanted: Vec<&Client> = core
        .connections()
        .chain(links)
        .filter(|client| kind.is_none_or(|kind| kind == type_of(client)))
        .filter(|client| ids.as_ref().is_none_or(|ids| ids.contains(&client.id)))
        .collect();
    ctx.reply.array(wanted.len());
    for client in wanted {
        ctx.reply.array(2);
        ctx.reply.int(client.id as i64);
        ctx.reply.bulk(client.describe(core.now).as_bytes());
    }
    Ok(())
}

fn parse_list(args: &mut Args) -> Result<(Option<Type>, Option<Vec<u64>>), Refusal> {
    if args.is_empty() {
        return Ok((None, None));
    }
    if args.remaining() == 2 && args.option("TYPE") {
        return Ok((Some(Type::parse(args.take()?)?), None));
    }
    if args.remaining() < 2 || !args.option("ID") {
        return Err(Refusal::Syntax);
    }
    let mut ids = Vec::with_capacity(args.remaining());
    while !args.is_empty() {
        ids.push(args.int_or(Refusal::err("Invalid client ID"))? as u64);
    }
    Ok((None, Some(ids)))
}

/// Lines by increasing id, that is by age of connection.
pub fn merge_list(parts: &[&[u8]], _core: &Core, _args: &mut Args, reply: &mut Reply) -> Result<(), Refusal> {
    let mut lines: Vec<(i64, &[u8])> = all_elements(parts)
        .filter_map(|pair| {
            let mut pair = elements(pair);
            Some((integer(pair.next()?), bulk(pair.next()?)))
        })
        .collect();
    lines.sort_unstable();
    let mut text = Vec::new();
    for (_, line) in lines {
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    reply.verbatim("txt", &text);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::shell::Shell;
    use super::super::{Client, ClientFlags, Task};

    #[test]
    fn all_connections_of_all_cores_are_listed_by_id() {
        let mut shell = Shell::new(3);
        let all = shell.run("CLIENT LIST");
        let ids: Vec<_> = all.match_indices("id=").filter(|(at, _)| !all[..*at].ends_with("cl")).collect();
        assert_eq!(ids.len(), 3, "{all}");
        let place = |id: &str| all.find(id).unwrap_or_else(|| panic!("{id} in {all}"));
        assert!(place("id=1 ") < place("id=2 ") && place("id=2 ") < place("id=3 "));
        let one = shell.run("CLIENT LIST ID 2 99");
        assert!(one.contains("id=2 ") && !one.contains("id=1 "), "{one}");
        assert_eq!(shell.run("CLIENT LIST TYPE pubsub"), "$0||");
        assert_eq!(shell.run("CLIENT LIST TYPE x"), "-ERR Unknown client type 'x'|");
        assert_eq!(shell.run("CLIENT LIST ID x"), "-ERR Invalid client ID|");
        for bad in ["CLIENT LIST ID", "CLIENT LIST x", "CLIENT LIST TYPE normal ID 1"] {
            assert_eq!(shell.run(bad), "-ERR syntax error|", "{bad}");
        }
    }

    #[test]
    fn connections_are_killed_by_filter() {
        let mut shell = Shell::new(3);
        assert_eq!(shell.run("CLIENT KILL ID 2"), ":1|");
        assert_eq!(shell.cores[1].doomed.len(), 1);
        assert_eq!(shell.run("CLIENT KILL ID 2"), ":0|");
        assert_eq!(shell.run("CLIENT KILL ID 1"), ":0|");
        assert_eq!(shell.run("CLIENT KILL MAXAGE 1000"), ":0|");
        assert_eq!(shell.run("CLIENT KILL TYPE normal ADDR 127.0.0.1:3"), ":1|");
        assert_eq!(shell.run("CLIENT KILL 127.0.0.1:9"), "-ERR No such client|");
        assert!(!shell.client().is(ClientFlags::CLOSE_AFTER_REPLY));
        assert_eq!(shell.run("CLIENT KILL 127.0.0.1:1"), "+OK|");
        assert!(shell.client().is(ClientFlags::CLOSE_AFTER_REPLY));
        assert_eq!(shell.run("CLIENT KILL USER default SKIPME no"), ":1|");
    }

    #[test]
    fn links_between_servers_are_listed_and_ended_by_type() {
        let mut shell = Shell::new(2);
        for (id, flag) in [(7, ClientFlags::REPLICA), (8, ClientFlags::PRIMARY)] {
            let mut link = Client::new(id, 9, format!("10.0.0.{id}:1").into(), "10.0.0.1:2".into(), 0);
            link.flags |= flag;
            shell.cores.iter_mut().for_each(|core| core.node.replication.links.push(link.clone()));
        }
        let listed = |shell: &mut Shell, what: &str| {
            let all = shell.run(format!("CLIENT LIST {what}").trim_end());
            all.split(['|', ' ', '\n']).filter(|word| word.starts_with("id=")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(listed(&mut shell, ""), "id=1 id=2 id=7 id=8");
        assert_eq!(listed(&mut shell, "TYPE replica"), "id=7");
        assert_eq!(listed(&mut shell, "TYPE master"), "id=8");
        assert_eq!(listed(&mut shell, "TYPE normal"), "id=1 id=2");
        assert!(
            shell.run("CLIENT LIST ID 7").contains(" flags=S ")
                && shell.run("CLIENT LIST ID 8").contains(" flags=M ")
        );
        assert_eq!(shell.run("CLIENT KILL TYPE slave"), ":1|");
        assert_eq!(shell.run("CLIENT KILL TYPE slave"), ":0|", "it is condemned already");
        assert_eq!(shell.run("CLIENT KILL 10.0.0.8:1"), "+OK|");
        let tasks: Vec<_> = shell.cores[0].asks.iter().map(|ask| ask.task.clone()).collect();
        assert_eq!(tasks, [Task::EndLink(7), Task::EndLink(8)]);
    }

    #[test]
    fn bad_filters_are_refused() {
        let mut shell = Shell::new(2);
        for (command, error) in [
            ("ID 0", "client-id should be greater than 0"),
            ("ID x", "client-id should be greater than 0"),
            ("MAXAGE x", "maxage is not an integer or out of range"),
            ("MAXAGE 0", "maxage should be greater than 0"),
            ("USER x", "No such user 'x'"),
            ("TYPE x", "Unknown client type 'x'"),
            ("SKIPME x", "syntax error"),
            ("ADDR x ID", "syntax error"),
        ] {
            assert_eq!(shell.run(&format!("CLIENT KILL {command}")), format!("-ERR {error}|"));
        }
    }
}
