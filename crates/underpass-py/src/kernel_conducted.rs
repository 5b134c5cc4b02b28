//! Linux under a conductor: the kernel of the product, with the lab's scheduling points.
//!
//! Everything is done by Linux: memory, lives, sleeps, wakes, deaths. But before each scheduling point of the lab the
//! caller asks a gate, which is Python's: it comes back when the schedule says that it is the caller's turn. Three things are
//! the schedule's and not Linux's: the clock, which stands still until a time-out fires; when a sleep ends for no other cause,
//! of which the gate is asked after every sleep; and whether there is room, where others could have taken it.

pub mod door;
pub mod leftovers;

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use underpass_core::kernel::{Kernel, Memory, Parked, Wanted, Watch};
use underpass_core::linux::{Host as _, Linux};
use underpass_core::many::Bell;
use underpass_core::{Deadline, Error, Result};
use underpass_shm::life::{Life, Me};
use underpass_shm::space::News;
use underpass_shm::sync::AtomicU32;

use crate::error::from_shm;
use crate::host;

/// What the gate answers.
const EXPIRED: u8 = 1;
const SLEEP_ON: u8 = 2;
const REFUSED: u8 = 3;

/// What the gate is told of a sleep's end, as bits: something that was waited for has happened; it looked for itself.
const CAUSED: u64 = 1;
const NAPPED: u64 = 2;

/// When a schedule begins, as in the lab: not 0, which stands for a time that is not known.
const BIRTH: u64 = 1_000_000_000;

static ON: AtomicBool = AtomicBool::new(false);
static NOW: AtomicU64 = AtomicU64::new(BIRTH);
static GATE: Mutex<Option<Py<PyAny>>> = Mutex::new(None);

/// Have objects that are made or opened from here on ask ``gate(point, object, detail)`` for their turns; None ends it. It answers
/// with a number.
#[pyfunction]
pub fn conduct(gate: Option<Py<PyAny>>) {
    ON.store(gate.is_some(), Release);
    let before = std::mem::replace(&mut *GATE.lock().unwrap_or_else(PoisonError::into_inner), gate);
    drop(before);
}

/// Set the schedule's time, in nanoseconds, as it is in this process.
#[pyfunction]
pub fn set_conducted_time(now: u64) {
    NOW.store(now, Relaxed);
}

/// Somebody conducts this process.
pub fn is_on() -> bool {
    ON.load(Acquire)
}

/// What time the schedule says it is.
pub fn now() -> Option<u64> {
    is_on().then(|| NOW.load(Relaxed))
}

/// Comes to a point of an object, or of none, and goes on when the gate says so.
pub fn arrive(point: &str, object: Option<u64>, detail: u64) -> Result<u8> {
    Python::attach(|py| {
        let gate = GATE.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|gate| gate.clone_ref(py));
        let Some(gate) = gate else { return Ok(0) };
        let answer = gate.call1(py, (point, object, detail)).and_then(|answer| answer.extract(py));
        answer.map_err(|error: PyErr| {
            error.restore(py);
            Error::Interrupted
        })
    })
}

/// Whether an operation that would wait until then for room, and need not, is refused as if it had waited in vain: as the
/// schedule says, since Linux has that room.
pub fn refuses(deadline: Deadline) -> Result<bool> {
    // As in the lab: who waits for ever is never refused.
    if !is_on() || deadline == Deadline::Never {
        return Ok(false);
    }
    Ok(arrive("refuse", None, deadline.time().unwrap_or(0))? == REFUSED)
}

/// The point after a name has come, which has woken those who listen for one.
pub fn announce() -> Result<()> {
    if is_on() { arrive("woke", None, 0).map(drop) } else { Ok(()) }
}

/// Listens for names from now on, if somebody conducts this process.
pub fn news(py: Python<'_>, linux: &Linux) -> PyResult<Option<News>> {
    is_on().then(|| linux.space().news()).transpose().map_err(|error| from_shm(py, error))
}

/// Sleeps until a name comes, or the time does. `news` were listened for since before the look that found none.
pub fn await_name(news: &News, until: Option<u64>) -> Result<Parked> {
    arrive("park", None, 0)?;
    if news.take()? {
        return Ok(Parked::Look);
    }
    loop {
        arrive("listen", None, until.unwrap_or(0))?;
        let mut named = Ok(false);
        host::Python.detached(&mut || named = listen(news));
        match arrive("awake", None, if named? { CAUSED } else { 0 })? {
            SLEEP_ON => {}
            EXPIRED => return Ok(Parked::Expired),
            _ => return Ok(Parked::Look),
        }
    }
}

/// Sleeps until a name comes, and says so, or until a signal does.
fn listen(news: &News) -> underpass_shm::Result<bool> {
    loop {
        if !news.wait(None)? {
            return Ok(false);
        }
        // What has no name wakes nobody in the lab.
        if news.take()? {
            return Ok(true);
        }
    }
}

/// Linux, as one object uses it.
#[derive(Debug)]
pub struct Conducted {
    linux: Linux,
    object: u64,
}

impl Conducted {
    /// The world of the object with that nonce.
    pub fn new(linux: Linux, object: u64) -> Self {
        Self { linux, object }
    }

    /// Something that is watched is no longer as it was.
    fn is_changed(&self, watch: &Watch<'_>) -> bool {
        !watch.holds() || watch.lives().iter().any(|life| !self.linux.alive(*life))
    }
}

impl Kernel for Conducted {
    fn now(&self) -> u64 {
        now().unwrap_or_else(|| self.linux.now())
    }

    fn me(&self) -> Result<Me> {
        // As in the lab nothing is lent, and a thread is known by its life.
        self.linux.me().map(|me| Me { tid: me.thread.0, ..me })
    }

    fn alive(&self, life: Life) -> bool {
        self.linux.alive(life)
    }

    fn pid(&self, life: Life) -> u32 {
        self.linux.pid(life)
    }

    fn park(&self, watch: &Watch<'_>, batons: &[&AtomicU32], until: Option<u64>) -> Parked {
        // Between the look and the sleep anything may happen, so the values are compared after it.
        if arrive("park", Some(self.object), 0).is_err() {
            return Parked::Interrupted;
        }
        if self.is_changed(watch) {
            return Parked::Look;
        }
        loop {
            if arrive("sleep", Some(self.object), until.unwrap_or(0)).is_err() {
                return Parked::Interrupted;
            }
            let parked = self.linux.park(watch, batons, None);
            if parked == Parked::Interrupted {
                return parked;
            }
            let caused = parked == Parked::Baton || self.is_changed(watch);
            let detail = if caused { CAUSED } else { 0 } | if watch.naps.get() > 0 { NAPPED } else { 0 };
            match arrive("awake", Some(self.object), detail) {
                Ok(SLEEP_ON) => {}
                Ok(EXPIRED) => return Parked::Expired,
                Ok(_) => return parked,
                Err(_) => return Parked::Interrupted,
            }
        }
    }

    fn wake(&self, word: &AtomicU32, count: u32) -> u32 {
        // A destructor may run while an exception is on its way: it is kept.
        let raised = Python::attach(PyErr::take);
        let mut woken = 0;
        let passed = arrive("wake", Some(self.object), 0);
        if passed.is_ok() {
            woken = self.linux.wake(word, count);
        }
        // Whether this is a point depends on the lab's sleepers: a real one may have looked for itself.
        let passed = passed.and_then(|_| arrive("woke", Some(self.object), 0));
        Python::attach(|py| {
            if let Some(raised) = raised {
                raised.restore(py);
            }
        });
        if passed.is_err() { 0 } else { woken }
    }

    fn bell(&self) -> Result<Bell<'_>> {
        self.linux.bell()
    }

    fn name_baton(&self, word: *const AtomicU32) -> *const AtomicU32 {
        self.linux.name_baton(word)
    }

    fn priority(&self) -> i32 {
        self.linux.priority()
    }

    fn cpus(&self) -> u64 {
        1
    }

    fn memory(&self, wanted: &Wanted<'_>) -> Result<Memory> {
        self.linux.memory(wanted)
    }

    fn spin(&self, _partner: u64) -> u64 {
        0
    }
}
