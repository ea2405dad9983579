//! The digests of DEBUG DIGEST and DIGEST-VALUE: equal in this server and the reference server for equal data.
//!
//! Two operations build them, with H for SHA-1 and + for bitwise exclusive or: `add` is D + H(x), which does
//! not mind the order, and `mix` is H(D + H(x)), which does. A value's digest starts at zero, mixes in its
//! type as a 32-bit big-endian number and then the string, and adds `!!expire!!` if the key has an expiry. In
//! the digest of all data a key's digest starts with the key's name mixed in, and each database that is not
//! empty mixes in its number before the digests of its keys are added.

use sha1::{Digest as _, Sha1};

use super::parts::bulk;
use super::{Args, Core, Ctx};
use crate::keyspace::{Entry, Key};
use crate::resp::{Refusal, Reply, elements};

/// SHA-1's length.
const LEN: usize = 20;

/// The reference server's number of the type string.
const STRING: u32 = 0;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Digest([u8; LEN]);

impl Digest {
    fn add(&mut self, bytes: &[u8]) {
        self.add_digest(Digest(Sha1::digest(bytes).into()));
    }

    fn add_digest(&mut self, other: Digest) {
        self.0.iter_mut().zip(other.0).for_each(|(byte, other)| *byte ^= other);
    }

    fn mix(&mut self, bytes: &[u8]) {
        self.add(bytes);
        self.0 = Sha1::digest(self.0).into();
    }

    /// Takes in type, value and whether there is an expiry.
    fn take_value(&mut self, entry: &Entry) {
        self.mix(&STRING.to_be_bytes());
        self.mix(entry.value().to_bytes(&mut itoa::Buffer::new()));
        if entry.expire().is_some() {
            self.add(b"!!expire!!");
        }
    }

    fn hexadecimal(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Answers for each database the sum of its keys' digests, nothing where there are no keys.
pub fn digest_shard(_core: &mut Core, ctx: &mut Ctx, _args: &mut Args) -> Result<(), Refusal> {
    let keyspace = &ctx.data.keyspace;
    ctx.reply.array(keyspace.databases());
    for db in 0..keyspace.databases() {
        let mut sum = Digest::default();
        keyspace.for_each(db, &mut |entry| {
            let mut digest = Digest::default();
            digest.mix(entry.key());
            digest.take_value(&entry);
            sum.add(&digest.0);
        });
        ctx.reply.bulk(if keyspace.is_empty(db) { &[] } else { &sum.0 });
    }
    Ok(())
}

/// The digest of all data from the shards' sums.
pub fn merge_digest(
    parts: &[&[u8]],
    _core: &Core,
    _args: &mut Args,
    reply: &mut Reply,
) -> Result<(), Refusal> {
    let mut shards: Vec<_> = parts.iter().map(|part| elements(part)).collect();
    let mut all = Digest::default();
    for db in 0u32.. {
        let sums: Vec<&[u8]> = shards.iter_mut().filter_map(Iterator::next).map(bulk).collect();
        if sums.is_empty() {
            break;
        }
        let sums: Vec<[u8; LEN]> = sums.iter().filter_map(|sum| (*sum).try_into().ok()).collect();
        if !sums.is_empty() {
            all.mix(&db.to_be_bytes());
            sums.iter().for_each(|sum| all.add_digest(Digest(*sum)));
        }
    }
    reply.simple(&all.hexadecimal());
    Ok(())
}

/// The digest of one value, be its time up or not; zero if there is none.
pub fn digest_value(ctx: &Ctx, key: &Key) -> String {
    let mut digest = Digest::default();
    if let Some(entry) = ctx.data.keyspace.get(ctx.db, key) {
        digest.take_value(&entry);
    }
    digest.hexadecimal()
}

#[cfg(test)]
mod tests {
    use super::super::shell::Shell;

    const FAR: Option<i64> = Some(4_000_000_000_000);

    /// Expected values are what a live reference server said.
    #[test]
    fn digests_equal_the_reference_servers() {
        for shards in [1, 3] {
            let mut shell = Shell::new(shards);
            shell.run("CONFIG SET enable-debug-command yes");
            shell.cores[0].settings.enable_debug_command = crate::config::DebugCommand::Yes;
            assert_eq!(shell.run("DEBUG DIGEST"), format!("+{}|", "0".repeat(40)));
            shell.set(0, "a", b"1", None);
            shell.set(0, "b", b"hello", FAR);
            shell.set(0, "c", b"3.0", None);
            assert_eq!(shell.run("DEBUG DIGEST"), "+9ffde1a82017cac1ed73ef6ae4b37e5359f391fb|");
            assert_eq!(shell.run("DEBUG DIGEST-VALUE a"), "*1|+b4fc66738120fba0b5aa500ab5c2bf89cea1c5da|");
            assert_eq!(shell.run("DEBUG DIGEST-VALUE b"), "*1|+d037c4eb8a8b36b602fbced4000daeab0714c1e3|");
            assert_eq!(shell.run("DEBUG DIGEST-VALUE zz"), format!("*1|+{}|", "0".repeat(40)));
        }
    }
}
