//! Memory: bytes behind a card. The card, a file of the space as every object's, says how many bytes there are, who may write
//! them, and where they are: behind it in the same file, or in a memfd of the process that made it (POSIX shared memory, and
//! the sealed memfd of `memfd_create(2)`).
//!
//! Invariant: `size` never exceeds what is reserved, and never shrinks; `writer` leaves 0 once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use underpass_shm::header::{CARD, WORDS};
use underpass_shm::layout::region::RegionWords;
use underpass_shm::life::Life;
use underpass_shm::memfd::{self, Memfd, Place};
use underpass_shm::place::Placed;
use underpass_shm::sync::{
    AtomicU32,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use underpass_shm::{Error as Shm, region as shm};

use crate::{Error, Result};

/// The most bytes of a region: what a process can map.
pub const MOST: u64 = 1 << 46;

/// Where its bytes are.
#[derive(Debug)]
pub enum Memory {
    /// Behind the card.
    File,
    /// In a memfd, which this process has made.
    Mine(Memfd),
    /// In a memfd that another has made: as it was reached, once.
    Reached(std::os::fd::OwnedFd),
}

/// One process's view of a region.
#[derive(Debug)]
pub struct Region {
    words: Placed<RegionWords>,
    /// What errors call it.
    what: String,
    to_read: bool,
    mapped: Mutex<Mapped>,
    memfd: Mutex<Option<Memfd>>,
    views: AtomicU32,
}

/// What this process has mapped.
#[derive(Debug)]
struct Mapped {
    /// None: it was closed.
    now: Option<Arc<Bytes>>,
    /// Earlier ones that somebody may still look at.
    lent: Vec<Arc<Bytes>>,
}

impl Mapped {
    /// Another mapping, or none, takes the place of the one that is there: returned if nobody was given it.
    fn replace(&mut self, next: Option<Arc<Bytes>>) -> Option<Arc<Bytes>> {
        let before = std::mem::replace(&mut self.now, next)?;
        if before.lent.load(Relaxed) == 0 {
            return Some(before);
        }
        self.lent.push(before);
        None
    }
}

/// The bytes as they were mapped at one time.
#[derive(Debug)]
pub struct Bytes {
    region: Arc<shm::Region>,
    offset: usize,
    /// 1: somebody was given their address. Arrays remember it and the handle, and not that it was a loan: so it stays mapped
    /// until the handle goes.
    lent: AtomicU32,
    /// How many.
    pub length: usize,
    /// The kernel lets this process write them.
    pub writable: bool,
}

impl Bytes {
    fn new(region: Arc<shm::Region>, offset: usize, length: usize, writable: bool) -> Arc<Self> {
        Arc::new(Self { region, offset, lent: AtomicU32::new(0), length, writable })
    }

    /// Where they start.
    #[must_use]
    pub fn start(&self) -> *mut u8 {
        self.region.bytes(self.offset, self.length)
    }
}

fn words(card: &Arc<shm::Region>) -> Result<Placed<RegionWords>> {
    Placed::at(card, WORDS).ok_or_else(|| Error::Corrupted("its file is too short".into()))
}

impl Region {
    /// Writes the card of a new region.
    pub fn format(card: &Arc<shm::Region>, size: u64, place: Option<Place>) -> Result<()> {
        let words = words(card)?;
        words.size.store(size, Relaxed);
        if let Some(Place { number, file: (device, inode), .. }) = place {
            words.number.store(number, Relaxed);
            words.device.store(device, Relaxed);
            words.inode.store(inode, Relaxed);
        }
        Ok(())
    }

    /// Where the bytes are if they are in a memfd of that process.
    pub fn place(card: &Arc<shm::Region>, pid: u32) -> Result<Option<Place>> {
        let words = words(card)?;
        let file = (words.device.load(Relaxed), words.inode.load(Relaxed));
        Ok((file != (0, 0)).then(|| Place { pid, number: words.number.load(Relaxed), file }))
    }

    /// Maps what a card says.
    pub fn new(card: &Arc<shm::Region>, memory: Memory, to_read: bool, what: &str) -> Result<Self> {
        let words = words(card)?;
        let size = checked(words.size.load(Acquire))?;
        let (region, offset, memfd, writable) = match memory {
            // In the lab the card and the bytes are one piece of memory.
            Memory::File if card.len() > CARD => (card.clone(), CARD, None, !to_read),
            Memory::File => (card.again(CARD + size, to_read, what)?, CARD, None, !to_read),
            Memory::Mine(memfd) => (memfd.map(what)?, 0, Some(memfd), true),
            Memory::Reached(file) => {
                let sealed = words.writer.load(Acquire) != 0;
                if sealed {
                    // Who sealed it may have died before the kernel knew.
                    memfd::seal(&file, what)?;
                }
                let length = memfd::length(&file, what)?;
                let writing = if sealed { None } else { writing(&file, length, what)? };
                match writing {
                    Some(region) => (region, 0, None, true),
                    None => (shm::Region::map_to_read(&file, length, what)?, 0, None, false),
                }
            }
        };
        if offset + size > region.len() {
            return Err(Error::Corrupted(format!("it has fewer than the {size} bytes that its card says")));
        }
        let now = Some(Bytes::new(region, offset, size, writable));
        let mapped = Mutex::new(Mapped { now, lent: Vec::new() });
        let (what, views) = (what.into(), AtomicU32::new(0));
        Ok(Self { words, what, to_read, mapped, memfd: Mutex::new(memfd), views })
    }

    fn mapped(&self) -> MutexGuard<'_, Mapped> {
        self.mapped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bytes as they are now: mapped anew if somebody has lengthened them.
    pub fn bytes(&self) -> Result<Arc<Bytes>> {
        self.bytes_in(&mut self.mapped())
    }

    /// The same for somebody who keeps their address: they stay where they are for as long as this is there.
    pub fn lend(&self) -> Result<Arc<Bytes>> {
        let mut mapped = self.mapped();
        let bytes = self.bytes_in(&mut mapped)?;
        bytes.lent.store(1, Relaxed);
        Ok(bytes)
    }

    fn bytes_in(&self, mapped: &mut Mapped) -> Result<Arc<Bytes>> {
        let bytes = mapped.now.as_ref().ok_or(Error::Closed)?;
        // SYNC(region-1): pairs with resize()
        let size = checked(self.words.size.load(Acquire))?;
        if size <= bytes.length {
            return Ok(bytes.clone());
        }
        let Bytes { offset, writable, .. } = **bytes;
        let region = bytes.region.again(offset + size, !writable, &self.what)?;
        let longer = Bytes::new(region, offset, size, writable);
        drop(mapped.replace(Some(longer.clone())));
        Ok(longer)
    }

    /// Bytes that everybody may use.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.words.size.load(Acquire)
    }

    /// The process that alone writes; none: everybody does.
    #[must_use]
    pub fn writer(&self) -> Option<Life> {
        let writer = self.words.writer.load(Acquire);
        (writer != 0).then_some(Life(writer))
    }

    /// A process may write them, as far as the card says.
    #[must_use]
    pub fn may_write(&self, me: Life) -> bool {
        !self.to_read && self.writer().is_none_or(|writer| writer == me)
    }

    /// Ends writing but for one: the caller, if nobody was before it. `reach` opens the memory; none: there is nothing that
    /// the kernel could seal.
    pub fn seal(&self, me: Life, reach: impl FnOnce() -> Result<Option<std::os::fd::OwnedFd>>) -> Result<()> {
        let memory = reach()?;
        match self.words.writer.compare_exchange(0, me.0, AcqRel, Acquire) {
            Ok(_) => {}
            Err(writer) if writer == me.0 => {}
            Err(_) => return Err(Error::Misuse("it is sealed, and another process is its writer".into())),
        }
        // Whoever opens it after a death here finds the word, and seals it then.
        memory.map_or(Ok(()), |file| memfd::seal(file, &self.what).map_err(Error::from))
    }

    /// Makes it longer; `room` reserves what is added. Others see it with their next view.
    pub fn resize(&self, size: u64, room: impl FnOnce(u64) -> Result<()>) -> Result<()> {
        let before = self.size();
        if size < before {
            let why = "a region never shrinks, since others may have it mapped: make a new one";
            return Err(Error::Invalid(format!("size={size} is less than its {before} bytes: {why}")));
        }
        if size > before {
            if self.writer().is_some() {
                return Err(Error::Misuse("it is sealed, so its length is fixed".into()));
            }
            room(before)?;
            // SYNC(region-1): pairs with bytes(). Of several the longest counts.
            self.words.size.fetch_max(size, Release);
        }
        self.bytes().map(drop)
    }

    /// A buffer is given, or taken back.
    pub fn count_view(&self, given: bool) {
        if given {
            self.views.fetch_add(1, Relaxed)
        } else {
            self.views.fetch_sub(1, Relaxed)
        };
    }

    /// Buffers of this handle's that somebody has.
    #[must_use]
    pub fn views(&self) -> u32 {
        self.views.load(Relaxed)
    }

    /// Ends this view of it. Bytes that nobody was ever given are returned, and go with that.
    pub fn close(&self) -> Option<Arc<Bytes>> {
        self.mapped().replace(None)
    }

    /// All that is mapped, to go with what is returned: nobody can look at it any more.
    pub fn end(&mut self) -> Vec<Arc<Bytes>> {
        let mapped = self.mapped.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut all = std::mem::take(&mut mapped.lent);
        all.extend(mapped.now.take());
        all
    }

    /// The descriptor alone, without which nobody else can come any more; once.
    pub fn let_go(&self) -> Option<Memfd> {
        self.memfd.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A mapping to write; none if it was sealed a moment ago.
fn writing(file: &std::os::fd::OwnedFd, length: usize, what: &str) -> Result<Option<Arc<shm::Region>>> {
    match shm::Region::map(file, length, what) {
        Ok(region) => Ok(Some(region)),
        Err(Shm::MapFailed { errno, .. }) if memfd::is_sealed(errno) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn checked(size: u64) -> Result<usize> {
    let fits = (1..=MOST).contains(&size).then_some(size).and_then(|size| usize::try_from(size).ok());
    fits.ok_or_else(|| Error::Corrupted(format!("its length of {size} bytes is out of range")))
}
