//! Tables whose rows must be somebody's business: every command row exercised, every setting read.

use torc_tests::grammar::{self, Arg, ELSEWHERE};

use crate::source::{self, Token, texts};

/// Tokens of the server's files under `folder`, tests left out.
fn tokens_under(folder: &str) -> Vec<Token> {
    let files = source::rust();
    files
        .iter()
        .filter(|file| file.path.starts_with(folder))
        .flat_map(|file| file.tokens_outside_tests())
        .collect()
}

/// The texts given to `field` in rows: `field: "text"`.
fn row_texts(tokens: &[Token], field: &str) -> Vec<String> {
    let rows =
        tokens.windows(3).filter(|three| texts(three, &[field, ":"]) && three[2].text.starts_with('"'));
    rows.map(|three| three[2].text.trim_matches('"').to_owned()).filter(|text| !text.is_empty()).collect()
}

#[test]
fn every_command_row_is_exercised_by_the_grammar() {
    let names = row_texts(&tokens_under("server/src/commands/"), "full_name");
    let exercised = |name: &String| {
        let name = name.to_uppercase();
        let inside = format!("{name}|");
        grammar::rows().any(|row| row.name == name || row.name.starts_with(&inside))
            || name.split_once('|').is_some_and(|(container, sub)| has_form(container, sub))
            || ELSEWHERE.iter().any(|entry| entry.0 == name || entry.0.starts_with(&inside))
    };
    let missing: Vec<&String> = names.iter().filter(|name| !exercised(name)).collect();
    assert!(missing.is_empty(), "command rows without a row in tests/src/grammar: {missing:?}");
}

/// Whether the row of a container that COMMAND does not list by its parts (DEBUG) has a form for one of them.
fn has_form(container: &str, sub: &str) -> bool {
    let forms = grammar::rows().filter(|row| row.name == container).flat_map(|row| row.forms);
    forms.into_iter().any(|form| matches!(form.first(), Some(Arg::Word(word)) if *word == sub))
}

/// Names of the public fields of `struct Settings`: the ones other rooms can read.
fn setting_fields() -> Vec<String> {
    let tokens = tokens_under("server/src/config/");
    let Some(start) = (0..tokens.len()).find(|at| texts(&tokens[*at..], &["struct", "Settings", "{"])) else {
        return Vec::new();
    };
    let depth = tokens[start].depth;
    let body = tokens[start + 3..].iter().take_while(|token| token.depth > depth).collect::<Vec<_>>();
    let public = body.windows(3).filter(|three| three[0].text == "pub" && three[2].text == ":");
    public.filter(|three| three[1].depth == depth + 1).map(|three| three[1].text.clone()).collect()
}

#[test]
fn every_setting_is_read_outside_its_table() {
    let files = source::rust();
    let outside = files
        .iter()
        .filter(|file| file.path.starts_with("server/src/") && !file.path.starts_with("server/src/config/"));
    let tokens: Vec<Token> = outside.flat_map(|file| file.tokens_outside_tests()).collect();
    let read = |field: &String| tokens.windows(2).any(|pair| pair[0].text == "." && pair[1].text == *field);
    let unread: Vec<String> = setting_fields().into_iter().filter(|field| !read(field)).collect();
    assert!(
        unread.is_empty(),
        "settings that nothing reads (move their rows to what is only accepted): {unread:?}"
    );
}
