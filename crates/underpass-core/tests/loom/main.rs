//! The objects under a model of the memory order: every interleaving of small programs, and of deaths in them.
//!
//! Nothing here times out, so a wake that is lost shows as loom's deadlock. `planted` modules hold the lines of an
//! algorithm with a mistake in them, which the checker has to find.
#![cfg(loom)]

mod atomic;
mod barrier;
mod broadcast;
mod condition;
mod kernel;
mod latch;
mod lock;
mod many;
mod mutex;
mod notification;
mod once;
mod pipe;
mod pool;
mod port;
mod queue;
mod ring;
mod rwlock;
mod semaphore;
mod site;
mod stack;
mod stay;
