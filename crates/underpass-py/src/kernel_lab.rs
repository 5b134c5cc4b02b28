//! The lab kernel, in its smallest form: the third answer to the questions of the `Kernel` trait.
//!
//! Its processes are greenlets of one thread. A scheduling point calls Python's `switch`, which switches to the explorer
//! and comes back when the explorer lets this process go on; greenlet moves the native frames of the operation aside
//! meanwhile, so an operation may be anywhere inside its Rust code. Time stands still until the explorer fires a
//! time-out. Nothing here decides: who goes on, and who expires, is asked of the explorer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use underpass_core::kernel::{Kernel, Memory, Parked, Wanted, Watch};
use underpass_core::{Error, Result};
use underpass_shm::header::Header;
use underpass_shm::life::{Life, Me};
use underpass_shm::region::Region;
use underpass_shm::sync::AtomicU32;
use underpass_shm::sync::Ordering::SeqCst;

thread_local! {
    static CURRENT: std::cell::RefCell<Option<Arc<LabKernel>>> = const { std::cell::RefCell::new(None) };
}

/// The lab kernel that objects made on this thread live in, if one is entered.
pub fn current() -> Option<Arc<LabKernel>> {
    CURRENT.with_borrow(Clone::clone)
}

/// A world whose clock, lives and scheduling are under an explorer's control.
#[derive(Debug)]
pub struct LabKernel {
    switch: Py<PyAny>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    now: u64,
    running: u32,
    serial: u64,
    sleepers: HashMap<u32, Sleeper>,
    batons: HashMap<u32, usize>,
}

/// One who is parked: the addresses that wake it, since when, and how it ended.
#[derive(Debug)]
struct Sleeper {
    words: Vec<usize>,
    baton: usize,
    since: u64,
    until: Option<u64>,
    ended: Option<Parked>,
}

fn address(word: *const AtomicU32) -> usize {
    word as usize
}

impl LabKernel {
    /// How many are parked on words of that object.
    pub fn waiters(&self, object: &Region) -> usize {
        let parked = |sleeper: &&Sleeper| {
            sleeper.ended.is_none() && sleeper.words.iter().any(|address| object.contains(*address))
        };
        self.state().sleepers.values().filter(parked).count()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A scheduling point. The lock of the state is not held here: others run meanwhile.
    pub fn point(&self) -> Result<()> {
        Python::attach(|py| {
            let running = self.state().running;
            let switched = self.switch.call1(py, (running,));
            self.state().running = running;
            switched.map(drop).map_err(|error| {
                error.restore(py);
                Error::Interrupted
            })
        })
    }
}

impl Kernel for LabKernel {
    fn now(&self) -> u64 {
        self.state().now
    }

    fn me(&self) -> Result<Me> {
        let running = self.state().running;
        Ok(Me { thread: Life(running + 1), process: Life(1 << 31 | (running + 1)) })
    }

    fn alive(&self, life: Life) -> bool {
        life != Life::NOBODY
    }

    fn pid(&self, life: Life) -> u32 {
        (life.0 & !(1 << 31)).saturating_sub(1)
    }

    fn park(&self, watch: &Watch<'_>, baton: &AtomicU32, until: Option<u64>) -> Parked {
        // Between the look and the sleep anything may happen, so the values are compared after it.
        if self.point().is_err() {
            return Parked::Interrupted;
        }
        let running = {
            let mut state = self.state();
            if watch.words().any(|(word, expected)| word.load(SeqCst) != expected)
                || watch.wide.is_some_and(|(word, expected)| word.load(SeqCst) != expected)
            {
                return Parked::Look;
            }
            let baton = address(baton);
            let words = watch.words().map(|(word, _)| address(word)).chain([baton]).collect();
            let (running, since) = (state.running, state.serial);
            state.serial += 1;
            state.sleepers.insert(running, Sleeper { words, baton, since, until, ended: None });
            running
        };
        let interrupted = self.point().is_err();
        let sleeper = self.state().sleepers.remove(&running);
        if interrupted {
            Parked::Interrupted
        } else {
            sleeper.and_then(|sleeper| sleeper.ended).unwrap_or(Parked::Look)
        }
    }

    fn wake(&self, word: &AtomicU32, count: u32) -> u32 {
        // Between the store and its wake anything may happen. An explorer that ends this process raises here, and the
        // wake is then not made.
        if self.point().is_err() {
            return 0;
        }
        let mut state = self.state();
        let mut asleep: Vec<_> = state
            .sleepers
            .values_mut()
            .filter(|sleeper| sleeper.ended.is_none() && sleeper.words.contains(&address(word)))
            .collect();
        asleep.sort_by_key(|sleeper| sleeper.since);
        let woken = asleep.len().min(count as usize);
        for sleeper in &mut asleep[..woken] {
            sleeper.ended = Some(if sleeper.baton == address(word) { Parked::Baton } else { Parked::Look });
        }
        woken as u32
    }

    fn name_baton(&self, word: *const AtomicU32) -> *const AtomicU32 {
        let mut state = self.state();
        let running = state.running;
        // Nobody dies here, so that one which another covers is not passed on.
        state.batons.insert(running, address(word)).unwrap_or(0) as *const AtomicU32
    }

    fn cpus(&self) -> u64 {
        1
    }

    fn spin(&self, _partner: u64) -> u64 {
        0
    }

    fn memory(&self, wanted: &Wanted<'_>) -> Result<Memory> {
        let region = Region::anonymous(wanted.size)?;
        let header = Header {
            kind: wanted.kind,
            space: 0,
            nonce: 0,
            creator: self.me()?.process.0,
            creator_pid: 0,
            parameters: wanted.parameters,
        };
        header.write(&region, "an object of the lab")?;
        (wanted.format)(&region)?;
        Ok(Memory { region, header, file: wanted.name.unwrap_or("@lab").to_owned() })
    }
}

/// A world for an explorer: objects made while it is entered (``with lab:``) live in it.
///
/// ``switch(who)`` is called at each scheduling point, in the greenlet that runs as process ``who``.
#[pyclass(frozen, module = "underpass._core")]
#[derive(Debug)]
pub struct Lab {
    kernel: Arc<LabKernel>,
}

#[pymethods]
impl Lab {
    #[new]
    fn new(switch: Py<PyAny>) -> Self {
        Self { kernel: Arc::new(LabKernel { switch, state: Mutex::default() }) }
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        CURRENT.set(Some(slf.get().kernel.clone()));
        slf
    }

    #[expect(clippy::unused_self, reason = "a context manager")]
    fn __exit__(&self, _kind: &Bound<'_, PyAny>, _error: &Bound<'_, PyAny>, _trace: &Bound<'_, PyAny>) {
        CURRENT.set(None);
    }

    /// Say which process runs from here on.
    fn run(&self, who: u32) {
        self.kernel.state().running = who;
    }

    /// True while that process is parked and nothing has woken it.
    fn asleep(&self, who: u32) -> bool {
        self.kernel.state().sleepers.get(&who).is_some_and(|sleeper| sleeper.ended.is_none())
    }

    /// True if that process is parked with a deadline.
    fn can_expire(&self, who: u32) -> bool {
        self.kernel.state().sleepers.get(&who).is_some_and(|sleeper| sleeper.ended.is_none() && sleeper.until.is_some())
    }

    /// Let the deadline of that process pass: its time-out fires, and the clock moves to it.
    fn expire(&self, who: u32) {
        let mut state = self.kernel.state();
        let state = &mut *state;
        if let Some(sleeper) = state.sleepers.get_mut(&who)
            && let Some(until) = sleeper.until
        {
            state.now = state.now.max(until);
            sleeper.ended = Some(Parked::Expired);
        }
    }

    /// Nanoseconds of the virtual clock.
    #[getter]
    fn now(&self) -> u64 {
        self.kernel.state().now
    }
}
