//! How rings are made, and found again: two classes, which differ in who may write.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use underpass_core::Error;
use underpass_core::kernel::Wanted;
use underpass_core::ring::{Shape, Writers};
use underpass_shm::header::Kind;
use underpass_shm::region::Extent;

use super::Ring;
use crate::error::{Context, raise};
use crate::handle::Handle;
use crate::number::{Whole, mode};
use crate::object::{self, Object};
use crate::space::Space;

fn shape(capacity: Whole) -> PyResult<Shape> {
    Shape::new(capacity.size("capacity")? as u64).map_err(|error| match error {
        Error::Invalid(why) => PyValueError::new_err(why),
        other => PyValueError::new_err(format!("{other:?}")),
    })
}

fn over(py: Python<'_>, handle: Arc<Handle>, writers: Writers) -> PyResult<PyClassInitializer<Ring>> {
    match Shape::read(handle.header.parameters).and_then(|shape| shape.ring(&handle.region, writers)) {
        Ok(core) => Ok(object::base(&handle).add_subclass(Ring { handle, core })),
        Err(error) => Err(raise(py, &Context::of(&handle.title, "not opened"), error)),
    }
}

fn create<T: Object>(
    py: Python<'_>,
    space: Option<&Bound<'_, Space>>,
    name: Option<&str>,
    mode: Option<u32>,
    shape: Shape,
) -> PyResult<PyClassInitializer<T>> {
    // Zeroed bytes are an empty ring.
    let format = |region: &Arc<_>| shape.ring(region, Writers::Any).map(drop);
    let (extent, parameters) = (Extent::whole(shape.size()), shape.parameters());
    let wanted = Wanted { name, kind: T::KIND, extent, parameters, mode, format: &format };
    T::over(py, Arc::new(Handle::create(py, space.map(Bound::get), &wanted)?))
}

/// The class of one kind of rings.
macro_rules! ring_of {
    ($(#[$doc:meta])* $class:ident, $writers:expr) => {
        $(#[$doc])*
        #[pyclass(frozen, extends = Ring, module = "underpass.data")]
        #[derive(Debug)]
        pub struct $class;

        impl Object for $class {
            const KIND: Kind = Kind::$class;
            const PARAMETERS: &'static [&'static str] = &["capacity"];

            fn over(py: Python<'_>, handle: Arc<Handle>) -> PyResult<PyClassInitializer<Self>> {
                Ok(over(py, handle, $writers)?.add_subclass(Self))
            }
        }

        #[pymethods]
        impl $class {
            #[new]
            fn new(py: Python<'_>, capacity: Whole) -> PyResult<PyClassInitializer<Self>> {
                create(py, None, None, None, shape(capacity)?)
            }

            /// Make a named ring. Raises ExistsError if the name is taken.
            #[staticmethod]
            #[pyo3(signature = (name, capacity, *, space=None, mode=None))]
            fn create(
                py: Python<'_>,
                name: &str,
                capacity: Whole,
                space: Option<&Bound<'_, Space>>,
                #[pyo3(from_py_with = mode)] mode: Option<u32>,
            ) -> PyResult<Py<Self>> {
                Py::new(py, create::<Self>(py, space, Some(name), mode, shape(capacity)?)?)
            }

            /// Open a named ring, waiting up to ``timeout`` seconds for the name. Raises NotFoundError.
            #[staticmethod]
            #[pyo3(
                signature = (name, *, space=None, timeout=Some(0.0)),
                text_signature = "(name, *, space=None, timeout=0)"
            )]
            fn open(
                py: Python<'_>,
                name: &str,
                space: Option<&Bound<'_, Space>>,
                timeout: Option<f64>,
            ) -> PyResult<Py<Self>> {
                object::open(py, name, space, timeout)
            }

            /// Open the ring of that name, or make it. Raises MismatchError if it exists with another capacity.
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
                let create = || create::<Self>(py, space, Some(name), mode, shape);
                object::open_or_create(py, name, space, shape.parameters(), create)
            }
        }
    };
}

ring_of! {
    /// Packets of bytes from one writer to one reader, written and read in place: Zephyr's ``spsc_pbuf``.
    ///
    /// Whoever writes first is the writer, as long as its process lives, and whoever reads first is the reader; another is refused. Lock-free: a
    /// process that is stopped, or dies, holds up nobody but those who wait for what it was about to do, and whoever waits for one that has
    /// died is told. Neither side makes a system call while the other does not sleep.
    ///
    /// Args:
    ///     capacity: Bytes, 64 to 2**30. A packet takes a multiple of 8, and has at most half; there is room for ``capacity // 64``
    ///         at least, and for 15.
    ///
    /// Raises:
    ///     ValueError: The capacity is out of range.
    ///     OutOfSpaceError: The space has not that many bytes left.
    ///
    /// Example:
    ///     >>> from underpass.data import SpscRing
    ///     >>> samples = SpscRing(4096)
    ///     >>> with samples.claim(5) as packet:
    ///     ...     packet[:] = b"12.5C"
    ///     >>> samples.next_size
    ///     5
    ///     >>> with samples.take() as packet:
    ///     ...     packet[:4]
    ///     b'12.5'
    SpscRing, Writers::One
}

ring_of! {
    /// Packets of bytes from any number of writers to one reader, written and read in place: Zephyr's ``mpsc_pbuf``, without its lock.
    ///
    /// The reader gets packets in the order in which they were claimed; they are committed in any. What a writer that has died had claimed
    /// and not committed is skipped, at once, also if the reader sleeps. Lock-free: a writer that is stopped holds up the reader, at its packet,
    /// and no other writer that finds room.
    ///
    /// Args:
    ///     capacity: Bytes, 64 to 2**30. A packet takes a multiple of 8, and has at most half; there is room for ``capacity // 64``
    ///         at least, and for 15.
    ///
    /// Raises:
    ///     ValueError: The capacity is out of range.
    ///     OutOfSpaceError: The space has not that many bytes left.
    ///
    /// Example:
    ///     >>> from underpass.data import MpscRing
    ///     >>> log = MpscRing(1 << 16)
    ///     >>> first = log.claim(64)
    ///     >>> log.write(b"second")
    ///     >>> first[:5] = b"first"
    ///     >>> first.commit(5)
    ///     >>> log.read(), log.read()
    ///     (b'first', b'second')
    MpscRing, Writers::Any
}
