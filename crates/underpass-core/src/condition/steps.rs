//! A wait in steps, for one that does not sleep here: see [`crate::stay`].
//!
//! It keeps its slot until it has the mutex again. So whoever is cancelled, or dies, before that hands its notification on; and of the
//! tasks of one thread, which are told under one life, the first goes before the others.

use std::cell::Cell;

use underpass_shm::life::{Life, Me};
use underpass_shm::sync::Ordering::Acquire;

use super::{AtDoor, Caller, Condition, Under};
use crate::error::Phase;
use crate::kernel::{Kernel, Watch};
use crate::stay::of_another;
use crate::waiters::{Room as _, Wish};
use crate::{Error, Result};

/// Where such a wait stands, between two steps.
#[derive(Debug, Clone, Copy)]
pub struct Absence {
    thread: Life,
    seat: Option<usize>,
    calls: u32,
    since: Option<u64>,
    /// The mutex was not taken again.
    away: bool,
}

impl Condition {
    /// Gives the mutex back, as one who waits from now on.
    pub fn begin(&self, kernel: &dyn Kernel, under: &dyn Under) -> Result<Absence> {
        let me = kernel.me()?;
        Self::check(under)?;
        let caller = Caller::new(me, under);
        self.sit(kernel, &caller)?;
        if let Err(error) = under.give() {
            self.rise(kernel, &caller, error)?;
            return Err(Error::Interrupted);
        }
        if under.has_raised() {
            // A signal that came as the mutex was given back: it has not waited.
            let left = self.rise(kernel, &caller, Error::Interrupted);
            under.take()?;
            left?;
            return Err(Error::Interrupted);
        }
        let (seat, calls) = (caller.seat.get(), caller.calls.get());
        Ok(Absence { thread: me.thread, seat, calls, since: None, away: true })
    }

    /// Looks whether it is its turn to take the mutex again; `WouldBlock` if not.
    pub fn step(&self, kernel: &dyn Kernel, under: &dyn Under, absence: &mut Absence) -> Result<()> {
        let me = Self::of(kernel, absence)?;
        let _owed = self.waiters.owe(kernel);
        while absence.seat.is_none() {
            let caller = Caller { calls: Cell::new(absence.calls), ..Caller::new(me, under) };
            let found = self.attempt_at_door(kernel, &caller, Some(&mut Watch::new()), true)?;
            absence.seat = caller.seat.get();
            match found {
                AtDoor::Called => return Ok(()),
                AtDoor::Seated => {}
                AtDoor::Stays => break,
            }
        }
        // Who was to notify may have died: taking the mutex tells.
        let comes = under.is_orphaned()
            || match absence.seat {
                Some(index) => self.may_go(kernel, absence, index, Some(&mut Watch::new()))?,
                None => false,
            };
        if comes { Ok(()) } else { Err(Error::WouldBlock) }
    }

    /// The next step may succeed; if not, who asks is announced.
    pub fn may_step<'a>(
        &'a self,
        kernel: &dyn Kernel,
        is_orphaned: bool,
        absence: &mut Absence,
        watch: Option<&mut Watch<'a>>,
    ) -> Result<bool> {
        if is_orphaned {
            return Ok(true);
        }
        match (absence.seat, watch) {
            (Some(index), None) => Ok(self.has_turn(absence.thread, index)),
            (Some(index), watch) => self.may_go(kernel, absence, index, watch),
            (None, None) => Ok(false),
            (None, Some(watch)) => {
                let _held = self.waiters.enter(kernel, self)?;
                if self.is_torn(kernel) {
                    self.mend(kernel);
                }
                if self.is_called_since(absence.calls) || !self.waiters.queue_at_door(watch) {
                    return Ok(true);
                }
                watch.life(self.runner());
                Ok(false)
            }
        }
    }

    /// Waits no more: what it was told is another's.
    pub fn give_up(&self, kernel: &dyn Kernel, absence: &mut Absence) -> Result<()> {
        let mine = kernel.me()?.thread == absence.thread;
        let Some(index) = absence.seat.take().filter(|_| mine) else { return Ok(()) };
        match self.waiters.leave(kernel, self, index, Error::Interrupted) {
            Err(Error::Interrupted) => Ok(()),
            left => left.map(drop),
        }
    }

    /// The mutex is held again, or cannot be: the next one may have it.
    pub fn end(&self, kernel: &dyn Kernel, under: &dyn Under, absence: &mut Absence) -> Result<()> {
        let me = kernel.me()?;
        if me.thread != absence.thread || !std::mem::take(&mut absence.away) {
            return Ok(());
        }
        let caller = Caller::new(me, under);
        if let Some(index) = absence.seat.take() {
            let _owed = self.waiters.owe(kernel);
            caller.seat.set(Some(index));
            match self.rise(kernel, &caller, Error::TimedOut(Phase::Wait)) {
                Ok(()) | Err(Error::TimedOut(_)) => {}
                Err(error) => return Err(error),
            }
        }
        self.pass_on(kernel, &caller)
    }

    fn of(kernel: &dyn Kernel, absence: &Absence) -> Result<Me> {
        let me = kernel.me()?;
        if me.thread == absence.thread {
            return Ok(me);
        }
        Err(of_another())
    }

    /// One in a slot was told, and it is its turn.
    fn may_go<'a>(
        &'a self,
        kernel: &dyn Kernel,
        absence: &mut Absence,
        index: usize,
        mut watch: Option<&mut Watch<'a>>,
    ) -> Result<bool> {
        let watching = |wish: Wish, watch: &mut Watch<'a>| self.watch(wish, watch);
        let watched = watch.as_deref_mut().map(|watch| (watch, &watching as _));
        if !self.waiters.is_given(kernel, self, index, watched, true, &|| self.is_torn(kernel))? {
            return Ok(false);
        }
        let now = kernel.now();
        let since = *absence.since.get_or_insert(now);
        let posts = self.waiters.posts();
        // The one before it lives, but may be stopped.
        if self.has_turn(absence.thread, index) || now - since >= super::LONGEST_TURN {
            return Ok(true);
        }
        if self.is_torn(kernel) {
            let _held = self.waiters.enter(kernel, self)?;
            self.mend(kernel);
        }
        if let Some(watch) = watch {
            self.waiters.watch_granted(index, posts, watch);
            watch.life(self.runner());
        }
        Ok(self.has_turn(absence.thread, index))
    }

    /// Somebody has died who was to tell others: see [`crate::stay::Slotted::is_torn`].
    fn is_torn(&self, kernel: &dyn Kernel) -> bool {
        let runner = self.runner();
        let nobody_comes = runner == Life::NOBODY && self.waiters.granted().next().is_some();
        self.words.pending.load(Acquire) != 0 || nobody_comes || runner != Life::NOBODY && !kernel.alive(runner)
    }

    /// Whether the slot is the one that was told to go, of those of that thread.
    fn has_turn(&self, thread: Life, index: usize) -> bool {
        let mine = self.waiters.granted().filter(|(other, _)| self.waiters.life(*other) == thread);
        self.runner() == thread && mine.min_by_key(|(_, turn)| *turn).is_some_and(|(first, _)| first == index)
    }

    fn is_called_since(&self, calls: u32) -> bool {
        self.words.calls.load(Acquire) != calls
    }
}
