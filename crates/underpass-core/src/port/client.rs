//! The client's side: claim an A-stack, post, ring if the server sleeps, wait for the reply or the server's death.

use std::time::Duration;

use underpass_shm::layout::port::{PORT_CLOSED, PortWords};
use underpass_shm::life::Life;
use underpass_shm::operation::Operation;
use underpass_shm::place::{Blocks, Placed};
use underpass_shm::region::Region;
use underpass_shm::socket::{self, Credentials};
use underpass_shm::space::Space;
use underpass_shm::sync::{
    AtomicU32,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

use super::channel::{Channel, STACKS, channel_size};
use super::doorbell;
use super::stack::Stack;
use crate::error::Phase;
use crate::kernel::Kernel;
use crate::wait::{Patience, Sleepers, Waiting, wait_until};
use crate::{Deadline, Error, Result};

/// How long one attempt to connect may take before the server's life is looked at again.
const CONNECT: Duration = Duration::from_millis(100);

/// An A-stack of ours: free, carrying a call of ours, or abandoned until the server answers it.
const FREE: u32 = 0;
const BUSY: u32 = 1;
const ABANDONED: u32 = 2;

/// A channel to one incarnation of a port, in the process that made it.
#[derive(Debug)]
pub struct Client {
    port: Placed<PortWords>,
    server: Life,
    message_size: usize,
    channel: Channel,
    /// What each A-stack is at, for the threads of this process.
    claims: [AtomicU32; STACKS],
    /// Changes when an A-stack becomes free; threads that want one sleep here.
    released: AtomicU32,
    /// Threads that want one.
    claimants: AtomicU32,
    baton: AtomicU32,
    patience: Patience,
    claiming: Patience,
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
        self.channel.close();
    }
}

impl Client {
    /// Makes a channel and introduces it at the port's socket, waiting while the server has too many to meet.
    pub fn connect(
        kernel: &dyn Kernel,
        space: &Space,
        port: Placed<PortWords>,
        socket: &str,
        server: Life,
        message_size: usize,
        deadline: Deadline,
    ) -> Result<Self> {
        let what = "a channel";
        let size = channel_size(message_size);
        let memory = socket::sealed_memory(size, what)?;
        let region = Region::map(&memory, size, what)?;
        let peer = Credentials { pid: std::process::id().cast_signed(), uid: 0, gid: 0 };
        let channel = Channel::make(&region, message_size, kernel.me()?.process, peer)?;
        let client = Self {
            port,
            server,
            message_size,
            channel,
            claims: std::array::from_fn(|_| AtomicU32::new(FREE)),
            released: AtomicU32::new(0),
            claimants: AtomicU32::new(0),
            baton: AtomicU32::new(0),
            patience: Patience::new(),
            claiming: Patience::new(),
        };
        loop {
            client.check_server(kernel)?;
            match socket::introduce(space.directory(), socket, &memory, CONNECT, what) {
                Ok(Some(())) => break,
                Ok(None) => {}
                // The socket went with its server.
                Err(_) if client.check_server(kernel).is_err() => return Err(client.died(kernel)),
                Err(error) => return Err(error.into()),
            }
            doorbell::ring(kernel, &client.port);
            if deadline.time().is_some_and(|time| kernel.now() >= time) {
                return Err(Error::TimedOut(Phase::Send));
            }
        }
        client.port.introductions.fetch_add(1, AcqRel);
        doorbell::ring(kernel, &client.port);
        Ok(client)
    }

    /// Calls: the request goes, the reply is handed to `sink`. Who calls sleeps while the server works.
    pub fn call<T>(
        &self,
        kernel: &dyn Kernel,
        data: &[u8],
        deadline: Deadline,
        sink: impl FnOnce(Reply<'_>) -> T,
    ) -> Result<T> {
        if data.len() > self.message_size {
            return Err(Error::TooLong { size: data.len(), limit: self.message_size });
        }
        let caller = kernel.me()?.thread;
        let stack = self.claim(kernel, deadline)?;
        let words = &self.channel.stacks[stack];
        let number = words.post(caller, data);
        if doorbell::ring(kernel, &self.port) {
            // It takes a wake-up's time until the reply, which is worth a spin whatever the last calls took.
            self.patience.renew();
        }
        if let Err(error) = self.await_reply(kernel, words, number, deadline) {
            let error = self.withdraw(kernel, stack, number, error);
            // A call without patience has not looked for the server's life.
            return Err(match error {
                Error::TimedOut(_) => self.check_server(kernel).err().unwrap_or(error),
                other => other,
            });
        }
        let result = match words.reply_length(self.message_size) {
            Some(length) => Ok(sink(Reply { blocks: &words.answered, length })),
            None if self.closed() => Err(self.died(kernel)),
            None => Err(Error::Aborted),
        };
        self.unclaim(kernel, stack, FREE);
        result
    }

    /// Ends a call that got no reply: if the server has not taken it, nothing happened.
    fn withdraw(&self, kernel: &dyn Kernel, stack: usize, number: u32, error: Error) -> Error {
        let cancelled = self.channel.stacks[stack].cancel(number);
        self.unclaim(kernel, stack, if cancelled { FREE } else { ABANDONED });
        match error {
            Error::TimedOut(_) if cancelled => Error::TimedOut(Phase::Send),
            Error::TimedOut(_) => Error::TimedOut(Phase::Receive),
            other => other,
        }
    }

    /// Waits for the reply, or for the end of the server.
    #[inline]
    fn await_reply(&self, kernel: &dyn Kernel, stack: &Stack, number: u32, deadline: Deadline) -> Result<()> {
        // A call always waits for its reply; without patience it gets the time of a spin.
        let deadline = if deadline == Deadline::NoWait { Deadline::At(0) } else { deadline };
        let (mine, partner) = (kernel.cpus(), self.port.cpus.load(Relaxed));
        if stack.caller.cpus.load(Relaxed) != mine {
            stack.caller.cpus.store(mine, Relaxed);
        }
        let waiting =
            Waiting { sleepers: stack, deadline, patience: &self.patience, partner, operation: Operation::Call };
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
                if gone { Err(self.died(kernel)) } else { Ok(None) }
            },
        )
    }

    /// An A-stack for one call, waiting while other threads of this process use them all.
    fn claim(&self, kernel: &dyn Kernel, deadline: Deadline) -> Result<usize> {
        if let Some(stack) = self.try_claim() {
            return Ok(stack);
        }
        let ready = || self.claims.iter().any(|claim| claim.load(Relaxed) == FREE);
        let waiting =
            Waiting { sleepers: self, deadline, patience: &self.claiming, partner: 0, operation: Operation::Send };
        self.claimants.fetch_add(1, Relaxed);
        let claimed = wait_until(kernel, waiting, ready, |watch, _| {
            // SYNC(client-1): pairs with `unclaim`.
            let before = self.released.fetch_add(0, AcqRel);
            if let Some(watch) = watch {
                watch.word(&self.released, before);
                watch.life(self.server);
                // A late answer to a call that was given up makes room, too.
                for (stack, claim) in self.channel.stacks.iter().zip(&self.claims) {
                    if claim.load(Relaxed) == ABANDONED {
                        watch.word(&stack.reply.word, stack.announce());
                    }
                }
            }
            match self.try_claim() {
                Some(stack) => Ok(Some(stack)),
                None => self.check_server(kernel).map(|()| None),
            }
        });
        self.claimants.fetch_sub(1, Relaxed);
        claimed.map_err(|error| match error {
            Error::TimedOut(_) | Error::WouldBlock => Error::TimedOut(Phase::Send),
            other => other,
        })
    }

    #[inline]
    fn try_claim(&self) -> Option<usize> {
        (0..STACKS).find(|stack| {
            let claim = &self.claims[*stack];
            let free = match claim.load(Relaxed) {
                BUSY => false,
                ABANDONED => {
                    self.channel.stacks[*stack].is_settled()
                        && claim.compare_exchange(ABANDONED, FREE, Relaxed, Relaxed).is_ok()
                }
                _ => true,
            };
            free && claim.compare_exchange(FREE, BUSY, Acquire, Relaxed).is_ok()
        })
    }

    #[inline]
    fn unclaim(&self, kernel: &dyn Kernel, stack: usize, state: u32) {
        self.claims[stack].store(state, Release);
        // SYNC(client-1): pairs with `claim`, both on this word, so that one of the two sees the other.
        self.released.fetch_add(1, AcqRel);
        if self.claimants.load(Relaxed) > 0 {
            kernel.wake(&self.released, 1);
        }
    }

    fn closed(&self) -> bool {
        self.port.state.load(Acquire) == PORT_CLOSED
    }

    fn check_server(&self, kernel: &dyn Kernel) -> Result<()> {
        if self.closed() || !kernel.alive(self.server) { Err(self.died(kernel)) } else { Ok(()) }
    }

    fn died(&self, kernel: &dyn Kernel) -> Error {
        Error::PeerDied { pid: kernel.pid(self.server) }
    }
}

/// The threads that wait for an A-stack.
impl Sleepers for Client {
    fn baton(&self) -> &AtomicU32 {
        &self.baton
    }

    fn recall(&self, kernel: &dyn Kernel) {
        // SYNC(client-1): who is about to sleep finds the count changed.
        self.released.fetch_add(1, AcqRel);
        kernel.wake(&self.released, u32::MAX);
    }
}
