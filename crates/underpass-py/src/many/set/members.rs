//! The members of a wait set, and which of them may be ready.
//!
//! Invariant: who is not among `candidates`, nor in the hands of one who looks, was found not ready, and announced, after
//! its bit was set: it is rung for, or its descriptor is polled. So a look costs what has become ready.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyInt;
use pyo3::{PyTraverseError, PyVisit};
use underpass_core::Error;
use underpass_core::hearing::{Heard, Hearing, Verb};
use underpass_core::linux;
use underpass_core::many as core;
use underpass_shm::clock;
use underpass_shm::poller::{OWN, Polled, Poller, refuse_closed};

use super::super::{waitable, watchers};
use super::awaited::Awaited;
use super::candidates::Candidates;
use super::handler::Handler;
use super::identity::Identity;
use super::member::{Found, Member, Refused, Source};
use crate::error::{Context, from_shm, raise};

mod handled;

/// The members, and who sleeps for them.
#[derive(Debug, Default)]
pub struct State {
    /// None: nothing was added yet, or it is closed.
    hearing: Option<Hearing>,
    closed: bool,
    next: u64,
    members: BTreeMap<u64, Member>,
    /// The keys of members by what they are: the address of what was given, and a descriptor's number as well.
    known: HashMap<Identity, u64>,
    /// Objects by the place and mark that they are rung for with.
    marked: HashMap<(usize, u64), Vec<u64>>,
    /// How many members are descriptors.
    descriptors: usize,
    /// Objects that may be ready.
    candidates: BTreeSet<u64>,
    /// Descriptors that were told of, by verb, while their numbers stood for other files: closed, or for a moment only.
    strayed: [BTreeSet<u64>; 2],
    /// When these were asked for last, by verb.
    recalled: [Option<u64>; 2],
    /// Threads that sleep here to wait.
    waiting: usize,
    /// Threads that sleep here to dispatch.
    dispatching: usize,
    /// For whose handlers threads sleep here: that one was called, or is no member any more, is told until its thread is awake.
    asleep_for: Vec<Awaited>,
    /// How often something was found, or added, for those who wait and for those who dispatch. See [`Self::news`].
    news: [u32; 2],
    listener: Listener,
    /// The last look of theirs left what told it where it was.
    glanced: bool,
}

/// Who polls, and looks only when told.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Listener {
    #[default]
    Nobody,
    /// Somebody has the descriptor of all.
    OfOne,
    /// Somebody has both, and looks by itself when something was added.
    OfTwo,
}

impl State {
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// The key of a member that was given itself, also when its descriptor was closed since.
    pub fn key_of_itself(&self, what: &Bound<'_, PyAny>) -> Option<u64> {
        self.known.get(&Identity::itself(what)).copied()
    }

    /// The same, or that of who has its descriptor. A number stands for whoever was added with it.
    pub fn key_of(&self, what: &Bound<'_, PyAny>, identity: Option<Identity>) -> Option<u64> {
        let same = |key: &u64| what.is_instance_of::<PyInt>() || self.is_open(*key);
        self.key_of_itself(what).or_else(|| self.known.get(&identity?).copied().filter(same))
    }

    /// Takes out who was closed without being removed, and whose number, or whose place, something has by now that is to be added.
    #[must_use]
    pub fn evict(&mut self, what: &Bound<'_, PyAny>, identity: Identity) -> Vec<Member> {
        let former: Vec<u64> =
            [Identity::itself(what), identity].iter().filter_map(|it| self.known.get(it).copied()).collect();
        former.into_iter().filter_map(|key| if self.is_open(key) { None } else { self.remove(key) }).collect()
    }

    /// It has the descriptor still with which it was added.
    fn is_open(&self, key: u64) -> bool {
        match (self.members.get(&key).map(|member| &member.source), &self.hearing) {
            (Some(Source::Descriptor(number)), Some(hearing)) => hearing.renew(Verb::Wait, borrow(*number), key),
            _ => true,
        }
    }

    /// Which of those that the poller told are the program's, and open still: it tells of these again.
    fn renew(&mut self, verb: Verb, told: &[u64]) -> Vec<u64> {
        let Some(hearing) = &self.hearing else { return Vec::new() };
        let (mut open, strayed) = (Vec::new(), &mut self.strayed[verb as usize]);
        for key in told {
            let Some(member) = self.members.get(key) else { continue };
            match &member.source {
                // Its handler runs: the end of that tells of it again.
                Source::Descriptor(_) if !member.is_for(verb) => {}
                Source::Descriptor(number) if hearing.renew(verb, borrow(*number), *key) => open.push(*key),
                Source::Descriptor(_) => {
                    strayed.insert(*key);
                }
                Source::Object { .. } | Source::Simulated => {}
            }
        }
        open
    }

    /// Has the poller tell again of those whose numbers have come back, before it is asked: once per re-check, since most were closed for
    /// good; without one each time.
    fn recall(&mut self, verb: Verb) {
        let Some(hearing) = &self.hearing else { return };
        if self.strayed[verb as usize].is_empty() {
            return;
        }
        let (now, recheck, before) = (clock::monotonic(), linux::recheck(), &mut self.recalled[verb as usize]);
        if recheck != u64::MAX && before.is_some_and(|before| now.saturating_sub(before) < recheck) {
            return;
        }
        *before = Some(now);
        let members = &self.members;
        self.strayed[verb as usize].retain(|key| match members.get(key).map(|member| &member.source) {
            Some(Source::Descriptor(number)) => !hearing.renew(verb, borrow(*number), *key),
            _ => false,
        });
    }

    /// The first members, for errors.
    pub fn first(&self, py: Python<'_>, count: usize) -> Vec<Py<PyAny>> {
        self.members.values().take(count).map(|member| member.what.clone_ref(py)).collect()
    }

    /// All members that who sleeps for that is told of.
    pub fn all(&self, py: Python<'_>, verb: Verb) -> Found {
        let told = self.members.iter().filter(|(_, member)| member.is_for(verb));
        told.map(|(key, member)| member.found(py, *key, member.calls())).collect()
    }

    pub fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.members.values().try_for_each(|member| {
            visit.call(&member.what)?;
            visit.call(member.handler.as_ref().map(|handler| &handler.function))
        })
    }

    /// Adds a member, and says its key; one that is ready already is told at the next wait. In the lab nothing is heard: every look is at all.
    pub fn add(
        &mut self,
        py: Python<'_>,
        what: &Bound<'_, PyAny>,
        identity: Identity,
        handler: Option<Handler>,
        in_lab: bool,
    ) -> Result<u64, Refused> {
        let itself = Identity::itself(what);
        if self.known.contains_key(&identity) || self.known.contains_key(&itself) {
            return Err(Refused::Known);
        }
        let key = self.next;
        let source = match identity {
            _ if in_lab => Source::Simulated,
            Identity::Descriptor(descriptor) => self.poll(py, descriptor, key, handler.is_some())?,
            Identity::Object(_) => self.take_in(py, what, key)?,
        };
        self.next += 1;
        self.descriptors += usize::from(matches!(source, Source::Descriptor(_)));
        self.known.insert(identity, key);
        self.known.insert(itself, key);
        self.members.insert(key, Member { identity, what: what.clone().unbind(), handler, source });
        self.call([true; 2], self.listener == Listener::OfOne);
        self.keep_time(py)?;
        Ok(key)
    }

    #[must_use]
    pub fn remove(&mut self, key: u64) -> Option<Member> {
        let member = self.members.remove(&key)?;
        self.candidates.remove(&key);
        self.known.remove(&member.identity);
        self.known.remove(&Identity::Object(member.what.as_ptr().addr()));
        match &member.source {
            Source::Object { watchers, place, bell, mark } => {
                let (place, mark) = (*place, *mark);
                if let Some(keys) = self.marked.get_mut(&(place, mark)) {
                    keys.retain(|other| *other != key);
                    // Another of that mark may be the same object, as a queue and its room are.
                    if keys.is_empty() {
                        self.marked.remove(&(place, mark));
                        core::unwatch(watchers, *bell);
                    }
                }
            }
            Source::Descriptor(descriptor) => {
                self.descriptors -= 1;
                for strayed in &mut self.strayed {
                    strayed.remove(&key);
                }
                if let Some(hearing) = &self.hearing {
                    hearing.remove(borrow(*descriptor));
                }
            }
            Source::Simulated => {}
        }
        self.tell_settled();
        Some(member)
    }

    /// Removes all; they are dropped without the lock, since that may run anybody's code.
    #[must_use]
    pub fn clear(&mut self) -> Vec<Member> {
        let keys: Vec<u64> = self.members.keys().copied().collect();
        keys.into_iter().filter_map(|key| self.remove(key)).collect()
    }

    /// Forgets all, of a forked child's copy: it shares its epoll with the parent's, which goes on.
    #[must_use]
    pub fn forget(&mut self) -> Vec<Member> {
        mem::take(&mut self.members).into_values().collect()
    }

    /// Ends it; what were its members are dropped without the lock.
    #[must_use]
    pub fn close(&mut self) -> Vec<Member> {
        self.closed = true;
        self.remind(Verb::Wait);
        self.remind(Verb::Dispatch);
        let members = self.clear();
        self.end_if_alone();
        members
    }

    /// What other loops poll: readable while a member may be ready.
    pub fn expose(&mut self, py: Python<'_>) -> PyResult<RawFd> {
        self.hearing(py)?.begin_polling().map_err(|error| unmade(py, error))?;
        self.rejoin(py)?;
        self.listener = Listener::OfOne;
        self.keep_time(py)?;
        if !self.candidates.is_empty() {
            self.remind(Verb::Wait);
        }
        Ok(self.hearing(py)?.as_fd().as_raw_fd())
    }

    /// The same, of two descriptors: what this process itself rings for, and what others do.
    pub fn part(&mut self, py: Python<'_>) -> PyResult<[RawFd; 2]> {
        let alone = self.listener != Listener::OfOne && self.waiting == 0;
        let hearing = self.hearing(py)?;
        hearing.begin_polling().map_err(|error| unmade(py, error))?;
        let own = hearing.waiting().part().as_raw_fd();
        let both = [own, hearing.as_fd().as_raw_fd()];
        self.listener = Listener::OfTwo;
        if !alone {
            self.rejoin(py)?;
        }
        self.keep_time(py)?;
        Ok(both)
    }

    /// Has those who poll look at all from time to time, while there is a member that may be silent: what a wait does that hears nothing
    /// for long.
    fn keep_time(&mut self, py: Python<'_>) -> PyResult<()> {
        let recheck = linux::recheck();
        let may_be_silent = self.members.len() > self.descriptors || !self.strayed[Verb::Wait as usize].is_empty();
        if let (true, Some(hearing)) = (may_be_silent && recheck != u64::MAX, &mut self.hearing) {
            hearing.set_alarm(recheck).map_err(|error| unmade(py, error))?;
        }
        Ok(())
    }

    /// Has those told who sleep on one descriptor; who polls both is told twice, or once in vain.
    fn rejoin(&mut self, py: Python<'_>) -> PyResult<()> {
        if self.listener == Listener::OfTwo {
            self.hearing(py)?.waiting().rejoin().map_err(|error| from_shm(py, error))?;
            self.listener = Listener::OfOne;
        }
        Ok(())
    }

    /// What to sleep on; [`Self::awake`] follows.
    pub fn asleep(&mut self, py: Python<'_>, verb: Verb, awaited: Option<&Awaited>) -> PyResult<Arc<Poller>> {
        self.rejoin(py)?;
        self.hearing(py)?;
        let handled = self.members.iter().filter_map(|(key, member)| match member.source {
            Source::Descriptor(number) if member.is_for(verb) => Some((*key, borrow(number))),
            _ => None,
        });
        let hearing = self.hearing.as_mut().expect("it was made above");
        if verb == Verb::Dispatch && !hearing.is_dispatched() {
            // All that are to be heard there, and those whose numbers are another's now once they are back.
            self.strayed[verb as usize] = handled.clone().map(|(key, _)| key).collect();
        }
        let poller = hearing.poller(verb, handled).map_err(|error| unmade(py, error))?;
        self.recall(verb);
        *self.sleepers(verb) += 1;
        self.asleep_for.extend(awaited.cloned());
        Ok(poller)
    }

    pub fn awake(&mut self, verb: Verb, awaited: Option<&Awaited>) {
        *self.sleepers(verb) -= 1;
        if let Some(mine) = awaited.and_then(|awaited| self.asleep_for.iter().position(|other| other.is(awaited))) {
            self.asleep_for.swap_remove(mine);
        }
        self.end_if_alone();
    }

    /// What the poller would tell, as far as it is known without asking it; none if it has to be asked.
    pub fn known(&mut self, py: Python<'_>) -> PyResult<Option<Vec<u64>>> {
        if self.descriptors > 0 {
            return Ok(None);
        }
        let failed = |error| raise(py, &Context::of("a wait set", "not heard"), error);
        self.hearing(py)?.known().map_err(failed)
    }

    /// Whether a look can do without asking what told: a bell was rung, and so a descriptor is readable, and stays so until a look
    /// that asks. Of two looks in a row one asks, so that nobody's end goes unheard however often others ring.
    pub fn glances(&mut self, py: Python<'_>) -> PyResult<bool> {
        let failed = |error| raise(py, &Context::of("a wait set", "not heard"), error);
        let can = !self.glanced && self.descriptors == 0;
        self.glanced = can && self.hearing(py)?.is_rung().map_err(failed)?;
        Ok(self.glanced)
    }

    /// Takes those who may be ready, by what was rung for.
    pub fn glance(&mut self, py: Python<'_>) -> PyResult<Candidates> {
        let failed = |error| raise(py, &Context::of("a wait set", "not heard"), error);
        self.hearing(py)?;
        if let Some(hearing) = &self.hearing {
            let (marked, candidates) = (&self.marked, &mut self.candidates);
            let rung = |place, mark| candidates.extend(marked.get(&(place, mark)).into_iter().flatten());
            hearing.glance(rung).map_err(failed)?;
        }
        Ok(self.take_candidates(py, Vec::new()))
    }

    /// Takes those who may be ready, by what is told now; what told of it is forgotten.
    pub fn hear_now(&mut self, py: Python<'_>, everything: bool) -> PyResult<Candidates> {
        self.recall(Verb::Wait);
        let polled = self.hearing(py)?.waiting().wait(0).map_err(|error| from_shm(py, error))?;
        let mut told = match polled {
            Polled::Keys(keys) => keys,
            Polled::Interrupted => Vec::new(),
        };
        if self.listener == Listener::OfTwo {
            told.push(OWN);
        }
        self.hear(py, Verb::Wait, &told, &mut Heard { all: everything, ..Heard::nothing() })
    }

    /// Takes those who may be ready, by what was heard.
    pub fn hear(&mut self, py: Python<'_>, verb: Verb, told: &[u64], heard: &mut Heard) -> PyResult<Candidates> {
        let failed = |error| raise(py, &Context::of("a wait set", "not heard"), error);
        // First: what was told is told again, whatever fails.
        let readable = self.renew(verb, told);
        self.glanced = false;
        if let Err(error) = self.hearing(py)?.hear(verb, told, heard) {
            // What it has heard until then is nobody else's to hear.
            let objects = self.members.iter().filter(|(_, member)| matches!(member.source, Source::Object { .. }));
            self.candidates.extend(objects.map(|(key, _)| *key));
            self.call([true; 2], self.listener != Listener::Nobody);
            return Err(failed(error));
        }
        if std::mem::take(&mut heard.all) {
            for (key, member) in &self.members {
                if let Source::Object { watchers, bell, .. } = &member.source {
                    // Whoever rings for one that has died takes its bit back, and may die before it sees whose the bell is now.
                    core::watch(watchers, *bell);
                    self.candidates.insert(*key);
                }
            }
        }
        for (place, marks) in heard.marks.iter_mut().enumerate() {
            for mark in std::mem::replace(marks, core::Marks::none()).iter() {
                self.candidates.extend(self.marked.get(&(place, mark)).into_iter().flatten());
            }
        }
        self.keep_time(py)?;
        Ok(self.take_candidates(py, readable))
    }

    fn take_candidates(&mut self, py: Python<'_>, readable: Vec<u64>) -> Candidates {
        let objects = std::mem::take(&mut self.candidates);
        let objects = objects.into_iter().filter_map(|key| Some((key, self.members.get(&key)?.what.clone_ref(py))));
        let objects: Vec<_> = objects.collect();
        let keys = readable.iter().chain(objects.iter().map(|(key, _)| key));
        let calls =
            keys.filter_map(|key| Some((*key, self.members.get(key)?.handler.as_ref()?.calls.ended()))).collect();
        Candidates { readable, objects, calls }
    }

    /// Keeps what was found, tells others of it, and says it.
    pub fn learn(
        &mut self,
        py: Python<'_>,
        verb: Verb,
        candidates: &Candidates,
        looked: PyResult<Vec<u64>>,
    ) -> PyResult<Found> {
        if verb == Verb::Dispatch {
            // What this one was told, and nobody is any more, may have been for another.
            self.tell_settled();
        }
        let mut ready = match looked {
            Ok(ready) => ready,
            Err(error) => {
                // Nobody else has looked at them.
                self.candidates.extend(candidates.objects.iter().map(|(key, _)| *key));
                self.call([true; 2], self.listener != Listener::Nobody);
                return Err(error);
            }
        };
        // It stays so until somebody has taken it.
        self.candidates.extend(ready.iter().filter(|key| self.members.contains_key(key)));
        ready.extend(&candidates.readable);
        ready.sort_unstable();
        ready.dedup();
        // Who looked may have heard in another's place.
        let mut called = [false; 2];
        let mut found = Found::with_capacity(ready.len());
        for key in ready {
            let Some(member) = self.members.get(&key) else { continue };
            for other in [Verb::Wait, Verb::Dispatch] {
                called[other as usize] |= member.is_for(other);
            }
            if member.is_for(verb) {
                found.push(member.found(py, key, candidates.calls.get(&key).copied().unwrap_or(0)));
            }
        }
        // After a glance what told of it tells again.
        self.call(called, self.listener != Listener::Nobody && !self.glanced);
        Ok(found)
    }

    /// Has those who wait look again, or those who dispatch, or both: who sleep, and who are about to. `polled`: and who polls.
    fn call(&mut self, [waiting, dispatching]: [bool; 2], polled: bool) {
        for (verb, is_called, somebody) in
            [(Verb::Wait, waiting, polled || self.waiting > 0), (Verb::Dispatch, dispatching, self.dispatching > 0)]
        {
            if is_called {
                self.news[verb as usize] = self.news[verb as usize].wrapping_add(1);
            }
            if is_called && somebody {
                self.remind(verb);
            }
        }
    }

    /// Changes when those who sleep for that have to look: who finds it as it was when it heard may sleep.
    pub fn news(&self, verb: Verb) -> u32 {
        self.news[verb as usize]
    }

    fn hearing(&mut self, py: Python<'_>) -> PyResult<&mut Hearing> {
        if self.hearing.is_none() {
            self.hearing = Some(Hearing::new().map_err(|error| unmade(py, error))?);
        }
        Ok(self.hearing.as_mut().expect("it was made above"))
    }

    fn sleepers(&mut self, verb: Verb) -> &mut usize {
        match verb {
            Verb::Wait => &mut self.waiting,
            Verb::Dispatch => &mut self.dispatching,
        }
    }

    /// Once it is closed, and nobody sleeps here any more.
    fn end_if_alone(&mut self) {
        if self.closed && self.waiting + self.dispatching == 0 {
            self.hearing = None;
        }
    }

    /// Has one who sleeps for that look again, or who has the descriptor.
    fn remind(&self, verb: Verb) {
        if let Some(hearing) = &self.hearing {
            hearing.remind(verb);
        }
    }

    /// Has a new descriptor heard.
    fn poll(&mut self, py: Python<'_>, descriptor: RawFd, key: u64, handled: bool) -> Result<Source, Refused> {
        let what = format!("descriptor {descriptor}");
        if self.hearing.is_none() {
            refuse_closed(borrow(descriptor), &what).map_err(|error| from_shm(py, error))?;
        }
        let hearing = self.hearing(py)?;
        if hearing.is_its_own(descriptor) {
            return Err(Refused::ItsOwn);
        }
        match hearing.add(borrow(descriptor), key, &what, handled) {
            Ok(()) => Ok(Source::Descriptor(descriptor)),
            Err(error) if error.is_forbidden() => Err(Refused::PlainFile),
            Err(error) => Err(Refused::Because(from_shm(py, error))),
        }
    }

    /// Makes a new object known to those who ring for it.
    fn take_in(&mut self, py: Python<'_>, what: &Bound<'_, PyAny>, key: u64) -> PyResult<Source> {
        let (handle, _) = waitable(what)?;
        handle.refuse_closed(py)?;
        let watchers = watchers(py, handle)?;
        let space = handle.home(py)?.space().clone();
        let placed = self.hearing(py)?.place(&space);
        let (place, bell) = placed.map_err(|error| raise(py, &Context::of(&handle.title, "not waited for"), error))?;
        handle.tell_its_end();
        core::watch(&watchers, bell);
        let mark = core::mark_of(handle.header.nonce);
        self.marked.entry((place, mark)).or_default().push(key);
        self.candidates.insert(key);
        Ok(Source::Object { watchers, place, bell, mark })
    }
}

/// The number of a member, for one call of `epoll`'s.
fn borrow<'a>(number: RawFd) -> BorrowedFd<'a> {
    // SAFETY: S13, the number is the caller's; one that it has closed is unknown to the kernel, or refused.
    unsafe { BorrowedFd::borrow_raw(number) }
}

fn unmade(py: Python<'_>, error: Error) -> PyErr {
    raise(py, &Context::of("a wait set", "not made"), error)
}
