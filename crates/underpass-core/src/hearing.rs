//! Waiting at descriptors: a bell with a socket in each space, the ends of the processes there, and what the program adds.
//!
//! Invariant: a bell is armed before its marks are taken, so what is rung for after that is heard; or it stays rung, and what told of
//! that goes on telling. Who dies after a change and before it rings is a process of the space, and the ends of all of them are heard:
//! then all members are looked at.
//!
//! Who dispatches sleeps elsewhere than who waits: a descriptor without a handler is not polled there, since one that can be read
//! stays so, and would wake for nothing again and again.
//!
//! The number of a descriptor that the program has closed may be that of one of these by now, which stands in the same `epoll`: whoever
//! asks for the program's descriptor by such a number means one that is gone. See [`Hearing::is_its_own`].

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::Acquire;

use underpass_shm::bell::{Bell, Ringer};
use underpass_shm::life::Life;
use underpass_shm::poller::{Alarm, OWN, Poller, end_of};
use underpass_shm::space::Space;

use crate::Result;
use crate::many::Marks;

/// Keys of the poller: the program's own are below.
const BELL: u64 = 1 << 62;
const END: u64 = 1 << 63;
const ALARM: u64 = OWN - 1;

/// That of a descriptor of the program's.
fn is_programs(key: u64) -> bool {
    key & (BELL | END) == 0
}

/// What is heard by those who wait.
#[derive(Debug)]
pub struct Hearing {
    pollers: Pollers,
    places: Vec<Place>,
    /// Of those who poll: the system's timer.
    alarm: Option<Alarm>,
    /// It was set, and has not rung.
    is_alarmed: bool,
}

/// What somebody sleeps for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Any member.
    Wait,
    /// One with a handler.
    Dispatch,
}

/// Where those who wait sleep, and those who dispatch: the second is made for the first of them.
#[derive(Debug)]
struct Pollers {
    waiting: Arc<Poller>,
    dispatching: Option<Arc<Poller>>,
}

impl Pollers {
    fn of(&self, verb: Verb) -> Option<&Arc<Poller>> {
        match verb {
            Verb::Wait => Some(&self.waiting),
            Verb::Dispatch => self.dispatching.as_ref(),
        }
    }

    /// Tells those who wait of it, and those who dispatch if they are to hear it.
    fn add(&self, descriptor: BorrowedFd<'_>, key: u64, what: &str, dispatched: bool) -> underpass_shm::Result<()> {
        let add = |poller: &Poller| {
            if is_programs(key) { poller.add_once(descriptor, key, what) } else { poller.add(descriptor, key, what) }
        };
        add(&self.waiting)?;
        if let (true, Some(dispatching)) = (dispatched, &self.dispatching) {
            add(dispatching).inspect_err(|_| self.waiting.remove(descriptor))?;
        }
        Ok(())
    }

    fn remove(&self, descriptor: BorrowedFd<'_>) {
        self.waiting.remove(descriptor);
        if let Some(dispatching) = &self.dispatching {
            dispatching.remove(descriptor);
        }
    }
}

/// A space, and what is heard of it.
#[derive(Debug)]
struct Place {
    bell: Bell,
    calls: u32,
    /// The other processes that live there.
    ends: HashMap<Life, OwnedFd>,
}

/// What was heard at one look.
#[derive(Debug)]
pub struct Heard {
    /// Whose objects may be ready, by place.
    pub marks: Vec<Marks>,
    /// Each object may be.
    pub all: bool,
}

impl Hearing {
    /// Of nothing yet.
    pub fn new() -> Result<Self> {
        let pollers = Pollers { waiting: Arc::new(Poller::new()?), dispatching: None };
        Ok(Self { pollers, places: Vec::new(), alarm: None, is_alarmed: false })
    }

    /// What to sleep on. `handled` are the program's descriptors that somebody who dispatches is told of, by key.
    pub fn poller<'a>(
        &mut self,
        verb: Verb,
        handled: impl Iterator<Item = (u64, BorrowedFd<'a>)>,
    ) -> Result<Arc<Poller>> {
        if let Some(poller) = self.pollers.of(verb) {
            return Ok(poller.clone());
        }
        let poller = Arc::new(Poller::new()?);
        // One that was closed may be another's by now.
        for (key, descriptor) in handled {
            if self.renew(Verb::Wait, descriptor, key) {
                poller.add_once(descriptor, key, "a descriptor")?;
            }
        }
        for (index, place) in self.places.iter().enumerate() {
            place.bell.tell(&poller);
            poller.add(&place.bell, BELL | index as u64, "a bell")?;
            for (life, end) in &place.ends {
                poller.add(end, END | u64::from(life.0), "a process")?;
            }
        }
        Ok(self.pollers.dispatching.insert(poller).clone())
    }

    /// Somebody has dispatched.
    #[must_use]
    pub fn is_dispatched(&self) -> bool {
        self.pollers.dispatching.is_some()
    }

    /// What those who wait sleep on.
    #[must_use]
    pub fn waiting(&self) -> &Poller {
        &self.pollers.waiting
    }

    /// Somebody polls: [`Self::set_alarm`] is heard from now on.
    pub fn begin_polling(&mut self) -> Result<()> {
        if self.alarm.is_none() {
            let alarm = Alarm::new()?;
            self.pollers.waiting.add(&alarm, ALARM, "a timer")?;
            self.alarm = Some(alarm);
        }
        Ok(())
    }

    /// Has those who poll look at all after so many nanoseconds, unless they are to already: once.
    pub fn set_alarm(&mut self, after: u64) -> Result<()> {
        if let (false, Some(alarm)) = (self.is_alarmed, &self.alarm) {
            alarm.set(after)?;
            self.is_alarmed = true;
        }
        Ok(())
    }

    /// That number is a descriptor's that is polled here for no member's sake: the program's of that number was closed.
    #[must_use]
    pub fn is_its_own(&self, number: RawFd) -> bool {
        let is = |descriptor: BorrowedFd<'_>| descriptor.as_raw_fd() == number;
        let Pollers { waiting, dispatching } = &self.pollers;
        let mut pollers = std::iter::once(waiting).chain(dispatching);
        pollers.any(|poller| is(poller.as_fd()) || is(poller.own()))
            || self.alarm.as_ref().is_some_and(|alarm| is(alarm.as_fd()))
            || self.places.iter().any(|place| is(place.bell.as_fd()) || place.ends.values().any(|end| is(end.as_fd())))
    }

    /// Tells of the program's descriptor by `key`, and those who dispatch if it is `handled`. It is none of [`Self::is_its_own`].
    pub fn add(&self, descriptor: BorrowedFd<'_>, key: u64, what: &str, handled: bool) -> underpass_shm::Result<()> {
        self.pollers.add(descriptor, key, what, handled)
    }

    /// Tells those of it once more who sleep for that, by `key`; false if it was closed since it was added. What was told of the
    /// program's descriptors is not told again before that.
    #[must_use]
    pub fn renew(&self, verb: Verb, descriptor: BorrowedFd<'_>, key: u64) -> bool {
        if self.is_its_own(descriptor.as_raw_fd()) {
            return false;
        }
        let Pollers { waiting, dispatching } = &self.pollers;
        match (verb, dispatching) {
            (Verb::Wait, _) => waiting.renew(descriptor, key),
            // One whose number was another's when this was made is not there yet.
            (Verb::Dispatch, Some(poller)) => {
                poller.renew(descriptor, key)
                    || waiting.renew(descriptor, key) && poller.add_once(descriptor, key, "a descriptor").is_ok()
            }
            (Verb::Dispatch, None) => false,
        }
    }

    /// Tells of it no more. One that was closed is gone already.
    pub fn remove(&self, descriptor: BorrowedFd<'_>) {
        if !self.is_its_own(descriptor.as_raw_fd()) {
            self.pollers.remove(descriptor);
        }
    }

    /// The place of a space, and the number of the bell there.
    pub fn place(&mut self, space: &Arc<Space>) -> Result<(usize, usize)> {
        let known = self.places.iter().position(|place| Arc::ptr_eq(place.bell.space(), space));
        let index = known.map_or_else(|| self.move_in(space), Ok)?;
        Ok((index, self.places[index].bell.number()))
    }

    /// Claims a bell in a space.
    fn move_in(&mut self, space: &Arc<Space>) -> Result<usize> {
        let (bell, index) = (Bell::claim(space, &self.pollers.waiting)?, self.places.len());
        if let Some(dispatching) = &self.pollers.dispatching {
            bell.tell(dispatching);
        }
        self.pollers.add(bell.as_fd(), BELL | index as u64, "a bell", true)?;
        let calls = bell.words()?.calls.load(Acquire);
        self.places.push(Place { bell, calls, ends: HashMap::new() });
        self.meet(index);
        Ok(index)
    }

    /// Keys that the poller would tell, without asking it: of bells that are known to have been rung. None: it has to be
    /// asked. Whatever else it has to tell, it goes on telling.
    pub fn known(&self) -> Result<Option<Vec<u64>>> {
        let mut keys = Vec::new();
        for (index, place) in self.places.iter().enumerate() {
            match place.bell.rung()? {
                Some(Ringer::Here) => keys.push(OWN),
                Some(Ringer::Another) => keys.push(BELL | index as u64),
                None => {}
            }
        }
        Ok((!keys.is_empty()).then_some(keys))
    }

    /// A bell was rung since it was armed: what tells of it is readable, or is about to be.
    pub fn is_rung(&self) -> Result<bool> {
        for place in &self.places {
            if place.bell.rung()?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Looks what was rung for, and says the place and mark of each. Whatever tells of it goes on telling.
    pub fn glance(&self, mut marked: impl FnMut(usize, u64)) -> Result<()> {
        for (index, place) in self.places.iter().enumerate() {
            Marks::take_each(place.bell.words()?, |mark| marked(index, mark));
        }
        Ok(())
    }

    /// Looks what was rung for. `told` are the keys of the poller that were ready.
    pub fn hear(&mut self, verb: Verb, told: &[u64], heard: &mut Heard) -> Result<()> {
        if told.contains(&OWN)
            && let Some(poller) = self.pollers.of(verb)
        {
            poller.forget();
        }
        if told.contains(&ALARM)
            && let Some(alarm) = &self.alarm
        {
            alarm.forget();
            self.is_alarmed = false;
            heard.all = true;
        }
        heard.marks.resize_with(self.places.len(), Marks::none);
        for (index, place) in self.places.iter_mut().enumerate() {
            if told.contains(&(BELL | index as u64)) {
                place.bell.forget();
            }
            place.bell.arm()?;
            let words = place.bell.words()?;
            let calls = words.calls.load(Acquire);
            heard.marks[index].take(words);
            heard.all |= calls != place.calls;
            place.calls = calls;
        }
        let ended = |key: &u64| *key & (BELL | END) == END;
        heard.all |= told.iter().any(ended);
        if heard.all {
            (0..self.places.len()).for_each(|index| self.meet(index));
        }
        Ok(())
    }

    /// Has one who sleeps for that look again: what may be ready is known to it.
    pub fn remind(&self, verb: Verb) {
        if let Some(poller) = self.pollers.of(verb) {
            poller.remind();
        }
    }

    /// Watches the ends of those that are new in a place, and forgets those that have ended.
    fn meet(&mut self, index: usize) {
        let place = &mut self.places[index];
        let lives = place.bell.space().lives();
        place.ends.retain(|life, end| {
            let lives_on = lives.alive(*life);
            if !lives_on {
                self.pollers.remove(end.as_fd());
            }
            lives_on
        });
        for (life, pid) in lives.others() {
            if place.ends.contains_key(&life) {
                continue;
            }
            // The pid can have been given to another meanwhile: then the life has ended.
            let end = end_of(pid).filter(|_| lives.alive(life));
            // One that cannot be watched is found by the re-check.
            if let Some(end) = end
                && self.pollers.add(end.as_fd(), END | u64::from(life.0), "a process", true).is_ok()
            {
                place.ends.insert(life, end);
            }
        }
    }
}

impl Heard {
    /// Nothing.
    #[must_use]
    pub fn nothing() -> Self {
        Self { marks: Vec::new(), all: false }
    }
}

impl AsFd for Hearing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pollers.waiting.as_fd()
    }
}
