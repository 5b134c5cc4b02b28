//! Arrays of numpy's on a region's bytes.

use pyo3::exceptions::{PyImportError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMemoryView};

use super::{Region, shape_of};
use crate::number::Whole;

fn numpy<'py>(region: &Bound<'py, Region>, what: &str) -> PyResult<Bound<'py, PyModule>> {
    region.py().import("numpy").map_err(|error| {
        let why = format!("Region.{what} needs numpy: pip install underpass[numpy]");
        let told = PyImportError::new_err(why);
        told.set_cause(region.py(), Some(error));
        told
    })
}

/// What `Region.array` says.
pub fn array<'py>(
    region: &Bound<'py, Region>,
    shape: &Bound<'py, PyAny>,
    dtype: Option<&Bound<'py, PyAny>>,
    offset: Whole,
) -> PyResult<Bound<'py, PyAny>> {
    let (py, numpy) = (region.py(), numpy(region, "array")?);
    let title = &region.get().handle.title;
    let dtype = match dtype {
        Some(dtype) => numpy.call_method1("dtype", (dtype,))?,
        None => numpy.call_method1("dtype", ("float64",))?,
    };
    if dtype.getattr("hasobject")?.extract()? {
        let why = "its items would be objects of Python, which mean nothing in another process: pass numbers or bytes";
        return Err(PyTypeError::new_err(format!("{title} has no array of dtype {dtype}: {why}")));
    }
    let item: u64 = dtype.getattr("itemsize")?.extract()?;
    if item == 0 {
        return Err(PyValueError::new_err(format!("dtype={dtype} has items of no bytes: say how long they are")));
    }
    let shape = shape_of(shape)?;
    let mut need = Some(u128::from(item));
    for length in shape.iter() {
        let Whole(length) = length.extract()?;
        let length = u128::try_from(length).map_err(|_| {
            PyValueError::new_err(format!("shape={shape} has a negative length: say how many there are"))
        })?;
        need = need.and_then(|need| need.checked_mul(length));
    }
    let start = offset.size("offset")?;
    let bytes = PyMemoryView::from(region.as_any())?;
    let (there, end) = (bytes.len()? as u128, need.and_then(|need| need.checked_add(start as u128)));
    if end.is_none_or(|end| end > there) {
        let need = need.map_or_else(|| "more than 2**64".into(), |need| need.to_string());
        return Err(PyValueError::new_err(format!(
            "an array of shape {shape} and dtype {dtype} needs {need} bytes from offset {start}, and {title} has {there}: \
             make the array smaller, or resize() the region"
        )));
    }
    let arguments = PyDict::new(py);
    arguments.set_item("buffer", bytes)?;
    arguments.set_item("offset", start)?;
    numpy.getattr("ndarray")?.call((shape, dtype), Some(&arguments))
}

/// All bytes.
pub fn whole<'py>(region: &Bound<'py, Region>) -> PyResult<Bound<'py, PyAny>> {
    numpy(region, "__dlpack__")?.call_method1("frombuffer", (region, "uint8"))
}
