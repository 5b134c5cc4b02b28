//! A ring: packets of bytes from one writer, or any number, to one reader, each written and read in place.
//!
//! After Zephyr's `spsc_pbuf` and `mpsc_pbuf`. Bytes and order are apart: a packet has a word of its own, which one exchange claims in the name
//! of its writer, and anybody completes, as in the queue of Michael and Scott (PODC 1996). So it is lock-free, and a writer that dies
//! leaves a packet that names it, which the reader passes.
//!
//! Invariant: from `freed` on, packets are claimed, committed or gone, without a gap, as far as `claims` or one further, and their bytes do not
//! overlap. There is no claim without a name.

#[cfg(not(loom))]
mod layout;
mod positions;
mod reader;
mod ready;

use underpass_shm::layout::lock::SLEEPERS;
use underpass_shm::layout::ring::{COMMITTED, GONE, GRAIN, RingWords};
use underpass_shm::life::Life;
use underpass_shm::operation::Operation;
use underpass_shm::place::{Blocks, Placed, PlacedSlice};
use underpass_shm::sync::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};
use underpass_shm::sync::{AtomicU32, AtomicU64, fence};

use self::positions::{Positions, Span};
use crate::error::Phase;
use crate::kernel::{Kernel, Owed, Watch};
use crate::wait::{Patience, Sleepers, Waiting, wait_until};
use crate::{Deadline, Error, Result};

#[cfg(not(loom))]
pub use layout::Shape;
pub use reader::Packet;
pub use ready::ForClaim;

/// Looks at words that others change meanwhile, before one gives up: each that is in vain means that another has come further.
const LOOKS: u32 = 1 << 13;

/// Who may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writers {
    /// One process, until it ends.
    One,
    /// Everybody.
    Any,
}

/// A handle of a ring.
#[derive(Debug, Clone)]
pub struct Ring {
    words: Placed<RingWords>,
    packets: PlacedSlice<AtomicU64>,
    bytes: Blocks,
    positions: Positions,
    writers: Writers,
    claiming: Patience,
    taking: Patience,
}

/// The right to fill a packet, until it is committed or abandoned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Its number.
    pub number: u32,
    /// Who fills it.
    pub process: Life,
    /// Bytes that were asked for.
    pub size: usize,
    span: Span,
}

/// What `freed` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Freed {
    /// The packets in front of it are free.
    number: u32,
    /// Where the last of them ended.
    end: u32,
}

impl Freed {
    fn word(self) -> u64 {
        wide(self.number, self.end)
    }
}

/// A word of two halves.
fn wide(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

fn halves(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}

impl Ring {
    /// A handle over zeroed words, or those that others use: as many packets as a power of two, and a ring of grains.
    #[must_use]
    pub fn new(
        words: Placed<RingWords>,
        packets: PlacedSlice<AtomicU64>,
        bytes: Blocks,
        capacity: u64,
        writers: Writers,
    ) -> Self {
        let (claiming, taking) = (Patience::new(), Patience::new());
        Self { words, packets, bytes, positions: Positions { capacity }, writers, claiming, taking }
    }

    /// Bytes of the longest packet.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.positions.longest() as usize
    }

    /// Packets that there can be at a time.
    #[must_use]
    pub fn most(&self) -> usize {
        self.packets.len() - 1
    }

    /// Packets that were claimed and not freed: a peek.
    #[must_use]
    pub fn depth(&self) -> usize {
        let number = halves(self.words.freed.load(Acquire)).0;
        // One that died before it had counted its claim is freed all the same: then there is one more freed than claimed.
        let claimed = self.words.claims.load(Acquire).wrapping_sub(number).cast_signed();
        usize::try_from(claimed).unwrap_or(0).min(self.most())
    }

    /// Packets that the reader has skipped: abandoned ones, and those of the dead.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.words.skipped.load(Relaxed)
    }

    /// The process that may write, of a ring of one writer, dead or alive: a peek, not a promise.
    #[must_use]
    pub fn writer(&self) -> Life {
        Life(self.words.writer.load(Acquire))
    }

    /// Where the bytes of a claim start, for a buffer of its owner's.
    #[cfg(not(loom))]
    #[must_use]
    pub fn start_of(&self, claim: &Claim) -> *mut u8 {
        self.bytes.start(grain(claim.span))
    }

    /// Claims, copies and commits a packet, waiting for room.
    pub fn write(&self, kernel: &dyn Kernel, data: &[u8], deadline: Deadline) -> Result<()> {
        let _owed = Owed::name(kernel, &self.words.baton);
        let claim = self.claim_quietly(kernel, data.len(), deadline)?;
        self.fill(&claim, data);
        self.commit(kernel, &claim, data.len())
    }

    /// Claims a packet of so many bytes, waiting for room.
    pub fn claim(&self, kernel: &dyn Kernel, size: usize, deadline: Deadline) -> Result<Claim> {
        let _owed = Owed::name(kernel, &self.words.baton);
        let claim = self.claim_quietly(kernel, size, deadline)?;
        // SYNC(ring-3): pairs with the reader's look, which has stored `freed`: it sees the claim, or is told, and watches its owner.
        fence(SeqCst);
        if halves(self.words.freed.load(Relaxed)).0 == claim.number {
            tell(kernel, &self.words.news);
        }
        Ok(claim)
    }

    /// Copies the bytes of a packet.
    pub fn fill(&self, claim: &Claim, data: &[u8]) {
        self.bytes.write_across(grain(claim.span), data);
    }

    /// Makes it a packet of so many bytes, its first ones.
    pub fn commit(&self, kernel: &dyn Kernel, claim: &Claim, length: usize) -> Result<()> {
        debug_assert!(length <= claim.size, "a length that was checked");
        self.settle(kernel, claim, COMMITTED | length as u32)
    }

    /// Gives it up: the reader passes it.
    pub fn abandon(&self, kernel: &dyn Kernel, claim: &Claim) -> Result<()> {
        self.settle(kernel, claim, GONE)
    }

    fn settle(&self, kernel: &dyn Kernel, claim: &Claim, outcome: u32) -> Result<()> {
        if kernel.me()?.process != claim.process {
            return Err(Error::Misuse("it belongs to the process that this one was forked from".into()));
        }
        let _owed = Owed::name(kernel, &self.words.baton);
        let (mine, end) = (claim.process.0, claim.span.end);
        // SYNC(ring-2): pairs with `at`: who sees the packet committed sees its bytes.
        if self.packet(claim.number).compare_exchange(wide(mine, end), wide(outcome, end), AcqRel, Relaxed).is_err() {
            return Err(Error::Corrupted(format!("packet {} is not its owner's any more", claim.number)));
        }
        tell(kernel, &self.words.news);
        Ok(())
    }

    /// Claims without a word to the reader: the caller commits at once, or tells it.
    fn claim_quietly(&self, kernel: &dyn Kernel, size: usize, deadline: Deadline) -> Result<Claim> {
        let limit = self.longest();
        if size > limit {
            return Err(Error::TooLong { size, limit });
        }
        let me = kernel.me()?.process;
        self.become_writer(kernel, me)?;
        match self.try_claim(me, size)? {
            Some(claim) => Ok(claim),
            None => self.claim_slow(kernel, me, size, deadline),
        }
    }

    #[cold]
    fn claim_slow(&self, kernel: &dyn Kernel, me: Life, size: usize, deadline: Deadline) -> Result<Claim> {
        let (patience, operation) = (&self.claiming, Operation::Claim);
        let waiting = Waiting { sleepers: Some(&*self.words), deadline, patience, partner: 0, operation };
        wait_until(
            kernel,
            waiting,
            || self.seems_to_have_room(size),
            |mut watch, slept| {
                let ask = watch.is_some() || deadline == Deadline::NoWait;
                if let Some(watch) = watch.as_deref_mut() {
                    announce(&self.words.room, watch);
                }
                // Asked first: what it has freed before its end is free by then.
                let dead = if ask { self.dead_reader(kernel, me, watch) } else { None };
                let claim = self.try_claim(me, size)?;
                match (&claim, dead) {
                    // A death wakes one of those who sleep, and there may be room for more.
                    (Some(_), _) if slept => tell(kernel, &self.words.room),
                    (None, Some(pid)) => return Err(Error::PeerDied { pid, phase: Phase::Wait }),
                    _ => {}
                }
                Ok(claim)
            },
        )
    }

    /// The pid of the reader, if it has died; one that lives is watched.
    fn dead_reader(&self, kernel: &dyn Kernel, me: Life, watch: Option<&mut Watch<'_>>) -> Option<u32> {
        dead(kernel, me, Life(halves(self.words.reader.load(Acquire)).1), watch)
    }

    /// The same of the one writer.
    fn dead_writer(&self, kernel: &dyn Kernel, me: Life, watch: Option<&mut Watch<'_>>) -> Option<u32> {
        dead(kernel, me, self.writer(), watch)
    }

    /// Takes the place of the one writer, where there is one, if it is free or a dead one's.
    fn become_writer(&self, kernel: &dyn Kernel, me: Life) -> Result<()> {
        if self.writers == Writers::Any {
            return Ok(());
        }
        loop {
            let writer = self.writer();
            if writer == me {
                return Ok(());
            }
            if writer != Life::NOBODY && kernel.alive(writer) {
                return Err(Error::Misuse(format!(
                    "pid {} writes here, and an SpscRing has one writer at a time: the next may begin when that process has ended, and an \
                     MpscRing takes any number",
                    kernel.pid(writer)
                )));
            }
            let _ = self.words.writer.compare_exchange(writer.0, me.0, AcqRel, Relaxed);
        }
    }

    /// Claims the next packet; none: there is no room.
    fn try_claim(&self, me: Life, size: usize) -> Result<Option<Claim>> {
        for _ in 0..LOOKS {
            let number = self.words.claims.load(Acquire);
            let freed = self.freed()?;
            let there = number.wrapping_sub(freed.number);
            let was_passed = there > u32::MAX / 2;
            if !was_passed && there as usize >= self.most() {
                return Ok(None);
            }
            if was_passed && there != u32::MAX && self.words.claims.load(Acquire) == number {
                return Err(Error::Corrupted(format!("{number} packets claimed, and {} freed", freed.number)));
            }
            let (word, free) = (self.packet(number), self.free(number));
            if was_passed || word.load(Acquire) != free {
                // Its owner may have died before it has done this.
                self.count_claim(number);
                continue;
            }
            let Some(before) = self.end_before(number, freed)? else { continue };
            let used = self.positions.distance(freed.end, before);
            let span = self.positions.place(before, size as u64);
            if used > self.positions.capacity {
                // They are not of one instant.
                continue;
            }
            if used + span.taken > self.positions.capacity {
                return Ok(None);
            }
            if word.compare_exchange(free, wide(me.0, span.end), AcqRel, Relaxed).is_ok() {
                self.count_claim(number);
                return Ok(Some(Claim { number, process: me, size, span }));
            }
        }
        Err(Error::Corrupted("its next packet is neither free nor claimed".into()))
    }

    /// Where the packet in front of that one ends, which nobody has claimed; none: it was freed meanwhile.
    fn end_before(&self, number: u32, freed: Freed) -> Result<Option<u32>> {
        if number == freed.number {
            return Ok(Some(freed.end));
        }
        match halves(self.packet(number.wrapping_sub(1)).load(Acquire)) {
            (0, _) => Ok(None),
            (_, end) => self.positions.check(end).map(Some),
        }
    }

    /// From now on the next one to claim is the one behind that.
    fn count_claim(&self, number: u32) {
        let _ = self.words.claims.compare_exchange(number, number.wrapping_add(1), AcqRel, Relaxed);
    }

    /// A packet of that size would find room: a peek.
    fn seems_to_have_room(&self, size: usize) -> bool {
        let Ok(freed) = self.freed() else { return true };
        let number = self.words.claims.load(Acquire);
        let there = number.wrapping_sub(freed.number);
        if there as usize >= self.most() {
            return there > u32::MAX / 2;
        }
        match self.end_before(number, freed) {
            Ok(Some(before)) => {
                let taken = self.positions.place(before, size as u64).taken;
                self.positions.distance(freed.end, before) + taken <= self.positions.capacity
            }
            _ => true,
        }
    }

    fn freed(&self) -> Result<Freed> {
        // SYNC(ring-1): pairs with `pass`: who sees the room sees that the reader is done with what was there.
        let (number, end) = halves(self.words.freed.load(Acquire));
        Ok(Freed { number, end: self.positions.check(end)? })
    }

    #[inline]
    fn packet(&self, number: u32) -> &AtomicU64 {
        &self.packets[number as usize % self.packets.len()]
    }

    /// The word of a packet that nobody has claimed.
    #[inline]
    fn free(&self, number: u32) -> u64 {
        u64::from(number) / self.packets.len() as u64
    }
}

/// Wakes all who sleep there, after a change.
fn tell(kernel: &dyn Kernel, word: &AtomicU32) {
    // SYNC(ring-4): pairs with `announce`: it sees the change, or is seen.
    fence(SeqCst);
    if word.load(Relaxed) & SLEEPERS != 0 {
        call(word);
        kernel.wake(word, u32::MAX);
    }
}

/// The pid of one who has died; one that lives is watched.
fn dead(kernel: &dyn Kernel, me: Life, life: Life, watch: Option<&mut Watch<'_>>) -> Option<u32> {
    if life == me || life == Life::NOBODY {
        return None;
    }
    if !kernel.alive(life) {
        return Some(kernel.pid(life));
    }
    if let Some(watch) = watch {
        watch.life(life);
    }
    None
}

/// The first of its bytes, by its grain.
fn grain(span: Span) -> usize {
    (span.start / GRAIN) as usize
}

/// Says that somebody is about to sleep on that word. Before it looks for the last time.
fn announce<'a>(word: &'a AtomicU32, watch: &mut Watch<'a>) {
    watch.word(word, word.fetch_or(SLEEPERS, AcqRel) | SLEEPERS);
    // SYNC(ring-4): pairs with `tell`.
    fence(SeqCst);
}

/// Has everybody look again who has announced itself in a word, whether it sleeps already or not yet.
fn call(sleepers: &AtomicU32) {
    let mut word = sleepers.load(Relaxed);
    while let Err(other) = sleepers.compare_exchange_weak(word, word.wrapping_add(1) & !SLEEPERS, AcqRel, Relaxed) {
        word = other;
    }
}

impl Sleepers for RingWords {
    fn baton(&self) -> &AtomicU32 {
        &self.baton
    }

    fn recall(&self, kernel: &dyn Kernel) {
        let _owed = Owed::name(kernel, &self.baton);
        for word in [&self.news, &self.room] {
            call(word);
            kernel.wake(word, u32::MAX);
        }
    }
}
