//! `underpass.data.Stack`.

use std::sync::Arc;

use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::prelude::*;
use underpass_core::kernel::Wanted;
use underpass_core::stack::{self as core, Shape};
use underpass_core::{Error, Result};
use underpass_shm::header::{Kind, PARAMETERS};
use underpass_shm::layout::stack::MOST_CAPACITY;

use crate::error::{Context, raise};
use crate::handle::Handle;
use crate::notification::describe;
use crate::number::{Whole, mode};
use crate::object::{self, Object, SharedObject};
use crate::space::Space;
use crate::timeout::Timeout;

/// Numbers of 64 bits, of which the last that was pushed is popped first: Zephyr's ``k_stack``.
///
/// For indices, block numbers and addresses within a region, such as a list of what is free: the one that is still warm is used again.
/// A push never waits. If somebody waits, it hands its word over to who waits for longest, and nobody else can take it; what is handed to
/// one who dies before it has come, or whom a signal takes away, goes to the next or back on top. A push that is killed inside has
/// happened or not, and so has a pop: what lies on the stack is always what was pushed and not popped. Neither makes a system call
/// while nobody sleeps.
///
/// Args:
///     capacity: Words it holds, 1 to 2**24. There is room for 64 more, for those that come back.
///
/// Raises:
///     ValueError: The capacity is out of range.
///     OutOfSpaceError: The space has not that many bytes left.
///
/// Example:
///     >>> from underpass.data import Stack
///     >>> free = Stack(8)
///     >>> for block in range(3):
///     ...     free.push(block)
///     >>> free.pop()
///     2
///     >>> free.depth
///     2
#[pyclass(frozen, extends = SharedObject, module = "underpass")]
#[derive(Debug)]
pub struct Stack {
    pub handle: Arc<Handle>,
    pub core: core::Stack,
}

/// A snapshot of a stack.
#[pyclass(frozen, get_all, module = "underpass")]
#[derive(Debug)]
pub struct StackStatistics {
    /// Words on it.
    depth: u32,
    /// Words it holds.
    capacity: u32,
    /// Threads that sleep here until a word is pushed, wherever they are.
    waiters: usize,
}

#[pymethods]
impl StackStatistics {
    fn __repr__(&self) -> String {
        let Self { depth, capacity, waiters } = self;
        format!("StackStatistics(depth={depth}, capacity={capacity}, waiters={waiters})")
    }
}

/// A word, as an argument.
#[derive(Debug, Clone, Copy)]
struct Word(u64);

impl<'a, 'py> FromPyObject<'a, 'py> for Word {
    type Error = PyErr;

    #[inline]
    fn extract(word: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        word.extract().map(Self).map_err(|error| {
            if !error.is_instance_of::<PyOverflowError>(word.py()) {
                return error;
            }
            PyValueError::new_err(format!("{} is not between 0 and 2**64 - 1: a stack holds words of 64 bits", *word))
        })
    }
}

fn shape(capacity: Whole) -> PyResult<Shape> {
    let shape = Shape { capacity: capacity.word("capacity", 1, MOST_CAPACITY)? };
    match shape.check() {
        Err(Error::Invalid(why)) => Err(PyValueError::new_err(why)),
        _ => Ok(shape),
    }
}

fn parameters(shape: Shape) -> [u64; PARAMETERS] {
    [u64::from(shape.capacity), 0, 0, 0, 0, 0, 0, 0]
}

fn create(
    py: Python<'_>,
    space: Option<&Bound<'_, Space>>,
    name: Option<&str>,
    mode: Option<u32>,
    shape: Shape,
) -> PyResult<PyClassInitializer<Stack>> {
    // Zeroed bytes are an empty stack.
    let format = |region: &Arc<_>| shape.stack(region).map(drop);
    let (extent, parameters) = (shape.extent(), parameters(shape));
    let wanted = Wanted { name, kind: Kind::Stack, extent, parameters, mode, format: &format };
    Stack::over(py, Arc::new(Handle::create(py, space.map(Bound::get), &wanted)?))
}

impl Object for Stack {
    const KIND: Kind = Kind::Stack;
    const PARAMETERS: &'static [&'static str] = &["capacity"];

    fn over(py: Python<'_>, handle: Arc<Handle>) -> PyResult<PyClassInitializer<Self>> {
        match Shape::read(handle.header.parameters).and_then(|shape| shape.stack(&handle.region)) {
            Ok(core) => Ok(object::base(&handle).add_subclass(Self { handle, core })),
            Err(error) => Err(raise(py, &Context::of(&handle.title, "not opened"), error)),
        }
    }
}

impl Stack {
    #[inline]
    fn pop_for(&self, py: Python<'_>, timeout: Timeout) -> PyResult<u64> {
        self.handle.check(py)?;
        let popped: Result<u64> = timeout.within("pop", |deadline| self.core.pop(self.handle.kernel(), deadline));
        popped.map_err(|error| self.failed(py, "gave no word", timeout, error))
    }

    #[cold]
    fn failed(&self, py: Python<'_>, failed: &str, timeout: Timeout, error: Error) -> PyErr {
        let detail = format!("{} of {} words are on it", self.core.depth(), self.core.capacity());
        raise(py, &Context { object: &self.handle.title, failed, time: timeout.text(), detail }, error)
    }
}

#[pymethods]
impl Stack {
    #[new]
    fn new(py: Python<'_>, capacity: Whole) -> PyResult<PyClassInitializer<Self>> {
        create(py, None, None, None, shape(capacity)?)
    }

    /// Make a named stack. Raises ExistsError if the name is taken.
    #[staticmethod]
    #[pyo3(signature = (name, capacity, *, space=None, mode=None))]
    fn create(
        py: Python<'_>,
        name: &str,
        capacity: Whole,
        space: Option<&Bound<'_, Space>>,
        #[pyo3(from_py_with = mode)] mode: Option<u32>,
    ) -> PyResult<Py<Self>> {
        Py::new(py, create(py, space, Some(name), mode, shape(capacity)?)?)
    }

    /// Open a named stack, waiting up to ``timeout`` seconds for the name. Raises NotFoundError.
    #[staticmethod]
    #[pyo3(signature = (name, *, space=None, timeout=Some(0.0)), text_signature = "(name, *, space=None, timeout=0)")]
    fn open(py: Python<'_>, name: &str, space: Option<&Bound<'_, Space>>, timeout: Option<f64>) -> PyResult<Py<Self>> {
        object::open(py, name, space, timeout)
    }

    /// Open the stack of that name, or make it. Raises MismatchError if it exists with another capacity.
    #[staticmethod]
    #[pyo3(signature = (name, capacity, *, space=None, mode=None))]
    fn open_or_create(
        py: Python<'_>,
        name: &str,
        capacity: Whole,
        space: Option<&Bound<'_, Space>>,
        #[pyo3(from_py_with = mode)] mode: Option<u32>,
    ) -> PyResult<Py<Self>> {
        let shape = shape(capacity)?;
        object::open_or_create(py, name, space, parameters(shape), || create(py, space, Some(name), mode, shape))
    }

    /// Put a word on top, or hand it to the thread that waits for longest.
    ///
    /// Never waits for room. Killed inside, it has happened or not; a thread that was handed the word is woken also then.
    ///
    /// Raises:
    ///     WouldBlock: It is full; or 64 words more than it holds were handed over, and none of those who waited has come yet.
    ///     ValueError: ``word`` is not between 0 and 2**64 - 1.
    #[inline]
    fn push(&self, py: Python<'_>, word: Word) -> PyResult<()> {
        self.handle.check(py)?;
        let pushed = self.core.push(self.handle.kernel(), word.0);
        pushed.map_err(|error| self.failed(py, "took no word", Timeout::NoWait, error))
    }

    /// Take the word on top, waiting for one.
    ///
    /// Threads that wait are served in order of arrival, each by a push of its own; tasks, and who waits for many objects, take what is
    /// on the stack then. That whoever would push has died nobody is told: pass a ``timeout``.
    ///
    /// Raises:
    ///     TimedOut: No word came within ``timeout`` seconds.
    #[inline]
    #[pyo3(signature = (*, timeout=None))]
    fn pop(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<u64> {
        self.pop_for(py, Timeout::new(timeout)?)
    }

    /// Take the word on top, or raise WouldBlock at once.
    fn pop_nowait(&self, py: Python<'_>) -> PyResult<u64> {
        self.pop_for(py, Timeout::NoWait)
    }

    /// Throw away all words that are on it, and return how many. Who waits goes on waiting.
    fn purge(&self, py: Python<'_>) -> PyResult<u32> {
        self.handle.check(py)?;
        let purged = self.core.purge(self.handle.kernel());
        purged.map_err(|error| self.failed(py, "not purged", Timeout::NoWait, error))
    }

    /// Words on it now.
    #[getter]
    fn depth(&self, py: Python<'_>) -> PyResult<u32> {
        self.handle.look(py)?;
        Ok(self.core.depth())
    }

    /// Words that it holds.
    #[getter]
    fn capacity(&self) -> u32 {
        self.core.capacity()
    }

    /// A frozen snapshot.
    fn statistics(&self, py: Python<'_>) -> PyResult<StackStatistics> {
        self.handle.look(py)?;
        let (depth, capacity) = (self.core.depth(), self.core.capacity());
        Ok(StackStatistics { depth, capacity, waiters: self.handle.waiters() })
    }

    fn __repr__(&self) -> String {
        describe(&self.handle, &format!("{} of {} words", self.core.depth(), self.core.capacity()))
    }
}
