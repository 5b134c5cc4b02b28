//! Linux under a conductor: the kernel of the product, with the lab's scheduling points.
//!
//! Everything is done by Linux: memory, lives, sleeps, wakes, deaths. But before each scheduling point of the lab the
//! caller asks a gate, which is Python's: it comes back when the schedule says that it is the caller's turn. Two things are the
//! schedule's and not Linux's: the clock, which stands still until a time-out fires, and when a sleep ends for no other cause;
//! the gate is asked after every sleep whether it has.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use underpass_core::kernel::{Kernel, Memory, Parked, Wanted, Watch};
use underpass_core::linux::Linux;
use underpass_core::{Error, Result};
use underpass_shm::life::{Life, Me};
use underpass_shm::sync::AtomicU32;

/// What the gate answers.
const EXPIRED: u8 = 1;
const SLEEP_ON: u8 = 2;

/// What the gate is told of a sleep's end, as bits: something that was waited for has happened; it looked for itself.
const CAUSED: u64 = 1;
const NAPPED: u64 = 2;

/// When a schedule begins, as in the lab: not 0, which stands for a time that is not known.
const BIRTH: u64 = 1_000_000_000;

static ON: AtomicBool = AtomicBool::new(false);
static NOW: AtomicU64 = AtomicU64::new(BIRTH);
static GATE: Mutex<Option<Py<PyAny>>> = Mutex::new(None);

/// Have objects that are made or opened from here on ask ``gate(point, object, detail)`` for their turns; None ends it. It answers
/// with a number and the time in nanoseconds.
#[pyfunction]
pub fn conduct(gate: Option<Py<PyAny>>) {
    ON.store(gate.is_some(), Release);
    *GATE.lock().unwrap_or_else(PoisonError::into_inner) = gate;
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
        let answer = gate.call1(py, (point, object, detail)).and_then(|answer| answer.extract::<(u8, u64)>(py));
        answer.map_or_else(
            |error| {
                error.restore(py);
                Err(Error::Interrupted)
            },
            |(answer, now)| {
                NOW.store(now, Relaxed);
                Ok(answer)
            },
        )
    })
}

/// The points around the wake of those who wait for a name, though on Linux a directory tells them.
pub fn announce() -> Result<()> {
    if is_on() {
        arrive("wake", None, 0)?;
        arrive("woke", None, 0)?;
    }
    Ok(())
}

/// Tells the gate of something that no schedule can be forced on; it says so where the schedule was asked for.
pub fn refuse(what: &str) -> Result<()> {
    if is_on() { arrive(what, None, 0).map(drop) } else { Ok(()) }
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
        watch.wide.is_some_and(|(word, expected)| word.load(SeqCst) != expected)
            || watch.words().any(|(word, expected)| word.load(SeqCst) != expected)
            || watch.lives().iter().any(|life| !self.linux.alive(*life))
    }
}

impl Kernel for Conducted {
    fn now(&self) -> u64 {
        now().unwrap_or_else(|| self.linux.now())
    }

    fn me(&self) -> Result<Me> {
        self.linux.me()
    }

    fn alive(&self, life: Life) -> bool {
        self.linux.alive(life)
    }

    fn pid(&self, life: Life) -> u32 {
        self.linux.pid(life)
    }

    fn park(&self, watch: &Watch<'_>, baton: Option<&AtomicU32>, until: Option<u64>) -> Parked {
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
            let parked = self.linux.park(watch, baton, None);
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

    fn name_baton(&self, word: *const AtomicU32) -> *const AtomicU32 {
        self.linux.name_baton(word)
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
