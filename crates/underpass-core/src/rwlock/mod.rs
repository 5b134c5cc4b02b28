//! A lock of many readers or one writer, robust against the death of each.
//!
//! Readers follow BRAVO and the big-reader locks of Linux: each is seen in a place of its own, and looks at one word that
//! only writers write. Upgrade and downgrade are those of Boost's `upgrade_mutex`; a dead writer is a mutex's dead owner.
//!
//! Invariant: nobody reads while somebody writes. A reader takes its place and then looks at the gate, a writer closes the
//! gate and then looks at the places: one of the two sees the other (Dekker). While somebody waits the gate is closed, so
//! whoever leaves finds that out, and goes through the lock to let the next ones in.

mod entry;
mod line;
mod look;
mod owner;
mod places;

pub use entry::Entry;
pub use owner::{Owner, THREAD};
pub use places::Places;

use std::cell::Cell;
#[cfg(not(loom))]
use std::sync::Arc;

use underpass_shm::layout::rwlock::{CLOSED, PLACES, PlaceWords, RWLockWords, WRITER_DEAD};
use underpass_shm::life::{Life, Me};
use underpass_shm::operation::Operation;
use underpass_shm::place::{Placed, PlacedSlice};
#[cfg(not(loom))]
use underpass_shm::region::{Extent, Region};
use underpass_shm::sync::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use underpass_shm::sync::fence;

use crate::error::Phase;
use crate::kernel::{Kernel, Watch};
use crate::mutex::Death;
use crate::rwlock::line::{READ, UPGRADE, WRITE, Way, owner_of};
use crate::wait::{Patience, Waiting, wait_until};
use crate::waiters::{self, Room as _, UNRANKED, Waiters, Wish};
use crate::{Deadline, Error, Result};

/// Who goes first when somebody waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefer {
    /// Writers, in the order in which they came; readers that come wait for them.
    Writers,
    /// Readers; a writer waits until nobody reads.
    Readers,
    /// Whoever came first, and with a reader the readers behind it up to the next writer.
    Arrival,
}

/// What one comes for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// To read, with others.
    Read,
    /// To write, alone.
    Write,
    /// To write from now on, as one who reads.
    Upgrade,
}

impl How {
    fn number(self) -> u32 {
        match self {
            Self::Read => READ,
            Self::Write => WRITE,
            Self::Upgrade => UPGRADE,
        }
    }
}

/// How long an object is whose words start at `offset`.
#[cfg(not(loom))]
#[must_use]
pub const fn extent(offset: usize) -> Extent {
    waiters::extent(offset + BEFORE_WAITERS)
}

/// Bytes of its words in front of those of its waiters.
#[cfg(not(loom))]
const BEFORE_WAITERS: usize = size_of::<RWLockWords>() + PLACES * size_of::<PlaceWords>();

/// A handle of a lock of readers and writers.
#[derive(Debug)]
pub struct RWLock {
    words: Placed<RWLockWords>,
    places: Places,
    waiters: Waiters,
    prefer: Prefer,
    patience: Patience,
}

impl RWLock {
    /// A handle over zeroed words, or those that others use.
    #[must_use]
    pub fn new(words: Placed<RWLockWords>, places: PlacedSlice<PlaceWords>, waiters: Waiters, prefer: Prefer) -> Self {
        Self { words, places: Places(places), waiters, prefer, patience: Patience::new() }
    }

    /// The lock whose words start at `offset` of an object; none if they do not lie inside it.
    #[cfg(not(loom))]
    #[must_use]
    pub fn at(region: &Arc<Region>, offset: usize, prefer: Prefer) -> Option<Self> {
        let places = offset + size_of::<RWLockWords>();
        let waiters = Waiters::at(region, offset + BEFORE_WAITERS)?;
        Some(Self::new(Placed::at(region, offset)?, PlacedSlice::at(region, places, PLACES)?, waiters, prefer))
    }

    /// Reads, with others; again if the caller reads already.
    #[inline]
    pub fn read(&self, kernel: &dyn Kernel, deadline: Deadline) -> Result<()> {
        let me = Owner::of(kernel.me()?, THREAD);
        if self.try_read(me) { Ok(()) } else { self.read_slow(kernel, me, deadline) }
    }

    #[inline]
    fn try_read(&self, me: Owner) -> bool {
        if self.words.gate.load(Relaxed) != 0 {
            return false;
        }
        if let Some(place) = self.places.near(me) {
            deepen(place);
            return true;
        }
        if !self.places.claim(me) {
            return false;
        }
        // SYNC(rwlock-1): pairs with `close`: this reader sees the gate closed, or whoever closed it sees this reader.
        fence(SeqCst);
        if self.words.gate.load(Acquire) == 0 {
            return true;
        }
        // Whoever closed it may wait for this one, and is let in on the way to the lock.
        self.places.empty(me);
        false
    }

    #[cold]
    fn read_slow(&self, kernel: &dyn Kernel, me: Owner, deadline: Deadline) -> Result<()> {
        if self.greet(me, READ)? { Ok(()) } else { self.come(kernel, me, READ, deadline).map(drop) }
    }

    /// Writes, alone. Of a lock whose last writer died: what it left has to be repaired before [`Self::leave`].
    pub fn write(&self, kernel: &dyn Kernel, deadline: Deadline) -> Result<Option<Death>> {
        let me = Owner::of(kernel.me()?, THREAD);
        self.greet(me, WRITE)?;
        self.come(kernel, me, WRITE, deadline)
    }

    /// Makes a writer of a reader, as soon as it is the only one: nobody writes in between.
    pub fn upgrade(&self, kernel: &dyn Kernel, deadline: Deadline) -> Result<()> {
        self.upgrade_of(kernel, THREAD, deadline)
    }

    /// The same, of a task of the caller's, if nobody has to be waited for; who waits does so in a [`crate::stay::Stay`].
    pub fn try_upgrade_of(&self, kernel: &dyn Kernel, task: u32) -> Result<()> {
        self.upgrade_of(kernel, task, Deadline::NoWait)
    }

    fn upgrade_of(&self, kernel: &dyn Kernel, task: u32, deadline: Deadline) -> Result<()> {
        let me = Owner::of(kernel.me()?, task);
        self.greet(me, UPGRADE)?;
        self.come(kernel, me, UPGRADE, deadline).map(drop)
    }

    /// Whether one that comes holds what it comes for: who reads reads again. Or it is told that it comes in vain.
    fn greet(&self, me: Owner, how: u32) -> Result<bool> {
        let noun = me.noun();
        if self.writer() == me {
            return Err(Error::Misuse(match how {
                READ => {
                    format!("this {noun} writes and would wait for itself: downgrade() makes a reader of a writer")
                }
                WRITE => format!("this {noun} writes already and would wait for itself: leave its block first"),
                _ => format!("this {noun} writes already"),
            }));
        }
        let place = self.places.of(me);
        match (how, place) {
            // It is inside: those who wait for it to leave come later in any case.
            (READ, Some(place)) => deepen(place),
            (UPGRADE, None) => return Err(Error::NotOwner),
            _ => {}
        }
        Ok(how == READ && place.is_some())
    }

    /// Makes a reader of a writer: nobody writes in between.
    pub fn downgrade(&self, kernel: &dyn Kernel) -> Result<()> {
        self.downgrade_of(kernel, THREAD)
    }

    /// The same, of a task of the caller's.
    pub fn downgrade_of(&self, kernel: &dyn Kernel, task: u32) -> Result<()> {
        let me = Owner::of(kernel.me()?, task);
        if self.writer() != me {
            return Err(Error::NotOwner);
        }
        if self.is_unrepaired() {
            return Err(Error::Misuse(format!(
                "its last writer died, and this {}'s block that repairs what it left has not ended: leave the block first",
                me.noun()
            )));
        }
        if !self.is_upgraded() {
            self.places.claim_last(me);
        }
        self.stop_writing(kernel, me, Life::NOBODY)
    }

    /// Ends what [`Self::read`], [`Self::write`] or an upgrade began, or one level of it. What a dead writer left stays its
    /// own, unless `repaired`.
    #[inline]
    pub fn leave(&self, kernel: &dyn Kernel, repaired: bool) -> Result<()> {
        self.leave_of(kernel, THREAD, repaired)
    }

    /// The same, of a task of the caller's.
    #[inline]
    pub fn leave_of(&self, kernel: &dyn Kernel, task: u32, repaired: bool) -> Result<()> {
        let me = Owner::of(kernel.me()?, task);
        let writes = self.writer() == me;
        if writes && !self.is_upgraded() {
            return self.leave_writing(kernel, me, repaired);
        }
        let Some(place) = self.places.of(me) else { return Err(Error::NotOwner) };
        let depth = place.depth.load(Relaxed);
        if depth > 1 {
            place.depth.store(depth - 1, Relaxed);
            return Ok(());
        }
        // SYNC(rwlock-2)
        place.reader.store(0, Release);
        if writes {
            return self.leave_writing(kernel, me, repaired);
        }
        // SYNC(rwlock-1): whoever closed the gate saw this reader gone, or this one sees the gate closed.
        fence(SeqCst);
        if self.words.gate.load(Relaxed) == 0 { Ok(()) } else { self.let_in(kernel) }
    }

    fn leave_writing(&self, kernel: &dyn Kernel, me: Owner, repaired: bool) -> Result<()> {
        let left = if self.is_unrepaired() && !repaired { Life(WRITER_DEAD) } else { Life::NOBODY };
        if left == Life::NOBODY {
            self.words.unrepaired.store(0, Relaxed);
        }
        self.stop_writing(kernel, me, left)
    }

    fn stop_writing(&self, kernel: &dyn Kernel, me: Owner, left: Life) -> Result<()> {
        let (gate, left) = (&self.words.gate, u64::from(left.0));
        if gate.compare_exchange(me.word(), left, AcqRel, Relaxed).is_ok() {
            return Ok(());
        }
        let _owed = self.waiters.owe(kernel);
        // Without the lock: a signal could end the wait for it.
        gate.fetch_xor(me.word() ^ left, AcqRel);
        self.let_in(kernel)
    }

    /// One is outside by now, and others wait.
    #[cold]
    fn let_in(&self, kernel: &dyn Kernel) -> Result<()> {
        match self.waiters.enter(kernel, self) {
            Ok(_held) => {
                self.serve(kernel);
                Ok(())
            }
            Err(error) => {
                // A signal's handler has raised: one who waits does it, and who looks on is told.
                self.waiters.call_one(kernel);
                self.waiters.open_door(kernel);
                Err(error)
            }
        }
    }

    /// Comes to read, to write or to upgrade, and waits for it: as [`Self::judge`] says.
    #[cold]
    fn come(&self, kernel: &dyn Kernel, me: Owner, how: u32, deadline: Deadline) -> Result<Option<Death>> {
        let wish = Wish { value: me.word(), how };
        let seat = Cell::new(None);
        let try_once = deadline == Deadline::NoWait;
        {
            let _held = self.waiters.enter(kernel, self)?;
            // To ask who lives is a system call: not before a spin has been in vain.
            if let Some(way) = self.arrive(kernel, me, how, try_once || how == UPGRADE)? {
                return self.judge(wish, way.word());
            }
            if !try_once {
                self.refuse_to_wait_for_its_own_tasks(kernel, me, how)?;
            }
        }
        if try_once {
            return Err(Error::WouldBlock);
        }
        let operation = match how {
            READ => Operation::Read,
            WRITE => Operation::Write,
            _ => Operation::Upgrade,
        };
        let waiting =
            Waiting { sleepers: Some(&self.waiters), deadline, patience: &self.patience, partner: 0, operation };
        let ended = wait_until(
            kernel,
            waiting,
            || self.is_open_to(me, how),
            |watch, slept| self.attempt(kernel, me, how, &seat, watch, slept),
        );
        let ended = ended.or_else(|error| match seat.get() {
            Some(index) => self.go(kernel, index, error),
            None => Err(error),
        });
        self.judge(wish, ended?)
    }

    /// That of one who comes to wait in steps: see [`crate::stay`].
    #[must_use]
    pub fn wish(me: Me, task: u32, how: How) -> Wish {
        Wish { value: Owner::of(me, task).word(), how: how.number() }
    }

    /// The number of the task whose wish that is.
    #[must_use]
    pub fn task_of(wish: Wish) -> u32 {
        owner_of(wish).task
    }

    /// What one has who was given that: who writes after one that died is told of it, who comes to read then is refused.
    pub fn judge(&self, wish: Wish, given: u64) -> Result<Option<Death>> {
        match Way::read(given) {
            Way::Barred => Err(Error::OwnerDied(self.last_death())),
            Way::In => Ok((wish.how == WRITE && self.is_unrepaired()).then(|| self.last_death())),
        }
    }

    fn attempt<'a>(
        &'a self,
        kernel: &dyn Kernel,
        me: Owner,
        how: u32,
        seat: &Cell<Option<usize>>,
        mut watch: Option<&mut Watch<'a>>,
        slept: bool,
    ) -> Result<Option<u64>> {
        if let Some(index) = seat.get() {
            let sleeps = watch.is_some();
            let given = self.waiters.look(kernel, self, index, watch, slept)?;
            if given.is_some() {
                seat.set(None);
            } else if sleeps && self.next().is_some() {
                // The same, in a sleep after the first.
                let _held = self.waiters.enter(kernel, self)?;
                self.hand_on(kernel);
            }
            return Ok(given);
        }
        let wish = Wish { value: me.word(), how };
        let _held = self.waiters.enter(kernel, self)?;
        loop {
            if let Some(way) = self.arrive(kernel, me, how, watch.is_some())? {
                return Ok(Some(way.word()));
            }
            let Some(watch) = watch.as_deref_mut() else { return Ok(None) };
            // Whoever leaves from now on comes to lock, and finds this waiter.
            self.close();
            seat.set(self.waiters.seat(kernel, self, wish, UNRANKED)?);
            self.note_the_time(kernel);
            if let Some(index) = seat.get() {
                if slept {
                    // The wake of one slot can have been meant for several.
                    self.waiters.open_door(kernel);
                }
                // Those who left while the gate was open have let nobody in.
                self.hand_on(kernel);
                let given = self.waiters.look(kernel, self, index, Some(watch), false)?;
                // It watches who is inside, not who has left meanwhile: that one may die before it lets anybody in.
                if given.is_none() {
                    self.hand_on(kernel);
                }
                return Ok(given);
            }
            if self.waiters.queue_at_door(watch) {
                self.watch(wish, watch);
                return Ok(None);
            }
        }
    }

    /// Goes from its slot without, and lets others in who waited behind it.
    #[cold]
    fn go(&self, kernel: &dyn Kernel, index: usize, error: Error) -> Result<u64> {
        let _owed = self.waiters.owe(kernel);
        let _held = match self.waiters.enter(kernel, self) {
            Ok(held) => held,
            Err(other) => {
                let left = self.waiters.leave(kernel, self, index, other);
                self.waiters.call_one(kernel);
                return left;
            }
        };
        let wish = self.waiters.wish(index);
        match self.waiters.take(kernel, self, index) {
            Some(given) if error == Error::TimedOut(Phase::Wait) => return Ok(given),
            Some(given) => self.undo(kernel, owner_of(wish), wish.how, given),
            None => {
                self.waiters.dismiss(index);
                self.waiters.open_door(kernel);
            }
        }
        self.serve(kernel);
        Err(error)
    }

    /// Closes the gate, so that no reader comes in without the lock. The lock is held.
    fn close(&self) {
        self.words.gate.fetch_or(CLOSED, AcqRel);
        // SYNC(rwlock-1)
        fence(SeqCst);
    }

    /// A cheap look, for the spin.
    fn is_open_to(&self, me: Owner, how: u32) -> bool {
        !self.is_written() && (how == READ || self.is_alone(me, how))
    }

    /// Who stands in the gate: a writer, or WRITER_DEAD.
    pub(crate) fn writer(&self) -> Owner {
        Owner::read(self.words.gate.load(Acquire))
    }

    /// Somebody writes, or died and was not found yet.
    fn is_written(&self) -> bool {
        let writer = self.writer();
        writer != Owner::NOBODY && writer.thread.0 != WRITER_DEAD
    }

    fn is_left_by_the_dead(&self) -> bool {
        self.writer().thread.0 == WRITER_DEAD
    }

    /// What the writer has written for itself.
    fn is_upgraded(&self) -> bool {
        self.words.upgraded.load(Relaxed) != 0
    }

    fn is_unrepaired(&self) -> bool {
        self.words.unrepaired.load(Relaxed) != 0
    }
}

fn deepen(place: &PlaceWords) {
    place.depth.store(place.depth.load(Relaxed).saturating_add(1), Relaxed);
}
