//! Lives, batons and the one wait, on the real kernel: a bare test word, and processes that die at the worst moment.
//!
//! Every process of a test is a fork of it that runs one closure. Where a test says that the kernel tells, the re-check
//! is turned off in the process that waits: then nothing else could.
#![cfg(not(loom))]

mod batons;
mod flags;
mod lives;
mod locks;
mod namespaces;
mod process;
mod spinning;
mod threads;
mod two_deaths;
mod waiting;
mod watchers;
mod world;
