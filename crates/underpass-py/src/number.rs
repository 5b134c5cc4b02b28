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
                Err(PyValueError::new_err(format!("{} is out of range: no object is that large", &*value)))
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
    value.extract::<Option<Whole>>()?.map(|mode| mode.word("mode")).transpose()
}

impl Whole {
    /// As a size or an index of the argument `name`.
    pub fn size(self, name: &str) -> PyResult<usize> {
        usize::try_from(self.0).map_err(|_| PyValueError::new_err(format!("{name}={} is negative", self.0)))
    }

    /// As a number of 32 bits of the argument `name`.
    pub fn word(self, name: &str) -> PyResult<u32> {
        u32::try_from(self.0).map_err(|_| PyValueError::new_err(format!("{name}={} is out of range", self.0)))
    }
}
