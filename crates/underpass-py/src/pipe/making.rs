//! How a pipe is made, and found again: its shape in words and in a header.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use underpass_core::Error;
use underpass_core::kernel::Wanted;
use underpass_core::pipe::Shape;
use underpass_shm::header::{Kind, PARAMETERS};
use underpass_shm::layout::pipe::MOST_CAPACITY;
use underpass_shm::region::Extent;

use super::Pipe;
use crate::error::{Context, raise};
use crate::handle::Handle;
use crate::number::Whole;
use crate::object::{self, Object};
use crate::space::Space;

pub fn shape(capacity: i64) -> PyResult<Shape> {
    let shape = Shape { capacity: Whole(capacity).word("capacity", 1, MOST_CAPACITY)? };
    match shape.check() {
        Err(Error::Invalid(why)) => Err(PyValueError::new_err(why)),
        _ => Ok(shape),
    }
}

pub fn parameters(shape: Shape) -> [u64; PARAMETERS] {
    [u64::from(shape.capacity), 0, 0, 0, 0, 0, 0, 0]
}

pub fn create(
    py: Python<'_>,
    space: Option<&Space>,
    name: Option<&str>,
    mode: Option<u32>,
    shape: Shape,
) -> PyResult<PyClassInitializer<Pipe>> {
    // Zeroed bytes are an empty pipe.
    let format = |region: &Arc<_>| shape.pipe(region).map(drop);
    let (extent, parameters) = (Extent::whole(shape.size()), parameters(shape));
    let wanted = Wanted { name, kind: Kind::Pipe, extent, parameters, mode, format: &format };
    Pipe::over(py, Arc::new(Handle::create(py, space, &wanted)?))
}

impl Object for Pipe {
    const KIND: Kind = Kind::Pipe;
    const PARAMETERS: &'static [&'static str] = &["capacity"];

    fn over(py: Python<'_>, handle: Arc<Handle>) -> PyResult<PyClassInitializer<Self>> {
        match Shape::read(handle.header.parameters).and_then(|shape| shape.pipe(&handle.region)) {
            Ok(core) => Ok(object::base(&handle).add_subclass(Self { core: Arc::new(core), handle })),
            Err(error) => Err(raise(py, &Context::of(&handle.title, "not opened"), error)),
        }
    }
}
