//! What the nodes hold: numbers by name in a few databases, changed by the commands of a stream.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::log::simulation::Random;

pub const DATABASES: usize = 3;

/// A command as the protocol writes it.
pub fn command(words: &[&str]) -> Vec<u8> {
    let mut text = format!("*{}\r\n", words.len());
    words.iter().for_each(|word| text.push_str(&format!("${}\r\n{word}\r\n", word.len())));
    text.into_bytes()
}

/// The first command of `bytes` and its length, if it is whole.
pub fn first_command(bytes: &[u8]) -> Option<(Vec<String>, usize)> {
    let line = |from: usize| {
        let end = bytes[from..].windows(2).position(|two| two == b"\r\n")? + from;
        Some((std::str::from_utf8(&bytes[from..end]).expect("text"), end + 2))
    };
    let (head, mut at) = line(0)?;
    let count: usize = head.strip_prefix('*').and_then(|count| count.parse().ok()).expect("a command");
    let mut words = Vec::new();
    for _ in 0..count {
        let (head, begin) = line(at)?;
        let length: usize = head[1..].parse().expect("a length");
        let word = bytes.get(begin..begin + length)?;
        bytes.get(begin + length..begin + length + 2)?;
        words.push(String::from_utf8(word.to_vec()).expect("text"));
        at = begin + length + 2;
    }
    Some((words, at))
}

/// The length of the first whole unit of `bytes`, and its commands.
pub fn first_unit(bytes: &[u8]) -> Option<(Vec<Vec<String>>, usize)> {
    let (first, mut end) = first_command(bytes)?;
    let mut commands = vec![first];
    if commands[0][0] == "MULTI" {
        while commands.last().is_some_and(|last| last[0] != "EXEC") {
            let (next, length) = first_command(&bytes[end..])?;
            end += length;
            commands.push(next);
        }
    }
    Some((commands, end))
}

/// Length of the whole units that `bytes` begin with.
pub fn good_length(bytes: &[u8]) -> usize {
    let mut good = 0;
    while let Some((_, length)) = first_unit(&bytes[good..]) {
        good += length;
    }
    good
}

/// The data, and the database that the stream's next command applies to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    numbers: BTreeMap<(usize, String), i64>,
    pub db: usize,
}

impl Model {
    /// Applies whole units; `on` hears the length of each.
    pub fn apply(&mut self, bytes: &[u8], mut on: impl FnMut(&Model, u64)) {
        let mut at = 0;
        while at < bytes.len() {
            let (commands, length) = first_unit(&bytes[at..]).expect("whole units are fed");
            commands.iter().for_each(|words| self.run(words));
            at += length;
            let sum: i64 =
                self.numbers.iter().filter(|((_, name), _)| name.starts_with('t')).map(|(_, n)| n).sum();
            assert_eq!(sum, 0, "a transaction is torn");
            on(self, length as u64);
        }
    }

    fn run(&mut self, words: &[String]) {
        let number = |text: &str| text.parse::<i64>().expect("a number");
        match words[0].as_str() {
            "SELECT" => self.db = words[1].parse().expect("a database"),
            "SET" => {
                self.numbers.insert((self.db, words[1].clone()), number(&words[2]));
            }
            "INCRBY" => *self.numbers.entry((self.db, words[1].clone())).or_default() += number(&words[2]),
            "FLUSHALL" => self.numbers.clear(),
            "PING" | "REPLCONF" | "MULTI" | "EXEC" => {}
            other => panic!("{other} is in nobody's stream"),
        }
    }

    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.numbers.hash(&mut hasher);
        hasher.finish()
    }

    /// As lines; `padding` bytes make it as long as a snapshot is.
    pub fn snapshot(&self, padding: usize) -> Vec<u8> {
        let mut text = format!("db {}\n", self.db);
        for ((db, name), number) in &self.numbers {
            text.push_str(&format!("{db} {name} {number}\n"));
        }
        text.push_str(&"#".repeat(padding));
        text.push_str("\nend");
        text.into_bytes()
    }

    pub fn load(bytes: &[u8]) -> Model {
        let text = std::str::from_utf8(bytes).expect("a snapshot is text");
        let text = text.strip_suffix("\nend").expect("a snapshot is whole");
        let mut model = Model::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["db", db] => model.db = db.parse().expect("a database"),
                [db, name, number] => {
                    let number = number.parse().expect("a number");
                    model.numbers.insert((db.parse().expect("a database"), name.to_owned()), number);
                }
                _ => assert!(line.is_empty(), "{line}"),
            }
        }
        model
    }
}

/// A change, in the databases it names: the commands of each.
pub fn random_unit(random: &mut Random) -> Vec<(usize, Vec<u8>)> {
    let mut db = || random.below(DATABASES);
    let (first, second) = (db(), db());
    let name = random.below(6);
    let number = (random.below(1000) as i64).to_string();
    match random.below(8) {
        0..=2 => vec![(first, command(&["INCRBY", &format!("k{name}"), &number]))],
        3..=4 => {
            let name = format!("k{name}");
            vec![(first, command(&["SET", &name, &number]))]
        }
        5 if random.once_in(10) => vec![(first, command(&["FLUSHALL"]))],
        _ => vec![
            (first, command(&["INCRBY", &format!("t{name}"), &number])),
            (second, command(&["INCRBY", "t9", &format!("-{number}")])),
        ],
    }
}
