//! For tests: runs command lines on cores and shards that live in one place, without sessions or meshes.

use super::{
    Args, Client, ClientFlags, Command, Core, Ctx, Data, Merge, NodeFacts, ReplicationFacts, Run, admit,
    admit_now, execute_local, refuse_unknown_command, refuse_unknown_subcommand, table,
};
use crate::config::Settings;
use crate::keyspace::{Encode, KeyHasher, Keyspace};
use crate::limits::SLOTS;
use crate::resp::{Argv, OwnedArgv, Refusal, Reply, elements};

/// 2023-11-14 22:13:20.123456 UTC.
pub const NOW_US: i64 = 1_700_000_000_123_456;

/// As many cores as asked for, each with its shard and one client; commands come from the client of core 0.
pub struct Shell {
    pub cores: Vec<Core>,
    pub data: Vec<Data>,
    pub hasher: KeyHasher,
}

impl Shell {
    pub fn new(shards: usize) -> Self {
        let hasher = KeyHasher::new(7);
        let replication = ReplicationFacts::alone(&"e".repeat(40));
        let node = NodeFacts { shards, run_id: "f".repeat(40), replication, ..NodeFacts::default() };
        let core = |index: usize| {
            let id = index as u64 + 1;
            let mut core = Core::new(index, Settings::default(), node.clone(), || 0);
            core.now = NOW_US / 1000;
            core.now_us = NOW_US;
            let addr = format!("127.0.0.1:{id}").into();
            let mut client = Client::new(id, 9, addr, "127.0.0.1:6379".into(), core.now);
            client.flags.insert(ClientFlags::AUTHENTICATED);
            core.clients.insert(Box::new(client));
            core
        };
        let shard = |index: usize| {
            let slots = SLOTS * index / shards..SLOTS * (index + 1) / shards;
            Data::new(Keyspace::new(16, slots, hasher.clone()), 3)
        };
        Shell { cores: (0..shards).map(core).collect(), data: (0..shards).map(shard).collect(), hasher }
    }

    /// The client that commands come from.
    pub fn client(&self) -> &Client {
        &self.cores[0].clients[0]
    }

    pub fn home(&self, key: &str) -> usize {
        let slot = self.hasher.key(key.as_bytes()).slot as usize;
        let owns = |data: &Data| data.keyspace.slots().contains(&slot);
        self.data.iter().position(owns).expect("every slot has a home")
    }

    pub fn set(&mut self, db: usize, key: &str, value: &[u8], expire: Option<i64>) {
        let home = self.home(key);
        let key = self.hasher.key(key.as_bytes());
        self.data[home].keyspace.put_str(db, &key, value, Encode::Auto, expire);
    }

    /// The reply with `|` for each line end. Arguments are separated by spaces; quotes keep them together.
    pub fn run(&mut self, line: &str) -> String {
        String::from_utf8_lossy(&self.raw(line)).replace("\r\n", "|")
    }

    pub fn raw(&mut self, line: &str) -> Vec<u8> {
        let argv = OwnedArgv::from_iter(split(line).iter().map(|word| word.as_bytes()));
        let argv = argv.borrow();
        let mut out = Vec::new();
        let resp3 = self.client().resp3;
        let mut reply = Reply::new(&mut out, resp3);
        let sub = (argv.len() > 1).then(|| argv.get(1));
        let outcome = match (table().resolve(argv.get(0), sub), table().find(argv.get(0))) {
            (Some(row), _) => self.execute(table().row(row), argv, &mut reply),
            (None, None) => {
                refuse_unknown_command(argv, &mut reply);
                Ok(())
            }
            (None, Some(container)) if sub.is_none() => Err(Refusal::Arity(table().row(container).full_name)),
            (None, Some(container)) => {
                refuse_unknown_subcommand(table().row(container), argv, &mut reply);
                Ok(())
            }
        };
        if let Err(refusal) = outcome {
            reply.refuse(&refusal);
        }
        out
    }

    fn execute(&mut self, row: &Command, argv: Argv, reply: &mut Reply) -> Result<(), Refusal> {
        admit(row, &self.cores[0], 0, argv)?;
        admit_now(row.flags, &self.cores[0], 0)?;
        let skip = if row.full_name.contains('|') { 2 } else { 1 };
        let hasher = self.hasher.clone();
        let mut args = Args::new(argv, skip, &hasher);
        match row.run {
            Run::Session(handler) => handler(&mut self.cores[0], 0, &mut args, reply),
            Run::EveryCore { part, merge, .. } => {
                let mut parts = Vec::new();
                for shard in 0..self.cores.len() {
                    let mut args = Args::new(argv, skip, &hasher);
                    self.cores[shard].caller = self.cores[0].clients[0].id;
                    let mut out = Vec::new();
                    self.with_ctx(shard, &mut out, |core, ctx| part(core, ctx, &mut args))?;
                    parts.push(out);
                }
                let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
                self.merge(merge, &parts, &mut args, reply)
            }
            Run::Split { .. } | Run::OneShard(_) | Run::Steps(_) => {
                let key = row.key_refs(argv).next().map_or(0, |key| key.index);
                let shard = self.home(&String::from_utf8_lossy(argv.get(key)));
                let mut out = Vec::new();
                self.with_ctx(shard, &mut out, |_, ctx| execute_local(row, ctx, &mut args))?;
                reply.raw(&out);
                Ok(())
            }
            Run::Container | Run::Walk(_) | Run::Control(_) | Run::Node(_) => {
                panic!("{} needs a coordinator", row.full_name)
            }
        }
    }

    fn with_ctx<T>(
        &mut self,
        shard: usize,
        out: &mut Vec<u8>,
        run: impl FnOnce(&mut Core, &mut Ctx) -> T,
    ) -> T {
        let client = self.client();
        let (db, resp3) = (client.db, client.resp3);
        let core = &mut self.cores[shard];
        let data = &mut self.data[shard];
        let mut ctx = Ctx { data, db, now: core.now, reply: Reply::new(out, resp3), no_touch: false };
        run(core, &mut ctx)
    }

    fn merge(
        &mut self,
        merge: Merge,
        parts: &[&[u8]],
        args: &mut Args,
        reply: &mut Reply,
    ) -> Result<(), Refusal> {
        match merge {
            Merge::AllOk => {
                assert!(parts.iter().all(|part| part == b"+OK\r\n"));
                reply.ok();
            }
            Merge::Sum => reply.int(super::parts::sum(parts)),
            Merge::PerKey => {
                let all: Vec<&[u8]> = parts.iter().flat_map(|part| elements(part)).collect();
                reply.array(all.len());
                all.iter().for_each(|element| reply.raw(element));
            }
            Merge::Custom(merge) => return merge(parts, &self.cores[0], args, reply),
        }
        Ok(())
    }
}

fn split(line: &str) -> Vec<String> {
    let (mut words, mut quoted) = (vec![String::new()], false);
    for letter in line.chars() {
        match letter {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            _ => words.last_mut().expect("there is always a word").push(letter),
        }
    }
    words
}
