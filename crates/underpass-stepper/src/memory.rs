//! The memory of a process as others see it: what it shares, and what the kernel reads of it when it dies.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::unistd::{Pid, Whence, lseek};

/// The list head that `get_robust_list` names: the first node, the offset of a node's lock, the node that is being linked.
const HEAD: u64 = 24;
/// Of a node: where the next is.
const NODE: u64 = 8;
/// Set in the address of a node whose lock lends priority.
const LENDS: u64 = 1;
const PAGE: usize = 4096;
/// As far as the kernel follows the list.
const NODES: usize = 2048;

/// The memory of a process, and the head of its main thread's robust list.
#[derive(Debug)]
pub struct Memory {
    pid: Pid,
    bytes: File,
    /// 0: there is none.
    head: u64,
}

impl Memory {
    /// Of a process that this one traces.
    pub fn of(pid: Pid, head: u64) -> io::Result<Self> {
        Ok(Self { pid, bytes: File::open(format!("/proc/{pid}/mem"))?, head })
    }

    /// A list whose head is there, from now on.
    pub fn set_head(&mut self, head: u64) {
        self.head = head;
    }

    /// As much of `into` as is mapped from `address` on.
    pub fn read(&self, address: u64, into: &mut [u8]) -> io::Result<usize> {
        self.bytes.read_at(into, address)
    }

    /// Where it maps something that others may map too. Files of the kernel, as the clock's page, are mapped privately.
    pub fn shared(&self) -> io::Result<Vec<Range<u64>>> {
        Ok(self.mappings()?.into_iter().map(|mapping| mapping.range).collect())
    }

    fn mappings(&self) -> io::Result<Vec<Mapping>> {
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.pid))?;
        Ok(maps.lines().filter_map(Mapping::of_line).collect())
    }

    fn bytes(&self, range: &Range<u64>) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(0)];
        let read = self.read(range.start, &mut bytes)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// Where the kernel looks at its death: the head, and the nodes that it leads to.
    pub fn robust(&self) -> Vec<Range<u64>> {
        let mut found = Vec::new();
        if self.head == 0 {
            return found;
        }
        found.push(self.head..self.head + HEAD);
        let mut at = self.head;
        while let Some(next) = self.word(at).map(|next| next & !LENDS) {
            if next == self.head || found.len() > NODES {
                break;
            }
            found.push(next..next + NODE);
            at = next;
        }
        found
    }

    fn word(&self, address: u64) -> Option<u64> {
        let mut word = [0; 8];
        matches!(self.read(address, &mut word), Ok(8)).then(|| u64::from_le_bytes(word))
    }
}

/// What is shared and may be written to.
#[derive(Debug)]
struct Mapping {
    range: Range<u64>,
    offset: u64,
    path: String,
}

impl Mapping {
    /// Of a line of `maps`: `7f00-7f01 rw-s 0000 00:19 8 /dev/shm/x`.
    fn of_line(line: &str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace();
        let (low, high) = fields.next()?.split_once('-')?;
        let allowed = fields.next()?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        let offset = number(fields.next()?)?;
        let path = fields.skip(2).collect::<Vec<_>>().join(" ");
        (allowed.ends_with('s') && allowed.contains('w')).then_some(Self {
            range: number(low)?..number(high)?,
            offset,
            path,
        })
    }

    /// The pages of its file that have something else than zeros, each behind its place: most of a table of lives is a hole.
    fn of_file(&self) -> io::Result<Vec<u8>> {
        let file = File::open(&self.path)?;
        let end = self.offset + (self.range.end - self.range.start);
        let mut found = Vec::new();
        let mut at = self.offset;
        while let Some(data) = seek(&file, at, Whence::SeekData)?.filter(|data| *data < end) {
            at = seek(&file, data, Whence::SeekHole)?.map_or(end, |hole| hole.min(end));
            let mut bytes = vec![0; usize::try_from(at - data).unwrap_or(0)];
            let read = file.read_at(&mut bytes, data)?;
            for (place, page) in (data..).step_by(PAGE).zip(bytes[..read].chunks(PAGE)) {
                if page.iter().any(|byte| *byte != 0) {
                    found.extend(place.to_le_bytes());
                    found.extend(page);
                }
            }
        }
        Ok(found)
    }
}

/// Where data, or a hole, comes next in a file. `None`: there is none.
fn seek(file: &File, from: u64, to: Whence) -> io::Result<Option<u64>> {
    match lseek(file, from.cast_signed(), to) {
        Ok(at) => Ok(Some(at.cast_unsigned())),
        Err(Errno::ENXIO) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// What it would leave behind, kept to be compared with what comes after the next instruction.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Left {
    shared: Vec<(Range<u64>, Vec<u8>)>,
    robust: Vec<(Range<u64>, Vec<u8>)>,
}

impl Left {
    /// All of it, as it is now.
    pub fn behind(memory: &Memory) -> io::Result<Self> {
        let shared = memory.mappings()?.into_iter().map(|mapping| {
            // Nothing can be read beyond the end of a file.
            let bytes = mapping.of_file().or_else(|_| memory.bytes(&mapping.range)).unwrap_or_default();
            (mapping.range, bytes)
        });
        let robust = memory.robust().into_iter().map(|range| memory.bytes(&range).map(|bytes| (range, bytes)));
        Ok(Self { shared: shared.collect(), robust: robust.collect::<io::Result<_>>()? })
    }
}
