//! The first 384 bytes of every object: what it is, for whom, by whom, written once, before the file has a name; who is
//! rung for it; and where it was taken.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::layout::bell::WatchersWords;
use crate::layout::site::SiteWords;
use crate::place::{Placed, Shared};
use crate::region::Region;
use crate::sync::{AtomicU32, AtomicU64};
use crate::{Error, Result};

/// `underpas` in ASCII.
pub const MAGIC: u64 = u64::from_le_bytes(*b"underpas");
/// Raised when any layout changes.
pub const LAYOUT_VERSION: u32 = 1;
/// Where the words of an object start.
pub const WORDS: usize = 384;
/// Where it stands who is rung.
pub const WATCHERS: usize = 128;
/// Where it stands on which line of a program the object was taken.
pub const SITE: usize = 256;
/// A region's card: its header and its words, and nothing of its bytes.
pub const CARD: usize = 4096;
/// Parameters a kind can have.
pub const PARAMETERS: usize = 8;

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Kind {
    /// The table of lives of a space.
    Lives = 1,
    /// A counting semaphore.
    Semaphore = 2,
    /// A queue of messages.
    Queue = 3,
    /// The right to receive calls.
    Port = 4,
    /// What a client and a server share: the A-stacks.
    Channel = 5,
    /// A robust lock.
    Mutex = 6,
    /// A word of flags.
    Notification = 7,
    /// A number.
    AtomicInt = 8,
    /// One flag.
    Event = 9,
    /// Where processes wait for each other.
    Barrier = 10,
    /// What one process runs.
    Once = 11,
    /// Where processes wait until something may have become true.
    Condition = 12,
    /// A lock of many readers or one writer.
    RWLock = 13,
    /// A count that goes down to 0.
    Latch = 14,
    /// A lock to spin for.
    SpinLock = 15,
    /// Memory.
    Region = 16,
    /// A stream of bytes.
    Pipe = 17,
    /// Messages of one writer for many readers.
    Broadcast = 18,
    /// Blocks of memory.
    Pool = 19,
    /// Words, the last one first.
    Stack = 20,
    /// Packets of one writer for one reader.
    SpscRing = 22,
    /// Packets of many writers for one reader.
    MpscRing = 23,
    /// A queue of objects, with the blocks of those that are long.
    ObjectQueue = 24,
}

const KINDS: [Kind; 23] = [
    Kind::Lives,
    Kind::Semaphore,
    Kind::Queue,
    Kind::Port,
    Kind::Channel,
    Kind::Mutex,
    Kind::Notification,
    Kind::AtomicInt,
    Kind::Event,
    Kind::Barrier,
    Kind::Once,
    Kind::Condition,
    Kind::RWLock,
    Kind::Latch,
    Kind::SpinLock,
    Kind::Region,
    Kind::Pipe,
    Kind::Broadcast,
    Kind::Pool,
    Kind::Stack,
    Kind::SpscRing,
    Kind::MpscRing,
    Kind::ObjectQueue,
];

impl Kind {
    /// The kind that a header names, if this version knows it.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        KINDS.into_iter().find(|kind| *kind as u32 == number)
    }

    /// The name its users know.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Lives => "Lives",
            Self::Semaphore => "Semaphore",
            Self::Queue => "Queue",
            Self::Port => "Port",
            Self::Channel => "Channel",
            Self::Mutex => "Mutex",
            Self::Notification => "Notification",
            Self::AtomicInt => "AtomicInt",
            Self::Event => "Event",
            Self::Barrier => "Barrier",
            Self::Once => "Once",
            Self::Condition => "Condition",
            Self::RWLock => "RWLock",
            Self::Latch => "Latch",
            Self::SpinLock => "SpinLock",
            Self::Region => "Region",
            Self::Pipe => "Pipe",
            Self::Broadcast => "Broadcast",
            Self::Pool => "Pool",
            Self::Stack => "Stack",
            Self::SpscRing => "SpscRing",
            Self::MpscRing => "MpscRing",
            Self::ObjectQueue => "ObjectQueue",
        }
    }

    /// The article in front of its name.
    #[must_use]
    pub fn article(self) -> &'static str {
        if self.name().starts_with(['A', 'E']) || self == Self::RWLock { "an" } else { "a" }
    }

    /// How much of a file of so many bytes a handle maps: of a region its card alone, since its bytes are mapped apart.
    #[must_use]
    pub fn mapped(self, length: usize) -> usize {
        if self == Self::Region { length.min(CARD) } else { length }
    }
}

/// As it lies in the file.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct HeaderWords {
    magic: AtomicU64,
    version: AtomicU32,
    kind: AtomicU32,
    /// Of the space's table of lives: the ids in this object mean something there and nowhere else.
    space: AtomicU64,
    /// Of this object: a handle finds the same incarnation or none.
    nonce: AtomicU64,
    creator: AtomicU32,
    creator_pid: AtomicU32,
    created: AtomicU64,
    parameters: [AtomicU64; PARAMETERS],
}

// SAFETY: S1, atomics only.
unsafe impl Shared for HeaderWords {}

/// Bytes of the words.
const HEADER_BYTES: usize = 48 + 8 * PARAMETERS;

impl HeaderWords {
    /// A copy of those in a file.
    fn copied(bytes: &[u8; HEADER_BYTES]) -> Self {
        let long = |at: usize| AtomicU64::new(u64::from_ne_bytes(std::array::from_fn(|index| bytes[at + index])));
        let short = |at: usize| AtomicU32::new(u32::from_ne_bytes(std::array::from_fn(|index| bytes[at + index])));
        Self {
            magic: long(0),
            version: short(8),
            kind: short(12),
            space: long(16),
            nonce: long(24),
            creator: short(32),
            creator_pid: short(36),
            created: long(40),
            parameters: std::array::from_fn(|index| long(48 + 8 * index)),
        }
    }
}

const _: () = assert!(
    size_of::<HeaderWords>() <= WATCHERS
        && WATCHERS + size_of::<WatchersWords>() <= SITE
        && SITE + size_of::<SiteWords>() <= WORDS
);

/// A word of the object that says what it is, and never changes; none if the region is too short for one.
#[must_use]
pub fn untouched(region: &Arc<Region>) -> Option<Placed<AtomicU32>> {
    Placed::at(region, std::mem::offset_of!(HeaderWords, version))
}

/// Who is rung when the sleepers of an object are woken; none if the region is too short for an object.
#[must_use]
pub fn watchers(region: &Arc<Region>) -> Option<Placed<WatchersWords>> {
    Placed::at(region, WATCHERS)
}

/// Where the object was taken; none if the region is too short for one.
#[must_use]
pub fn site(region: &Arc<Region>) -> Option<Placed<SiteWords>> {
    Placed::at(region, SITE)
}

/// What a header says, copied out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// What the object is.
    pub kind: Kind,
    /// The nonce of the space it lives in.
    pub space: u64,
    /// Its own nonce.
    pub nonce: u64,
    /// The life of the process that made it.
    pub creator: u32,
    /// That process's pid, in its own pid namespace.
    pub creator_pid: u32,
    /// Constructor arguments; each kind says which is which.
    pub parameters: [u64; PARAMETERS],
}

impl Header {
    /// Writes the header of a new object; the magic goes last.
    pub fn write(&self, region: &Arc<Region>, what: &str) -> Result<()> {
        let words = place(region, what)?;
        words.version.store(LAYOUT_VERSION, Relaxed);
        words.kind.store(self.kind as u32, Relaxed);
        words.space.store(self.space, Relaxed);
        words.nonce.store(self.nonce, Relaxed);
        words.creator.store(self.creator, Relaxed);
        words.creator_pid.store(self.creator_pid, Relaxed);
        words.created.store(crate::clock::monotonic(), Relaxed);
        for (word, value) in words.parameters.iter().zip(self.parameters) {
            word.store(value, Relaxed);
        }
        words.magic.store(MAGIC, std::sync::atomic::Ordering::Release);
        Ok(())
    }

    /// Reads the header of somebody's object, and refuses what is not one of ours.
    pub fn read(region: &Arc<Region>, what: &str) -> Result<Self> {
        Self::of(&*place(region, what)?, what)
    }

    /// The same, of a file of which nothing is mapped.
    pub fn copy(file: impl AsFd, what: &str) -> Result<Self> {
        let mut bytes = [0; HEADER_BYTES];
        let read = rustix::io::pread(file, &mut bytes, 0).map_err(|errno| Error::system("read", what, errno))?;
        if read < bytes.len() {
            return Err(Error::Corrupted { what: what.into(), why: format!("{read} bytes are too few for a header") });
        }
        Self::of(&HeaderWords::copied(&bytes), what)
    }

    fn of(words: &HeaderWords, what: &str) -> Result<Self> {
        let corrupted = |why: String| Error::Corrupted { what: what.into(), why };
        if words.magic.load(std::sync::atomic::Ordering::Acquire) != MAGIC {
            return Err(corrupted("its first bytes are not those of an underpass object".into()));
        }
        let version = words.version.load(Relaxed);
        if version != LAYOUT_VERSION {
            return Err(Error::Mismatch {
                what: what.into(),
                wanted: format!("layout version {LAYOUT_VERSION}"),
                found: format!("layout version {version}"),
            });
        }
        let number = words.kind.load(Relaxed);
        let kind = Kind::from_number(number).ok_or_else(|| corrupted(format!("kind {number} does not exist")))?;
        let mut parameters = [0; PARAMETERS];
        for (value, word) in parameters.iter_mut().zip(&words.parameters) {
            *value = word.load(Relaxed);
        }
        Ok(Self {
            kind,
            space: words.space.load(Relaxed),
            nonce: words.nonce.load(Relaxed),
            creator: words.creator.load(Relaxed),
            creator_pid: words.creator_pid.load(Relaxed),
            parameters,
        })
    }

    /// Refuses an object of another kind.
    pub fn expect(&self, kind: Kind, what: &str) -> Result<()> {
        if self.kind == kind {
            return Ok(());
        }
        Err(Error::Mismatch {
            what: what.into(),
            wanted: format!("{} {}", kind.article(), kind.name()),
            found: format!("{} {}", self.kind.article(), self.kind.name()),
        })
    }
}

fn place(region: &Arc<Region>, what: &str) -> Result<Placed<HeaderWords>> {
    Placed::at(region, 0).ok_or_else(|| Error::Corrupted {
        what: what.into(),
        why: format!("{} bytes are too few for a header", region.len()),
    })
}

/// A number nobody else has.
#[must_use]
pub fn nonce() -> u64 {
    let mut bytes = [0; 8];
    // SAFETY: S4, the kernel writes at most the eight bytes it is given.
    let code = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if code == 8 { u64::from_ne_bytes(bytes) } else { crate::clock::monotonic() ^ u64::from(std::process::id()) << 40 }
}
