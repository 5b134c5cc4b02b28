//! Members that may be ready, and the look whether they are.

use std::collections::HashMap;

use pyo3::prelude::*;
use underpass_core::kernel::Watch;
use underpass_core::many as core;

use super::super::waitable;
use crate::error::{Context, raise};

/// Members that may be ready, in the hands of one who looks. The lock of the set is free meanwhile: a look may run the
/// program's code, a port's admission.
#[derive(Debug)]
pub struct Candidates {
    /// Descriptors that are.
    pub readable: Vec<u64>,
    pub objects: Vec<(u64, Py<PyAny>)>,
    /// How many calls of their handlers had ended before this look: one that ends meanwhile has taken what is found.
    pub calls: HashMap<u64, u32>,
}

impl Candidates {
    /// Which objects are; who asks is announced at the others.
    pub fn look(&self, py: Python<'_>) -> PyResult<Vec<u64>> {
        let mut ready = Vec::with_capacity(self.objects.len());
        let mut own = Watch::of_one_look();
        for (key, what) in &self.objects {
            let what = what.bind(py);
            let (handle, object) = waitable(what)?;
            own.clear();
            let looked = if handle.is_closed() { Ok(true) } else { core::announce(object, handle.kernel(), &mut own) };
            if looked.map_err(|error| raise(py, &Context::of(&handle.title, "not waited for"), error))? {
                ready.push(*key);
            }
        }
        Ok(ready)
    }
}
