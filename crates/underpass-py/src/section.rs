//! `underpass.sync.atomic_section`: a block in which this thread waits for nothing; and so is what a spin lock protects.
//!
//! Follows Linux's `might_sleep`: what may wait is refused whether or not it would have to this time, so the mistake shows
//! in the first run and not in the first contended one.
//!
//! Invariant: `OPEN` counts the sections of this process that its threads remember. While it is 0, an operation looks at
//! nothing else.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use pyo3::prelude::*;
use pyo3::types::PyTuple;
use underpass_core::{Error, Result};
use underpass_shm::forks;
use underpass_shm::life::Life;

use crate::error::plain;
use crate::kernel_lab;
use crate::site;

static OPEN: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Those that this thread has entered, the innermost last; those of simulated threads stand beside each other.
    static AROUND: RefCell<Vec<Section>> = const { RefCell::new(Vec::new()) };
}

#[derive(Debug)]
enum What {
    /// A block, with what is set by whoever leaves it, also in another thread.
    Block(Arc<AtomicBool>),
    /// A spin lock: the object, and what it is called.
    Lock(u64, Arc<str>),
}

/// One that was entered.
#[derive(Debug)]
struct Section {
    what: What,
    /// The simulated thread that entered it, if one did.
    simulated: Option<Life>,
    /// A forked child has entered none.
    epoch: u32,
    /// File and line, if they were noted.
    place: Option<String>,
}

impl Section {
    fn enter(what: What, place: Option<String>) {
        OPEN.fetch_add(1, Relaxed);
        let section = Self { what, simulated: kernel_lab::thread(), epoch: forks::epoch(), place };
        AROUND.with_borrow_mut(|around| around.push(section));
    }

    fn is_open(&self) -> bool {
        self.epoch == forks::epoch() && !matches!(&self.what, What::Block(left) if left.load(Relaxed))
    }

    /// What this thread does that it is in.
    fn text(&self) -> String {
        match (&self.what, &self.place) {
            (What::Block(_), Some(place)) => format!("is in the atomic_section that it entered at {place}"),
            (What::Block(_), None) => "is in an atomic_section (UNDERPASS_DEBUG=1 tells which)".to_owned(),
            (What::Lock(_, title), Some(place)) => format!("holds {title}, since {place}"),
            (What::Lock(_, title), None) => format!("holds {title}"),
        }
    }
}

impl Drop for Section {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Relaxed);
    }
}

/// A block in which this thread waits for nothing: what `underpass.sync.atomic_section` returns.
#[pyclass(frozen, module = "underpass")]
#[derive(Debug)]
pub struct AtomicSection {
    left: OnceLock<Arc<AtomicBool>>,
}

/// Refuse, inside a block, every operation of this library that may wait: for code that others wait for.
///
/// Inside, an operation raises MisuseError unless its ``timeout`` is 0 or it is a ``_nowait`` one: at once, before it has
/// done anything, and also when it would not have had to wait this time, as Linux's ``might_sleep`` does; so does one of
/// ``underpass.aio`` that is awaited. So the first run shows what only a contended one would. The error names the operation, and with ``UNDERPASS_DEBUG=1`` the file and the
/// line where the section was entered. What never waits for a partner (``release``, ``notify``, ``reply``, ...) goes on as
/// ever. ``time.sleep`` and what other libraries wait for is not seen.
///
/// Sections nest; each is entered once. One belongs to the thread that entered it: not to threads that it starts, and not
/// to a forked child. A thread is in it as a whole, since to block the thread is what is refused: the consumer of a
/// generator that is suspended inside, and the other tasks of an event loop while one awaits inside, are in it too. It may
/// be left by another thread. A thread that dies inside leaves nothing behind.
///
/// Example:
///     >>> import underpass
///     >>> from underpass.sync import atomic_section
///     >>> with atomic_section():
///     ...     underpass.Semaphore(1).acquire()
///     Traceback (most recent call last):
///     underpass.errors.MisuseError: semaphore ... not acquired: acquire may wait, and this thread is in an atomic_section...
#[pyfunction]
pub fn atomic_section() -> AtomicSection {
    AtomicSection { left: OnceLock::new() }
}

#[pymethods]
impl AtomicSection {
    fn __enter__(&self, py: Python<'_>) -> PyResult<()> {
        let left = Arc::new(AtomicBool::new(false));
        if self.left.set(left.clone()).is_err() {
            let text = "this atomic_section was entered before: call atomic_section anew for each block";
            return Err(plain(py, "MisuseError", text));
        }
        Section::enter(What::Block(left), place(py)?);
        Ok(())
    }

    #[pyo3(signature = (_kind, _error, _traceback, /), text_signature = "($self, exc_type, exc, tb, /)")]
    fn __exit__(&self, _kind: &Bound<'_, PyAny>, _error: &Bound<'_, PyAny>, _traceback: &Bound<'_, PyAny>) {
        self.leave();
    }

    fn __repr__(&self) -> String {
        let state = match self.left.get() {
            None => "not entered",
            Some(left) if left.load(Relaxed) => "left",
            Some(_) => "entered",
        };
        format!("<atomic_section, {state}>")
    }
}

impl AtomicSection {
    fn leave(&self) {
        if let Some(left) = self.left.get() {
            left.store(true, Relaxed);
            forget();
        }
    }
}

impl Drop for AtomicSection {
    // The block's frame may have been thrown away without leaving it.
    fn drop(&mut self) {
        self.leave();
    }
}

/// Refuses what may wait, if this thread is in a section.
#[inline]
pub fn may_wait(verb: &str) -> Result<()> {
    if OPEN.load(Relaxed) == 0 { Ok(()) } else { may_wait_here(verb) }
}

#[cold]
fn may_wait_here(verb: &str) -> Result<()> {
    let Some(place) = around() else { return Ok(()) };
    Err(Error::Misuse(format!("{verb} may wait, and this thread {place}: pass timeout=0, or leave that first")))
}

/// The same of a task: it is this thread that would go on to others. `name` of `arguments` is what is awaited.
pub fn may_await(name: &Bound<'_, PyAny>, arguments: &Bound<'_, PyTuple>) -> PyResult<()> {
    if OPEN.load(Relaxed) == 0 {
        return Ok(());
    }
    let Some(place) = around() else { return Ok(()) };
    let what = name.call1(arguments)?.str()?;
    let text = format!(
        "{what} not awaited: an awaiting verb may wait, and this thread {place}: call its _nowait twin, or leave that first"
    );
    Err(plain(name.py(), "MisuseError", &text))
}

/// The innermost section of this thread, if it is in one.
fn around() -> Option<String> {
    forget();
    let simulated = kernel_lab::thread();
    AROUND.with_borrow(|around| around.iter().rfind(|section| section.simulated == simulated).map(Section::text))
}

/// This thread holds a spin lock from now on.
pub fn hold(object: u64, title: &Arc<str>, place: Option<String>) {
    Section::enter(What::Lock(object, title.clone()), place);
}

/// It does no more.
pub fn let_go(object: u64) {
    let simulated = kernel_lab::thread();
    let is_it = |section: &Section| {
        section.simulated == simulated && matches!(section.what, What::Lock(which, _) if which == object)
    };
    AROUND.with_borrow_mut(|around| {
        if let Some(index) = around.iter().rposition(is_it) {
            around.remove(index);
        }
    });
}

/// Forgets the sections of this thread that are open no more.
fn forget() {
    AROUND.with_borrow_mut(|around| around.retain(Section::is_open));
}

/// Forgets those of the simulated threads: their schedule is over.
pub fn forget_simulated() {
    AROUND.with_borrow_mut(|around| around.retain(|section| section.simulated.is_none()));
}

/// The line of Python that runs, if somebody wants to know.
pub fn place(py: Python<'_>) -> PyResult<Option<String>> {
    if !site::wanted() {
        return Ok(None);
    }
    Ok(site::here(py)?.map(|(file, line)| format!("{file}:{line}")))
}
