//! The arguments of a command as COMMAND DOCS tells them, read from the row's `syntax`.
//!
//! The notation is that of the protocol's public documentation: `word` an argument, `WORD` a token (with the
//! arguments behind it), `[...]` optional, `<a | b>` one of several, `x [x ...]` one or more.

use super::{Command, KeySpec};

/// One documented argument.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Argument {
    pub name: String,
    pub kind: &'static str,
    pub key_spec: Option<usize>,
    pub token: Option<String>,
    pub optional: bool,
    pub multiple: bool,
    /// The token is repeated with each value.
    pub multiple_token: bool,
    pub children: Vec<Argument>,
}

/// The documented arguments of `row`.
pub fn arguments(row: &Command) -> Vec<Argument> {
    let words = split(row.syntax);
    let nodes = Parser { words: &words, next: 0 }.sequence();
    let mut arguments = assemble(&nodes);
    mark_keys(&mut arguments, row);
    arguments
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Word(String),
    /// Alternatives in square brackets.
    Optional(Vec<Vec<Node>>),
    /// Alternatives in angle brackets.
    Choice(Vec<Vec<Node>>),
    Ellipsis,
}

/// Words and brackets; brackets and bars need no spaces around them.
fn split(syntax: &str) -> Vec<String> {
    let mut spaced = String::with_capacity(syntax.len() * 2);
    for letter in syntax.chars() {
        match letter {
            '[' | ']' | '<' | '>' | '|' => spaced.extend([' ', letter, ' ']),
            _ => spaced.push(letter),
        }
    }
    spaced.split_whitespace().map(str::to_owned).collect()
}

struct Parser<'a> {
    words: &'a [String],
    next: usize,
}

impl Parser<'_> {
    /// Nodes up to a bar or a closing bracket.
    fn sequence(&mut self) -> Vec<Node> {
        let mut nodes = Vec::new();
        while let Some(word) = self.words.get(self.next) {
            let node = match word.as_str() {
                "]" | ">" | "|" => break,
                "[" => Node::Optional(self.alternatives()),
                "<" => Node::Choice(self.alternatives()),
                "..." => Node::Ellipsis,
                word => Node::Word(word.to_owned()),
            };
            self.next += 1;
            nodes.push(node);
        }
        nodes
    }

    /// From an opening bracket to its closing one, where the cursor then stands.
    fn alternatives(&mut self) -> Vec<Vec<Node>> {
        let mut alternatives = Vec::new();
        loop {
            self.next += 1;
            alternatives.push(self.sequence());
            if self.words.get(self.next).map(String::as_str) != Some("|") {
                return alternatives;
            }
        }
    }
}

fn is_token(word: &str) -> bool {
    word.bytes().any(|byte| byte.is_ascii_uppercase()) && !word.bytes().any(|byte| byte.is_ascii_lowercase())
}

fn assemble(nodes: &[Node]) -> Vec<Argument> {
    let mut arguments: Vec<Argument> = Vec::new();
    // How many nodes each argument so far was made of, to recognise its repetition.
    let mut sizes: Vec<usize> = Vec::new();
    let mut at = 0;
    while at < nodes.len() {
        if let Some(repeated) = repetition(&nodes[..at], &nodes[at]) {
            repeat(&mut arguments, &mut sizes, repeated, &nodes[at - repeated]);
            at += 1;
            continue;
        }
        let (argument, size) = argument(&nodes[at..]);
        match argument {
            Some(argument) => {
                arguments.push(argument);
                sizes.push(size);
            }
            None => arguments.iter_mut().rev().take(1).for_each(|last| last.multiple = true),
        }
        at += size;
    }
    arguments
}

/// If `node` is `[x y ...]` and the nodes before it end in `x y`: how many they are.
fn repetition(before: &[Node], node: &Node) -> Option<usize> {
    let Node::Optional(alternatives) = node else { return None };
    let [alternative] = alternatives.as_slice() else { return None };
    let (Node::Ellipsis, repeated) = alternative.split_last()? else { return None };
    (!repeated.is_empty() && before.ends_with(repeated)).then_some(repeated.len())
}

/// Turns the arguments made of the last `nodes` nodes into one that may be given several times.
fn repeat(arguments: &mut Vec<Argument>, sizes: &mut Vec<usize>, nodes: usize, first: &Node) {
    let (mut covered, mut count) = (0, 0);
    while covered < nodes && count < sizes.len() {
        count += 1;
        covered += sizes[sizes.len() - count];
    }
    let group = arguments.split_off(arguments.len() - count);
    sizes.truncate(sizes.len() - count);
    let mut repeated = one_of_many(group);
    repeated.multiple = true;
    repeated.multiple_token = matches!(first, Node::Word(word) if repeated.token.as_deref() == Some(word));
    arguments.push(repeated);
    sizes.push(covered);
}

/// The argument that `nodes` begin with, and how many nodes it takes. None for a bare `...`.
fn argument(nodes: &[Node]) -> (Option<Argument>, usize) {
    match &nodes[0] {
        Node::Ellipsis => (None, 1),
        Node::Optional(alternatives) => {
            let mut argument = alternative(alternatives);
            argument.optional = true;
            (Some(argument), 1)
        }
        Node::Choice(alternatives) => (Some(alternative(alternatives)), 1),
        Node::Word(word) if is_token(word) => {
            let (mut argument, size) = tokens_value(&nodes[1..]);
            if size == 0 {
                argument.name = word.to_ascii_lowercase();
                argument.kind = "pure-token";
            }
            argument.token = Some(word.clone());
            (Some(argument), size + 1)
        }
        Node::Word(word) => (Some(plain(word)), 1),
    }
}

/// What stands behind a token: plain words, or one choice; and how many nodes that is.
fn tokens_value(nodes: &[Node]) -> (Argument, usize) {
    if let Some(Node::Choice(alternatives)) = nodes.first() {
        return (alternative(alternatives), 1);
    }
    let words = nodes.iter().map_while(|node| match node {
        Node::Word(word) if !is_token(word) => Some(plain(word)),
        _ => None,
    });
    let words: Vec<Argument> = words.collect();
    let size = words.len();
    (if size == 0 { Argument::default() } else { one_of_many(words) }, size)
}

fn alternative(alternatives: &[Vec<Node>]) -> Argument {
    if let [only] = alternatives {
        return one_of_many(assemble(only));
    }
    let children: Vec<Argument> = alternatives.iter().map(|each| one_of_many(assemble(each))).collect();
    Argument { name: join(&children), kind: "oneof", children, ..Argument::default() }
}

/// A single argument as it is, several as a block.
fn one_of_many(mut arguments: Vec<Argument>) -> Argument {
    if arguments.len() == 1 {
        return arguments.remove(0);
    }
    Argument { name: join(&arguments), kind: "block", children: arguments, ..Argument::default() }
}

fn join(arguments: &[Argument]) -> String {
    arguments.iter().map(|argument| argument.name.as_str()).collect::<Vec<_>>().join("_")
}

fn plain(word: &str) -> Argument {
    const INTEGERS: &[&str] = &[
        "client-id",
        "count",
        "cursor",
        "db",
        "decrement",
        "destination-db",
        "end",
        "frequency",
        "increment",
        "index",
        "index1",
        "index2",
        "len",
        "maxage",
        "milliseconds",
        "min-match-len",
        "numkeys",
        "numreplicas",
        "offset",
        "protover",
        "seconds",
        "start",
        "timeout",
        "ttl",
        "version",
    ];
    let kind = match word {
        "pattern" => "pattern",
        "increment-float" => "double",
        _ if word.starts_with("unix-time") => "unix-time",
        _ if INTEGERS.contains(&word) => "integer",
        _ => "string",
    };
    Argument { name: word.to_owned(), kind, ..Argument::default() }
}

/// Marks the plain arguments that stand where key specifications begin.
fn mark_keys(arguments: &mut [Argument], row: &Command) {
    let mut position = if row.full_name.contains('|') { 2 } else { 1 };
    for argument in arguments {
        if argument.optional || argument.token.is_some() {
            return;
        }
        let block = argument.kind == "block";
        let plain = if block { argument.children.first_mut() } else { Some(&mut *argument) };
        if let Some(plain) = plain
            && let Some(spec) =
                row.keys.iter().position(|spec| spec.first == position || covers(spec, position))
        {
            plain.kind = "key";
            plain.key_spec = Some(spec);
        }
        position += if block { argument.children.len() } else { 1 };
    }
}

/// Whether a specification of several named keys has one at `position`.
fn covers(spec: &KeySpec, position: usize) -> bool {
    (spec.first as isize..=spec.last).contains(&(position as isize))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::KeyFlags;

    /// `name:kind`, `?` optional, `*` multiple, `=TOKEN`, `#` key specification, children in parentheses.
    fn print(arguments: &[Argument]) -> String {
        let each = |argument: &Argument| {
            let mut text = format!("{}:{}", argument.name, argument.kind);
            argument.token.iter().for_each(|token| text += &format!("={token}"));
            argument.key_spec.iter().for_each(|spec| text += &format!("#{spec}"));
            for (set, mark) in
                [(argument.optional, "?"), (argument.multiple, "*"), (argument.multiple_token, "+")]
            {
                text += if set { mark } else { "" };
            }
            if !argument.children.is_empty() {
                text += &format!("({})", print(&argument.children));
            }
            text
        };
        arguments.iter().map(each).collect::<Vec<_>>().join(" ")
    }

    fn parsed(syntax: &'static str, keys: &'static [KeySpec]) -> String {
        let row = Command { syntax, keys, ..Command::BASE };
        print(&arguments(&row))
    }

    #[test]
    fn tokens_options_and_choices() {
        const KEY: &[KeySpec] = &[KeySpec::at(1, KeyFlags::RW)];
        assert_eq!(
            parsed("key value [NX | XX] [GET] [EX seconds | PXAT unix-time-milliseconds | KEEPTTL]", KEY),
            "key:key#0 value:string nx_xx:oneof?(nx:pure-token=NX xx:pure-token=XX) get:pure-token=GET? \
             seconds_unix-time-milliseconds_keepttl:oneof?(seconds:integer=EX \
             unix-time-milliseconds:unix-time=PXAT keepttl:pure-token=KEEPTTL)"
        );
        assert_eq!(
            parsed("[protover [AUTH username password] [SETNAME clientname]]", &[]),
            "protover_username_password_clientname:block?(protover:integer \
             username_password:block=AUTH?(username:string password:string) clientname:string=SETNAME?)"
        );
        assert_eq!(
            parsed("[TYPE <A | B>] <ON | OFF>", &[]),
            "a_b:oneof=TYPE?(a:pure-token=A b:pure-token=B) on_off:oneof(on:pure-token=ON off:pure-token=OFF)"
        );
    }

    #[test]
    fn repetitions() {
        const KEYS: &[KeySpec] = &[KeySpec::rest(1, KeyFlags::RO)];
        const PAIRS: &[KeySpec] = &[KeySpec::every(1, 2, KeyFlags::OW)];
        const TWO: &[KeySpec] = &[KeySpec::at(1, KeyFlags::RO), KeySpec::at(2, KeyFlags::OW)];
        assert_eq!(parsed("key [key ...]", KEYS), "key:key#0*");
        assert_eq!(parsed("key value [key value ...]", PAIRS), "key_value:block*(key:key#0 value:string)");
        assert_eq!(parsed("[section [section ...]]", &[]), "section:string?*");
        assert_eq!(parsed("[ID client-id [client-id ...]]", &[]), "client-id:integer=ID?*");
        assert_eq!(parsed("[PREFIX prefix [PREFIX prefix ...]]", &[]), "prefix:string=PREFIX?*+");
        assert_eq!(
            parsed("source destination [DB destination-db]", TWO),
            "source:key#0 destination:key#1 destination-db:integer=DB?"
        );
        assert_eq!(parsed("", &[]), "");
    }
}
