//! What lives hold of an object, read from the object's own words: for those who look for what was forgotten.
//!
//! The units of a semaphore that is not leased have no holder, and what a wait sleeps for is [`crate::waits`]'s.

use std::sync::Arc;

use underpass_shm::header::{Header, Kind, WORDS};
use underpass_shm::life::Life;
use underpass_shm::region::Region;

use crate::kernel::Kernel;
use crate::mutex::Mutex;
use crate::pipe;
use crate::pool;
use crate::port::{Channel, STACKS};
use crate::queue::Shape;
use crate::ring;
use crate::rwlock::{Prefer, RWLock};
use crate::semaphore::leased::Leased;

/// A way to hold something of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// A mutex, or a lock of readers and writers to write, by a thread or a task; also by one that has ended, until somebody
    /// recovers it.
    Lock,
    /// A lock of readers and writers to read, by a thread or a task.
    Reading,
    /// A unit of a leased semaphore, by a process.
    Unit,
    /// A message of a queue, by a process.
    Lease,
    /// A slot of a queue to write a message in, by a process.
    Loan,
    /// The registration of a process as a putter of a queue, or a writer of a pipe.
    Registration,
    /// A call that was received at a port and not answered, by the process that receives there.
    Call,
    /// A block of a pool, by a process.
    Block,
}

impl Hold {
    /// What it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Lock => "lock",
            Self::Reading => "reading",
            Self::Unit => "unit",
            Self::Lease => "lease",
            Self::Loan => "loan",
            Self::Registration => "registration",
            Self::Call => "call",
            Self::Block => "block",
        }
    }
}

/// Units of one process that are told.
const MOST_UNITS: u32 = 64;

/// Something that a life holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Who.
    pub life: Life,
    /// In which way.
    pub hold: Hold,
    /// Which of several of this kind in one object.
    pub number: u32,
}

/// What is held of an object: a peek, not a promise. `channels` are those of a port.
#[must_use]
pub fn held(kernel: &dyn Kernel, header: &Header, region: &Arc<Region>, channels: &[Arc<Region>]) -> Vec<Held> {
    match header.kind {
        // A once and a condition are a mutex first; that of a condition over another mutex is free.
        Kind::Mutex | Kind::SpinLock | Kind::Once | Kind::Condition => {
            lock(kernel, header, region).into_iter().collect()
        }
        Kind::Queue => slots(header, region),
        Kind::Pipe => writers(header, region),
        Kind::Pool => blocks(header, region),
        Kind::ObjectQueue => slots(header, region).into_iter().chain(blocks(header, region)).collect(),
        Kind::SpscRing | Kind::MpscRing => packets(header, region),
        Kind::Port => calls(header, channels),
        Kind::RWLock => readers_and_writer(kernel, region),
        Kind::Semaphore => units(header, region),
        Kind::Notification
        | Kind::Event
        | Kind::AtomicInt
        | Kind::Barrier
        | Kind::Latch
        | Kind::Broadcast
        | Kind::Stack
        | Kind::Region
        | Kind::Lives
        | Kind::Channel => Vec::new(),
    }
}

fn lock(kernel: &dyn Kernel, header: &Header, region: &Arc<Region>) -> Option<Held> {
    let holder = Mutex::at(region, header)?.holder(kernel)?;
    Some(Held { life: holder.thread, hold: Hold::Lock, number: 0 })
}

fn readers_and_writer(kernel: &dyn Kernel, region: &Arc<Region>) -> Vec<Held> {
    let Some(lock) = RWLock::at(region, WORDS, Prefer::Writers) else { return Vec::new() };
    let writer = lock.writing(kernel).map(|writer| Held { life: writer.thread, hold: Hold::Lock, number: 0 });
    let readers = lock.places().readers().filter(|reader| *reader != lock.writer()).map(|reader| Held {
        life: reader.thread,
        hold: Hold::Reading,
        number: reader.task,
    });
    writer.into_iter().chain(readers).collect()
}

fn units(header: &Header, region: &Arc<Region>) -> Vec<Held> {
    let Some(semaphore) = Leased::look_at(header, region) else { return Vec::new() };
    let each = |(life, count): (Life, u32)| {
        (0..count.min(MOST_UNITS)).map(move |number| Held { life, hold: Hold::Unit, number })
    };
    semaphore.counted().flat_map(each).collect()
}

fn slots(header: &Header, region: &Arc<Region>) -> Vec<Held> {
    let Some(queue) = Shape::read(header.parameters).ok().and_then(|shape| shape.queue(region).ok()) else {
        return Vec::new();
    };
    let holdings = queue.holdings().into_iter().map(|holding| Held {
        life: holding.process,
        hold: if holding.delivery == 0 { Hold::Loan } else { Hold::Lease },
        number: holding.number,
    });
    let registered = queue.registered().map(|life| Held { life, hold: Hold::Registration, number: 0 });
    holdings.chain(registered).collect()
}

fn writers(header: &Header, region: &Arc<Region>) -> Vec<Held> {
    let pipe = pipe::Shape::read(header.parameters).and_then(|shape| shape.pipe(region));
    let Ok(pipe) = pipe else { return Vec::new() };
    pipe.registered().map(|life| Held { life, hold: Hold::Registration, number: 0 }).collect()
}

fn blocks(header: &Header, region: &Arc<Region>) -> Vec<Held> {
    let Ok(pool) = pool::Shape::pool_of(header, region) else { return Vec::new() };
    pool.owned().map(|(block, life)| Held { life, hold: Hold::Block, number: block as u32 }).collect()
}

fn packets(header: &Header, region: &Arc<Region>) -> Vec<Held> {
    let ring = ring::Shape::read(header.parameters).and_then(|shape| shape.ring(region, ring::Writers::Any));
    let Ok(ring) = ring else { return Vec::new() };
    let (reader, busy) = ring.reader();
    let taken = busy.then_some(Held { life: reader, hold: Hold::Lease, number: 0 });
    let claims = ring.claimed().into_iter().map(|(number, life)| Held { life, hold: Hold::Loan, number });
    claims.chain(taken).collect()
}

fn calls(header: &Header, channels: &[Arc<Region>]) -> Vec<Held> {
    let size = header.parameters[0] as usize;
    let mut calls = Vec::new();
    for (place, region) in channels.iter().enumerate() {
        let Some(channel) = Channel::look_at(region, size) else { continue };
        for (stack, _) in channel.stacks.iter().enumerate().filter(|(_, stack)| stack.is_in_hand()) {
            let number = (place * STACKS + stack) as u32;
            // Who made a port receives there.
            calls.push(Held { life: Life(header.creator), hold: Hold::Call, number });
        }
    }
    calls
}
