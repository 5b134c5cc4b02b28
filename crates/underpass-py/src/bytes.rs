//! Buffers of Python: borrowed for as long as one operation takes.

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyBufferError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};
use underpass_core::port::Payload;
use underpass_shm::place::Blocks;

/// For whoever passes an object to a queue.
pub const QUEUE: &str = "Queue carries bytes: encode text, and pack or pickle objects: ";
/// For whoever publishes an object.
pub const BROADCAST: &str = "Broadcast carries bytes: encode text, and pack or pickle objects: ";
/// For whoever writes an object to a ring.
pub const RING: &str = "a ring carries bytes: encode text, and pack or pickle objects: ";
/// For whoever passes an object to a pipe.
pub const PIPE: &str = "Pipe carries bytes: encode text, and pack or pickle objects: ";
/// For whoever passes an object to a gate or a port.
pub const CALL: &str = "Gate and Port carry bytes; an Interface carries objects: ";

/// Who copies that many bytes lets other threads of the interpreter run.
pub const LONG: usize = 1 << 15;

/// Bytes of somebody's object, kept alive and in place.
pub enum Source<'py> {
    /// The usual case.
    Bytes(Bound<'py, PyBytes>),
    /// Anything with a contiguous buffer.
    Buffer(PyBuffer<u8>),
}

impl<'py> Source<'py> {
    /// Borrows `data`, which has to be a contiguous buffer. Else `carries` says what to use for other things.
    #[inline]
    pub fn new(data: &Bound<'py, PyAny>, carries: &str) -> PyResult<Self> {
        if let Ok(bytes) = data.cast::<PyBytes>() {
            return Ok(Self::Bytes(bytes.clone()));
        }
        let buffer = contiguous(data, carries)?;
        Ok(Self::Buffer(buffer))
    }

    /// The bytes.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes.as_bytes(),
            // SAFETY: S10, the export keeps the memory; another thread that writes it meanwhile sends what it wrote.
            Self::Buffer(buffer) => unsafe {
                if buffer.len_bytes() == 0 {
                    &[]
                } else {
                    std::slice::from_raw_parts(buffer.buf_ptr().cast(), buffer.len_bytes())
                }
            },
        }
    }
}

/// A message of a call: one buffer, or a list or a tuple of them that travel as one.
pub enum Parcel<'py> {
    /// The usual case.
    Whole(Source<'py>),
    /// One behind the other.
    Pieces(Vec<Source<'py>>),
}

impl<'py> Parcel<'py> {
    /// Borrows `data`.
    #[inline]
    pub fn new(data: &Bound<'py, PyAny>) -> PyResult<Self> {
        if let Ok(bytes) = data.cast::<PyBytes>() {
            return Ok(Self::Whole(Source::Bytes(bytes.clone())));
        }
        if data.is_instance_of::<PyList>() || data.is_instance_of::<PyTuple>() {
            return data.try_iter()?.map(|piece| Source::new(&piece?, CALL)).collect::<PyResult<_>>().map(Self::Pieces);
        }
        Source::new(data, CALL).map(Self::Whole)
    }

    /// Nothing.
    pub fn empty() -> Self {
        Self::Pieces(Vec::new())
    }

    fn pieces(&self) -> Vec<&[u8]> {
        match self {
            Self::Whole(source) => vec![source.as_slice()],
            Self::Pieces(sources) => sources.iter().map(Source::as_slice).collect(),
        }
    }
}

impl Payload for Parcel<'_> {
    #[inline]
    fn length(&self) -> usize {
        match self {
            Self::Whole(source) => source.as_slice().len(),
            Self::Pieces(_) => self.pieces().length(),
        }
    }

    #[inline]
    fn write_to(&self, block: &Blocks) {
        match self {
            Self::Whole(source) => source.as_slice().write_to(block),
            Self::Pieces(_) => self.pieces().write_to(block),
        }
    }
}

/// Somebody's buffer to write into.
pub struct Target(PyBuffer<u8>);

impl Target {
    /// Borrows `data`, which has to be a contiguous writable buffer.
    pub fn new(data: &Bound<'_, PyAny>) -> PyResult<Self> {
        let buffer = contiguous(data, "")?;
        if buffer.readonly() {
            let kind = data.get_type().name()?;
            return Err(PyTypeError::new_err(format!("a writable buffer is required, not a read-only '{kind}'")));
        }
        Ok(Self(buffer))
    }

    /// The bytes.
    pub fn as_slice(&mut self) -> &mut [u8] {
        if self.0.len_bytes() == 0 {
            return &mut [];
        }
        // SAFETY: S10, the export keeps the memory and said that it is writable.
        unsafe { std::slice::from_raw_parts_mut(self.0.buf_ptr().cast(), self.0.len_bytes()) }
    }
}

fn contiguous(data: &Bound<'_, PyAny>, carries: &str) -> PyResult<PyBuffer<u8>> {
    let kind = data.get_type().name()?;
    let view = data.py().get_type::<pyo3::types::PyMemoryView>();
    // Through a view of bytes, so that arrays of any item type are taken as what they are in memory.
    let bytes = view
        .call1((data,))
        .map_err(|_| PyTypeError::new_err(format!("{carries}a bytes-like object is required, not '{kind}'")))?;
    let bytes = bytes.call_method1("cast", ("B",)).map_err(|_| {
        PyBufferError::new_err(format!("the buffer of this '{kind}' is not contiguous: pass a contiguous copy"))
    })?;
    PyBuffer::<u8>::get(&bytes)
}
