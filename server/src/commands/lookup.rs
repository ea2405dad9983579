//! From a command's name to its row.

use std::sync::OnceLock;

use super::{Command, FAMILIES, Run};
use crate::resp::Argv;

/// Names of up to 16 bytes are compared as one integer; longer ones are few and searched in order.
const PACKED: usize = 16;

struct Slot {
    name: u128,
    row: u16,
}

/// Every row, subcommands included, numbered; built once from `FAMILIES`.
pub struct Table {
    rows: Vec<&'static Command>,
    /// Open addressing over packed lower-case names; a name of 0 is an empty slot.
    slots: Vec<Slot>,
    long: Vec<u16>,
}

/// The table of the process.
pub fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(Table::build)
}

impl Table {
    fn build() -> Table {
        let mut table = Table { rows: Vec::new(), slots: Vec::new(), long: Vec::new() };
        table.slots.resize_with(1024, || Slot { name: 0, row: 0 });
        for command in FAMILIES.iter().copied().flatten() {
            let row = table.rows.len() as u16;
            table.rows.push(command);
            match pack(command.name.as_bytes()) {
                Some(name) => table.insert(name, row),
                None => table.long.push(row),
            }
        }
        for container in FAMILIES.iter().copied().flatten() {
            table.rows.extend(container.subcommands);
        }
        table
    }

    fn insert(&mut self, name: u128, row: u16) {
        let mut index = self.index(name);
        while self.slots[index].name != 0 {
            index = (index + 1) % self.slots.len();
        }
        self.slots[index] = Slot { name, row };
    }

    fn index(&self, name: u128) -> usize {
        let folded = (name as u64 ^ (name >> 64) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (folded >> 54) as usize & (self.slots.len() - 1)
    }

    /// All rows, subcommands after the top-level ones.
    pub fn rows(&self) -> &[&'static Command] {
        &self.rows
    }

    #[inline]
    pub fn row(&self, number: u16) -> &'static Command {
        self.rows[number as usize]
    }

    /// The number of the top-level row called `name`, whatever its case.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<u16> {
        let Some(packed) = pack(name) else {
            let is_it = |row: &&u16| self.row(**row).name.as_bytes().eq_ignore_ascii_case(name);
            return self.long.iter().find(is_it).copied();
        };
        let mut index = self.index(packed);
        loop {
            let slot = &self.slots[index];
            if slot.name == packed {
                let row = self.row(slot.row);
                return row.name.as_bytes().eq_ignore_ascii_case(name).then_some(slot.row);
            }
            if slot.name == 0 {
                return None;
            }
            index = (index + 1) % self.slots.len();
        }
    }

    /// The number of subcommand `name` of the container `row`.
    pub fn find_sub(&self, row: u16, name: &[u8]) -> Option<u16> {
        let container = self.row(row);
        let sub =
            container.subcommands.iter().position(|sub| sub.name.as_bytes().eq_ignore_ascii_case(name))?;
        let top = FAMILIES.iter().copied().flatten().count();
        let before: usize = self.rows[..row as usize].iter().map(|other| other.subcommands.len()).sum();
        Some((top + before + sub) as u16)
    }

    /// The row a command line means: its subcommand's, where it names a container and one of its subcommands.
    #[inline]
    pub fn resolve(&self, name: &[u8], sub: Option<&[u8]>) -> Option<u16> {
        let number = self.find(name)?;
        let row = self.row(number);
        match sub {
            Some(sub) if !row.subcommands.is_empty() => self.find_sub(number, sub),
            None if matches!(row.run, Run::Container) => None,
            _ => Some(number),
        }
    }
}

/// A name of up to 16 bytes as one number: its first and its last bytes, which overlap if it is short. Setting
/// bit 5 lower-cases letters; what that does to other bytes, and names that differ in length alone, `find`
/// sorts out by comparing names.
#[inline]
fn pack(name: &[u8]) -> Option<u128> {
    const LOWER: u128 = u128::from_le_bytes([0x20; PACKED]);
    let packed = match name.len() {
        0 => return None,
        1..4 => {
            let (first, middle, last) = (name[0], name[name.len() / 2], name[name.len() - 1]);
            u128::from(first) | u128::from(middle) << 8 | u128::from(last) << 16
        }
        4..8 => {
            let (first, last) = (name.first_chunk()?, name.last_chunk()?);
            u128::from(u32::from_le_bytes(*first)) | u128::from(u32::from_le_bytes(*last)) << 32
        }
        8..=PACKED => {
            let (first, last) = (name.first_chunk()?, name.last_chunk()?);
            u128::from(u64::from_le_bytes(*first)) | u128::from(u64::from_le_bytes(*last)) << 64
        }
        _ => return None,
    };
    Some(packed | LOWER)
}

/// The name looked up last: pipelines mostly repeat themselves. Only names of letters are remembered, for
/// which the packed form and the length are exact.
#[derive(Clone, Copy, Debug, Default)]
pub struct Recent {
    name: u128,
    len: usize,
    row: u16,
}

impl Recent {
    /// As `Table::resolve`, without looking if the name is the one of last time.
    #[inline]
    pub fn resolve(&mut self, argv: Argv) -> Option<u16> {
        let name = argv.get(0);
        let packed = pack(name);
        if packed == Some(self.name) && name.len() == self.len {
            return Some(self.row);
        }
        let row = table().resolve(name, (argv.len() > 1).then(|| argv.get(1)))?;
        // Behind a container's name the next word decides, even where the bare name is a command (COMMAND).
        let command = table().row(row);
        if let Some(packed) = packed
            && command.words() == 1
            && command.subcommands.is_empty()
            && name.iter().all(u8::is_ascii_alphabetic)
        {
            *self = Recent { name: packed, len: name.len(), row };
        }
        Some(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_found_by_its_name_in_any_case() {
        for (number, row) in table().rows().iter().enumerate() {
            let names = row.full_name.to_uppercase();
            let (name, sub) = match names.split_once('|') {
                Some((name, sub)) => (name, Some(sub.as_bytes())),
                None => (names.as_str(), None),
            };
            let top = table().find(name.as_bytes()).expect("the container is in the table");
            let found = sub.map_or(Some(top), |sub| table().find_sub(top, sub));
            assert_eq!(found, Some(number as u16), "{names}");
        }
    }

    #[test]
    fn the_name_of_last_time_finds_what_the_table_finds() {
        let mut recent = Recent::default();
        let lines =
            ["GET a", "get b", "COMMAND", "COMMAND COUNT", "command", "CLIENT ID", "CLIENT", "GET", "PING"];
        for line in lines.iter().chain(&lines) {
            let argv = crate::resp::OwnedArgv::from_iter(line.split(' ').map(str::as_bytes));
            let argv = argv.borrow();
            let expected = table().resolve(argv.get(0), (argv.len() > 1).then(|| argv.get(1)));
            assert_eq!(recent.resolve(argv), expected, "{line}");
        }
    }

    #[test]
    fn names_are_unique_and_unknown_ones_are_not_found() {
        let mut names: Vec<_> = table().rows().iter().map(|row| row.full_name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
        assert_eq!(table().find(b"nosuchcommand"), None);
        assert_eq!(table().find(b""), None);
        assert_eq!(table().find(&[b'x'; 300]), None);
    }
}
