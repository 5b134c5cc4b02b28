//! Where clients and servers meet in the lab: what sockets are on Linux, a list for each port.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use underpass_core::Result;
use underpass_core::kernel::Kernel;
use underpass_core::port::Badge;
use underpass_core::port::rendezvous::{Approach, Arrival, Introduced, Reception};
use underpass_lab::record::Manner;
use underpass_shm::header::Header;
use underpass_shm::region::Region;
use underpass_shm::socket::Credentials;
use underpass_shm::space;

use crate::handle::Handle;
use crate::kernel_lab::LabKernel;

/// Who has introduced himself at which port, by its nonce, and was not looked at.
#[derive(Debug, Default)]
pub struct Doors(Mutex<HashMap<u64, Vec<Arrival>>>);

impl Doors {
    fn all(&self) -> MutexGuard<'_, HashMap<u64, Vec<Arrival>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody is anywhere.
    pub fn clear(&self) {
        self.all().clear();
    }
}

/// A client's way to the door of a port of the lab.
#[derive(Debug)]
pub struct Guest<'a> {
    lab: &'a LabKernel,
    port: &'a Handle,
    memory: Arc<Region>,
}

impl<'a> Guest<'a> {
    /// To that port, with so much memory.
    pub fn new(lab: &'a LabKernel, port: &'a Handle, size: usize) -> Result<Self> {
        Ok(Self { memory: lab.channel(&port.region, size)?, lab, port })
    }
}

impl Approach for Guest<'_> {
    fn memory(&self) -> &Arc<Region> {
        &self.memory
    }

    fn introduce(&self, badge: Badge) -> Result<Introduced> {
        let pid = self.lab.pid(self.lab.process()).cast_signed();
        let peer = Credentials { pid, uid: space::uid(), gid: space::gid() };
        let arrival = Arrival { memory: self.memory.clone(), badge, peer, line: None };
        self.lab.doors.all().entry(self.port.header.nonce).or_default().push(arrival);
        // Before it is announced anything may happen, a death too.
        self.lab.operate(&self.port.region, Manner::Change)?;
        Ok(Introduced::Known)
    }
}

/// The server's side of the door.
#[derive(Debug)]
pub struct Lobby {
    lab: Arc<LabKernel>,
    port: u64,
}

impl Lobby {
    /// Of that port.
    pub fn new(lab: Arc<LabKernel>, port: &Header) -> Self {
        Self { lab, port: port.nonce }
    }
}

impl Reception for Lobby {
    fn meet_all(&mut self, _size: usize, meet: &mut dyn FnMut(Arrival)) -> bool {
        let arrivals = self.lab.doors.all().remove(&self.port);
        arrivals.into_iter().flatten().for_each(meet);
        true
    }

    fn has_visitors(&self) -> bool {
        self.lab.doors.all().contains_key(&self.port)
    }
}
