//! A shell for the families' tests: command lines in, raw replies and effects out, on one shard.

use super::{
    Args, Core, Ctx, Data, Effects, Merge, NodeFacts, Run, WalkPlan, execute_local, table, walk_step,
};
use crate::config::Settings;
use crate::keyspace::{KeyHasher, Keyspace, Ring};
use crate::limits::SLOTS;
use crate::resp::{OwnedArgv, Refusal, Reply};

pub struct Shell {
    pub data: Data,
    pub core: Core,
    pub db: usize,
    pub now: i64,
    pub resp3: bool,
}

/// A key as it stands in its database: database, key, value and expiry.
pub type Content = (usize, Vec<u8>, Vec<u8>, Option<i64>);

impl Shell {
    /// An empty server of 16 databases whose clock stands at a million ms, collecting effects.
    pub fn new() -> Self {
        let keyspace = Keyspace::new(16, 0..SLOTS, KeyHasher::new(7));
        let mut data = Data::new(keyspace, 11);
        data.outbox.open();
        Shell { data, core: core(), db: 0, now: 1_000_000, resp3: false }
    }

    /// Runs a command line of words; `""` is an empty one. Returns the reply with `\r\n` shown as a space.
    pub fn run(&mut self, line: &str) -> String {
        let words = line.split_whitespace().map(|word| if word == "\"\"" { "" } else { word });
        self.run_bytes(&words.map(str::as_bytes).collect::<Vec<_>>())
    }

    pub fn run_bytes(&mut self, words: &[&[u8]]) -> String {
        String::from_utf8_lossy(&self.run_raw(words)).trim_end().replace("\r\n", " ")
    }

    /// Runs a command of any bytes and returns the reply as sent.
    pub fn run_raw(&mut self, words: &[&[u8]]) -> Vec<u8> {
        let argv: OwnedArgv = words.iter().copied().collect();
        let mut out = Vec::new();
        if let Err(refusal) = self.execute(&argv, &mut out) {
            out.clear();
            Reply::new(&mut out, self.resp3).refuse(&refusal);
        }
        out
    }

    fn execute(&mut self, argv: &OwnedArgv, out: &mut Vec<u8>) -> Result<(), Refusal> {
        let argv = argv.borrow();
        let sub = (argv.len() > 1).then(|| argv.get(1));
        let row = table().row(table().resolve(argv.get(0), sub).expect("the row exists"));
        if !row.accepts(argv.len()) {
            return Err(Refusal::Arity(row.full_name));
        }
        let hasher = self.data.keyspace.hasher().clone();
        let mut args = Args::new(argv, row.words(), &hasher);
        match row.run {
            Run::EveryCore { part, merge: Merge::Custom(merge), .. } => {
                part(&mut core(), &mut self.ctx(out), &mut args)?;
                let part = std::mem::take(out);
                merge(&[&part], &self.core, &mut args, &mut Reply::new(out, self.resp3))
            }
            Run::Walk(_) => {
                let scan = row.name == "scan";
                let plan = if scan { WalkPlan::scan(&mut args)? } else { WalkPlan::keys(&mut args)? };
                self.walk(plan, out);
                Ok(())
            }
            Run::Session(handler) => handler(&mut self.core, 0, &mut args, &mut Reply::new(out, self.resp3)),
            _ => execute_local(row, &mut self.ctx(out), &mut args),
        }
    }

    fn ctx<'a>(&'a mut self, out: &'a mut Vec<u8>) -> Ctx<'a> {
        let reply = Reply::new(out, self.resp3);
        Ctx { data: &mut self.data, db: self.db, now: self.now, reply, no_touch: false }
    }

    fn walk(&mut self, mut plan: WalkPlan, out: &mut Vec<u8>) {
        let ring = Ring::new(1);
        while let Some((_, cursor, budget)) = plan.next(ring) {
            let mut keys = Vec::new();
            let mut emit = |key: &[u8]| keys.push(key.to_vec());
            let cursor = walk_step(&self.data, self.db, self.now, cursor, budget, plan.filter(), &mut emit);
            plan.absorb(keys, cursor, ring);
        }
        plan.reply(&mut Reply::new(out, self.resp3));
    }

    /// The effects since the last call, one a line: words of a RESP command, the database in front if not 0.
    pub fn effects(&mut self) -> Vec<String> {
        let Effects { bytes, marks, .. } = self.data.outbox.drain(Vec::new()).unwrap_or_default();
        let mut effects = Vec::new();
        let mut start = 0;
        for mark in marks {
            for words in commands(&bytes[start..mark.end]) {
                let words: Vec<_> =
                    words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
                let db = if mark.db == 0 { String::new() } else { format!("{}: ", mark.db) };
                effects.push(db + &words.join(" "));
            }
            start = mark.end;
        }
        effects
    }

    /// Runs the effects that `other` has emitted since they were last taken, as a log's reader does: with a
    /// clock at which nothing ever expires.
    pub fn replay(&mut self, other: &mut Shell) {
        let Effects { bytes, marks, .. } = other.data.outbox.drain(Vec::new()).unwrap_or_default();
        let mut start = 0;
        self.now = 0;
        for mark in marks {
            self.db = mark.db;
            for words in commands(&bytes[start..mark.end]) {
                let reply = self.run_bytes(&words);
                assert!(!reply.starts_with('-'), "{words:?}: {reply}");
            }
            start = mark.end;
        }
    }

    /// All that is in the databases, in order.
    pub fn content(&self) -> Vec<Content> {
        let mut content = Vec::new();
        for db in 0..self.data.keyspace.databases() {
            self.data.keyspace.for_each(db, &mut |entry| {
                let value = entry.value().to_bytes(&mut itoa::Buffer::new()).to_vec();
                content.push((db, entry.key().to_vec(), value, entry.expire()));
            });
        }
        content.sort();
        content
    }
}

/// The commands in a run of RESP arrays of bulk strings.
fn commands(mut bytes: &[u8]) -> Vec<Vec<&[u8]>> {
    fn number(bytes: &mut &[u8]) -> usize {
        let end = bytes.iter().position(|byte| *byte == b'\r').expect("a header ends with a line");
        let digits = std::str::from_utf8(&bytes[1..end]).expect("a header holds digits");
        *bytes = &bytes[end + 2..];
        digits.parse().expect("a header holds a number")
    }
    let mut commands = Vec::new();
    while !bytes.is_empty() {
        let words = (0..number(&mut bytes)).map(|_| {
            let len = number(&mut bytes);
            let word = &bytes[..len];
            bytes = &bytes[len + 2..];
            word
        });
        commands.push(words.collect());
    }
    commands
}

fn core() -> Core {
    Core::new(0, Settings::default(), NodeFacts::default(), || 0)
}

mod tests {
    use proptest::prelude::*;

    use super::Shell;

    fn key() -> impl Strategy<Value = &'static str> {
        proptest::sample::select(vec!["a", "b", "c", "d", "none"])
    }

    fn value() -> impl Strategy<Value = &'static str> {
        proptest::sample::select(vec!["1", "-7", "abc", "1.5", "9223372036854775807", "00", "x"])
    }

    /// `{k}` stands for a key, `{v}` for a value, `{t}` for a time to live, `{at}` for a Unix time around now in ms.
    const FORMS: &[&str] = &[
        "set {k} {v}",
        "set {k} {v} ex {t}",
        "set {k} {v} px {t} nx get",
        "set {k} {v} xx keepttl",
        "set {k} {v} pxat {at}",
        "setex {k} {t} {v}",
        "setnx {k} {v}",
        "getset {k} {v}",
        "getdel {k}",
        "getex {k} px {t}",
        "getex {k} pxat {at}",
        "getex {k} persist",
        "append {k} {v}",
        "setrange {k} {t} {v}",
        "incr {k}",
        "decrby {k} {t}",
        "incrbyfloat {k} {v}",
        "mset {k} {v} {k} {v}",
        "msetnx {k} {v} {k} {v}",
        "del {k} {k}",
        "unlink {k}",
        "expire {k} {t}",
        "pexpire {k} {t} lt",
        "pexpireat {k} {at}",
        "persist {k}",
        "rename {k} {k}",
        "renamenx {k} {k}",
        "copy {k} {k} replace",
        "copy {k} {k} db 1",
        "move {k} 1",
        "get {k}",
        "touch {k}",
        "randomkey",
    ];

    fn line() -> impl Strategy<Value = String> {
        let form = proptest::sample::select(FORMS.to_vec());
        (form, key(), key(), value(), value(), -2i64..40, -20i64..40).prop_map(
            |(form, k, l, v, w, ttl, ahead)| {
                let line = form.replacen("{k}", k, 1).replacen("{k}", l, 1);
                let line = line.replacen("{v}", v, 1).replacen("{v}", w, 1);
                line.replace("{t}", &ttl.to_string()).replace("{at}", &(1_000_100 + ahead).to_string())
            },
        )
    }

    proptest! {
        /// What a log or a replica gets from the effects is what the shard holds.
        #[test]
        fn effects_rebuild_the_content(lines in prop::collection::vec((line(), 0i64..6, any::<bool>()), 1..120)) {
            let (mut shell, mut copy) = (Shell::new(), Shell::new());
            for (line, passing, other_db) in &lines {
                shell.now += passing;
                shell.db = usize::from(*other_db);
                shell.run(line);
            }
            copy.replay(&mut shell);
            prop_assert_eq!(copy.content(), shell.content());
        }
    }
}
