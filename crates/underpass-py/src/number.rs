//! Whole numbers as arguments: one that no machine word holds is out of range like any other.

use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::prelude::*;

/// A whole number. Its range is for whoever takes it to check.
#[derive(Debug, Clone, Copy)]
pub struct Whole(pub i64);

impl<'py> FromPyObject<'_, 'py> for Whole {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        match value.extract::<i64>() {
            Err(error) if error.is_instance_of::<PyOverflowError>(value.py()) => {
                Err(PyValueError::new_err(format!("{} is out of range: it has more than 64 bits", &*value)))
            }
            other => other.map(Self),
        }
    }
}

/// A whole number that has a default, for `from_py_with`.
pub fn whole(value: &Bound<'_, PyAny>) -> PyResult<i64> {
    value.extract::<Whole>().map(|Whole(number)| number)
}

/// The permissions of an object's file, for `from_py_with`; none: what its space says.
pub fn mode(value: &Bound<'_, PyAny>) -> PyResult<Option<u32>> {
    let Some(Whole(number)) = value.extract::<Option<Whole>>()? else { return Ok(None) };
    let refuse = |_| PyValueError::new_err(format!("mode={number} is no mode: pass 0o600, 0o660 or 0o666"));
    u32::try_from(number).map(Some).map_err(refuse)
}

/// So many of something, for people to read.
pub fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

impl Whole {
    /// As a size or an index of the argument `name`.
    pub fn size(self, name: &str) -> PyResult<usize> {
        usize::try_from(self.0).map_err(|_| PyValueError::new_err(format!("{name}={} is negative", self.0)))
    }

    /// As a number of 32 bits of the argument `name`, which whoever takes it holds to that range.
    pub fn word(self, name: &str, least: u32, most: u32) -> PyResult<u32> {
        u32::try_from(self.0)
            .map_err(|_| PyValueError::new_err(format!("{name}={} is not between {least} and {most}", self.0)))
    }
}
