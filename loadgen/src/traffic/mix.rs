//! The commands of a run and whose turn it is.

/// One command of the mix.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CommandPlan {
    /// As it stands in the report.
    pub name: String,
    /// The command and its arguments, placeholders included.
    pub words: Vec<Vec<u8>>,
    /// Of as many requests in a row as all weights together.
    pub weight: u32,
    /// Its own walk of the keys, if not the plan's.
    pub pattern: Option<super::keys::Pattern>,
}

impl CommandPlan {
    /// A command as it is typed: words, with quotes around those that hold blanks.
    pub fn parse(line: &str) -> Result<Self, String> {
        let words = split(line).map_err(|problem| format!("command {line:?}: {problem}"))?;
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

/// Whose turn it is: `weight` requests of the first command, then those of the next, then again. Without chance, so
/// that the proportion is exact.
pub struct Turns {
    weights: Vec<u32>,
    command: usize,
    done: u32,
}

impl Turns {
    /// At least one weight is above 0.
    pub fn new(weights: impl Iterator<Item = u32>) -> Self {
        let weights: Vec<u32> = weights.collect();
        debug_assert!(weights.iter().any(|&weight| weight > 0));
        Self { weights, command: 0, done: 0 }
    }

    pub fn next_command(&mut self) -> u16 {
        while self.done >= self.weights[self.command] {
            self.done = 0;
            self.command = if self.command + 1 == self.weights.len() { 0 } else { self.command + 1 };
        }
        self.done += 1;
        self.command as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_repeat_with_exact_weights() {
        let mut turns = Turns::new([1, 0, 3].into_iter());
        let order: Vec<u16> = (0..9).map(|_| turns.next_command()).collect();
        assert_eq!(order, [0, 2, 2, 2, 0, 2, 2, 2, 0]);
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
