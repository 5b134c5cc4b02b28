//! Where a region's bytes come from: a memfd of this process or of another, a file of the space, or the lab.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use pyo3::prelude::*;
use underpass_core::kernel::Wanted;
use underpass_core::region::{Memory, Region as Core};
use underpass_core::{Error, Result};
use underpass_shm::header::{CARD, Kind};
use underpass_shm::life::Life;
use underpass_shm::memfd::{self, Memfd, Place, Unreached};
use underpass_shm::region::Extent;

use super::{READ_ONLY, Region, parameters, whole};
use crate::error::{Context, exception, plain, raise};
use crate::handle::Handle;
use crate::host;
use crate::kernel_lab;
use crate::object::Object as _;
use crate::space::Space;

/// Makes an anonymous one.
pub fn make(py: Python<'_>, size: u64, huge: bool) -> PyResult<(Arc<Handle>, Core)> {
    let failed = |error: Error| raise(py, &Context::of("anonymous region", "not created"), error);
    let memfd = if kernel_lab::current().is_some() {
        None
    } else {
        let made = Memfd::new(size as usize, huge, "anonymous region", &host::meanwhile);
        Some(made.map_err(|error| failed(error.into()))?)
    };
    let place = memfd.as_ref().map(Memfd::place);
    let wanted = Wanted {
        name: None,
        kind: Kind::Region,
        extent: Extent::whole(if memfd.is_some() { CARD } else { whole(size) }),
        parameters: parameters(size, huge),
        mode: None,
        format: &|card| Core::format(card, size, place),
    };
    let handle = Handle::create(py, None, &wanted)?;
    let memory = memfd.map_or(Memory::File, Memory::Mine);
    let core = Core::new(&handle.region, memory, false, &handle.title).map_err(failed)?;
    Ok((Arc::new(handle), core))
}

/// Makes a named one.
pub fn create(
    py: Python<'_>,
    space: Option<&Bound<'_, Space>>,
    name: &str,
    mode: Option<u32>,
    size: u64,
) -> PyResult<PyClassInitializer<Region>> {
    let wanted = Wanted {
        name: Some(name),
        kind: Kind::Region,
        extent: Extent::whole(whole(size)),
        parameters: parameters(size, false),
        mode,
        format: &|card| Core::format(card, size, None),
    };
    Region::over(py, Arc::new(Handle::create(py, space.map(Bound::get), &wanted)?))
}

/// The bytes of an object that somebody has made.
pub fn find(py: Python<'_>, handle: &Handle) -> PyResult<Core> {
    let failed = |error| raise(py, &Context::of(&handle.title, "not opened"), error);
    let memory = match Core::place(&handle.region, handle.header.creator_pid).map_err(failed)? {
        Some(place) => Memory::Reached(reach(py, handle, place)?),
        None => Memory::File,
    };
    Core::new(&handle.region, memory, handle.part() == READ_ONLY, &handle.title).map_err(failed)
}

/// Opens a memfd through the process that made it.
fn reach(py: Python<'_>, handle: &Handle, place: Place) -> PyResult<OwnedFd> {
    let (title, pid) = (&handle.title, place.pid);
    let told = |class: &str, why: &str| {
        exception(py, class, &format!("{title} is not reached: {why}"), |attributes| {
            attributes.set_item("filename", format!("/proc/{pid}/fd/{}", place.number))
        })
    };
    place.reach().map_err(|why| match why {
        Unreached::Failed(error) => raise(py, &Context::of(title, "not reached"), error.into()),
        // Its pid may be another's by now, into whom this user may not look.
        _ if !handle.kernel().alive(Life(handle.header.creator)) => {
            let why = format!("its creator, pid {pid}, has died, and its memory stays with those who have it mapped");
            told("NotFoundError", &why)
        }
        Unreached::Gone => {
            let why = format!(
                "its creator, pid {pid}, has closed its descriptor, or is in another pid namespace: keep it open there, or \
                 give the region a name"
            );
            told("NotFoundError", &why)
        }
        Unreached::Denied => {
            let why = format!(
                "its creator, pid {pid}, is another user's, or lets nobody look into it: give the region a name, and it is \
                 for all who may use the space"
            );
            told("AccessDeniedError", &why)
        }
    })
}

/// What `Region.seal` says.
pub fn seal(py: Python<'_>, handle: &Handle, core: &Core) -> PyResult<()> {
    let failed = |error| raise(py, &Context::of(&handle.title, "not sealed"), error);
    if let Some(name) = handle.name() {
        let why = format!(
            "{} cannot be sealed: it is a file of its space, which others open to write. Make an anonymous one, Region(size), and \
             hand its handle on; or let the others use Region.open('{name}', readonly=True)",
            handle.title
        );
        return Err(plain(py, "MisuseError", &why));
    }
    let place = Core::place(&handle.region, handle.header.creator_pid).map_err(failed)?;
    let memory = place.map(|place| reach(py, handle, place)).transpose()?;
    let me = handle.kernel().me().map_err(failed)?.process;
    handle.touch();
    core.seal(me, || Ok(memory)).map_err(failed)
}

/// What `Region.resize` says.
pub fn resize(py: Python<'_>, region: &Region, size: u64) -> PyResult<()> {
    let Region { handle, core } = region;
    let failed = |error| raise(py, &Context::of(&handle.title, "not resized"), error);
    let refused = if region.is_huge() {
        Some("it lies in huge pages, which are reserved once: make a longer one")
    } else if handle.part() == READ_ONLY {
        Some("it was opened to be read")
    } else if handle.lab().is_some() && size > core.size() {
        Some("the lab's memory keeps its length: make it long enough at first")
    } else {
        None
    };
    if let Some(why) = refused {
        return Err(failed(Error::Misuse(why.into())));
    }
    let mut raised = None;
    let room = |before| -> PyResult<Result<()>> {
        match Core::place(&handle.region, handle.header.creator_pid).map_err(failed)? {
            Some(place) => {
                let memory = reach(py, handle, place)?;
                Ok(memfd::grow(memory, before..size, &handle.title, &host::meanwhile).map_err(Error::from))
            }
            None => handle.lengthen(py, whole(before) as u64..whole(size) as u64),
        }
    };
    let resized = core.resize(size, |before| {
        room(before).unwrap_or_else(|error| {
            raised = Some(error);
            Err(Error::Refused)
        })
    });
    match (resized, raised) {
        (_, Some(error)) => Err(error),
        // Sealed by another in this moment.
        (Err(_), None) if core.writer().is_some() => {
            Err(failed(Error::Misuse("it is sealed, so its length is fixed".into())))
        }
        (resized, None) => resized.map_err(failed),
    }
}
