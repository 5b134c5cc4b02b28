//! `underpass.Region`.

mod arrays;
mod memory;

use std::ffi::c_int;
use std::sync::Arc;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMemoryView, PyTuple};
use underpass_core::Error;
use underpass_core::region::{self as core, Bytes, MOST};
use underpass_shm::header::{CARD, Kind, PARAMETERS};

use crate::error::{Context, raise};
use crate::handle::Handle;
use crate::host;
use crate::notification::described;
use crate::number::{Whole, mode};
use crate::object::{self, Object, SharedObject};
use crate::space::Space;
use crate::timeout::Timeout;

/// A handle that only reads.
const READ_ONLY: &str = "read_only_view";

/// The system takes so long to take back as many bytes that others should run meanwhile.
const LONG: u64 = 1 << 20;

/// Shared memory: bytes that any process reads and writes in place, as a buffer or as arrays. Nothing is copied.
///
/// It is a buffer: ``memoryview(region)``, ``numpy.frombuffer(region)``, ``pyarrow.py_buffer(region)``, ``file.readinto(region)``; `array` makes
/// arrays of it, and it speaks DLPack. Its bytes are zero at first. They are reserved, so that touching them cannot fail. Who writes what when
/// is the program's own business: nothing here waits, and locks and queues say who may.
///
/// An *anonymous* region is a memfd, sealed against shrinking, and by `seal` against writing: one process writes, the others read. It keeps one
/// descriptor in the process that made it. A *named* region is a file of its space, as every named object.
///
/// Views pin the memory: a view outlives ``close``, the handle and the object, and closing never raises for it. Handles pickle; who gets that of an
/// anonymous region reaches the memory through the process that made it, which has to live and keep it open until then. ``open`` never owns:
/// whoever has it mapped keeps it, and whose end takes it away is its maker's, as for all anonymous objects.
///
/// Nobody owns anything of it: a process that dies leaves its bytes as they are, those that it was about to write included.
///
/// Args:
///     size: Bytes, 1 to 2**46.
///     huge: Take it from the machine's reserve of huge pages (``vm.nr_hugepages``). Such a region does not grow.
///
/// Raises:
///     ValueError: ``size`` is out of range.
///     OutOfSpaceError: There is not so much memory, no such huge pages, or no descriptor left. The text says how much there is, and the remedy.
///
/// Example:
///     >>> import underpass
///     >>> frames = underpass.Region(16)
///     >>> frames[0:5] = b"hello"
///     >>> view = memoryview(frames)
///     >>> frames.close()
///     >>> bytes(view[:5])  # it pins the memory
///     b'hello'
#[pyclass(frozen, extends = SharedObject, module = "underpass")]
#[derive(Debug)]
pub struct Region {
    pub handle: Arc<Handle>,
    core: core::Region,
}

/// A snapshot of a region.
#[pyclass(frozen, get_all, module = "underpass")]
#[derive(Debug)]
pub struct RegionStatistics {
    /// Bytes.
    size: u64,
    /// One process writes, and nobody else.
    sealed: bool,
    /// Views of this handle are read-only.
    readonly: bool,
    /// It lies in huge pages.
    huge: bool,
    /// Buffers that somebody has by this handle, as a `memoryview` has one; an array of numpy's has the handle instead.
    views: u32,
    /// Threads that wait for it: none, ever.
    waiters: usize,
}

#[pymethods]
impl RegionStatistics {
    fn __repr__(&self) -> String {
        let Self { size, sealed, readonly, huge, views, waiters } = self;
        let told = |is: &bool| if *is { "True" } else { "False" };
        format!(
            "RegionStatistics(size={size}, sealed={}, readonly={}, huge={}, views={views}, waiters={waiters})",
            told(sealed),
            told(readonly),
            told(huge)
        )
    }
}

fn checked(size: Whole) -> PyResult<u64> {
    let fits = u64::try_from(size.0).ok().filter(|size| (1..=MOST).contains(size));
    fits.ok_or_else(|| PyValueError::new_err(format!("size={} is not between 1 and 2**46 bytes", size.0)))
}

const fn parameters(size: u64, huge: bool) -> [u64; PARAMETERS] {
    [size, huge as u64, 0, 0, 0, 0, 0, 0]
}

impl Object for Region {
    const KIND: Kind = Kind::Region;
    const PARAMETERS: &'static [&'static str] = &["size"];

    fn over(py: Python<'_>, handle: Arc<Handle>) -> PyResult<PyClassInitializer<Self>> {
        let core = memory::find(py, &handle)?;
        Ok(object::base(&handle).add_subclass(Self { handle, core }))
    }
}

impl Region {
    /// The object of a handle that came from another process.
    pub fn arrived(py: Python<'_>, handle: Handle, part: &str) -> PyResult<Py<Self>> {
        object::opened(py, if part == READ_ONLY { handle.of_part(READ_ONLY) } else { handle })
    }

    #[cold]
    fn failed(&self, py: Python<'_>, failed: &str, error: Error) -> PyErr {
        raise(py, &Context::of(&self.handle.title, failed), error)
    }

    /// The bytes as they are now.
    fn bytes(&self, py: Python<'_>) -> PyResult<Arc<Bytes>> {
        self.handle.check(py)?;
        self.core.bytes().map_err(|error| self.failed(py, "not mapped", error))
    }

    /// This process may write them.
    fn writes(&self, py: Python<'_>, bytes: &Bytes) -> PyResult<bool> {
        let may = self.may_write().map_err(|error| self.failed(py, "not mapped", error))?;
        Ok(may && bytes.writable)
    }

    fn may_write(&self) -> underpass_core::Result<bool> {
        // Most are sealed by nobody, and who only looks needs no life.
        Ok(match self.core.writer() {
            None => self.handle.part() != READ_ONLY,
            Some(_) => self.core.may_write(self.handle.kernel().me()?.process),
        })
    }

    fn is_huge(&self) -> bool {
        self.handle.header.parameters[1] != 0
    }

    /// Lets memory go, of a long region without the interpreter.
    fn free<T>(&self, memory: T) {
        let mut memory = Some(memory);
        let mut free = || drop(memory.take());
        if self.core.size() < LONG { free() } else { host::detached(&mut free) }
    }

    /// A view for one access. The handle does not keep the mapping for it, as for what it lends: the view does.
    fn look<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyMemoryView>> {
        let bytes = self.bytes(py)?;
        let readonly = !self.writes(py, &bytes)?;
        PyMemoryView::from(Bound::new(py, Look { bytes, readonly })?.as_any())
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        let bytes = self.core.end();
        let mut memfd = self.core.let_go();
        // Somebody may still come with a pickle, as long as there is the card's file to open.
        if let Some(memfd) = memfd.take_if(|_| self.handle.is_awaited() && self.handle.is_there()) {
            memfd.keep();
        }
        self.free((bytes, memfd));
    }
}

/// Bytes of a region, kept mapped by whoever has this.
#[pyclass(frozen)]
#[derive(Debug)]
struct Look {
    bytes: Arc<Bytes>,
    readonly: bool,
}

#[pymethods]
impl Look {
    #[expect(clippy::needless_pass_by_value, reason = "the signature that PyO3 asks for")]
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let Self { bytes, readonly } = slf.get();
        // SAFETY: S14, Python passes its own view, which keeps this object, and that the mapping.
        unsafe { fill(slf.as_any(), bytes, *readonly, view, flags) }
    }
}

/// Fills in a view of a region's bytes.
///
/// # Safety
/// `view` is the one that Python asks to have filled in, and the bytes stay mapped for as long as `owner` lives.
unsafe fn fill(
    owner: &Bound<'_, PyAny>,
    bytes: &Bytes,
    readonly: bool,
    view: *mut ffi::Py_buffer,
    flags: c_int,
) -> PyResult<()> {
    let (start, length) = (bytes.start().cast(), bytes.length.cast_signed());
    // SAFETY: S14, as the caller promises.
    let code = unsafe { ffi::PyBuffer_FillInfo(view, owner.as_ptr(), start, length, c_int::from(readonly), flags) };
    if code == 0 { Ok(()) } else { Err(PyErr::fetch(owner.py())) }
}

#[pymethods]
impl Region {
    #[new]
    #[pyo3(signature = (size, *, huge=false))]
    fn new(py: Python<'_>, size: Whole, huge: bool) -> PyResult<PyClassInitializer<Self>> {
        let (handle, core) = memory::make(py, checked(size)?, huge)?;
        Ok(object::base(&handle).add_subclass(Self { handle, core }))
    }

    /// Make a named region: a file of the space. Raises ExistsError if the name is taken.
    ///
    /// Its pages are those of the space's tmpfs, huge if that is mounted so (``mount -o huge=always``).
    #[staticmethod]
    #[pyo3(signature = (name, size, *, space=None, mode=None))]
    fn create(
        py: Python<'_>,
        name: &str,
        size: Whole,
        space: Option<&Bound<'_, Space>>,
        #[pyo3(from_py_with = mode)] mode: Option<u32>,
    ) -> PyResult<Py<Self>> {
        Py::new(py, memory::create(py, space, name, mode, checked(size)?)?)
    }

    /// Open a named region, waiting up to ``timeout`` seconds for the name. Raises NotFoundError.
    ///
    /// With ``readonly`` the views of this handle are read-only, and its mapping is: who writes there by other ways dies of it.
    #[staticmethod]
    #[pyo3(signature = (name, *, readonly=false, space=None, timeout=Some(0.0)), text_signature = "(name, *, readonly=False, space=None, timeout=0)")]
    fn open(
        py: Python<'_>,
        name: &str,
        readonly: bool,
        space: Option<&Bound<'_, Space>>,
        timeout: Option<f64>,
    ) -> PyResult<Py<Self>> {
        let handle = Handle::open(py, space.map(Bound::get), name, Kind::Region, Timeout::new(timeout)?)?;
        object::opened(py, if readonly { handle.of_part(READ_ONLY) } else { handle })
    }

    /// Open the region of that name, or make it. Raises MismatchError if it exists and was made with another ``size``.
    ///
    /// One that was lengthened since is opened as long as it is by now.
    #[staticmethod]
    #[pyo3(signature = (name, size, *, space=None, mode=None))]
    fn open_or_create(
        py: Python<'_>,
        name: &str,
        size: Whole,
        space: Option<&Bound<'_, Space>>,
        #[pyo3(from_py_with = mode)] mode: Option<u32>,
    ) -> PyResult<Py<Self>> {
        let size = checked(size)?;
        object::open_or_create(py, name, space, parameters(size, false), || memory::create(py, space, name, mode, size))
    }

    /// An array of numpy's on the bytes that start at ``offset``, in place; read-only where this process may not write.
    ///
    /// It pins the memory, and sees what others write there at once.
    ///
    /// Args:
    ///     shape: Its dimensions; a whole number is one.
    ///     dtype: Of its items, anything that `numpy.dtype` takes but objects of Python, which mean nothing in another process.
    ///     offset: In bytes.
    ///
    /// Raises:
    ///     ValueError: The array would not lie inside the region, or an item would have no bytes.
    ///     TypeError: The items are objects of Python.
    ///     ImportError: There is no numpy: ``pip install underpass[numpy]``.
    ///
    /// Example:
    ///     >>> import underpass
    ///     >>> frames = underpass.Region(4096)
    ///     >>> image = frames.array((2, 3), "uint8", offset=16)
    ///     >>> image[1] = 7
    ///     >>> frames[16:22]
    ///     b'\x00\x00\x00\x07\x07\x07'
    #[pyo3(signature = (shape, dtype=None, *, offset=Whole(0)), text_signature = "(shape, dtype=float, *, offset=0)")]
    fn array<'py>(
        slf: &Bound<'py, Self>,
        shape: &Bound<'py, PyAny>,
        dtype: Option<&Bound<'py, PyAny>>,
        offset: Whole,
    ) -> PyResult<Bound<'py, PyAny>> {
        arrays::array(slf, shape, dtype, offset)
    }

    /// The bytes as a DLPack capsule, of unsigned 8-bit items: ``torch.from_dlpack(region)``, ``numpy.from_dlpack(region)``. Needs numpy.
    #[pyo3(signature = (**keywords))]
    fn __dlpack__<'py>(slf: &Bound<'py, Self>, keywords: Option<&Bound<'py, PyDict>>) -> PyResult<Bound<'py, PyAny>> {
        arrays::whole(slf)?.call_method("__dlpack__", (), keywords)
    }

    /// Where the bytes are, as DLPack counts devices: this machine's memory.
    #[expect(clippy::unused_self, reason = "a method of objects, by the protocol")]
    fn __dlpack_device__(&self) -> (i32, i32) {
        (1, 0)
    }

    /// End all writing but this process's: one writes, the others read. For good; again does nothing.
    ///
    /// From now on the kernel lets nobody map it to write, its length is fixed, and views are read-only in every other process, those that this one
    /// forks included. Here this handle writes, and all that were there before; one that is opened afterwards, in this process too, is read-only. A
    /// view or an array that was made before stays writable, in whatever process: seal it before it is handed on. Killed inside, it has sealed
    /// it or not; what it left half done whoever opens it next completes.
    ///
    /// Raises:
    ///     MisuseError: It has a name, so it is a file that others open to write; or it is sealed, and another process is its writer.
    ///     NotFoundError: The process that made it has died or closed it, so that nobody can reach it.
    ///
    /// Example:
    ///     >>> import underpass
    ///     >>> prices = underpass.Region(8)
    ///     >>> prices.seal()
    ///     >>> prices[0:2] = b"42"  # it is the writer
    ///     >>> prices.sealed
    ///     True
    fn seal(&self, py: Python<'_>) -> PyResult<()> {
        self.handle.check(py)?;
        memory::seal(py, &self.handle, &self.core)
    }

    /// True once somebody has sealed it.
    #[getter]
    fn sealed(&self, py: Python<'_>) -> PyResult<bool> {
        self.handle.look(py)?;
        Ok(self.core.writer().is_some())
    }

    /// True if the views that this handle gives are read-only: it was opened so, another process has sealed it, or this process had before it
    /// opened this handle.
    #[getter]
    fn readonly(&self, py: Python<'_>) -> PyResult<bool> {
        let bytes = self.bytes(py)?;
        Ok(!self.writes(py, &bytes)?)
    }

    /// Make it longer; the new bytes are zero. Other handles see it with their next view, and views that exist stay as they are.
    ///
    /// It never shrinks, since others may have it mapped: where less is needed, make a new one. Of several that resize at the same time the longest
    /// counts. Killed inside, it is longer or not; room that was found and not told is found again by the next.
    ///
    /// Raises:
    ///     ValueError: ``size`` is less than its length, or out of range.
    ///     MisuseError: It is sealed, lies in huge pages, is opened to be read, or lives in the lab.
    ///     OutOfSpaceError: There is not so much room.
    ///     NotFoundError: Its name, or the process that made it, is gone, so that nobody can reach the memory but by what is mapped.
    ///
    /// Example:
    ///     >>> import underpass
    ///     >>> frames = underpass.Region(4)
    ///     >>> frames.resize(4096)
    ///     >>> len(frames)
    ///     4096
    fn resize(&self, py: Python<'_>, size: Whole) -> PyResult<()> {
        self.handle.check(py)?;
        memory::resize(py, self, checked(size)?)
    }

    /// End this handle. Idempotent, and never in the way of a view: whoever has one keeps the memory.
    ///
    /// If nobody was given a view, the memory is unmapped now; otherwise when the last one and the handle itself are gone.
    fn close(&self) {
        self.handle.close();
        let bytes = self.core.close();
        // Somebody may still come with a pickle, until it is unlinked.
        let memfd = if self.handle.is_awaited() { None } else { self.core.let_go() };
        self.free((bytes, memfd));
    }

    /// Remove the name; of an anonymous region, what its pickled handles are opened by. Whoever has it open keeps it.
    fn unlink(&self, py: Python<'_>) -> PyResult<()> {
        self.handle.unlink(py)?;
        self.free(self.core.let_go());
        Ok(())
    }

    /// Raises TypeError: a region is never ready, there is nothing to wait for.
    fn fileno(&self) -> PyResult<i32> {
        Err(PyTypeError::new_err(format!(
            "{} has nothing to wait for: a Notification or a Queue beside it says what is ready",
            self.handle.title
        )))
    }

    /// A frozen snapshot.
    fn statistics(&self, py: Python<'_>) -> PyResult<RegionStatistics> {
        self.handle.look(py)?;
        let failed = |error| self.failed(py, "not looked at", error);
        Ok(RegionStatistics {
            size: self.core.size(),
            sealed: self.core.writer().is_some(),
            readonly: !self.may_write().map_err(failed)?,
            huge: self.is_huge(),
            views: self.core.views(),
            waiters: 0,
        })
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.bytes(py)?.length)
    }

    fn __getitem__<'py>(&self, index: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let view = self.look(index.py())?;
        let item = view.get_item(index);
        // A part is copied; an item is a number.
        let item =
            item.and_then(
                |item| if item.is_instance_of::<PyMemoryView>() { item.call_method0("tobytes") } else { Ok(item) },
            );
        view.call_method0("release")?;
        item
    }

    fn __setitem__(&self, index: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let view = self.look(index.py())?;
        let result = view.set_item(index, value);
        view.call_method0("release")?;
        result
    }

    #[expect(clippy::needless_pass_by_value, reason = "the signature that PyO3 asks for")]
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let (region, py) = (slf.get(), slf.py());
        region.handle.check(py)?;
        let bytes = region.core.lend().map_err(|error| region.failed(py, "not mapped", error))?;
        let readonly = !region.writes(py, &bytes)?;
        // SAFETY: S14, Python passes its own view, and what was lent stays mapped for as long as the owner lives.
        unsafe { fill(slf.as_any(), &bytes, readonly, view, flags) }?;
        region.core.count_view(true);
        Ok(())
    }

    unsafe fn __releasebuffer__(&self, _view: *mut ffi::Py_buffer) {
        self.core.count_view(false);
    }

    fn __repr__(&self) -> String {
        let size = self.core.size();
        let sealed = if self.core.writer().is_some() { ", sealed" } else { "" };
        described(&self.handle, &format!("{size} bytes{sealed}"), "")
    }
}

/// The shape that was asked for.
fn shape_of<'py>(shape: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyTuple>> {
    match shape.extract::<Whole>() {
        Ok(_) => PyTuple::new(shape.py(), [shape]),
        Err(_) => shape.try_iter()?.collect::<PyResult<Vec<_>>>().and_then(|all| PyTuple::new(shape.py(), all)),
    }
}

/// A named region's file, or one of the lab: the card, and the bytes behind it.
const fn whole(size: u64) -> usize {
    CARD + size as usize
}
