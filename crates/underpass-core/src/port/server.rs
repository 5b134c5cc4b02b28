//! The server's side: take calls from all channels, answer them, sleep when there are none.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use underpass_shm::layout::port::{PORT_CLOSED, PortWords};
use underpass_shm::life::Life;
use underpass_shm::operation::Operation;
use underpass_shm::place::Placed;
use underpass_shm::socket::{self, Introduction, Met};
use underpass_shm::sync::{
    AtomicU32,
    Ordering::{Acquire, Relaxed, SeqCst},
    fence,
};

use super::channel::{Channel, STACKS};
use super::doorbell;
use super::stack::{Stack, Taken};
use crate::kernel::Kernel;
use crate::wait::{Patience, Waiting, wait_until};
use crate::{Deadline, Error, Result};

/// While it spins, the server looks at all channels every so many looks at its last partner's word.
const LOOK_AROUND: u32 = 16;
/// After so many calls of one partner in a row the others are asked first.
const FAIR: u32 = 64;

/// The right to receive, in the process that made it.
#[derive(Debug)]
pub struct Server {
    words: Placed<PortWords>,
    message_size: usize,
    listener: OwnedFd,
    channels: RwLock<Vec<Arc<Channel>>>,
    /// Connected, and not introduced yet.
    strangers: Mutex<Vec<OwnedFd>>,
    /// How many introductions have been looked at.
    introduced: AtomicU32,
    /// Calls in a row from the last partner.
    streak: AtomicU32,
    patience: Patience,
}

/// A call that was taken and waits for its reply.
#[derive(Debug, Clone)]
pub struct Call {
    channel: Arc<Channel>,
    stack: usize,
    taken: Taken,
}

impl Server {
    /// Receives at these words and this socket.
    #[must_use]
    pub fn new(words: Placed<PortWords>, message_size: usize, listener: OwnedFd) -> Self {
        Self {
            words,
            message_size,
            listener,
            channels: RwLock::new(Vec::new()),
            strangers: Mutex::new(Vec::new()),
            introduced: AtomicU32::new(0),
            streak: AtomicU32::new(0),
            patience: Patience::new(),
        }
    }

    /// Longest message.
    #[must_use]
    pub fn message_size(&self) -> usize {
        self.message_size
    }

    /// Clients known.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.channels().len()
    }

    /// Takes the next call, waiting for one. `last` is the partner of the call before: its next one is likely.
    pub fn receive(&self, kernel: &dyn Kernel, last: Option<&Call>, deadline: Deadline) -> Result<Call> {
        let mut turn = 0;
        let ready = || {
            turn += 1;
            last.is_some_and(Call::has_next)
                || turn % LOOK_AROUND == 0
                    && (self.closed()
                        || self.words.introductions.load(Relaxed) != self.introduced.load(Relaxed)
                        || self.any())
        };
        if let Some(call) = self.next(kernel, last)? {
            return Ok(call);
        }
        let words = &self.words;
        let (mine, partner) = (kernel.cpus(), last.map_or(0, |call| call.stack().caller.cpus.load(Relaxed)));
        if words.cpus.load(Relaxed) != mine {
            words.cpus.store(mine, Relaxed);
        }
        let waiting =
            Waiting { sleepers: &**words, deadline, patience: &self.patience, partner, operation: Operation::Receive };
        wait_until(kernel, waiting, ready, |watch, slept| {
            if let Some(watch) = watch {
                // Said before the look, so that whoever posts after it rings.
                watch.word(&words.doorbell, doorbell::announce(words));
            }
            let call = self.next(kernel, last)?;
            if slept && call.is_some() && self.any() {
                // More than one call came while only this thread was woken.
                doorbell::tell(kernel, words, 1);
            }
            Ok(call)
        })
    }

    /// Copies the request of a call.
    pub fn request(&self, call: &Call, out: &mut [u8]) {
        call.stack().asked.read(0, out);
    }

    /// Answers a call. Never waits: the caller may be gone.
    pub fn reply(&self, kernel: &dyn Kernel, call: &Call, data: &[u8]) -> Result<()> {
        if data.len() > self.message_size {
            return Err(Error::TooLong { size: data.len(), limit: self.message_size });
        }
        call.stack().answer(kernel, call.taken.number, data);
        Ok(())
    }

    /// Gives a call up: the caller learns that the server may have acted.
    pub fn abort(&self, kernel: &dyn Kernel, call: &Call) {
        call.stack().fail(kernel, call.taken.number);
    }

    /// No calls any more: those that wait to be taken fail, and every receiver leaves with `Closed`.
    pub fn close(&self, kernel: &dyn Kernel) {
        let words = &self.words;
        words.state.store(PORT_CLOSED, SeqCst);
        fence(SeqCst);
        self.meet(kernel);
        for channel in self.channels().iter() {
            for stack in 0..STACKS {
                if let Some(call) = Call::take(channel, stack, self.message_size) {
                    self.abort(kernel, &call);
                }
            }
        }
        doorbell::tell(kernel, words, u32::MAX);
    }

    fn closed(&self) -> bool {
        self.words.state.load(Relaxed) == PORT_CLOSED
    }

    fn channels(&self) -> RwLockReadGuard<'_, Vec<Arc<Channel>>> {
        self.channels.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a call that is there: the last partner's next, or anybody's.
    fn next(&self, kernel: &dyn Kernel, last: Option<&Call>) -> Result<Option<Call>> {
        if self.closed() {
            return Err(Error::Closed);
        }
        if let Some(last) = last
            && self.streak.fetch_add(1, Relaxed) % FAIR != FAIR - 1
            && let Some(call) = Call::take(&last.channel, last.stack, self.message_size)
        {
            return Ok(Some(call));
        }
        self.meet(kernel);
        let channels = self.channels();
        let first = last.map_or(0, |last| {
            channels.iter().position(|channel| Arc::ptr_eq(channel, &last.channel)).map_or(0, |index| index + 1)
        });
        let turned = channels.iter().cycle().skip(first).take(channels.len());
        for channel in turned {
            for stack in 0..STACKS {
                if let Some(call) = Call::take(channel, stack, self.message_size) {
                    return Ok(Some(call));
                }
            }
        }
        Ok(None)
    }

    /// Any call posted in any channel.
    fn any(&self) -> bool {
        self.channels().iter().any(|channel| channel.stacks.iter().any(Stack::is_posted))
    }

    /// Accepts the clients that have introduced themselves, and forgets those that are gone.
    fn meet(&self, kernel: &dyn Kernel) {
        let introductions = self.words.introductions.load(Acquire);
        if introductions == self.introduced.load(Relaxed) {
            return;
        }
        let mut channels = self.channels.write().unwrap_or_else(PoisonError::into_inner);
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match socket::accept(&self.listener) {
                Met::Socket(socket) => strangers.push(socket),
                Met::Nobody => break self.introduced.store(introductions, Relaxed),
                Met::Later => break,
            }
        }
        channels.retain(|channel| !channel.is_closed() && kernel.alive(channel.client));
        strangers.retain(|stranger| match socket::introduction(stranger) {
            Introduction::Complete(memory, peer) => {
                channels.extend(Channel::adopt(&memory, self.message_size, peer).map(Arc::new));
                false
            }
            // It connected, and is about to introduce itself; then it raises the count again.
            Introduction::Awaited => true,
            Introduction::Void => false,
        });
    }
}

impl Call {
    /// Who calls, by the kernel's word.
    #[must_use]
    pub fn peer(&self) -> socket::Credentials {
        self.channel.peer
    }

    /// The process that calls.
    #[must_use]
    pub fn client(&self) -> Life {
        self.channel.client
    }

    /// The calling thread, as it says.
    #[must_use]
    pub fn caller(&self) -> Life {
        Life(self.stack().caller.thread.load(Relaxed))
    }

    /// Bytes of the request.
    #[must_use]
    pub fn length(&self) -> usize {
        self.taken.length
    }

    #[inline]
    fn stack(&self) -> &Stack {
        &self.channel.stacks[self.stack]
    }

    /// The same caller's next call has been posted.
    #[inline]
    fn has_next(&self) -> bool {
        self.stack().is_posted()
    }

    #[inline]
    fn take(channel: &Arc<Channel>, stack: usize, limit: usize) -> Option<Self> {
        let taken = channel.stacks[stack].take(limit)?;
        Some(Self { channel: channel.clone(), stack, taken })
    }
}
