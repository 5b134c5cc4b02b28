//! What a port's handle does beside those of other objects: it is made with a door, its name is taken over, and there is
//! a way to it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use pyo3::prelude::*;
use underpass_core::kernel::{Kernel, Memory, Parked, Purpose, Wanted};
use underpass_core::port::rendezvous::{Approach, Reception};
use underpass_core::port::sockets::{Listener, Visit};
use underpass_shm::header::{Header, Kind, WORDS};
use underpass_shm::layout::port::{PORT_CLOSED, PortWords};
use underpass_shm::life::Life;
use underpass_shm::operation::Operation;
use underpass_shm::place::Placed;
use underpass_shm::region::Region;
use underpass_shm::{Error as Shm, socket, space};

use super::Handle;
use super::opening::{check, missing, not_created};
use crate::error::{Context, raise};
use crate::host;
use crate::kernel_conducted::{self, door};
use crate::kernel_lab;
use crate::rendezvous_lab::{Guest, Lobby};
use crate::space::Space;
use crate::timeout::Timeout;

impl Handle {
    /// Makes a port, which `anybody` who reaches its space may connect to, and where it meets them: there before its name
    /// is. A name whose receiver is gone is taken over.
    pub fn create_port(
        py: Python<'_>,
        space: Option<&Space>,
        wanted: &Wanted<'_>,
        anybody: bool,
    ) -> PyResult<(Self, Box<dyn Reception>)> {
        check(wanted)?;
        let failed = |error| not_created(py, wanted, error);
        if space.is_none()
            && let Some(lab) = kernel_lab::current()
        {
            let made = lab.memory(wanted).map_err(failed)?;
            let reception = Box::new(Lobby::new(lab.clone(), &made.header));
            return Ok((Self::born(made, None, Some(lab), wanted.name.is_none()), reception));
        }
        let linux = Space::or_default(py, space)?.linux;
        Self::have_space(&linux, wanted).map_err(failed)?;
        let made = (|| {
            let home = linux.space();
            let Wanted { name, kind, extent, parameters, mode, .. } = *wanted;
            let newborn = home.newborn(name, kind, extent, parameters, mode, &host::meanwhile)?;
            let (door, what) = (space::socket_name(&newborn.header), home.describe(wanted.name.unwrap_or("a port")));
            let listener = Listener::new(socket::listen(home.directory()?, &door, &what)?);
            newborn.share(&door, anybody)?;
            let (region, header) = (newborn.region.clone(), newborn.header.clone());
            let published = home.exclusively(|| {
                let dead = match home.open(newborn.file_name(), Kind::Port) {
                    Ok((region, old)) if is_taken_over(&*linux, Kind::Port, &region, &old) => Some(old),
                    _ => None,
                };
                if let Some(old) = &dead {
                    let _ = home.unlink(&space::socket_name(old));
                }
                newborn.publish(dead.is_some())
            });
            if published.is_err() {
                let _ = home.unlink(&door);
            }
            Ok((Memory { region, header, file: published? }, listener))
        })();
        let (made, listener) = made.map_err(|error: Shm| failed(linux.space().blame(error).into()))?;
        if wanted.name.is_some() {
            kernel_conducted::announce().map_err(failed)?;
        }
        let reception: Box<dyn Reception> = if kernel_conducted::is_on() {
            Box::new(door::Host::new(listener, &made.header))
        } else {
            Box::new(listener)
        };
        Ok((Self::born(made, Some(linux), None, wanted.name.is_none()), reception))
    }

    /// A way to this port's door, with so much memory for a channel.
    pub fn approach(&self, size: usize, foreign: bool) -> underpass_core::Result<Box<dyn Approach + '_>> {
        Ok(match (&self.home, &self.lab) {
            (Some(home), _) => {
                let visit = Visit::new(home.space(), space::socket_name(&self.header), size, foreign)?;
                if self.is_stepped() { Box::new(door::Visitor::new(visit, self.header.nonce)) } else { Box::new(visit) }
            }
            (None, Some(lab)) => Box::new(Guest::new(lab, self, size)?),
            (None, None) => unreachable!("an object lives in the lab or in a space"),
        })
    }

    /// Opens a named port, once somebody receives there.
    pub fn open_living(
        py: Python<'_>,
        space: Option<&Space>,
        name: &str,
        kind: Kind,
        timeout: Timeout,
    ) -> PyResult<Self> {
        let deadline = Self::opened_by(py, name, kind, timeout)?;
        let purpose = Purpose::new(Operation::Open);
        loop {
            let seen = kernel_lab::current().map(|lab| lab.names());
            let news = match seen {
                Some(_) => None,
                None => kernel_conducted::news(py, &Space::or_default(py, space)?.linux)?,
            };
            let handle = Self::open_until(py, space, name, kind, timeout, deadline, &purpose)?;
            if receives(handle.kernel(), &handle.region, &handle.header) {
                return Ok(handle);
            }
            if deadline.is_some_and(|time| handle.kernel().now() >= time) {
                let (what, path) = handle.found_at(name);
                let lost = format!("{what} has lost its receiver, pid {}; its successor", handle.header.creator_pid);
                return Err(missing(py, &lost, &path, timeout));
            }
            if let (Some(lab), Some(seen)) = (&handle.lab, seen) {
                if lab.await_name(seen, deadline) == Parked::Interrupted {
                    return Err(PyErr::fetch(py));
                }
                continue;
            }
            if let Some(news) = news {
                kernel_conducted::await_name(&news, deadline).map_err(|error| handle.unused(py, error))?;
                continue;
            }
            // The next incarnation is a new file of that name.
            let (home, patience) = (handle.home(py)?, Duration::from_millis(100));
            home.await_name(kind, name, &purpose, patience, underpass_shm::space::Space::await_change)
                .map_err(|error| raise(py, &Context::of(&handle.title, "not opened"), error))?;
            py.check_signals()?;
        }
    }

    /// Removes a port's name, unless somebody else has taken it over, and its socket. A signal does not end it: its handler runs
    /// when that is done.
    pub fn remove_port(&self) {
        if let Some(lab) = &self.lab {
            lab.unlink_if(&self.file, |header| header.nonce == self.header.nonce);
        }
        let Some(home) = self.home.as_ref().map(|linux| linux.space()) else { return };
        // Who takes the name over does so under the same lock. If it has been, or the space is gone, so is the name.
        // Without the interpreter: whoever frees another may have been stopped in the middle.
        let unlink = || home.unlink_own(&self.file, self.header.nonce);
        while Python::attach(|py| py.detach(unlink)).is_err_and(|error| error.is_interruption()) {}
        let _ = home.unlink(&space::socket_name(&self.header));
    }

    /// What that name stands for here, and its file.
    fn found_at(&self, name: &str) -> (String, String) {
        match &self.home {
            Some(home) => (home.space().describe(name), home.space().path_of(&self.file)),
            None => (format!("'{name}' in the lab"), self.file.clone()),
        }
    }
}

/// The name of that object goes to a new one of this kind: one port's to the next, once nobody receives there.
pub fn is_taken_over(kernel: &dyn Kernel, by: Kind, region: &Arc<Region>, old: &Header) -> bool {
    (by, old.kind) == (Kind::Port, Kind::Port) && !receives(kernel, region, old)
}

/// True while the process that made the port lives and has not closed it.
fn receives(kernel: &dyn Kernel, region: &Arc<Region>, port: &Header) -> bool {
    let words: Option<Placed<PortWords>> = Placed::at(region, WORDS);
    let open = words.is_some_and(|words| words.state.load(Relaxed) != PORT_CLOSED);
    open && kernel.alive(Life(port.creator))
}
