//! The commands of a run and whose turn it is.

/// One command of the mix.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CommandPlan {
    /// As it stands in the report.
    pub name: String,
    /// The command and its arguments, placeholders included.
    pub words: Vec<Vec<u8>>,
    /// Its part of all weights together is its share of the requests.
    pub weight: u32,
    /// Its own walk of the keys, if not the plan's.
    pub pattern: Option<super::keys::Pattern>,
}

impl CommandPlan {
    /// A command as it is typed: words, with quotes around those that hold blanks.
    pub fn parse(line: &str) -> Result<Self, String> {
        let words = split(line).map_err(|problem| format!("command {line:?}: {problem}"))?;
        for word in &words {
            super::template::check(word).map_err(|problem| format!("command {line:?}: {problem}"))?;
        }
        let name = words.first().filter(|word| !word.is_empty()).ok_or("a command without a name")?;
        let name = String::from_utf8_lossy(name).to_uppercase();
        Ok(Self { name, words, weight: 1, pattern: None })
    }

    /// The command itself, in capitals.
    fn verb(&self) -> String {
        String::from_utf8_lossy(&self.words[0]).to_uppercase()
    }

    /// Whether it asks for a value of which there may be none: its replies are then hits and misses.
    pub fn reads(&self) -> bool {
        READS.contains(&self.verb().as_str())
    }

    /// Whether its reply is the value that was SET under its key.
    pub fn reads_value(&self) -> bool {
        self.verb() == "GET" && self.words.get(1).is_some_and(|word| word == super::template::KEY)
    }
}

/// Commands that answer null where there is nothing.
const READS: [&str; 18] = [
    "GET",
    "GETDEL",
    "GETEX",
    "GETSET",
    "HGET",
    "HRANDFIELD",
    "LINDEX",
    "LPOP",
    "LPOS",
    "RPOP",
    "SPOP",
    "SRANDMEMBER",
    "ZSCORE",
    "ZRANK",
    "ZREVRANK",
    "LMPOP",
    "ZMPOP",
    "GEODIST",
];

/// SETs and GETs in a proportion; a side of 0 is left out.
pub fn set_get(set: u32, get: u32) -> Vec<CommandPlan> {
    let sides = [("SET __key__ __data__", set), ("GET __key__", get)];
    let used = sides.into_iter().filter(|&(_, weight)| weight > 0);
    used.map(|(line, weight)| CommandPlan { weight, ..CommandPlan::parse(line).expect("a constant") })
        .collect()
}

/// Gives every plain SET of `mix` a time to live, drawn from the plan's range.
pub fn expire(mix: &mut [CommandPlan]) {
    for command in mix.iter_mut().filter(|command| command.verb() == "SET" && command.words.len() == 3) {
        command.words.extend([b"EX".to_vec(), super::template::EXPIRY.to_vec()]);
    }
}

/// Words as a shell splits them: blanks part them, single or double quotes hold them together.
fn split(line: &str) -> Result<Vec<Vec<u8>>, String> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quote = None;
    for byte in line.bytes() {
        match (quote, byte) {
            (Some(open), close) if open == close => quote = None,
            (None, b'"' | b'\'') => {
                quote = Some(byte);
                word.get_or_insert_default();
            }
            (None, blank) if blank.is_ascii_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(byte),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed".into());
    }
    words.extend(word);
    Ok(words)
}

/// Whose turn it is, without chance: after any number of requests every command has had its share of them to within one
/// request, so that a run of any length has the mix it was asked for, and no command comes in bursts.
///
/// The k-th request of a command with the share s of all is due to be sent after (k - 1)/s requests and before k/s of
/// them. Of those whose time has come the one whose time ends first is next; as the shares add up to one, none is late.
pub struct Turns {
    commands: Vec<Share>,
    /// Of all weights, and how many requests were sent since the last round of so many ended.
    round: u64,
    sent: u64,
}

struct Share {
    weight: u64,
    /// Requests of this round.
    sent: u64,
    /// Requests of all commands in this round from which on, and before which, the next one is to be sent.
    from: u64,
    before: u64,
}

impl Share {
    fn new(weight: u64, round: u64) -> Self {
        let mut share = Self { weight, sent: 0, from: 0, before: u64::MAX };
        share.plan(round);
        share
    }

    fn plan(&mut self, round: u64) {
        // Fits: no weight is above the round, and a round is below 2^32 (`MAX_WEIGHTS`). A weight of 0 has no turns.
        if let Some(from) = (self.sent * round).checked_div(self.weight) {
            self.from = from;
            self.before = ((self.sent + 1) * round).div_ceil(self.weight);
        }
    }
}

/// What the weights of a mix may add up to.
pub const MAX_WEIGHTS: u64 = u32::MAX as u64;

impl Turns {
    /// At least one weight is above 0, and they add up to `MAX_WEIGHTS` at most.
    pub fn new(weights: impl Iterator<Item = u32>) -> Self {
        let weights: Vec<u64> = weights.map(u64::from).collect();
        let round = weights.iter().sum();
        debug_assert!((1..=MAX_WEIGHTS).contains(&round));
        Self {
            commands: weights.into_iter().map(|weight| Share::new(weight, round)).collect(),
            round,
            sent: 0,
        }
    }

    pub fn next_command(&mut self) -> u16 {
        let Self { commands, round, sent } = self;
        let due = commands.iter().enumerate().filter(|(_, share)| share.weight > 0 && share.from <= *sent);
        let (next, _) = due.min_by_key(|(_, share)| share.before).expect("shares that add up to one");
        commands[next].sent += 1;
        *sent += 1;
        if *sent == *round {
            *sent = 0;
            commands.iter_mut().for_each(|share| *share = Share::new(share.weight, *round));
        } else {
            commands[next].plan(*round);
        }
        next as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(weights: &[u32], count: usize) -> Vec<u16> {
        let mut turns = Turns::new(weights.iter().copied());
        (0..count).map(|_| turns.next_command()).collect()
    }

    #[test]
    fn turns_repeat_and_never_come_in_bursts() {
        assert_eq!(order(&[1, 1], 5), [0, 1, 0, 1, 0]);
        assert_eq!(order(&[100, 100], 5), [0, 1, 0, 1, 0]);
        assert_eq!(order(&[1, 0, 3], 8), [2, 2, 0, 2, 2, 2, 0, 2]);
        assert_eq!(order(&[1, 1, 8], 10), [2, 2, 2, 2, 0, 2, 2, 2, 1, 2]);
        assert_eq!(order(&[3], 3), [0, 0, 0]);
    }

    #[test]
    fn every_beginning_has_the_shares_to_within_one_request() {
        let mixes: [&[u32]; 7] = [
            &[100, 100],
            &[1, 10],
            &[7, 11, 13],
            &[1, 1, 1, 1, 1000],
            &[3, 0, 5, 9, 2, 2, 17, 1],
            &[u32::MAX - 1, 1],
            &[999_983, 7919, 104_729, 2],
        ];
        for weights in mixes {
            let all: f64 = weights.iter().copied().map(f64::from).sum();
            let mut counts = vec![0; weights.len()];
            for (index, command) in order(weights, 5000).into_iter().enumerate() {
                counts[usize::from(command)] += 1;
                for (&count, &weight) in counts.iter().zip(weights) {
                    let fair = (index + 1) as f64 * f64::from(weight) / all;
                    assert!(
                        (f64::from(count) - fair).abs() < 1.0,
                        "{weights:?}: {counts:?} of {}",
                        index + 1
                    );
                }
            }
        }
    }

    #[test]
    fn commands_are_split_like_a_shell_does() {
        let plan = CommandPlan::parse("hset  __key__ 'a b' \"\" x\"y z\"").expect("well-formed");
        assert_eq!(plan.name, "HSET");
        assert_eq!(plan.words, [b"hset".as_slice(), b"__key__", b"a b", b"", b"xy z"]);
        assert!(CommandPlan::parse("GET 'open").expect_err("no end").contains("not closed"));
        assert!(CommandPlan::parse("  ").is_err());
    }
}
