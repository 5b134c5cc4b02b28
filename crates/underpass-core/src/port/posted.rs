//! A call whose caller does something else meanwhile: posted, looked at when something was heard, collected or given up.
//!
//! It is the call of [`Client::call`] without the sleep: the same A-stack, the same words. Who waits for it is announced in
//! the reply's word, so the server wakes, and rings the bells that watch the port.

use super::claims::{ABANDONED, FREE};
use super::client::{Client, Reply, reached};
use super::payload::Payload;
use crate::error::Phase;
use crate::kernel::{Kernel, Watch};
use crate::{Deadline, Error, Result};

/// Such a call. Whoever has it ends it, by [`Client::collect`] or [`Client::give_up`].
#[derive(Debug)]
pub struct Posted {
    stack: usize,
    number: u32,
    one_way: bool,
}

impl Client {
    /// Posts a call, if an A-stack is free. WouldBlock: none is, and nothing was posted.
    pub fn post(&self, kernel: &dyn Kernel, data: &(impl Payload + ?Sized), one_way: bool) -> Result<Posted> {
        self.check_length(data)?;
        let caller = kernel.me()?.thread;
        let stacks = &self.channel.stacks;
        let claimed = self.claims.claim(kernel, stacks, self.server, Deadline::NoWait, || self.check_server(kernel));
        let stack = claimed.map_err(|error| match error {
            Error::TimedOut(_) => Error::WouldBlock,
            other => other,
        })?;
        let number = stacks[stack].post(caller, data, one_way);
        match self.show(kernel) {
            Err(end) if stacks[stack].cancel(number) => {
                self.claims.unclaim(kernel, stack, FREE);
                Err(self.ended(kernel, end))
            }
            // Taken before the end: it is answered.
            _ => Ok(Posted { stack, number, one_way }),
        }
    }

    /// Says whether it has ended, in whatever way. With a watch list a caller that finds it has not is announced.
    pub fn has_ended<'a>(&'a self, kernel: &dyn Kernel, posted: &Posted, watch: Option<&mut Watch<'a>>) -> bool {
        let stack = &self.channel.stacks[posted.stack];
        if let Some(watch) = watch {
            // SYNC(port-3): before the look, so that a reply from now on wakes.
            watch.word(&stack.reply.word, stack.announce());
            watch.life(self.server);
            self.knock_again(kernel);
        }
        // What a server has taken it answers, also once it has closed the port.
        stack.replied(posted.number) || !kernel.alive(self.server) || self.closed() && stack.is_posted()
    }

    /// Ends a call that has ended: its reply is handed to `sink`. WouldBlock: it has not.
    pub fn collect<T>(&self, kernel: &dyn Kernel, posted: &Posted, sink: impl FnOnce(Reply<'_>) -> T) -> Result<T> {
        let stack = &self.channel.stacks[posted.stack];
        // Asked before the last look, since a server may reply and die. What it takes at this instant, as it closes, it answers.
        let closed = self.closed() && stack.cancel(posted.number);
        let gone = closed || !kernel.alive(self.server);
        if stack.replied(posted.number) {
            return self.take_reply(kernel, posted.stack, sink);
        }
        if !gone {
            return Err(Error::WouldBlock);
        }
        Err(self.died(kernel, self.give_up(kernel, posted)))
    }

    /// Takes a call back, or abandons it if the server has taken it: how far it came.
    pub fn give_up(&self, kernel: &dyn Kernel, posted: &Posted) -> Phase {
        let cancelled = self.channel.stacks[posted.stack].cancel(posted.number);
        self.claims.unclaim(kernel, posted.stack, if cancelled { FREE } else { ABANDONED });
        reached(cancelled)
    }

    /// Counts one who wants an A-stack, until [`Self::stop_claiming`].
    pub fn start_claiming(&self) {
        self.claims.enter();
    }

    /// It wants none any more.
    pub fn stop_claiming(&self) {
        self.claims.leave();
    }

    /// A post would find an A-stack, or would be refused. With a watch list a caller that finds it would not is announced.
    pub fn has_room<'a>(&'a self, kernel: &dyn Kernel, watch: Option<&mut Watch<'a>>) -> bool {
        if let Some(watch) = watch {
            self.claims.announce(&self.channel.stacks, self.server, watch);
        }
        self.claims.has_room(&self.channel.stacks) || self.is_gone(kernel)
    }
}

impl Posted {
    /// Received is all that was wanted.
    #[must_use]
    pub fn is_one_way(&self) -> bool {
        self.one_way
    }
}
