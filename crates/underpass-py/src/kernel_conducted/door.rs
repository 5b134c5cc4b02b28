//! A port's door under a conductor: the sockets of Linux, with the lab's point, and a list of who was met there.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use underpass_core::Result;
use underpass_core::port::Badge;
use underpass_core::port::rendezvous::{Approach, Arrival, Introduced, Reception};
use underpass_core::port::sockets::{Listener, Visit};
use underpass_shm::header::Header;
use underpass_shm::region::Region;

use super::arrive;

/// The ports that were made in this process, and the channels of the clients that were met there.
static MET: Mutex<Vec<(Header, Vec<Arc<Region>>)>> = Mutex::new(Vec::new());

/// The ports that were made in this process, and the channels of the clients that were met there.
pub fn met() -> Vec<(Header, Vec<Arc<Region>>)> {
    ports().clone()
}

fn ports() -> MutexGuard<'static, Vec<(Header, Vec<Arc<Region>>)>> {
    MET.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A client's way to a port's door, with the lab's point between the introduction and its announcement.
#[derive(Debug)]
pub struct Visitor<'a> {
    visit: Visit<'a>,
    port: u64,
}

impl<'a> Visitor<'a> {
    /// By that visit, to the port with that nonce.
    pub fn new(visit: Visit<'a>, port: u64) -> Self {
        Self { visit, port }
    }
}

impl Approach for Visitor<'_> {
    fn memory(&self) -> &Arc<Region> {
        self.visit.memory()
    }

    fn introduce(&self, badge: Badge) -> Result<Introduced> {
        let introduced = self.visit.introduce(badge)?;
        arrive("operation", Some(self.port), 0)?;
        Ok(introduced)
    }

    fn is_foreign(&self) -> bool {
        self.visit.is_foreign()
    }
}

/// The server's side: those who are met are kept, so that what they leave can be looked at.
#[derive(Debug)]
pub struct Host {
    listener: Listener,
    port: u64,
}

impl Host {
    /// Of that port.
    pub fn new(listener: Listener, port: &Header) -> Self {
        ports().push((port.clone(), Vec::new()));
        Self { listener, port: port.nonce }
    }
}

impl Reception for Host {
    fn meet_all(&mut self, size: usize, meet: &mut dyn FnMut(Arrival)) -> bool {
        let Self { listener, port } = self;
        listener.meet_all(size, &mut |arrival| {
            if let Some((_, channels)) = ports().iter_mut().find(|(header, _)| header.nonce == *port) {
                channels.push(arrival.memory.clone());
            }
            meet(arrival);
        })
    }

    fn has_visitors(&self) -> bool {
        self.listener.has_visitors()
    }
}
