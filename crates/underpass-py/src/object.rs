//! What the classes of all objects share: the base class, and how one is opened or made.

use std::os::fd::RawFd;
use std::sync::Arc;

use pyo3::PyClass;
use pyo3::prelude::*;
use underpass_shm::header::{Kind, PARAMETERS};

use crate::error::is;
use crate::handle::{Handle, Travel};
use crate::many;
use crate::space::Space;
use crate::timeout::Timeout;

/// What every object has: a name, a handle that can be closed or handed to another process, and an end.
///
/// An object lives in a file of its `Space`. A *named* one stays until ``unlink``. An *anonymous* one goes with the
/// handle that made it, or, once it was pickled, with the process that made it. Whoever has an object open keeps it.
/// Handles pickle: as arguments of a process, through queues; the receiver opens the same object.
#[pyclass(frozen, subclass, module = "underpass")]
#[derive(Debug)]
pub struct SharedObject {
    handle: Arc<Handle>,
}

#[pymethods]
impl SharedObject {
    /// The name; None if it is anonymous.
    #[getter]
    fn name(&self) -> Option<String> {
        self.handle.name()
    }

    /// True once this handle was closed.
    #[getter]
    fn closed(&self) -> bool {
        self.handle.is_closed()
    }

    /// End this handle. Idempotent; an anonymous object that was never pickled goes with the handle that made it.
    fn close(&self) {
        self.handle.close();
    }

    /// Return a descriptor that is readable while the object is ready: for ``select``, ``poll`` and other event loops.
    ///
    /// Every object inherits this, but a `Condition`, a `Barrier` and an `AtomicInt` are not ready by themselves, and refuse it.
    ///
    /// Level-triggered, and takes nothing; what is ready is what `wait_any` says. Whoever is told takes it with the ``_nowait``
    /// verb of this same handle, and not with one that may wait: as with sockets it can be readable in vain, since another was
    /// faster, say. An operation that finds nothing makes it quiet, until something may be there again; so do not take by another handle,
    /// or the loop is told again and again. A death that makes the object ready is told too, and then the verb says whose.
    ///
    /// The descriptor is made by the first call, always the same, the handle's own, and closed with it: have the loop forget it first. A
    /// forked child that asks gets another. It takes one of the 1,024 bells of the space, three descriptors, and one for each other process there:
    /// for many objects `WaitSet.fileno` is one for all.
    ///
    /// Raises:
    ///     TypeError: It cannot be waited for beside others: a `Condition`, a `Barrier`, or an `AtomicInt`, whose ``change_from(value)`` can.
    ///     ClosedError: This handle was closed.
    ///     OutOfSpaceError: No descriptor or no bell is left.
    ///     MisuseError: It lives in the lab, which has no descriptors; or it is another process's port.
    ///
    /// Example:
    ///     >>> import select, underpass
    ///     >>> jobs = underpass.Queue()
    ///     >>> select.select([jobs], [], [], 0)[0] == [jobs]
    ///     False
    ///     >>> jobs.put(b"wheel")
    ///     >>> select.select([jobs], [], [], 0)[0] == [jobs]
    ///     True
    ///     >>> jobs.get_nowait()
    ///     b'wheel'
    fn fileno(slf: &Bound<'_, Self>) -> PyResult<RawFd> {
        many::fileno(slf)
    }

    /// Remove the name. Whoever has the object open keeps it. `Space.unlink` removes a name without a handle.
    ///
    /// Raises:
    ///     NotFoundError: The name is gone already, or it is another object's by now, which keeps it.
    ///     CorruptedError: What has the name is damaged, so nobody can say whose it is: ``Space.unlink(name)`` removes it.
    fn unlink(&self, py: Python<'_>) -> PyResult<()> {
        self.handle.unlink(py)
    }

    /// The same object for coroutines: its verbs, awaitable. Only of what `underpass.aio` has.
    #[getter]
    fn aio<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("underpass.aio")?.call_method1("of", (slf,))
    }

    /// What all handles of the object have in common, and no other object has.
    #[getter]
    fn _nonce(&self) -> u64 {
        self.handle.header.nonce
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Travel)> {
        self.handle.reduce(py)
    }
}

/// How a part of an object travels: what gets it there, and from what.
pub type Pickled<'py, Arguments> = (Bound<'py, PyAny>, Arguments);

/// A class whose objects are files of one kind.
pub trait Object: PyClass {
    /// What its header says.
    const KIND: Kind;
    /// The constructor's arguments, in the order of the header's parameters.
    const PARAMETERS: &'static [&'static str];

    /// An object of Python over the words that `handle` has opened.
    fn over(py: Python<'_>, handle: Arc<Handle>) -> PyResult<PyClassInitializer<Self>>;
}

/// The base class's part of an object.
pub fn base(handle: &Arc<Handle>) -> PyClassInitializer<SharedObject> {
    PyClassInitializer::from(SharedObject { handle: handle.clone() })
}

/// Opens a named object, waiting for the name if `timeout` says so.
pub fn open<T: Object>(
    py: Python<'_>,
    name: &str,
    space: Option<&Bound<'_, Space>>,
    timeout: Option<f64>,
) -> PyResult<Py<T>> {
    opened(py, Handle::open(py, space.map(Bound::get), name, T::KIND, Timeout::new(timeout)?)?)
}

/// The Python object over an opened handle.
pub fn opened<T: Object>(py: Python<'_>, handle: Handle) -> PyResult<Py<T>> {
    Py::new(py, T::over(py, Arc::new(handle))?)
}

/// Opens what is there, or makes it, whoever else does the same at the same time. What is there must have these
/// parameters.
pub fn open_or_create<T: Object>(
    py: Python<'_>,
    name: &str,
    space: Option<&Bound<'_, Space>>,
    parameters: [u64; PARAMETERS],
    create: impl Fn() -> PyResult<PyClassInitializer<T>>,
) -> PyResult<Py<T>> {
    loop {
        match Handle::open(py, space.map(Bound::get), name, T::KIND, Timeout::NoWait) {
            Ok(handle) => {
                handle.same(py, parameters, T::PARAMETERS)?;
                return opened(py, handle);
            }
            Err(error) if is(py, &error, "NotFoundError") => {}
            Err(error) => return Err(error),
        }
        match create() {
            Err(error) if is(py, &error, "ExistsError") => {}
            made => return Py::new(py, made?),
        }
    }
}
