//! The server's side: take calls from all channels, answer them, sleep when there are none.

use std::os::fd::OwnedFd;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use underpass_shm::layout::lock::SLEEPERS;
use underpass_shm::layout::port::{FAILED, NUMBERS, PORT_CLOSED, POSTED, PortWords, REPLIED, STATE, TAKEN};
use underpass_shm::life::Life;
use underpass_shm::place::Placed;
use underpass_shm::socket;
use underpass_shm::sync::{AtomicU32, Ordering::{AcqRel, Acquire, Relaxed, SeqCst}, fence};

use super::channel::{Channel, STACKS};
use crate::kernel::{Kernel, Owed};
use crate::wait::{Patience, wait_until};
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
    number: u32,
    /// Bytes of the request.
    pub length: usize,
    /// The calling thread.
    pub caller: Life,
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
                    && (self.closed() || self.words.introductions.load(Relaxed) != self.introduced.load(Relaxed) || self.any())
        };
        if let Some(call) = self.next(last)? {
            return Ok(call);
        }
        let words = &self.words;
        wait_until(kernel, &words.baton, deadline, &self.patience, ready, |watch, slept| {
            if let Some(watch) = watch {
                // SYNC(port-1): pairs with `Client::ring`. Said before the look, so that who posts after it rings.
                let word = words.doorbell.fetch_or(SLEEPERS, SeqCst) | SLEEPERS;
                fence(SeqCst);
                watch.word(&words.doorbell, word);
            }
            self.meet(kernel);
            let call = self.next(last)?;
            if slept && call.is_some() && self.any() {
                // More than one call came while only this thread was woken.
                words.doorbell.fetch_and(!SLEEPERS, AcqRel);
                kernel.wake(&words.doorbell, 1);
            }
            Ok(call)
        })
    }

    /// Copies the request of a call.
    pub fn request(&self, call: &Call, out: &mut [u8]) {
        call.channel.requests.read(call.stack, out);
    }

    /// Answers a call. Never waits: the caller may be gone.
    pub fn reply(&self, kernel: &dyn Kernel, call: &Call, data: &[u8]) -> Result<()> {
        if data.len() > self.message_size {
            return Err(Error::TooLong { size: data.len(), limit: self.message_size });
        }
        call.channel.replies.write(call.stack, data);
        call.finish(kernel, REPLIED, data.len());
        Ok(())
    }

    /// Gives a call up: the caller learns that the server may have acted.
    pub fn abort(&self, kernel: &dyn Kernel, call: &Call) {
        call.finish(kernel, FAILED, 0);
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
        let _owed = Owed::name(kernel, &words.baton);
        words.doorbell.fetch_and(!SLEEPERS, AcqRel);
        kernel.wake(&words.doorbell, u32::MAX);
    }

    fn closed(&self) -> bool {
        self.words.state.load(Relaxed) == PORT_CLOSED
    }

    fn channels(&self) -> RwLockReadGuard<'_, Vec<Arc<Channel>>> {
        self.channels.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a call that is there: the last partner's next, or anybody's.
    fn next(&self, last: Option<&Call>) -> Result<Option<Call>> {
        if self.closed() {
            return Err(Error::Closed);
        }
        if let Some(last) = last {
            if self.streak.fetch_add(1, Relaxed) % FAIR != FAIR - 1
                && let Some(call) = Call::take(&last.channel, last.stack, self.message_size)
            {
                return Ok(Some(call));
            }
        }
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
        self.channels().iter().any(|channel| channel.stacks.iter().any(|stack| posted(stack.request.word.load(Relaxed))))
    }

    /// Accepts the clients that have introduced themselves, and forgets those that died.
    fn meet(&self, kernel: &dyn Kernel) {
        let introductions = self.words.introductions.load(Acquire);
        if introductions == self.introduced.load(Relaxed) {
            return;
        }
        let mut channels = self.channels.write().unwrap_or_else(PoisonError::into_inner);
        self.introduced.store(introductions, Relaxed);
        channels.retain(|channel| kernel.alive(channel.client));
        while let Some((memory, peer)) = socket::accept(&self.listener) {
            channels.extend(Channel::adopt(&memory, self.message_size, peer).map(Arc::new));
        }
    }
}

fn posted(word: u32) -> bool {
    word & STATE == POSTED
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

    /// The same caller's next call has been posted.
    fn has_next(&self) -> bool {
        posted(self.channel.stacks[self.stack].request.word.load(Relaxed))
    }

    fn take(channel: &Arc<Channel>, stack: usize, limit: usize) -> Option<Self> {
        let request = &channel.stacks[stack].request;
        let word = request.word.load(Relaxed);
        // SYNC(port-2): pairs with the post. Whoever cancels uses the same word, so only one of the two succeeds.
        if !posted(word) || request.word.compare_exchange(word, word & !STATE | TAKEN, Acquire, Relaxed).is_err() {
            return None;
        }
        // Read once and bounded: a client that lies about it only reads its own memory.
        let length = (request.length.load(Relaxed) as usize).min(limit);
        let caller = Life(request.caller.load(Relaxed));
        Some(Self { channel: channel.clone(), stack, number: word >> 2 & (NUMBERS - 1), length, caller })
    }

    fn finish(&self, kernel: &dyn Kernel, status: u32, length: usize) {
        let words = &self.channel.stacks[self.stack];
        words.reply.length.store(length as u32, Relaxed);
        words.reply.status.store(status, Relaxed);
        // SYNC(port-3): pairs with the caller's look at the reply.
        let before = words.reply.word.swap(self.number, AcqRel);
        if before & SLEEPERS != 0 {
            // Should this process die before the wake, the caller is told by its life.
            kernel.wake(&words.reply.word, 1);
        }
    }
}
