//! A disk that forgets what was not flushed, in the ways disks and file systems do.
//!
//! A file is what programs see and what is certain to survive. A loss of power makes of each sector that was
//! not flushed the one or the other; a flush that fails drops some of them for good and calls them clean. A
//! name in the directory is, after a loss of power, any of what it was since the directory was flushed,
//! whatever became of other names.

use std::collections::{BTreeMap, BTreeSet};

use super::Random;
use crate::log::Step;

/// Longer than any word the shards write, so that a sector lost is always missed.
const SECTOR: usize = 16;

#[derive(Clone, Default)]
struct Inode {
    seen: Vec<u8>,
    kept: Vec<u8>,
    /// Sectors that a failed flush lost: no later flush brings them back.
    dropped: BTreeSet<usize>,
}

#[derive(Default)]
pub struct Disk {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    /// What a name was, from the directory's last flush on.
    unsettled: BTreeMap<String, Vec<Option<usize>>>,
    current: Option<usize>,
}

/// A flush under way: what it will make certain.
pub struct Flush {
    inode: usize,
    bytes: Vec<u8>,
}

impl Disk {
    pub fn read(&self, name: &str) -> Option<&[u8]> {
        self.names.get(name).map(|inode| self.inodes[*inode].seen.as_slice())
    }

    fn point(&mut self, name: &str, inode: Option<usize>) {
        let before = self.names.get(name).copied();
        let was = self.unsettled.entry(name.to_owned()).or_insert_with(|| vec![before]);
        was.push(inode);
        match inode {
            Some(inode) => self.names.insert(name.to_owned(), inode),
            None => self.names.remove(name),
        };
    }

    fn create(&mut self, name: &str) -> usize {
        self.inodes.push(Inode::default());
        let inode = self.inodes.len() - 1;
        self.point(name, Some(inode));
        inode
    }

    /// Carries a step out; with `fails`, only as much of it as chance has it.
    pub fn step(&mut self, step: &Step, fails: bool, random: &mut Random) -> bool {
        if fails && random.below(2) == 0 {
            return false;
        }
        match step {
            Step::Put { name, bytes } => {
                let inode = self.create(name);
                let count = if fails { random.below(bytes.len() + 1) } else { bytes.len() };
                self.inodes[inode].seen = bytes[..count].to_vec();
                if !fails {
                    self.inodes[inode].kept = bytes.clone();
                }
            }
            Step::Open { name, length } => {
                let inode = self.names.get(name).copied().unwrap_or_else(|| self.create(name));
                let file = &mut self.inodes[inode];
                file.seen.truncate(*length as usize);
                assert_eq!(file.seen.len(), *length as usize, "{name} is shorter than it was read");
                if !fails {
                    file.kept = file.seen.clone();
                    self.current = Some(inode);
                }
            }
            Step::Rename { from, to } => {
                let inode = self.names.get(from).copied();
                assert!(inode.is_some(), "{from} is not there");
                self.point(to, inode);
                self.point(from, None);
                // A rename that was reported as failed has not happened as far as programs see.
                if fails {
                    self.point(from, inode);
                    let was = self.unsettled[to][self.unsettled[to].len() - 2];
                    self.point(to, was);
                }
            }
            Step::Remove { name } => {
                if self.names.contains_key(name) {
                    self.point(name, None);
                }
            }
            Step::FlushDirectory if !fails => self.unsettled.clear(),
            Step::FlushDirectory => {}
        }
        !fails
    }

    /// The first `count` bytes reach the file.
    pub fn write(&mut self, offset: u64, bytes: &[u8], count: usize) {
        let file = &mut self.inodes[self.current.expect("a file is open")];
        let offset = offset as usize;
        assert!(offset <= file.seen.len(), "a hole of {} bytes", offset - file.seen.len());
        assert_eq!(offset, file.seen.len(), "nothing is written twice: half a batch is cut off first");
        file.seen.truncate(offset);
        file.seen.extend_from_slice(&bytes[..count]);
        let touched = offset / SECTOR..(offset + count).div_ceil(SECTOR);
        file.dropped.retain(|sector| !touched.contains(sector));
    }

    pub fn truncate(&mut self, length: u64) {
        let file = &mut self.inodes[self.current.expect("a file is open")];
        assert!(file.seen.len() as u64 >= length);
        file.seen.truncate(length as usize);
    }

    pub fn begin_flush(&self) -> Flush {
        let inode = self.current.expect("a file is open");
        Flush { inode, bytes: self.inodes[inode].seen.clone() }
    }

    pub fn end_flush(&mut self, flush: Flush, fails: bool, random: &mut Random) {
        let file = &mut self.inodes[flush.inode];
        let sectors = flush.bytes.len().div_ceil(SECTOR);
        let (new, old) = (flush.bytes, std::mem::take(&mut file.kept));
        let dirty = |sector: usize| piece(&new, sector) != piece(&old, sector);
        if fails {
            let lost = (0..sectors).filter(|sector| dirty(*sector) && random.below(2) == 0);
            file.dropped.extend(lost);
        }
        let dropped = &file.dropped;
        file.kept = mixed(new.len(), |sector| if dropped.contains(&sector) { &old } else { &new });
    }

    /// Power is lost. With `holes`, sectors survive in any order; else up to one place in a file and not from it on.
    pub fn lose_power(&mut self, holes: bool, random: &mut Random) {
        for (name, was) in std::mem::take(&mut self.unsettled) {
            match was[random.below(was.len())] {
                Some(inode) => self.names.insert(name, inode),
                None => self.names.remove(&name),
            };
        }
        for file in &mut self.inodes {
            let Inode { seen, kept, .. } = &*file;
            let (least, most) = (seen.len().min(kept.len()), seen.len().max(kept.len()));
            let length = match random.below(3) {
                0 => kept.len(),
                1 => seen.len(),
                _ => least + random.below(most - least + 1),
            };
            let until = random.below(length / SECTOR + 2);
            let survives: Vec<bool> = (0..length.div_ceil(SECTOR))
                .map(|sector| if holes { random.below(2) == 0 } else { sector < until })
                .collect();
            let survives = |sector: usize| survives[sector] && !file.dropped.contains(&sector);
            let bytes = mixed(length, |sector| if survives(sector) { seen } else { kept });
            *file = Inode { seen: bytes.clone(), kept: bytes, dropped: BTreeSet::new() };
        }
        self.current = None;
    }
}

fn piece(bytes: &[u8], sector: usize) -> &[u8] {
    let end = bytes.len().min((sector + 1) * SECTOR);
    &bytes[(sector * SECTOR).min(end)..end]
}

/// Each sector from the version that `of` says, zeros where it has none.
fn mixed<'a>(length: usize, of: impl Fn(usize) -> &'a Vec<u8>) -> Vec<u8> {
    let mut bytes = vec![0; length];
    for (sector, room) in bytes.chunks_mut(SECTOR).enumerate() {
        let piece = piece(of(sector), sector);
        let count = piece.len().min(room.len());
        room[..count].copy_from_slice(&piece[..count]);
    }
    bytes
}
