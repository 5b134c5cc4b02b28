//! Where clients and a server meet: what a port asks of the world before there is a channel. Two worlds answer: the
//! sockets of Linux, and the lab.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use underpass_shm::region::Region;
use underpass_shm::socket::Credentials;

use super::badge::Badge;
use crate::Result;

/// A client's way to a port's door, with memory for a channel.
pub trait Approach: std::fmt::Debug {
    /// What the client shares with the server: it cannot vanish under either.
    fn memory(&self) -> &Arc<Region>;

    /// Introduces the client, who comes by the right of that badge, and hands its memory over.
    fn introduce(&self, badge: Badge) -> Result<Introduced>;

    /// The client has no life in the port's space, and cannot write the port's words.
    fn is_foreign(&self) -> bool {
        false
    }
}

/// What came of an introduction.
#[derive(Debug)]
pub enum Introduced {
    /// The server finds it when it next looks.
    Known,
    /// The same, and the connection ends with the client: a foreign one keeps it.
    Connected(OwnedFd),
    /// So many stand at the door that there was no getting through, for some time.
    Crowded,
}

/// The server's side of the door.
pub trait Reception: Send + std::fmt::Debug {
    /// Hands those to `meet` who have introduced themselves with memory of `size` bytes. False: others had to stay
    /// outside, for want of room, until the next time.
    fn meet_all(&mut self, size: usize, meet: &mut dyn FnMut(Arrival)) -> bool;

    /// Somebody is there, whatever the count of introductions says. A system call.
    fn has_visitors(&self) -> bool;
}

/// Somebody who has introduced himself.
#[derive(Debug)]
pub struct Arrival {
    /// The memory that he shares.
    pub memory: Arc<Region>,
    /// By which right he comes, as he says.
    pub badge: Badge,
    /// Who he is, by the kernel's word.
    pub peer: Credentials,
    /// Of a foreign one: the connection, which ends when he does.
    pub line: Option<Arc<OwnedFd>>,
}
