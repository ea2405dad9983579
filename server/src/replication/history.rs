//! The name of a stream's history, and of the one it grew out of.

/// Digits of a replication id.
pub const ID_DIGITS: usize = 40;

/// What a server's stream is called. Two servers whose streams have the same name and offset have the same data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// 40 hexadecimal digits.
    pub id: String,
    /// The name it had before, and the offset up to which both are the same.
    pub earlier: Option<(String, u64)>,
}

impl History {
    pub fn new(id: String) -> History {
        History { id, earlier: None }
    }

    /// The stream goes on from offset `at` by itself, under a new name: what others have of the old one up to there
    /// still counts.
    pub fn fork(&mut self, id: String, at: u64) {
        let old = std::mem::replace(&mut self.id, id);
        self.earlier = Some((old, at));
    }

    /// Whether a stream called `id` that is known up to `offset` is a part of this one.
    pub fn holds(&self, id: &str, offset: u64) -> bool {
        let before = |(name, end): &(String, u64)| name == id && offset <= *end;
        self.id == id || self.earlier.as_ref().is_some_and(before)
    }

    /// One line: the id, the earlier id and its end, `-` for none.
    pub fn format(&self) -> String {
        match &self.earlier {
            Some((id, end)) => format!("{} {id} {end}\n", self.id),
            None => format!("{} - 0\n", self.id),
        }
    }

    /// Reads what `format` wrote; `None` if it is anything else.
    pub fn parse(text: &str) -> Option<History> {
        let mut words = text.split_whitespace();
        let id = words.next().filter(|id| is_id(id))?.to_owned();
        let earlier = words.next()?;
        let end = words.next()?.parse().ok()?;
        let earlier = is_id(earlier).then(|| (earlier.to_owned(), end));
        Some(History { id, earlier })
    }
}

/// Whether this is a replication id.
pub fn is_id(text: &str) -> bool {
    text.len() == ID_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fork_keeps_what_came_before_it() {
        let (old, new) = ("a".repeat(40), "b".repeat(40));
        let mut history = History::new(old.clone());
        assert!(history.holds(&old, 1000) && !history.holds(&new, 0));
        assert_eq!(History::parse(&history.format()).as_ref(), Some(&history));
        history.fork(new.clone(), 70);
        assert!(history.holds(&new, 1000) && history.holds(&old, 70) && !history.holds(&old, 71));
        assert_eq!(History::parse(&history.format()).as_ref(), Some(&history));
        for damaged in ["", "x - 0", &old, &format!("{old} - x")] {
            assert_eq!(History::parse(damaged), None, "{damaged}");
        }
    }
}
