//! Words, of which the last that was pushed is popped first.
//!
//! Follows Zephyr's `k_stack`: a push never waits, and hands its word to who waits for longest.
//!
//! Invariant: while nobody holds the waiters' lock, and nobody died with it, `words[0 .. depth)` were pushed and not popped,
//! each once, and while somebody waits in a slot there are none. A push has happened with the store of `depth`, or with the
//! grant; whoever inherits the lock ends what `handing` says.

#[cfg(not(loom))]
mod layout;

use underpass_shm::layout::stack::StackWords;
use underpass_shm::operation::Operation;
use underpass_shm::place::{Placed, PlacedSlice};
use underpass_shm::sync::AtomicU64;
use underpass_shm::sync::Ordering::{Acquire, Relaxed, Release};

#[cfg(not(loom))]
pub use layout::Shape;

use crate::kernel::{Kernel, Watch};
use crate::many::Ready;
use crate::wait::Sleepers;
use crate::waiters::{Room, Waiters, Wish};
use crate::{Deadline, Error, Result};

/// The number of a slot, counted from 1, or 0, in the word `handing`.
const NUMBER: u64 = (1 << 14) - 1;
const SERVING: u64 = 1 << 63;
/// Nobody waits for anything but the next word.
const WISH: Wish = Wish { value: 0, how: 0 };

/// A handle of a stack.
#[derive(Debug, Clone)]
pub struct Stack {
    words: Placed<StackWords>,
    /// The capacity's, and those to spare.
    places: PlacedSlice<AtomicU64>,
    waiters: Waiters,
    capacity: u32,
}

/// A word on its way: the word `handing`.
#[derive(Debug, Clone, Copy)]
struct Handing {
    /// From whose slot it comes back.
    source: Option<usize>,
    /// Whom it is being given to; none: it goes onto the stack.
    target: Option<usize>,
    /// How deep the stack was before.
    depth: u32,
}

impl Handing {
    fn word(self) -> u64 {
        let number = |slot: Option<usize>| slot.map_or(0, |index| (index as u64 + 1) & NUMBER);
        SERVING | number(self.source) << 46 | number(self.target) << 32 | u64::from(self.depth)
    }

    /// What [`Self::word`] has written, if anything is under way.
    fn read(word: u64) -> Option<Self> {
        let slot = |number: u64| ((number & NUMBER) as usize).checked_sub(1);
        (word & SERVING != 0).then(|| Self { source: slot(word >> 46), target: slot(word >> 32), depth: word as u32 })
    }
}

impl Stack {
    /// A handle over zeroed words, or those of a stack. Of the places those behind `capacity` are to spare.
    #[must_use]
    pub fn new(words: Placed<StackWords>, places: PlacedSlice<AtomicU64>, waiters: Waiters, capacity: u32) -> Self {
        Self { words, places, waiters, capacity }
    }

    /// Puts a word on top, or hands it to who waits for longest; `WouldBlock` if it is full.
    #[inline]
    pub fn push(&self, kernel: &dyn Kernel, word: u64) -> Result<()> {
        let _held = self.waiters.enter(kernel, self)?;
        let depth = self.depth_inside()?;
        if self.waiters.is_quiet() {
            if depth >= self.capacity {
                return Err(Error::WouldBlock);
            }
            self.lay(depth, word);
            return Ok(());
        }
        self.push_slow(kernel, depth, word)
    }

    #[cold]
    fn push_slow(&self, kernel: &dyn Kernel, depth: u32, word: u64) -> Result<()> {
        let is_full = depth >= self.capacity && self.waiters.first().is_none();
        // In this order: what is given back meanwhile is counted, if need be twice.
        let may_come_back = self.waiters.granted().count() + self.waiters.returned().count();
        if is_full || depth as usize + may_come_back >= self.places.len() {
            return Err(Error::WouldBlock);
        }
        self.hand(kernel, depth, word, None);
        self.waiters.settle(kernel, self);
        Ok(())
    }

    /// Takes the word on top, waiting for one.
    #[inline]
    pub fn pop(&self, kernel: &dyn Kernel, deadline: Deadline) -> Result<u64> {
        if self.words.depth.load(Relaxed) > 0 {
            let _held = self.waiters.enter(kernel, self)?;
            self.depth_inside()?;
            if let Some(word) = self.now(WISH) {
                return Ok(word);
            }
        }
        if deadline == Deadline::NoWait && self.waiters.is_empty() {
            return Err(Error::WouldBlock);
        }
        self.waiters.wait(kernel, self, WISH, deadline)
    }

    /// Throws away what is on it, and how much that was. Who waits goes on waiting.
    pub fn purge(&self, kernel: &dyn Kernel) -> Result<u32> {
        let _held = self.waiters.enter(kernel, self)?;
        let depth = self.depth_inside()?;
        self.words.depth.store(0, Release);
        Ok(depth)
    }

    /// Words it holds when nothing came back.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Words on it now, and those that come back to it.
    #[must_use]
    pub fn depth(&self) -> u32 {
        let depth = self.depth_outside();
        if self.waiters.is_empty() { depth } else { depth.saturating_add(self.waiters.returned().count() as u32) }
    }

    /// How many have a slot in which they wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiters.waiting().count()
    }

    /// Words on it, as many as there can be.
    fn depth_outside(&self) -> u32 {
        self.words.depth.load(Acquire).min(self.places.len() as u32)
    }

    /// Words on it. The lock is held.
    fn depth_inside(&self) -> Result<u32> {
        let depth = self.words.depth.load(Acquire);
        if depth as usize <= self.places.len() {
            return Ok(depth);
        }
        Err(Error::Corrupted(format!("{depth} words on a stack of {}", self.capacity)))
    }

    /// Lays a word on top of so many. The lock is held.
    fn lay(&self, depth: u32, word: u64) {
        if let Some(place) = self.places.get(depth as usize) {
            place.store(word, Relaxed);
            self.words.depth.store(depth + 1, Release);
        }
    }

    /// Gives a word to who waits for longest, or lays it on top of so many. `source` is whose slot it comes back from. The lock is
    /// held.
    fn hand(&self, kernel: &dyn Kernel, depth: u32, word: u64, source: Option<usize>) {
        let _owed = self.waiters.begin(kernel);
        let mut handing = Handing { source, target: None, depth };
        loop {
            handing.target = self.waiters.first();
            self.words.handing.store(handing.word(), Release);
            match handing.target {
                Some(index) if self.waiters.grant(index, word) => break,
                Some(_left) => {}
                None => {
                    self.lay(depth, word);
                    break;
                }
            }
        }
        self.finish(kernel, source);
    }

    /// The word has arrived, or stays where it came from: all are told who have to be. The lock is held.
    fn finish(&self, kernel: &dyn Kernel, left: Option<usize>) {
        self.waiters.tell_heirs(kernel);
        if let Some(index) = left {
            self.waiters.dismiss(index);
        }
        self.words.handing.store(0, Release);
        // Who found no slot has not come, and takes what is there.
        self.waiters.open_door(kernel);
    }
}

impl Ready for Stack {
    fn sleepers(&self) -> &dyn Sleepers {
        &self.waiters
    }

    /// A word is there.
    fn is_ready<'a>(&'a self, kernel: &dyn Kernel, watch: Option<&mut Watch<'a>>) -> Result<bool> {
        if self.depth() > 0 {
            return Ok(true);
        }
        if watch.is_none() && self.waiters.is_empty() {
            return Ok(false);
        }
        // What was given to one who has died since comes back.
        let _held = self.waiters.enter(kernel, self)?;
        self.waiters.reap(kernel, self);
        if let Some(watch) = watch {
            self.waiters.announce_onlooker(watch);
        }
        Ok(self.depth() > 0)
    }
}

impl Room for Stack {
    fn operation(&self) -> Operation {
        Operation::Pop
    }

    fn ready(&self, _wish: Wish) -> bool {
        self.words.depth.load(Relaxed) > 0
    }

    fn now(&self, _wish: Wish) -> Option<u64> {
        let top = self.depth_outside().checked_sub(1)?;
        let word = self.places.get(top as usize)?.load(Relaxed);
        self.words.depth.store(top, Release);
        Some(word)
    }

    fn watch<'a>(&'a self, _wish: Wish, _watch: &mut Watch<'a>) {
        // Words come under the lock alone, and with a waiter in a slot only after `posts`.
    }

    fn mend(&self, kernel: &dyn Kernel) {
        let Some(handing) = Handing::read(self.words.handing.load(Acquire)) else { return };
        let _owed = self.waiters.begin(kernel);
        let was_given = handing.target.is_some_and(|index| self.waiters.was_given(index).is_some());
        let has_arrived = was_given || self.words.depth.load(Acquire) != handing.depth;
        self.finish(kernel, handing.source.filter(|_| has_arrived));
    }

    fn take_back(&self, kernel: &dyn Kernel, index: usize, given: u64) {
        self.hand(kernel, self.depth_outside(), given, Some(index));
    }
}
