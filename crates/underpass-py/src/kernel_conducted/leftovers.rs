//! What processes under a conductor hold: of the objects that are files, and of ports, whose channels only their servers have.

use pyo3::prelude::*;
use underpass_core::held::{Held, held};
use underpass_core::kernel::Kernel as _;
use underpass_core::linux::Linux;
use underpass_shm::header::Header;

use super::door::met;
use crate::error::{Context, from_shm, raise};
use crate::space::Space;

/// Nonce of the object, the way to hold it, pid and tid of who does (0: any thread), and which of several.
type Leftover = (u64, &'static str, u32, u32, u32);

/// Take this thread's place in the table of lives now: no later one then takes that of somebody who has ended.
#[pyfunction]
pub fn claim_life(py: Python<'_>) -> PyResult<()> {
    let linux = Space::or_default(py, None)?.linux;
    linux.me().map(drop).map_err(|error| raise(py, &Context::of("a life", "not claimed"), error))
}

/// What is held of the objects of the default space, and of the calls of ports that were made in this process.
#[pyfunction]
pub fn conducted_held(py: Python<'_>) -> PyResult<Vec<Leftover>> {
    let linux = Space::or_default(py, None)?.linux;
    let mut all = Vec::new();
    for entry in linux.space().entries().map_err(|error| from_shm(py, error))? {
        // Removed since the list was made, or no object of the library's.
        let Ok((region, header)) = linux.space().map(&entry.file) else { continue };
        all.extend(held(&*linux, &header, &region, &[]).into_iter().map(|one| told(&linux, &header, one)));
    }
    for (port, channels) in met() {
        // What a port itself says of its calls is in its channels.
        let Some(any) = channels.first() else { continue };
        all.extend(held(&*linux, &port, any, &channels).into_iter().map(|one| told(&linux, &port, one)));
    }
    Ok(all)
}

fn told(linux: &Linux, header: &Header, held: Held) -> Leftover {
    let tid = if held.life.is_process() { 0 } else { linux.space().lives().tid(held.life) };
    (header.nonce, held.hold.name(), linux.pid(held.life), tid, held.number)
}
