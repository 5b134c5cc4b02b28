//! The reader of a ring: it takes the packets in the order of their claims, and passes those that nobody will commit.

use underpass_shm::layout::ring::{BUSY, COMMITTED, GONE};
use underpass_shm::life::Life;
use underpass_shm::operation::Operation;
use underpass_shm::sync::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::{Freed, LOOKS, Ring, Writers, announce, grain, halves, tell};
use crate::error::Phase;
use crate::kernel::{Kernel, Owed, Watch};
use crate::ring::positions::Span;
use crate::wait::{Waiting, wait_until};
use crate::{Deadline, Error, Result};

/// A packet that the reader has taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Its number.
    pub number: u32,
    /// Who has taken it.
    pub process: Life,
    /// Bytes.
    pub length: usize,
    span: Span,
}

/// What is at the place of the next packet.
#[derive(Debug, Clone, Copy)]
enum Next {
    /// Nobody has claimed it.
    Nothing,
    /// That process fills it.
    Claimed(Life, Span),
    /// It was abandoned.
    Gone(Span),
    /// So many bytes.
    Committed(Span, usize),
}

/// The reader's turn, of one thread at a time.
#[derive(Debug)]
struct Turn<'a> {
    ring: &'a Ring,
    kernel: &'a dyn Kernel,
    me: Life,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // In loom's world a thread dies by unwinding, and the dead release nothing.
        #[cfg(loom)]
        if std::thread::panicking() {
            return;
        }
        // A child that was forked in the middle has none: the turn is its parent's.
        if self.kernel.me().is_ok_and(|me| me.process == self.me) {
            // SYNC(ring-5)
            self.ring.words.reader.store(u64::from(self.me.0), Release);
        }
    }
}

impl Ring {
    /// Takes the next packet, waiting for one. Until it is freed or put back there is no other.
    pub fn take(&self, kernel: &dyn Kernel, deadline: Deadline) -> Result<Packet> {
        let turn = self.turn(kernel)?;
        let taken = match self.next(kernel, turn.me, false, None)? {
            Some(packet) => packet,
            None => self.take_slow(kernel, turn.me, deadline)?,
        };
        std::mem::forget(turn);
        Ok(taken)
    }

    #[cold]
    fn take_slow(&self, kernel: &dyn Kernel, me: Life, deadline: Deadline) -> Result<Packet> {
        let (patience, operation) = (&self.taking, Operation::Take);
        let waiting = Waiting { sleepers: Some(&*self.words), deadline, patience, partner: 0, operation };
        wait_until(
            kernel,
            waiting,
            || self.seems_to_have_one(),
            |mut watch, _slept| {
                let ask = watch.is_some() || deadline == Deadline::NoWait;
                if let Some(watch) = watch.as_deref_mut() {
                    announce(&self.words.news, watch);
                }
                let asks_writer = ask && self.writers == Writers::One;
                // Asked first: what it has committed before its end is there by then.
                let dead = if asks_writer { self.dead_writer(kernel, me, watch.as_deref_mut()) } else { None };
                match (self.next(kernel, me, ask, watch)?, dead) {
                    (None, Some(pid)) => Err(Error::PeerDied { pid, phase: Phase::Wait }),
                    (next, _) => Ok(next),
                }
            },
        )
    }

    /// Copies the bytes of a packet that was taken.
    ///
    /// # Panics
    /// If `out` is not as long as the packet.
    pub fn copy_to(&self, packet: &Packet, out: &mut [u8]) {
        assert_eq!(out.len(), packet.length);
        self.bytes.read_across(grain(packet.span), out);
    }

    /// Where its bytes start, for a buffer of the reader's.
    #[cfg(not(loom))]
    #[must_use]
    pub fn start_of_packet(&self, packet: &Packet) -> *mut u8 {
        self.bytes.start(grain(packet.span))
    }

    /// Gives the bytes of a packet back to the writers.
    pub fn free_packet(&self, kernel: &dyn Kernel, packet: &Packet) -> Result<()> {
        let _owed = Owed::name(kernel, &self.words.baton);
        let turn = self.turn_of(kernel, packet)?;
        self.pass(packet.number, packet.span);
        drop(turn);
        tell(kernel, &self.words.room);
        Ok(())
    }

    /// Leaves a packet where it is: it is the next again.
    pub fn put_back(&self, kernel: &dyn Kernel, packet: &Packet) -> Result<()> {
        self.turn_of(kernel, packet).map(drop)
    }

    /// Bytes of the next packet, if it is committed: a peek, which anybody may have.
    pub fn next_length(&self, kernel: &dyn Kernel) -> Result<Option<usize>> {
        Ok(self.peek(kernel, kernel.me()?.process, None)?.map(|packet| packet.length))
    }

    /// The process that reads, dead or alive, and whether a thread of it does now, or has a packet: a peek.
    #[must_use]
    pub fn reader(&self) -> (Life, bool) {
        let word = self.words.reader.load(Acquire);
        (Life(halves(word).1), word & BUSY != 0)
    }

    /// Packets that were claimed and are not settled yet, by number, and whose they are: a peek.
    #[must_use]
    pub fn claimed(&self) -> Vec<(u32, Life)> {
        let first = halves(self.words.freed.load(Acquire)).0;
        let of = |number: u32| (number, Life(halves(self.packet(number).load(Acquire)).0));
        let all = (0..self.most() as u32).map(|index| of(first.wrapping_add(index)));
        all.filter(|(_, owner)| owner.is_process()).collect()
    }

    /// The turn that a packet was taken in, and keeps.
    fn turn_of<'a>(&'a self, kernel: &'a dyn Kernel, packet: &Packet) -> Result<Turn<'a>> {
        let me = kernel.me()?.process;
        if me != packet.process {
            return Err(Error::Misuse("it belongs to the process that this one was forked from".into()));
        }
        let taken_at = halves(self.words.freed.load(Relaxed)).0;
        if self.words.reader.load(Relaxed) != BUSY | u64::from(me.0) || taken_at != packet.number {
            return Err(Error::Corrupted(format!("packet {} is not its reader's any more", packet.number)));
        }
        Ok(Turn { ring: self, kernel, me })
    }

    /// Makes this thread the one that reads.
    fn turn<'a>(&'a self, kernel: &'a dyn Kernel) -> Result<Turn<'a>> {
        let me = kernel.me()?.process;
        let mine = u64::from(me.0);
        loop {
            // SYNC(ring-5): pairs with the end of a turn: one reader's stores come before the next one's.
            match self.words.reader.compare_exchange(mine, mine | BUSY, AcqRel, Acquire) {
                Ok(_) => return Ok(Turn { ring: self, kernel, me }),
                Err(word) if Life(halves(word).1) == me => {
                    let why = "another thread reads there, or has a packet: a ring has one reader, and one packet is read at a time";
                    return Err(Error::Misuse(why.into()));
                }
                Err(word) => {
                    if let Some(turn) = self.become_reader(kernel, me, word)? {
                        return Ok(turn);
                    }
                }
            }
        }
    }

    /// Takes the place of a reader that has died, or the free one; none: it has changed meanwhile.
    #[cold]
    fn become_reader<'a>(&'a self, kernel: &'a dyn Kernel, me: Life, word: u64) -> Result<Option<Turn<'a>>> {
        let reader = Life(halves(word).1);
        if reader != Life::NOBODY && kernel.alive(reader) {
            return Err(Error::Misuse(format!(
                "pid {} reads here, and a ring has one reader at a time: the next may begin when that process has ended",
                kernel.pid(reader)
            )));
        }
        // Those who wait for room have to watch this one.
        let _owed = Owed::name(kernel, &self.words.baton);
        if self.words.reader.compare_exchange(word, BUSY | u64::from(me.0), AcqRel, Relaxed).is_err() {
            return Ok(None);
        }
        let turn = Turn { ring: self, kernel, me };
        let last = self.freed()?.number.wrapping_sub(1);
        // The dead one may have freed it, and not have said so there.
        if halves(self.packet(last).load(Acquire)).0 != 0 {
            self.packet(last).store(self.free_again(last), Release);
        }
        tell(kernel, &self.words.room);
        Ok(Some(turn))
    }

    /// The next packet that is committed, past those that nobody will commit. Who asks leaves out the dead, and watches those who live.
    fn next(
        &self,
        kernel: &dyn Kernel,
        me: Life,
        ask: bool,
        mut watch: Option<&mut Watch<'_>>,
    ) -> Result<Option<Packet>> {
        let mut skipped = false;
        let _owed = Owed::name(kernel, &self.words.baton);
        let mut look = || {
            // While this one passes some, others may claim and abandon more.
            for _ in 0..LOOKS as usize * self.packets.len() {
                let freed = self.freed()?;
                let gap = match self.at(freed)? {
                    Next::Nothing => return Ok(None),
                    Next::Committed(span, length) => {
                        return Ok(Some(Packet { number: freed.number, process: me, length, span }));
                    }
                    Next::Gone(span) => span,
                    Next::Claimed(owner, span) => {
                        if !ask || is_filled_on(kernel, me, owner, watch.as_deref_mut()) {
                            return Ok(None);
                        }
                        span
                    }
                };
                self.words.skipped.fetch_add(1, Relaxed);
                self.pass(freed.number, gap);
                skipped = true;
            }
            Err(Error::Corrupted("there is no end of packets that nobody commits".into()))
        };
        let found = look();
        if skipped {
            tell(kernel, &self.words.room);
        }
        found
    }

    /// The same, and nothing is passed: for anybody.
    pub(super) fn peek(
        &self,
        kernel: &dyn Kernel,
        me: Life,
        mut watch: Option<&mut Watch<'_>>,
    ) -> Result<Option<Packet>> {
        for _ in 0..LOOKS {
            let begin = self.freed()?;
            let found = self.look_along(kernel, me, begin, watch.as_deref_mut());
            // What was freed meanwhile may be anything by now.
            if self.freed()? == begin {
                return found;
            }
        }
        Err(Error::Corrupted("its next packet does not stay".into()))
    }

    fn look_along(
        &self,
        kernel: &dyn Kernel,
        me: Life,
        mut freed: Freed,
        mut watch: Option<&mut Watch<'_>>,
    ) -> Result<Option<Packet>> {
        for _ in 0..self.most() {
            let span = match self.at(freed)? {
                Next::Nothing => return Ok(None),
                Next::Committed(span, length) => {
                    return Ok(Some(Packet { number: freed.number, process: me, length, span }));
                }
                Next::Gone(span) => span,
                Next::Claimed(owner, span) => {
                    if is_filled_on(kernel, me, owner, watch.as_deref_mut()) {
                        return Ok(None);
                    }
                    span
                }
            };
            freed = Freed { number: freed.number.wrapping_add(1), end: span.end };
        }
        Ok(None)
    }

    /// What is there behind what was freed.
    fn at(&self, Freed { number, end }: Freed) -> Result<Next> {
        // SYNC(ring-2)
        let (state, until) = halves(self.packet(number).load(Acquire));
        if state == 0 {
            return Ok(Next::Nothing);
        }
        let span = self.positions.between(end, self.positions.check(until)?)?;
        let length = u64::from(state & (COMMITTED - 1));
        if Life(state).is_process() {
            Ok(Next::Claimed(Life(state), span))
        } else if state & COMMITTED != 0 && length <= span.size {
            Ok(Next::Committed(span, length as usize))
        } else if state == GONE {
            Ok(Next::Gone(span))
        } else {
            Err(Error::Corrupted(format!("packet {number} is {state:#x}, of {} bytes", span.size)))
        }
    }

    /// Frees the packet that is next. In the reader's turn.
    fn pass(&self, number: u32, span: Span) {
        let freed = Freed { number: number.wrapping_add(1), end: span.end };
        // SYNC(ring-1): in this order, so that what a writer finds claimed a lap ago and freed by this word it finds free.
        self.words.freed.store(freed.word(), Release);
        self.packet(number).store(self.free_again(number), Release);
    }

    /// The word of the place of a packet that was freed: of the one a lap later.
    fn free_again(&self, number: u32) -> u64 {
        self.free(number.wrapping_add(self.packets.len() as u32))
    }

    /// A packet seems to be there: a peek.
    fn seems_to_have_one(&self) -> bool {
        self.freed().is_ok_and(|freed| {
            let state = halves(self.packet(freed.number).load(Relaxed)).0;
            state != 0 && !Life(state).is_process()
        })
    }
}

/// Whether the owner of a packet may still commit it; then it is watched.
fn is_filled_on(kernel: &dyn Kernel, me: Life, owner: Life, watch: Option<&mut Watch<'_>>) -> bool {
    super::dead(kernel, me, owner, watch).is_none()
}
