//! The client's side: claim an A-stack, post, ring if the server sleeps, wait for the reply or the server's death.

use std::os::fd::OwnedFd;

use underpass_shm::forks;
use underpass_shm::layout::port::{PORT_CLOSED, PortWords, REFUSED, REVOKED, UNMET};
use underpass_shm::life::Life;
use underpass_shm::operation::Operation;
use underpass_shm::place::{Blocks, Placed};
use underpass_shm::socket::Credentials;
use underpass_shm::sync::{
    Ordering::{AcqRel, Acquire, Relaxed, SeqCst},
    fence,
};

use super::badge::Badge;
use super::channel::Channel;
use super::claims::{ABANDONED, Claims, FREE};
use super::foreign::await_admission;
use super::payload::Payload;
use super::rendezvous::{Approach, Introduced};
use super::stack::{End, Stack};
use super::{active, doorbell};
use crate::error::Phase;
use crate::kernel::{Kernel, Owed};
use crate::wait::{Patience, Waiting, wait_until};
use crate::{Deadline, Error, Result};

/// Nanoseconds in which a receiver that slept takes a message for which its sender does not wait.
const WAKE_UP: u64 = 100_000_000;

/// A channel to one incarnation of a port, in the process that made it.
#[derive(Debug)]
pub struct Client {
    /// The words of the port, or of an annex of it.
    pub port: Placed<PortWords>,
    pub(super) server: Life,
    message_size: usize,
    pub(super) channel: Channel,
    pub(super) claims: Claims,
    patience: Patience,
    /// The epoch of forks in which it was bound: a child's copy ends nothing.
    epoch: u32,
    /// Of a client that has no life in the space: its end tells the server of this process's.
    line: Option<OwnedFd>,
    /// Its introduction woke a receiver, which nothing was sent to yet.
    roused: bool,
}

/// A reply that waits to be copied.
#[derive(Debug)]
pub struct Reply<'a> {
    blocks: &'a Blocks,
    /// Bytes.
    pub length: usize,
}

impl Reply<'_> {
    /// Copies the start of the reply.
    ///
    /// # Panics
    /// If `out` is longer than a message.
    pub fn copy_to(&self, out: &mut [u8]) {
        self.blocks.read(0, out);
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.close();
    }
}

/// Sets bits of the port's own notification word: never waits, and needs no channel.
pub fn notify(kernel: &dyn Kernel, port: &PortWords, server: Life, bits: u64) -> Result<()> {
    let died = |phase| Error::PeerDied { pid: kernel.pid(server), phase };
    if port.state.load(Acquire) == PORT_CLOSED {
        return Err(died(Phase::Send));
    }
    // Should this process die between the bits and the ring, the baton rings.
    let owed = Owed::name(kernel, &port.baton);
    let before = port.notified.fetch_or(bits, AcqRel);
    let rang = doorbell::ring(kernel, port);
    drop(owed);
    // Where somebody takes the bits without being woken, nobody needs to be asked whether he lives.
    if (rang || before & bits == bits) && !kernel.alive(server) {
        // It may have taken the bits before it died.
        return Err(died(Phase::Receive));
    }
    Ok(())
}

impl Client {
    /// Makes a channel and introduces it at the port's door, waiting while the server has too many to meet.
    pub fn connect(
        kernel: &dyn Kernel,
        approach: &dyn Approach,
        port: Placed<PortWords>,
        server: Life,
        message_size: usize,
        badge: Badge,
        deadline: Deadline,
    ) -> Result<Self> {
        let peer = Credentials { pid: std::process::id().cast_signed(), uid: 0, gid: 0 };
        let channel = Channel::make(approach.memory(), message_size, kernel.me()?.process, peer)?;
        let (claims, patience) = (Claims::new(), Patience::new());
        let mut client = Self {
            port,
            server,
            message_size,
            channel,
            claims,
            patience,
            epoch: forks::epoch(),
            line: None,
            roused: false,
        };
        let line = loop {
            client.check_server(kernel)?;
            match approach.introduce(badge) {
                Ok(Introduced::Known) => break None,
                Ok(Introduced::Connected(line)) => break Some(line),
                Ok(Introduced::Crowded) => {}
                Err(Error::Interrupted) => return Err(Error::Interrupted),
                // The door went with its server.
                Err(_) if client.check_server(kernel).is_err() => return Err(client.died(kernel, Phase::Send)),
                Err(Error::Shm(error)) if error.is_forbidden() => {
                    return Err(Error::Barred { pid: kernel.pid(server) });
                }
                Err(error) => return Err(error),
            }
            if approach.is_foreign() {
                kernel.wake(&client.port.doorbell, 1);
            } else {
                doorbell::ring(kernel, &client.port);
            }
            if deadline.time().is_some_and(|time| kernel.now() >= time) {
                return Err(Error::TimedOut(Phase::Send));
            }
        };
        if let Some(line) = line {
            client.port = await_admission(kernel, &client.port, server, &client.channel, &line, deadline)?;
            client.line = Some(line);
            return Ok(client);
        }
        client.port.introductions.fetch_add(1, AcqRel);
        client.roused = doorbell::ring(kernel, &client.port);
        Ok(client)
    }

    /// Calls: the request goes, the reply is handed to `sink`. Who calls sleeps while the server works.
    pub fn call<T>(
        &self,
        kernel: &dyn Kernel,
        data: &(impl Payload + ?Sized),
        deadline: Deadline,
        sink: impl FnOnce(Reply<'_>) -> T,
    ) -> Result<T> {
        self.exchange(kernel, data, false, deadline, sink)
    }

    /// Sends one way: returns once the server has received it.
    pub fn send(&self, kernel: &dyn Kernel, data: &(impl Payload + ?Sized), deadline: Deadline) -> Result<()> {
        self.exchange(kernel, data, true, deadline, |_| ())
    }

    fn exchange<T>(
        &self,
        kernel: &dyn Kernel,
        data: &(impl Payload + ?Sized),
        one_way: bool,
        deadline: Deadline,
        sink: impl FnOnce(Reply<'_>) -> T,
    ) -> Result<T> {
        self.check_length(data)?;
        let caller = kernel.me()?.thread;
        let stacks = &self.channel.stacks;
        let stack = self.claims.claim(kernel, stacks, self.server, deadline, || self.check_server(kernel))?;
        let words = &stacks[stack];
        let hasty = one_way && deadline == Deadline::NoWait;
        let roused = hasty && self.roused && self.channel.standing() == UNMET;
        let number = words.post(caller, data, one_way);
        let waited = match self.show(kernel) {
            Err(end) if words.cancel(number) => Err(self.ended(kernel, end)),
            // Taken before the end: it is answered.
            shown => {
                let deadline = match deadline {
                    Deadline::NoWait if roused || hasty && shown == Ok(true) => Deadline::At(kernel.now() + WAKE_UP),
                    // It gets the time of a spin.
                    Deadline::NoWait => Deadline::At(0),
                    other => other,
                };
                self.await_reply(kernel, words, number, one_way, deadline)
            }
        };
        if let Err(error) = waited {
            let cancelled = words.cancel(number);
            self.claims.unclaim(kernel, stack, if cancelled { FREE } else { ABANDONED });
            return match error {
                // Taken is received.
                Error::TimedOut(_) if one_way && !cancelled => Ok(sink(Reply { blocks: &words.answered, length: 0 })),
                // A call without patience has not looked for the server's life.
                Error::TimedOut(_) if self.is_gone(kernel) => Err(self.died(kernel, reached(cancelled))),
                Error::TimedOut(_) => Err(Error::TimedOut(reached(cancelled))),
                // Who has died takes nothing more: what could be taken back never reached it.
                Error::PeerDied { pid, .. } => Err(Error::PeerDied { pid, phase: reached(cancelled) }),
                other => Err(other),
            };
        }
        self.take_reply(kernel, stack, sink)
    }

    pub(super) fn check_length(&self, data: &(impl Payload + ?Sized)) -> Result<()> {
        let (size, limit) = (data.length(), self.message_size);
        if size > limit { Err(Error::TooLong { size, limit }) } else { Ok(()) }
    }

    /// Ends a call that was answered.
    #[inline]
    pub(super) fn take_reply<T>(
        &self,
        kernel: &dyn Kernel,
        stack: usize,
        sink: impl FnOnce(Reply<'_>) -> T,
    ) -> Result<T> {
        let words = &self.channel.stacks[stack];
        let result = match words.reply_length(self.message_size) {
            Ok(length) => Ok(sink(Reply { blocks: &words.answered, length })),
            Err(end) => Err(self.ended(kernel, end)),
        };
        self.claims.unclaim(kernel, stack, FREE);
        result
    }

    /// Has the server look at this channel, after a post: or says why it never will. True if it slept.
    #[inline]
    pub(super) fn show(&self, kernel: &dyn Kernel) -> std::result::Result<bool, End> {
        // SYNC(port-5): pairs with `Channel::end`. SYNC(port-4): with `active::hide`. SYNC(port-1): with `announce`.
        fence(SeqCst);
        match self.channel.standing() {
            UNMET => {}
            // A server that closes ends everybody in passing.
            REVOKED | REFUSED if self.closed() => return Err(End::Shut),
            REVOKED => return Err(End::Cancelled),
            REFUSED => return Err(End::Denied),
            seat => active::show(&self.port, seat - 1),
        }
        let rang = doorbell::ring_after_fence(kernel, &self.port);
        if rang {
            // It takes a wake-up's time until the reply, which is worth a spin whatever the last calls took.
            self.patience.renew();
        }
        Ok(rang)
    }

    /// Waits for the reply, or for the end of the server.
    #[inline]
    fn await_reply(
        &self,
        kernel: &dyn Kernel,
        stack: &Stack,
        number: u32,
        one_way: bool,
        deadline: Deadline,
    ) -> Result<()> {
        let (mine, partner) = (kernel.cpus(), self.port.cpus.load(Relaxed));
        if stack.caller.cpus.load(Relaxed) != mine {
            stack.caller.cpus.store(mine, Relaxed);
        }
        let operation = if one_way { Operation::Send } else { Operation::Call };
        let waiting = Waiting { sleepers: None, deadline, patience: &self.patience, partner, operation };
        wait_until(
            kernel,
            waiting,
            || stack.replied(number),
            |watch, slept| {
                if stack.replied(number) {
                    return Ok(Some(()));
                }
                let Some(watch) = watch else { return Ok(None) };
                watch.word(&stack.reply.word, stack.announce());
                watch.life(self.server);
                // Asked before the last look, since a server may reply and die; only after a sleep, which a death ends at
                // once. A server that closes takes nothing more, but for what one of its threads takes at this instant: the
                // exchange decides.
                let gone = slept && !kernel.alive(self.server) || self.closed() && stack.cancel(number);
                if stack.replied(number) {
                    return Ok(Some(()));
                }
                if gone {
                    return Err(self.died(kernel, Phase::Receive));
                }
                if slept {
                    self.knock_again(kernel);
                }
                Ok(None)
            },
        )
    }

    /// A server that has not met this client may have had no descriptor left for it: it tries again when it is rung.
    pub(super) fn knock_again(&self, kernel: &dyn Kernel) {
        if self.channel.standing() == UNMET {
            doorbell::ring(kernel, &self.port);
        }
    }

    /// Sets bits of the port's word, unless the server has revoked this channel. Never waits.
    pub fn notify(&self, kernel: &dyn Kernel, bits: u64) -> Result<()> {
        if self.is_revoked() && !self.closed() {
            return Err(Error::Cancelled);
        }
        notify(kernel, &self.port, self.server, bits)
    }

    /// The server has ended this channel with its badge, for good.
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        self.channel.standing() == REVOKED
    }

    /// Calls that have an A-stack, calls that were given up and are not answered yet, threads that wait for one.
    #[must_use]
    pub fn in_progress(&self) -> (usize, usize, u32) {
        let (busy, abandoned) = self.claims.taken(&self.channel.stacks);
        (busy, abandoned, self.claims.claimants())
    }

    /// Gives the channel up: the server forgets it, and ends what it has not taken.
    pub fn close(&self) {
        if self.epoch == forks::epoch() {
            self.channel.close();
        }
    }

    pub(super) fn closed(&self) -> bool {
        self.port.state.load(Acquire) == PORT_CLOSED
    }

    pub(super) fn is_gone(&self, kernel: &dyn Kernel) -> bool {
        self.closed() || !kernel.alive(self.server)
    }

    /// Before anything is asked of it.
    pub(super) fn check_server(&self, kernel: &dyn Kernel) -> Result<()> {
        if self.is_gone(kernel) { Err(self.died(kernel, Phase::Send)) } else { Ok(()) }
    }

    #[cold]
    pub(super) fn ended(&self, kernel: &dyn Kernel, end: End) -> Error {
        match end {
            End::Aborted => Error::Aborted,
            End::Cancelled => Error::Cancelled,
            End::Denied => Error::Denied { pid: kernel.pid(self.server) },
            // A port that closes refuses what it has not taken.
            End::Shut => self.died(kernel, Phase::Send),
        }
    }

    pub(super) fn died(&self, kernel: &dyn Kernel, phase: Phase) -> Error {
        Error::PeerDied { pid: kernel.pid(self.server), phase }
    }
}

/// How far a call came that ended without a reply.
pub(super) fn reached(cancelled: bool) -> Phase {
    if cancelled { Phase::Send } else { Phase::Receive }
}
