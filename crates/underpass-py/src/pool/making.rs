//! How a pool is made, and found again: its shape in words and in a header.

use std::sync::Arc;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyMapping;
use underpass_core::Error;
use underpass_core::kernel::Wanted;
use underpass_core::pool::Shape;
use underpass_shm::header::Kind;
use underpass_shm::layout::pool::MOST_BLOCKS;
use underpass_shm::region::Extent;

use super::Pool;
use crate::error::{Context, raise};
use crate::handle::Handle;
use crate::number::{Whole, whole};
use crate::object::{self, Object};
use crate::space::Space;

pub fn shape(blocks: i64, block_size: i64, more: Option<&Bound<'_, PyAny>>) -> PyResult<Shape> {
    let mut sizes = vec![one(blocks, block_size)?];
    if let Some(more) = more {
        let Ok(more) = more.cast::<PyMapping>() else {
            return Err(PyTypeError::new_err("more= is a mapping from bytes to how many blocks of them: {65536: 8}"));
        };
        for item in more.items()?.iter() {
            let (bytes, count) = (item.get_item(0)?, item.get_item(1)?);
            sizes.push(one(whole(&count)?, whole(&bytes)?)?);
        }
    }
    Shape::new(sizes).map_err(invalid)
}

fn one(blocks: i64, block_size: i64) -> PyResult<(u32, u64)> {
    let bytes =
        u64::try_from(block_size).map_err(|_| PyValueError::new_err(format!("block_size={block_size} is negative")))?;
    Ok((Whole(blocks).word("blocks", 1, MOST_BLOCKS)?, bytes))
}

pub fn invalid(error: Error) -> PyErr {
    match error {
        Error::Invalid(why) => PyValueError::new_err(why),
        other => PyValueError::new_err(format!("{other:?}")),
    }
}

pub fn create(
    py: Python<'_>,
    space: Option<&Space>,
    name: Option<&str>,
    mode: Option<u32>,
    shape: &Shape,
) -> PyResult<PyClassInitializer<Pool>> {
    // Zeroed bytes are a pool whose blocks are all free.
    let format = |region: &Arc<_>| shape.pool(region).map(drop);
    let extent = Extent::whole(shape.size().map_err(invalid)?);
    let wanted = Wanted { name, kind: Kind::Pool, extent, parameters: shape.parameters(), mode, format: &format };
    Pool::over(py, Arc::new(Handle::create(py, space, &wanted)?))
}

impl Object for Pool {
    const KIND: Kind = Kind::Pool;
    const PARAMETERS: &'static [&'static str] = &[
        "blocks",
        "block_size",
        "blocks of the second size",
        "second size",
        "blocks of the third size",
        "third size",
        "blocks of the fourth size",
        "fourth size",
    ];

    fn over(py: Python<'_>, handle: Arc<Handle>) -> PyResult<PyClassInitializer<Self>> {
        match Shape::pool_of(&handle.header, &handle.region) {
            Ok(core) => Ok(object::base(&handle).add_subclass(Self { core: Arc::new(core), handle })),
            Err(error) => Err(raise(py, &Context::of(&handle.title, "not opened"), error)),
        }
    }
}
