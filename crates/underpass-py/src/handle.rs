//! What every object has: a name, an end, and a way to be handed to another process.

mod beside;
mod locks;
mod opening;
mod outlets;
mod ports;
mod simulated;
mod travel;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU32,
    Ordering::{Relaxed, SeqCst},
    fence,
};

use pyo3::prelude::*;
use underpass_core::Error;
use underpass_core::kernel::Kernel;
use underpass_core::linux::Linux;
use underpass_core::stay::Slotted;
use underpass_lab::record::Manner;
use underpass_shm::header::{self, Header, Kind, PARAMETERS};
use underpass_shm::life::Life;
use underpass_shm::region::Region;
use underpass_shm::{Error as Shm, forks, space};

use crate::error::{Context, exception, from_shm, plain, raise};
use crate::fairness;
use crate::host;
use crate::kernel_conducted::{self, Conducted};
use crate::kernel_lab::LabKernel;
use crate::space::free;
pub use opening::check_name;
use outlets::Outlets;
pub use outlets::Part;
pub use ports::is_taken_over;
pub use travel::{Travel, reopen, reopen_in_lab};

/// The states of a handle. Whatever is not open takes the slow path.
const OPEN: u8 = 0;
/// Its operations are scheduling points: of the lab, or of a conductor.
const STEPPED: u8 = 1;
const CLOSED: u8 = 2;
/// It has a descriptor, which is looked after before each operation.
const HEARD: u8 = 3;

/// One process's hold on an object.
#[derive(Debug)]
pub struct Handle {
    kernel: Arc<dyn Kernel>,
    /// Where it is a file; none in the lab.
    home: Option<Arc<Linux>>,
    lab: Option<Arc<LabKernel>>,
    pub header: Header,
    pub region: Arc<Region>,
    file: String,
    /// Which part of the object this handle is of; empty: all of it.
    part: &'static str,
    /// `queue 'jobs'`: how errors call it.
    pub title: String,
    /// It is anonymous, was made through this handle, and in this epoch of forks: closing it removes it.
    owned_in: Option<u32>,
    /// It was pickled: it stays until this process ends. Known to all handles that were made from one.
    kept: Arc<AtomicBool>,
    outlets: Outlets,
    /// The epoch of forks in which somebody of this process waited for it beside others, who is told when it is closed; 0: nobody.
    tells_its_end: AtomicU32,
    state: AtomicU8,
}

impl Handle {
    /// A hold on what is mapped.
    fn over(
        home: Option<Arc<Linux>>,
        lab: Option<Arc<LabKernel>>,
        region: Arc<Region>,
        header: Header,
        file: String,
    ) -> Self {
        let name = (!file.starts_with('@')).then(|| space::object_name(&file));
        let title = title(header.kind, name.as_deref(), &file);
        let conducted = kernel_conducted::is_on();
        let kernel: Arc<dyn Kernel> = match (&home, &lab) {
            (Some(home), _) => {
                let linux = home.of(header.clone(), region.clone(), title.clone());
                if conducted { Arc::new(Conducted::new(linux, header.nonce)) } else { Arc::new(linux) }
            }
            (None, Some(lab)) => lab.clone(),
            (None, None) => unreachable!("an object lives in the lab or in a space"),
        };
        let state = AtomicU8::new(if lab.is_some() || conducted { STEPPED } else { OPEN });
        Self {
            kernel,
            home,
            lab,
            header,
            region,
            file,
            part: "",
            title,
            owned_in: None,
            kept: Arc::new(AtomicBool::new(false)),
            outlets: Outlets::default(),
            tells_its_end: AtomicU32::new(0),
            state,
        }
    }

    /// The world below.
    #[inline]
    pub fn kernel(&self) -> &dyn Kernel {
        &*self.kernel
    }

    /// How many threads sleep in an operation on it, wherever they are.
    pub fn waiters(&self) -> usize {
        match (&self.home, &self.lab) {
            (Some(home), _) => home.space().lives().waiters(self.header.nonce),
            (None, Some(lab)) => lab.waiters(&self.region),
            (None, None) => 0,
        }
    }

    /// For a repr: `, waiters 2`, or nothing.
    pub fn waiters_text(&self) -> String {
        waiters_text(self.waiters())
    }

    /// The same, with the tasks that wait in slots.
    pub fn waiters_text_with(&self, object: &impl Slotted) -> String {
        waiters_text(self.waiters_with(object))
    }

    /// How many threads sleep in an operation on it, and tasks wait for it in slots, wherever they are.
    pub fn waiters_with(&self, object: &impl Slotted) -> usize {
        self.waiters() + object.tasks(self.kernel())
    }

    /// The space it lives in; none in the lab.
    pub fn home_if_any(&self) -> Option<&Arc<Linux>> {
        self.home.as_ref()
    }

    /// The space it lives in. Ports and handles that travel have one; the lab has none.
    pub fn home(&self, py: Python<'_>) -> PyResult<&Arc<Linux>> {
        self.home.as_ref().ok_or_else(|| {
            exception(py, "MisuseError", &format!("{} lives in the lab, and not in a space", self.title), |_| Ok(()))
        })
    }

    /// The same, for what outlives a call.
    pub fn world(&self) -> &Arc<dyn Kernel> {
        &self.kernel
    }

    /// Which process asks, as far as what it alone may use is concerned: its epoch of forks, or the life of one of the
    /// lab's.
    pub fn asker(&self) -> u32 {
        self.lab.as_ref().map_or_else(forks::epoch, |lab| lab.process().0)
    }

    /// Its operations are scheduling points: of the lab, or of a conductor.
    #[inline]
    pub fn is_stepped(&self) -> bool {
        self.state.load(Relaxed) == STEPPED
    }

    /// Other users take part in its space.
    pub fn is_shared(&self) -> bool {
        self.home.as_ref().is_some_and(|home| home.space().is_shared())
    }

    /// This process can read the object and not write it.
    pub fn is_onlooker(&self) -> bool {
        self.home.as_ref().is_some_and(|home| home.space().lives().is_onlooker())
    }

    /// The process of a thread; the lab's have no threads.
    pub fn process_of(&self, thread: Life) -> Life {
        self.home.as_ref().map_or(Life::NOBODY, |home| home.space().lives().process_of(thread))
    }

    /// The thread id behind a life; 0 if it is not known.
    pub fn tid(&self, thread: Life) -> u32 {
        // The lab numbers threads as it numbers processes: a process's first thread often has its number.
        self.home.as_ref().map_or(thread.0, |home| home.space().lives().tid(thread))
    }

    /// The directory it lives in; the lab's objects, which have none, are this process's.
    pub fn place(&self) -> &Path {
        self.home.as_ref().map_or(Path::new("/proc/self"), |home| home.space().path())
    }

    /// The name, or None.
    pub fn name(&self) -> Option<String> {
        (!self.file.starts_with('@')).then(|| space::object_name(&self.file))
    }

    /// Refuses a closed handle; a scheduling point in the lab.
    #[inline]
    pub fn check(&self, py: Python<'_>) -> PyResult<()> {
        self.check_for(py, Manner::Change)
    }

    /// The same for an operation that changes nothing.
    #[inline]
    pub fn check_look(&self, py: Python<'_>) -> PyResult<()> {
        self.check_for(py, Manner::Look)
    }

    /// The same for an operation that uses the object so.
    #[inline]
    pub fn check_for(&self, py: Python<'_>, manner: Manner) -> PyResult<()> {
        if self.is_plain() { Ok(()) } else { self.check_slow(py, manner) }
    }

    /// It is open, and an operation has nothing to do first.
    #[inline]
    pub fn is_plain(&self) -> bool {
        self.state.load(Relaxed) == OPEN
    }

    #[cold]
    fn check_slow(&self, py: Python<'_>, manner: Manner) -> PyResult<()> {
        if self.is_closed() {
            let text = format!("{}: this handle was closed here; open it anew to use it", self.title);
            return Err(plain(py, "ClosedError", &text));
        }
        self.outlets.look(self.kernel()).map_err(|error| self.unused(py, error))?;
        self.point_for(py, manner)
    }

    /// A scheduling point in the lab and under a conductor, and nothing elsewhere.
    pub fn point(&self, py: Python<'_>) -> PyResult<()> {
        self.point_for(py, Manner::Change)
    }

    /// The same for a look, which a closed handle allows.
    pub fn look(&self, py: Python<'_>) -> PyResult<()> {
        self.point_for(py, Manner::Look)
    }

    fn point_for(&self, py: Python<'_>, manner: Manner) -> PyResult<()> {
        let passed = match &self.lab {
            Some(lab) => lab.operate(&self.region, manner),
            None if self.state.load(Relaxed) != OPEN && kernel_conducted::is_on() => {
                kernel_conducted::arrive("operation", Some(self.header.nonce), 0).map(drop)
            }
            None => Ok(()),
        };
        passed.map_err(|error| self.unused(py, error))
    }

    fn unused(&self, py: Python<'_>, error: Error) -> PyErr {
        raise(py, &Context::of(&self.title, "not used"), error)
    }

    /// The lab is told that it changes, where that is no operation with a scheduling point of its own.
    pub fn touch(&self) {
        if let Some(lab) = &self.lab {
            lab.touch(&self.region);
        }
    }

    /// True once [`Self::close`] was called.
    pub fn is_closed(&self) -> bool {
        self.state.load(Relaxed) == CLOSED
    }

    /// Ends this handle; an anonymous object that was never handed on goes with it.
    pub fn close(&self) {
        let ended = self.state.swap(CLOSED, Relaxed) != CLOSED;
        self.outlets.close();
        // SYNC(close-1): pairs with `tell_its_end`.
        fence(SeqCst);
        if ended && self.tells_its_end.load(Relaxed) == forks::epoch() {
            self.ring();
        }
        if let Some(home) = &self.home
            && ended
            && self.owned_in == Some(forks::epoch())
            && !self.kept.load(Relaxed)
        {
            // Gone already if somebody removed the space: that is what was wanted.
            let _ = home.space().unlink(&self.file);
        }
    }

    /// From now on [`Self::close`] rings for it; who finds it open after this is rung for.
    pub fn tell_its_end(&self) {
        self.tells_its_end.store(forks::epoch(), Relaxed);
        // SYNC(close-1): pairs with `close`.
        fence(SeqCst);
    }

    /// Rings the bells of those who watch the object, by a word of it on which nobody sleeps.
    fn ring(&self) {
        if let Some(word) = header::untouched(&self.region) {
            self.kernel.wake(&word, 0);
        }
    }

    /// It is this handle's own in this process, and somebody may still come to open it.
    pub fn is_awaited(&self) -> bool {
        self.owned_in == Some(forks::epoch()) && self.kept.load(Relaxed)
    }

    /// Finds room for more bytes in the object's file, behind those that are there.
    pub fn lengthen(&self, py: Python<'_>, bytes: Range<u64>) -> PyResult<underpass_core::Result<()>> {
        let home = self.home(py)?.space();
        Ok(home.lengthen(&self.file, self.header.nonce, bytes, &host::meanwhile).map_err(Error::from))
    }

    /// The object has its file still, by which those come who have a pickled handle.
    pub fn is_there(&self) -> bool {
        self.home.as_ref().is_some_and(|home| home.space().exists(&self.file) == Ok(true))
    }

    /// The user whom the object's file belongs to, while it has one.
    pub fn owner(&self) -> Option<u32> {
        self.home.as_ref().and_then(|linux| linux.space().owner_of(&self.file))
    }

    /// Removes the name, if it is this object's still.
    pub fn unlink(&self, py: Python<'_>) -> PyResult<()> {
        if let Some(lab) = &self.lab {
            let gone = || Shm::NotFound { what: self.title.clone(), path: self.file.clone() };
            let unlinked = lab.unlink_if(&self.file, |header| header.nonce == self.header.nonce);
            return if unlinked { Ok(()) } else { Err(from_shm(py, gone())) };
        }
        let home = self.home(py)?.space();
        free(py, || home.unlink_own(&self.file, self.header.nonce))
    }

    /// Refuses parameters that are not the existing object's.
    pub fn same(&self, py: Python<'_>, wanted: [u64; PARAMETERS], names: &[&str]) -> PyResult<()> {
        let tell = |values: &[u64; PARAMETERS]| {
            let told = |(name, value): (&&str, &u64)| match (*name, *value) {
                ("mutex", 0) => "mutex=None".into(),
                ("mutex", nonce) => format!("mutex=<that of nonce {nonce:#x}>"),
                ("recursive" | "leased" | "inherit_priority", value) => {
                    format!("{name}={}", if value == 0 { "False" } else { "True" })
                }
                ("fairness", value) => format!("fairness='{}'", fairness::name(value)),
                ("order", value) => format!("order='{}'", crate::queue::order_name(value)),
                ("when_full", value) if self.header.kind == Kind::Broadcast => {
                    format!("when_full='{}'", crate::broadcast::when_full(value))
                }
                ("when_full", value) => format!("when_full='{}'", crate::queue::when_full_name(value)),
                ("prefer", value) => format!("prefer='{}'", crate::rwlock::preference(value)),
                (name, value) => format!("{name}={value}"),
            };
            names.iter().zip(values).map(told).collect::<Vec<_>>().join(", ")
        };
        if self.header.parameters == wanted {
            return Ok(());
        }
        let (found, expected) = (tell(&self.header.parameters), tell(&wanted));
        let message = format!(
            "{} exists with {found}, and {expected} was asked for: use another name, or open what is there",
            self.title
        );
        Err(exception(py, "MismatchError", &message, |attributes| {
            attributes.set_item("expected", expected)?;
            attributes.set_item("found", found)
        }))
    }

    /// A handle of the same object for a second Python object, or of a part of it.
    pub fn again(&self, part: &'static str) -> Self {
        let (region, header) = (self.region.clone(), self.header.clone());
        let mut again = Self::over(self.home.clone(), self.lab.clone(), region, header, self.file.clone());
        again.kept = self.kept.clone();
        again.of_part(part)
    }

    /// The same handle, of a part of its object.
    pub fn of_part(mut self, part: &'static str) -> Self {
        if !part.is_empty() {
            self.title = format!("{} of {}", part.replace('_', " "), self.title);
            self.part = part;
        }
        self
    }

    /// Which part of the object this is; empty: all of it.
    pub fn part(&self) -> &'static str {
        self.part
    }

    /// What `repr` calls it: its name in quotes, or its file.
    pub fn label(&self) -> &str {
        self.title.rsplit_once(' ').map_or("", |(_, label)| label)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}

fn title(kind: Kind, name: Option<&str>, file: &str) -> String {
    let kind = kind.name().to_lowercase();
    match name {
        Some(name) => format!("{kind} '{name}'"),
        None if file.is_empty() => format!("anonymous {kind}"),
        None => format!("{kind} {file}"),
    }
}

/// For a repr: `, waiters 2`, or nothing.
pub fn waiters_text(waiters: usize) -> String {
    if waiters == 0 { String::new() } else { format!(", waiters {waiters}") }
}
