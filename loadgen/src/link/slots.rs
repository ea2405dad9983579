//! The slots of a cluster: which one a key belongs to, which node serves it, and what MOVED and ASK say of that.

use super::{Address, value::Value};

pub const SLOTS: usize = 16_384;

/// A slot that no node serves.
const NOBODY: u16 = u16::MAX;

/// The slot of `key`: CRC-16/XMODEM of the key, or of what its first `{...}` holds if that is not empty.
pub fn slot(key: &[u8]) -> u16 {
    crc16(hash_tag(key).unwrap_or(key)) % SLOTS as u16
}

/// Word `index` of an encoded request; `None` past its end.
pub fn word(request: &[u8], index: usize) -> Option<&[u8]> {
    let mut rest = after_line(request)?.1;
    for _ in 0..index {
        let (len, body) = after_line(rest)?;
        rest = body.get(len + CRLF..)?;
    }
    let (len, body) = after_line(rest)?;
    body.get(..len)
}

const CRLF: usize = 2;

/// The number in a header line, and what comes behind the line.
fn after_line(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (line, rest) = bytes.split_at_checked(memchr::memchr(b'\n', bytes)? + 1)?;
    let digits = line.get(1..line.len().checked_sub(CRLF)?)?;
    let number = digits.iter().try_fold(0_usize, |sum, digit| {
        digit.is_ascii_digit().then(|| sum.checked_mul(10)?.checked_add(usize::from(digit - b'0'))).flatten()
    })?;
    Some((number, rest))
}

fn hash_tag(key: &[u8]) -> Option<&[u8]> {
    let open = memchr::memchr(b'{', key)? + 1;
    let len = memchr::memchr(b'}', &key[open..])?;
    (len > 0).then(|| &key[open..open + len])
}

/// Polynomial x^16 + x^12 + x^5 + 1, most significant bit first, from 0, nothing inverted.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| (crc << 8) ^ CRC16[usize::from((crc >> 8) as u8 ^ byte)])
}

const CRC16: [u16; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = (index as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

/// One primary and its replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    pub primary: Address,
    pub replicas: Vec<Address>,
}

/// Which shard serves each slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotMap {
    shards: Vec<Shard>,
    /// Index into `shards` by slot, or `NOBODY`.
    owners: Vec<u16>,
}

impl SlotMap {
    /// From the answer to CLUSTER SLOTS; `asked` is who gave it, which is what an empty host in it means.
    pub fn read(reply: &Value, asked: &Address) -> Result<Self, String> {
        let mut map = Self { shards: Vec::new(), owners: vec![NOBODY; SLOTS] };
        for row in reply.list().ok_or("not a list")? {
            let row = row.list().ok_or("a row that is not a list")?;
            let bound = |index: usize| -> Option<usize> {
                usize::try_from(row.get(index)?.number()?).ok().filter(|&slot| slot < SLOTS)
            };
            let (Some(first), Some(last)) = (bound(0), bound(1)) else {
                return Err("a row without its two slots".into());
            };
            let mut nodes = Vec::new();
            for node in &row[2..] {
                nodes.push(read_node(node, asked).ok_or("a node without host and port")?);
            }
            let mut nodes = nodes.into_iter();
            let primary = nodes.next().ok_or("slots without a node")?;
            let shard = map.shard_of(Shard { primary, replicas: nodes.collect() })?;
            if first > last {
                return Err(format!("slots {first} to {last}"));
            }
            map.owners[first..=last].fill(shard);
        }
        Ok(map)
    }

    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// Index into `shards` of who serves `slot`.
    pub fn owner(&self, slot: u16) -> Option<usize> {
        Some(self.owners[usize::from(slot)]).filter(|&owner| owner != NOBODY).map(usize::from)
    }

    /// `slot` now belongs to the shard whose primary is `primary`; one not heard of has no known replicas.
    pub fn reassign(&mut self, slot: u16, primary: &Address) -> Result<(), String> {
        let known = self.shards.iter().position(|shard| shard.primary == *primary);
        let index = match known {
            Some(index) => index as u16,
            None => self.add(Shard { primary: primary.clone(), replicas: Vec::new() })?,
        };
        self.owners[usize::from(slot)] = index;
        Ok(())
    }

    /// How many slots nobody serves, and the first of them.
    pub fn uncovered(&self) -> Option<(usize, usize)> {
        let first = self.owners.iter().position(|&owner| owner == NOBODY)?;
        Some((self.owners.iter().filter(|&&owner| owner == NOBODY).count(), first))
    }

    fn shard_of(&mut self, shard: Shard) -> Result<u16, String> {
        match self.shards.iter().position(|known| known.primary == shard.primary) {
            Some(index) => Ok(index as u16),
            None => self.add(shard),
        }
    }

    fn add(&mut self, shard: Shard) -> Result<u16, String> {
        // The bound also keeps every index below NOBODY.
        if self.shards.len() == SLOTS {
            return Err(format!("more than {SLOTS} shards"));
        }
        self.shards.push(shard);
        Ok((self.shards.len() - 1) as u16)
    }
}

fn read_node(node: &Value, asked: &Address) -> Option<Address> {
    let [host, port, ..] = node.list()? else { return None };
    let port = u16::try_from(port.number()?).ok()?;
    let host = match host {
        Value::Null => "",
        other => other.text()?,
    };
    Some(Address::Tcp { host: host_or(host, asked)?, port })
}

/// `host`, or the host of who said so if that is empty or unknown (`?`).
fn host_or(host: &str, asked: &Address) -> Option<String> {
    match (host, asked) {
        ("" | "?", Address::Tcp { host, .. }) => Some(host.clone()),
        ("" | "?", Address::Unix(_)) => None,
        _ => Some(host.into()),
    }
}

/// An error reply that names the node to ask instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    pub slot: u16,
    pub to: Address,
    /// For this request only, after ASKING: the slot is on its way.
    pub ask: bool,
}

impl Redirect {
    /// From the text of an error reply of `from`; `None` if it is another error.
    pub fn read(text: &[u8], from: &Address) -> Option<Self> {
        let mut words = std::str::from_utf8(text).ok()?.split(' ');
        let ask = match words.next()? {
            "MOVED" => false,
            "ASK" => true,
            _ => return None,
        };
        let slot = words.next()?.parse().ok().filter(|&slot| usize::from(slot) < SLOTS)?;
        let Address::Tcp { host, port } = Address::host_port(words.next()?)? else { return None };
        Some(Self { slot, to: Address::Tcp { host: host_or(&host, from)?, port }, ask })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_request_are_found_by_their_number() {
        let request = b"*3\r\n$3\r\nSET\r\n$5\r\nk\r\n{x\r\n$0\r\n\r\n";
        let words = [0, 1, 2, 3].map(|index| word(request, index));
        assert_eq!(words, [Some(b"SET".as_slice()), Some(b"k\r\n{x"), Some(b""), None]);
        for broken in [b"".as_slice(), b"*1", b"*1\r\n", b"\n", b"*1\r\n$9\r\nab\r\n", b"*1\r\n$x\r\nab\r\n"]
        {
            assert_eq!(word(broken, 0), None, "{}", broken.escape_ascii());
        }
    }

    fn node(host: &str, port: u16) -> Address {
        Address::Tcp { host: host.into(), port }
    }

    #[test]
    fn slots_are_those_of_the_cluster_specification() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        // As `redis-cli cluster keyslot` answers.
        for (key, expected) in [("", 0), ("foo", 12182), ("hello", 866), ("somekey", 11058)] {
            assert_eq!(slot(key.as_bytes()), expected, "{key}");
        }
        for (key, same) in [("{foo}bar", "foo"), ("a{foo}b{c}", "foo"), ("a{{foo}}", "{foo")] {
            assert_eq!(slot(key.as_bytes()), slot(same.as_bytes()), "{key}");
        }
        for whole in ["{}foo", "foo{", "foo}{"] {
            assert_eq!(slot(whole.as_bytes()), crc16(whole.as_bytes()) % 16384, "{whole}");
        }
    }

    fn reply(text: &str) -> Value {
        Value::read(&mut text.replace(' ', "\r\n").as_bytes()).expect("well-formed")
    }

    #[test]
    fn a_map_is_read_with_replicas_and_hosts_left_out() {
        let text =
            "*3 *4 :0 :99 *3 $1 a :1 $2 id *3 $1 b :2 $2 id *3 :100 :200 *2 $0  :3 *3 :300 :300 *2 $1 a :1 ";
        let mut map = SlotMap::read(&reply(text), &node("me", 9)).expect("a map");
        assert_eq!(map.shards()[0], Shard { primary: node("a", 1), replicas: vec![node("b", 2)] });
        assert_eq!(map.shards()[1].primary, node("me", 3));
        let owners = [0, 99, 100, 200, 201, 300].map(|slot| map.owner(slot));
        assert_eq!(owners, [Some(0), Some(0), Some(1), Some(1), None, Some(0)]);
        assert_eq!(map.uncovered(), Some((SLOTS - 202, 201)));
        map.reassign(5, &node("me", 3)).expect("room");
        map.reassign(6, &node("new", 1)).expect("room");
        assert_eq!((map.owner(5), map.owner(6), map.owner(7)), (Some(1), Some(2), Some(0)));
    }

    #[test]
    fn nonsense_is_no_map() {
        let cases =
            [":1 ", "*1 :1 ", "*1 *2 :0 :1 ", "*1 *3 :9 :1 *2 $1 a :1 ", "*1 *3 :0 :16384 *2 $1 a :1 "];
        for text in cases.into_iter().chain(["*1 *3 :0 :1 *2 $1 a :-1 ", "*1 *3 :0 :1 *1 $1 a "]) {
            assert!(SlotMap::read(&reply(text), &node("me", 9)).is_err(), "{text}");
        }
    }

    #[test]
    fn redirects_name_slot_and_node() {
        let from = node("me", 9);
        let read = |text: &str| Redirect::read(text.as_bytes(), &from);
        let moved = Redirect { slot: 3999, to: node("127.0.0.1", 6381), ask: false };
        assert_eq!(read("MOVED 3999 127.0.0.1:6381"), Some(moved.clone()));
        assert_eq!(
            read("ASK 3999 ::1:6381"),
            Some(Redirect { to: node("::1", 6381), ask: true, ..moved.clone() })
        );
        assert_eq!(read("MOVED 3999 :6381"), Some(Redirect { to: node("me", 6381), ..moved }));
        for text in ["ERR no", "MOVED", "MOVED 1", "MOVED 16384 a:1", "MOVED 1 a", "MOVED 1 a:b", "ASK x a:1"]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
