//! Calls between processes: a server receives at its port, clients call through channels of their own.
//!
//! Lightweight RPC (Bershad, Anderson, Lazowska, Levy; TOCS 1990): each client shares with the server a set of
//! *A-stacks*, one for every call it has in progress, so that arguments and results are written once and seen by
//! nobody else. `reply_wait` in one step is L4's: a reply never blocks.
//!
//! Invariant: the truth about a call is in its A-stack. The doorbell only ends the server's sleep; before the server
//! sleeps it looks at every active channel after it has said that it will.

pub mod active;
#[cfg(not(loom))]
mod admission;
#[cfg(not(loom))]
mod annex;
#[cfg(not(loom))]
mod badge;
#[cfg(not(loom))]
mod channel;
mod claims;
#[cfg(not(loom))]
mod client;
pub mod doorbell;
#[cfg(not(loom))]
mod foreign;
mod payload;
#[cfg(not(loom))]
mod posted;
#[cfg(not(loom))]
pub mod rendezvous;
#[cfg(not(loom))]
mod seats;
#[cfg(not(loom))]
mod server;
#[cfg(not(loom))]
pub mod sockets;
mod stack;

#[cfg(not(loom))]
pub use admission::{Admission, SameUser};
#[cfg(not(loom))]
pub use annex::USERS;
#[cfg(not(loom))]
pub use badge::Badge;
#[cfg(not(loom))]
pub use channel::{Channel, channel_size};
#[cfg(loom)]
pub use claims::{ABANDONED, Claims, FREE};
#[cfg(not(loom))]
pub use client::{Client, Reply, notify};
pub use payload::Payload;
#[cfg(not(loom))]
pub use posted::Posted;
#[cfg(not(loom))]
pub use seats::Call;
#[cfg(not(loom))]
pub use server::{Census, Received, Server, Wish};
pub use stack::{End, STACKS, Stack, Taken};

/// Largest message of a port, in bytes.
pub const MOST_BYTES: usize = 1 << 30;
