//! An A-stack: the argument and result memory of one call in progress, shared by one client and one server.
//!
//! Invariant: the request half is the client's while its word is idle or taken-and-answered, the server's between taken
//! and the reply; the reply half is the server's until its word carries the call's number, the client's after it.

use underpass_shm::layout::lock::SLEEPERS;
use underpass_shm::layout::port::{
    ABORTED, CANCELLED, CallerWords, DENIED, FAILED, IDLE, NUMBERS, ONE_WAY, POSTED, ReplyWords, RequestWords, SHUT,
    STATE, TAKEN,
};
use underpass_shm::life::Life;
use underpass_shm::place::{Blocks, Placed};
use underpass_shm::sync::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::payload::Payload;
use crate::kernel::Kernel;

/// A-stacks of a channel: calls that one client has in progress at a time. Loom has as few as will do.
pub const STACKS: usize = if cfg!(loom) { 1 } else { 4 };

/// The views of one A-stack.
#[derive(Debug)]
pub struct Stack {
    /// The client's half.
    pub request: Placed<RequestWords>,
    /// The server's half.
    pub reply: Placed<ReplyWords>,
    /// What is seldom looked at.
    pub caller: Placed<CallerWords>,
    /// One block: the request's bytes.
    pub asked: Blocks,
    /// One block: the reply's bytes.
    pub answered: Blocks,
}

/// A call that the server has taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Its number.
    pub number: u32,
    /// Bytes of the request, within the limit.
    pub length: usize,
    /// Nobody waits for a reply: it is answered as soon as it was copied.
    pub one_way: bool,
}

/// Why a call has no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum End {
    /// The server took it and gave it up.
    Aborted = ABORTED,
    /// It was taken back before the server took it.
    Cancelled = CANCELLED,
    /// The server does not admit the client.
    Denied = DENIED,
    /// The port was closed before the server took it.
    Shut = SHUT,
}

impl Stack {
    /// Posts a call; its number. By the client, to which the stack belongs.
    #[inline]
    #[must_use]
    pub fn post<P: Payload + ?Sized>(&self, caller: Life, data: &P, one_way: bool) -> u32 {
        let request = &*self.request;
        if self.caller.thread.load(Relaxed) != caller.0 {
            self.caller.thread.store(caller.0, Relaxed);
        }
        data.write_to(&self.asked);
        request.length.store(data.length() as u32 | if one_way { ONE_WAY } else { 0 }, Relaxed);
        let number = (request.word.load(Relaxed) >> 2) % (NUMBERS - 1) + 1;
        // SYNC(port-2): pairs with `take`.
        request.word.store(number << 2 | POSTED, Release);
        number
    }

    /// A call waits to be taken: a peek.
    #[inline]
    #[must_use]
    pub fn is_posted(&self) -> bool {
        self.request.word.load(Relaxed) & STATE == POSTED
    }

    /// The server has taken a call and not answered it: a peek.
    #[must_use]
    pub fn is_in_hand(&self) -> bool {
        self.request.word.load(Relaxed) & STATE == TAKEN && !self.is_settled()
    }

    /// Takes the posted call. Whoever cancels it uses the same word, so only one of the two succeeds.
    #[inline]
    #[must_use]
    pub fn take(&self, limit: usize) -> Option<Taken> {
        let word = self.request.word.load(Relaxed);
        let taken = word & !STATE | TAKEN;
        // SYNC(port-2): pairs with `post`.
        if word & STATE != POSTED || self.request.word.compare_exchange(word, taken, Acquire, Relaxed).is_err() {
            return None;
        }
        // Read once and bounded: a client that lies about it only reads its own memory.
        let length = self.request.length.load(Relaxed);
        Some(Taken {
            number: word >> 2 & (NUMBERS - 1),
            length: ((length & !ONE_WAY) as usize).min(limit),
            one_way: length & ONE_WAY != 0,
        })
    }

    /// Takes a call back that the server has not taken: true if nothing happened, now or when this was asked before.
    #[must_use]
    pub fn cancel(&self, number: u32) -> bool {
        let cancelled = number << 2 | IDLE;
        match self.request.word.compare_exchange(number << 2 | POSTED, cancelled, AcqRel, Relaxed) {
            Ok(_) => true,
            Err(word) => word == cancelled,
        }
    }

    /// Answers, and wakes the caller if it sleeps. Should the server die before the wake, its life tells the caller.
    #[inline]
    pub fn answer<P: Payload + ?Sized>(&self, kernel: &dyn Kernel, number: u32, data: &P) {
        data.write_to(&self.answered);
        self.finish(kernel, number, data.length() as u32);
    }

    /// Answers a call that was one-way, after its message was copied.
    pub fn acknowledge(&self, kernel: &dyn Kernel, number: u32) {
        self.finish(kernel, number, 0);
    }

    /// Ends the call without a reply.
    pub fn fail(&self, kernel: &dyn Kernel, number: u32, why: End) {
        self.finish(kernel, number, why as u32);
    }

    #[inline]
    fn finish(&self, kernel: &dyn Kernel, number: u32, length: u32) {
        self.reply.length.store(length, Relaxed);
        // SYNC(port-3): pairs with `replied`.
        if self.reply.word.swap(number, AcqRel) & SLEEPERS != 0 {
            kernel.wake(&self.reply.word, 1);
        }
    }

    /// The reply to that call is there.
    #[inline]
    #[must_use]
    pub fn replied(&self, number: u32) -> bool {
        // SYNC(port-3): pairs with `finish`.
        self.reply.word.load(Acquire) & !SLEEPERS == number
    }

    /// The last posted call has been answered, so that an abandoned stack can be used again.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.replied(self.request.word.load(Relaxed) >> 2)
    }

    /// Says that the caller is about to sleep, and what the reply's word must be while it does.
    #[must_use]
    pub fn announce(&self) -> u32 {
        self.reply.word.fetch_or(SLEEPERS, AcqRel) | SLEEPERS
    }

    /// Bytes of the reply, within the limit; or why there is none.
    #[inline]
    pub fn reply_length(&self, limit: usize) -> Result<usize, End> {
        match self.reply.length.load(Relaxed) {
            length if length & FAILED == 0 => Ok((length as usize).min(limit)),
            CANCELLED => Err(End::Cancelled),
            DENIED => Err(End::Denied),
            SHUT => Err(End::Shut),
            _ => Err(End::Aborted),
        }
    }
}
