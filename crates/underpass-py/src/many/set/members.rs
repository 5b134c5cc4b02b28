//! The members of a wait set, and which of them may be ready.
//!
//! Invariant: who is not among `candidates`, nor in the hands of one who looks, was found not ready, and announced, after
//! its bit was set: it is rung for, or its descriptor is polled. So a look costs what has become ready.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::{BorrowedFd, RawFd};

use pyo3::intern;
use pyo3::prelude::*;
use underpass_core::hearing::{Heard, Hearing};
use underpass_core::kernel::Watch;
use underpass_core::many as core;
use underpass_shm::layout::bell::WatchersWords;
use underpass_shm::place::Placed;

use super::super::{waitable, watchers};
use crate::error::{Context, raise};
use crate::object::SharedObject;

#[derive(Debug, Default)]
pub struct State {
    /// None: nothing was added yet, or it is closed.
    pub hearing: Option<Hearing>,
    pub closed: bool,
    pub next: u64,
    pub members: BTreeMap<u64, Member>,
    /// The keys of members by what they are: an object's address, a descriptor's number.
    pub known: HashMap<Identity, u64>,
    /// Objects by the place and mark that they are rung for with.
    pub marked: HashMap<(usize, u64), Vec<u64>>,
    /// How many members are descriptors.
    pub descriptors: usize,
    /// Objects that may be ready.
    pub candidates: BTreeSet<u64>,
    /// Threads that sleep here.
    pub asleep: usize,
    /// Somebody has the descriptor, and looks only when it is readable.
    pub exposed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Identity {
    Object(usize),
    Descriptor(RawFd),
}

#[derive(Debug)]
pub struct Member {
    pub identity: Identity,
    pub what: Py<PyAny>,
    pub handler: Option<Py<PyAny>>,
    pub source: Source,
}

#[derive(Debug)]
pub enum Source {
    Object {
        watchers: Placed<WatchersWords>,
        place: usize,
        bell: usize,
        mark: u64,
    },
    Descriptor(RawFd),
    /// The lab's, where every look is at all.
    Simulated,
}

/// Members that are ready: the key, what it is, its handler.
pub type Found = Vec<(u64, Py<PyAny>, Option<Py<PyAny>>)>;

impl Identity {
    /// Of something that can be waited for.
    pub fn of(py: Python<'_>, what: &Bound<'_, PyAny>) -> PyResult<Self> {
        let refused = match waitable(what) {
            Ok(_) => return Ok(Self::Object(what.as_ptr().addr())),
            Err(error) if what.is_instance_of::<SharedObject>() => return Err(error),
            Err(error) => error,
        };
        if let Ok(number) = what.extract::<RawFd>() {
            return Ok(Self::Descriptor(number));
        }
        let fileno = what.getattr_opt(intern!(py, "fileno"))?.ok_or(refused)?;
        fileno.call0()?.extract().map(Self::Descriptor)
    }
}

impl Member {
    pub fn found(&self, py: Python<'_>, key: u64) -> (u64, Py<PyAny>, Option<Py<PyAny>>) {
        (key, self.what.clone_ref(py), self.handler.as_ref().map(|handler| handler.clone_ref(py)))
    }
}

impl State {
    pub fn hearing(&mut self, py: Python<'_>) -> PyResult<&mut Hearing> {
        if self.hearing.is_none() {
            self.hearing =
                Some(Hearing::new().map_err(|error| raise(py, &Context::of("a wait set", "not made"), error))?);
        }
        Ok(self.hearing.as_mut().expect("it was made above"))
    }

    /// Makes a new member known to those who ring for it.
    pub fn take_in(&mut self, py: Python<'_>, what: &Bound<'_, PyAny>) -> PyResult<Source> {
        let (handle, _) = waitable(what)?;
        handle.check_look(py)?;
        let watchers = watchers(py, handle)?;
        let space = handle.home(py)?.space().clone();
        let placed = self.hearing(py)?.place(&space);
        let (place, bell) = placed.map_err(|error| raise(py, &Context::of(&handle.title, "not waited for"), error))?;
        core::watch(&watchers, bell);
        Ok(Source::Object { watchers, place, bell, mark: core::mark_of(handle.header.nonce) })
    }

    /// Removes all; they are dropped without the lock, since that may run anybody's code.
    #[must_use]
    pub fn clear(&mut self) -> Vec<Member> {
        let keys: Vec<u64> = self.members.keys().copied().collect();
        keys.into_iter().filter_map(|key| self.remove(key)).collect()
    }

    #[must_use]
    pub fn remove(&mut self, key: u64) -> Option<Member> {
        let member = self.members.remove(&key)?;
        self.candidates.remove(&key);
        self.known.remove(&member.identity);
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
                if let Some(hearing) = &self.hearing {
                    // SAFETY: S13, the number is the caller's; one that it has closed is unknown to the kernel.
                    hearing.poller().remove(unsafe { BorrowedFd::borrow_raw(*descriptor) });
                }
            }
            Source::Simulated => {}
        }
        Some(member)
    }

    /// Has one who sleeps here look again, or who has the descriptor.
    pub fn remind(&self) {
        if let Some(hearing) = &self.hearing {
            hearing.remind();
        }
    }

    /// What the poller would tell, as far as it is known without asking it; none if it has to be asked.
    pub fn known(&mut self, py: Python<'_>) -> PyResult<Option<Vec<u64>>> {
        if self.descriptors > 0 {
            return Ok(None);
        }
        let failed = |error| raise(py, &Context::of("a wait set", "not heard"), error);
        self.hearing(py)?.known().map_err(failed)
    }

    /// Takes those who may be ready, by what was heard.
    pub fn hear(&mut self, py: Python<'_>, told: &[u64], heard: &mut Heard) -> PyResult<Candidates> {
        let failed = |error| raise(py, &Context::of("a wait set", "not heard"), error);
        let readable = self.hearing(py)?.hear(told, heard).map_err(failed)?;
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
        let objects = std::mem::take(&mut self.candidates);
        let objects = objects.into_iter().filter_map(|key| Some((key, self.members.get(&key)?.what.clone_ref(py))));
        Ok(Candidates { readable, objects: objects.collect() })
    }

    /// Keeps what was found, and says it.
    pub fn learn(
        &mut self,
        py: Python<'_>,
        candidates: Candidates,
        looked: PyResult<BTreeSet<u64>>,
        handled: bool,
    ) -> PyResult<Found> {
        let ready = match looked {
            Ok(ready) => ready,
            Err(error) => {
                // Nobody else has looked at them.
                self.candidates.extend(candidates.objects.iter().map(|(key, _)| *key));
                return Err(error);
            }
        };
        // It stays so until somebody has taken it.
        self.candidates.extend(ready.iter().filter(|key| self.members.contains_key(key)));
        let all: BTreeSet<u64> = ready.into_iter().chain(candidates.readable).collect();
        let members = all.into_iter().filter_map(|key| Some((key, self.members.get(&key)?)));
        Ok(members
            .filter(|(_, member)| !handled || member.handler.is_some())
            .map(|(key, member)| member.found(py, key))
            .collect())
    }
}

/// Members that may be ready, in the hands of one who looks. The lock of the set is free meanwhile: a look may run the
/// program's code, a port's admission.
pub struct Candidates {
    /// Descriptors that are.
    pub readable: Vec<u64>,
    pub objects: Vec<(u64, Py<PyAny>)>,
}

impl Candidates {
    /// Which objects are; who asks is announced at the others.
    pub fn look(&self, py: Python<'_>) -> PyResult<BTreeSet<u64>> {
        let mut ready = BTreeSet::new();
        let mut own = Watch::new();
        for (key, what) in &self.objects {
            let what = what.bind(py);
            let (handle, object) = waitable(what)?;
            own.clear();
            let looked = if handle.is_closed() { Ok(true) } else { core::announce(object, handle.kernel(), &mut own) };
            if looked.map_err(|error| raise(py, &Context::of(&handle.title, "not waited for"), error))? {
                ready.insert(*key);
            }
        }
        Ok(ready)
    }
}
