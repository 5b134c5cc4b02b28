//! What the words mean: one room per object, over the questions of [`kernel`] and the one way to wait of [`wait`].
#![forbid(unsafe_code)]

pub mod atomic;
pub mod barrier;
pub mod broadcast;
pub mod condition;
pub mod deadline;
pub mod error;
#[cfg(not(loom))]
pub mod hearing;
#[cfg(not(loom))]
pub mod held;
pub mod kernel;
pub mod latch;
#[cfg(not(loom))]
pub mod linux;
pub mod lock;
pub mod many;
pub mod mutex;
pub mod notification;
pub mod once;
#[cfg(not(loom))]
pub mod outlet;
#[cfg(not(loom))]
pub mod outsider;
pub mod pipe;
pub mod planted;
pub mod pool;
pub mod port;
pub mod queue;
#[cfg(not(loom))]
pub mod region;
pub mod ring;
pub mod rwlock;
pub mod semaphore;
pub mod since;
pub mod site;
pub mod stack;
pub mod stay;
pub mod wait;
pub mod waiters;
#[cfg(not(loom))]
pub mod waits;

pub use deadline::Deadline;
pub use error::{Error, Result};
pub use kernel::Kernel;
