//! The words of every object, as they lie in its file after the header. What they mean is in `underpass-core`; the bit
//! tables stand here, on their atomics.

pub mod atomic;
pub mod barrier;
pub mod bell;
pub mod broadcast;
pub mod condition;
pub mod latch;
pub mod lock;
pub mod mutex;
pub mod notification;
pub mod once;
pub mod pipe;
pub mod pool;
pub mod port;
pub mod queue;
pub mod region;
pub mod ring;
pub mod rwlock;
pub mod semaphore;
pub mod site;
pub mod stack;
pub mod waiters;
