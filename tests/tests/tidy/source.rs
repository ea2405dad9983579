//! Our source files as text and as tokens with lines.

use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Folders that hold what others wrote or what a tool made.
const NOT_OURS: &[&str] = &["target", ".git", ".deps", "node_modules", "__pycache__", "corpus", "artifacts"];

const TESTS_ONLY: &[&str] = &["#", "[", "cfg", "(", "test", ")", "]"];

pub struct Source {
    /// Relative to the workspace.
    pub path: String,
    pub text: String,
    /// Whether only tests compile it: another file declares it behind `#[cfg(test)]`.
    pub is_test: bool,
}

/// One token of a file, groups taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub text: String,
    pub line: usize,
    /// For an opening bracket: the line of the one that closes it, else `line`.
    pub end: usize,
    /// Nesting of brackets around it.
    pub depth: usize,
}

pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the workspace").to_owned()
}

/// All our files whose name ends in one of `endings`.
pub fn files(endings: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    walk(&workspace(), endings, &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!found.is_empty(), "the workspace has files");
    found
}

pub fn rust() -> Vec<Source> {
    let mut files = files(&[".rs"]);
    let tests: Vec<String> = files.iter().flat_map(Source::test_modules).collect();
    for file in &mut files {
        file.is_test =
            file.path.contains("tests/") || tests.iter().any(|module| file.path.starts_with(module));
    }
    files
}

fn walk(folder: &Path, endings: &[&str], found: &mut Vec<Source>) {
    let entries = std::fs::read_dir(folder).expect("a folder of the workspace can be read");
    for entry in entries {
        let path = entry.expect("a folder's entry can be read").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !NOT_OURS.contains(&name.as_str()) {
            walk(&path, endings, found);
        } else if path.is_file() && endings.iter().any(|ending| name.ends_with(ending)) {
            let text = std::fs::read_to_string(&path).expect("a source file is UTF-8");
            let path =
                path.strip_prefix(workspace()).expect("the walk began there").to_string_lossy().into_owned();
            found.push(Source { path, text, is_test: false });
        }
    }
}

impl Source {
    pub fn tokens(&self) -> Vec<Token> {
        let stream: TokenStream =
            self.text.parse().unwrap_or_else(|error| panic!("{} does not parse: {error}", self.path));
        let mut tokens = Vec::new();
        flatten(stream, 0, &mut tokens);
        tokens
    }

    /// Paths (without their ending) of the modules that this file declares for tests only.
    fn test_modules(&self) -> Vec<String> {
        let folder = match self.path.rsplit_once('/') {
            Some((folder, "mod.rs" | "lib.rs" | "main.rs")) => folder,
            _ => self.path.trim_end_matches(".rs"),
        };
        let tokens = self.tokens();
        let declared = (0..tokens.len()).filter(|at| texts(&tokens[*at..], TESTS_ONLY));
        let names = declared.filter(|at| texts(&tokens[at + TESTS_ONLY.len()..], &["mod"]));
        let names = names.map(|at| &tokens[at + TESTS_ONLY.len() + 1..]).filter(|rest| rest[1].text == ";");
        names.map(|rest| format!("{folder}/{}", rest[0].text)).collect()
    }

    /// The tokens that are not behind `#[cfg(test)]`.
    pub fn tokens_outside_tests(&self) -> Vec<Token> {
        if self.is_test {
            return Vec::new();
        }
        let tokens = self.tokens();
        let mut kept = Vec::new();
        let mut at = 0;
        while at < tokens.len() {
            if texts(&tokens[at..], TESTS_ONLY) {
                at = end_of_item(&tokens, at + TESTS_ONLY.len());
            } else {
                kept.push(tokens[at].clone());
                at += 1;
            }
        }
        kept
    }

    pub fn line(&self, number: usize) -> &str {
        self.text.lines().nth(number.saturating_sub(1)).unwrap_or_default()
    }
}

/// Whether the tokens begin with these texts.
pub fn texts(tokens: &[Token], expected: &[&str]) -> bool {
    tokens.len() >= expected.len() && tokens.iter().zip(expected).all(|(token, text)| token.text == *text)
}

/// Behind the item that begins at `at`: past its `;`, or past the brace that closes it.
fn end_of_item(tokens: &[Token], at: usize) -> usize {
    let depth = tokens.get(at).map_or(0, |token| token.depth);
    let last = tokens[at..]
        .iter()
        .position(|token| token.depth == depth && (token.text == ";" || token.text == "}"));
    last.map_or(tokens.len(), |offset| at + offset + 1)
}

fn flatten(stream: TokenStream, depth: usize, tokens: &mut Vec<Token>) {
    let push = |tokens: &mut Vec<Token>, text: &str, line: usize, end: usize| {
        tokens.push(Token { text: text.to_owned(), line, end, depth });
    };
    for tree in stream {
        match tree {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                let (first, last) = (group.span_open().start().line, group.span_close().end().line);
                push(tokens, open, first, last);
                flatten(group.stream(), depth + 1, tokens);
                push(tokens, close, last, last);
            }
            TokenTree::Ident(ident) => {
                let line = ident.span().start().line;
                push(tokens, &ident.to_string(), line, line);
            }
            TokenTree::Punct(punct) => {
                let line = punct.span().start().line;
                push(tokens, &punct.as_char().to_string(), line, line);
            }
            TokenTree::Literal(literal) => {
                let line = literal.span().start().line;
                push(tokens, &literal.to_string(), line, line);
            }
        }
    }
}
