//! The bottom of underpass: everything that touches raw memory or the kernel.
//!
//! Read in this order: [`sync`] (the atomics everybody uses), [`place`] (typed views of shared bytes), [`region`] (the
//! bytes themselves), [`space`] (objects are files), [`futex`], [`lives`] (how death is known), [`baton`] (how a wake
//! survives death), [`waits`] (what sleepers wait for), [`priority`] (how urgently), [`socket`] and [`clock`].
//!
//! No other crate of the workspace contains `unsafe`, except for the C interface of Python in `underpass-py`. Every
//! `unsafe` block cites an invariant of `SAFETY.md` by its number.

pub mod layout;
pub mod life;
pub mod operation;
pub mod place;
pub mod sync;

#[cfg(not(loom))]
pub mod access;
#[cfg(not(loom))]
pub mod baton;
#[cfg(not(loom))]
pub mod bell;
#[cfg(not(loom))]
pub mod clock;
#[cfg(not(loom))]
pub mod cpus;
#[cfg(not(loom))]
mod descriptor;
#[cfg(not(loom))]
mod error;
#[cfg(not(loom))]
pub mod forks;
#[cfg(not(loom))]
pub mod futex;
#[cfg(not(loom))]
pub mod groups;
#[cfg(not(loom))]
pub mod header;
#[cfg(not(loom))]
mod knock;
#[cfg(not(loom))]
pub mod limits;
#[cfg(not(loom))]
pub mod lives;
#[cfg(not(loom))]
pub mod memfd;
#[cfg(not(loom))]
pub mod poller;
#[cfg(not(loom))]
pub mod priority;
#[cfg(not(loom))]
pub mod region;
#[cfg(not(loom))]
pub mod room;
#[cfg(not(loom))]
pub mod socket;
#[cfg(not(loom))]
pub mod space;
#[cfg(not(loom))]
pub mod tasks;
#[cfg(not(loom))]
pub mod waits;

#[cfg(not(loom))]
pub use error::{Error, Found, Result};
