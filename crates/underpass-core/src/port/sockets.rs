//! How clients and a server meet on Linux: at a socket in the port's space, over which a client sends the memory of its
//! channel once, and the kernel vouches for who it is.

use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use underpass_shm::region::Region;
use underpass_shm::socket::{self, Introduction, Met};
use underpass_shm::space::{Space, uid};

use super::badge::Badge;
use super::rendezvous::{Approach, Arrival, Introduced, Reception};
use crate::Result;

/// How long one attempt to connect may take before the server's life is looked at again.
const CONNECT: Duration = Duration::from_millis(100);
/// So many are met at one look; the others at the next.
const AT_ONCE: usize = 4096;
/// So many may have connected and say nothing.
const SILENT: usize = 64;

/// A client's way to the socket of a port.
#[derive(Debug)]
pub struct Visit<'a> {
    space: &'a Space,
    socket: String,
    foreign: bool,
    sealed: OwnedFd,
    memory: Arc<Region>,
}

impl<'a> Visit<'a> {
    /// To that socket of the space, with so much memory.
    pub fn new(space: &'a Space, socket: String, size: usize, foreign: bool) -> Result<Self> {
        let sealed = socket::sealed_memory(size, WHAT)?;
        let memory = Region::map(&sealed, size, WHAT)?;
        Ok(Self { space, socket, foreign, sealed, memory })
    }
}

const WHAT: &str = "a channel";

impl Approach for Visit<'_> {
    fn memory(&self) -> &Arc<Region> {
        &self.memory
    }

    fn introduce(&self, badge: Badge) -> Result<Introduced> {
        let directory = self.space.directory()?;
        let said = badge.to_bytes();
        Ok(match socket::introduce(directory, &self.socket, &self.sealed, said, self.foreign, CONNECT, WHAT)? {
            Some(line) if self.foreign => Introduced::Connected(line),
            Some(_) => Introduced::Known,
            None => Introduced::Crowded,
        })
    }

    fn is_foreign(&self) -> bool {
        self.foreign
    }
}

/// The socket of a port, and who has connected to it and says nothing yet.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    strangers: Vec<OwnedFd>,
    /// Two descriptors for the day on which there are no others: one for a socket, one for the memory that comes with it.
    spare: Option<[OwnedFd; 2]>,
}

impl Listener {
    /// At that socket, which listens.
    #[must_use]
    pub fn new(socket: OwnedFd) -> Self {
        Self { spare: socket::spare(&socket), strangers: Vec::new(), socket }
    }
}

impl Reception for Listener {
    fn meet_all(&mut self, size: usize, meet: &mut dyn FnMut(Arrival)) -> bool {
        let Self { socket: listener, strangers, spare } = self;
        let all = Cell::new(true);
        let mut hear = |stranger: OwnedFd| match socket::introduction(&stranger) {
            Introduction::Complete(memory, bytes, peer, foreign) => {
                if let Some(memory) = map(&memory, size) {
                    let line = foreign.then(|| Arc::new(stranger));
                    meet(Arrival { memory, badge: Badge::from_bytes(bytes), peer, line });
                }
                None
            }
            // He is about to speak, and raises the count after that.
            Introduction::Awaited => Some(stranger),
            Introduction::NoRoom => {
                all.set(false);
                Some(stranger)
            }
            Introduction::Void => None,
        };
        let mut still = Vec::new();
        for _ in 0..AT_ONCE {
            match socket::accept(&*listener) {
                Met::Socket(stranger) => still.extend(hear(stranger)),
                Met::Nobody => break,
                Met::Later if spare.take().is_some() => {}
                Met::Later => {
                    all.set(false);
                    break;
                }
            }
        }
        still.extend(strangers.drain(..).filter_map(&mut hear));
        if still.len() > SILENT {
            // Those of this user are about to speak; nobody else may keep descriptors by being silent.
            still.retain(|stranger| socket::peer(stranger).is_some_and(|peer| peer.uid == uid()));
        }
        *strangers = still;
        if spare.is_none() {
            *spare = socket::spare(&*listener);
        }
        all.get()
    }

    fn has_visitors(&self) -> bool {
        socket::any_readable(std::iter::once(&self.socket).chain(&self.strangers))
    }
}

/// A client's memory, if it has the right size and cannot vanish.
fn map(memory: &OwnedFd, size: usize) -> Option<Arc<Region>> {
    if socket::sealed_size(memory) != Some(size) {
        return None;
    }
    Region::map(memory, size, "a client's channel").ok()
}
