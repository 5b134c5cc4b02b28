//! The client's side: claim an A-stack, post, ring if the server sleeps, wait for the reply or the server's death.

use std::time::Duration;

use underpass_shm::layout::lock::SLEEPERS;
use underpass_shm::layout::port::{FAILED, IDLE, NUMBERS, PORT_CLOSED, POSTED, PortWords, STATE};
use underpass_shm::life::Life;
use underpass_shm::place::{Blocks, Placed};
use underpass_shm::region::Region;
use underpass_shm::socket::{self, Credentials};
use underpass_shm::space::Space;
use underpass_shm::sync::{AtomicU32, Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst}, fence};

use super::channel::{Channel, STACKS, channel_size};
use crate::error::Phase;
use crate::kernel::{Kernel, Owed};
use crate::wait::{Patience, wait_until};
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
    baton: AtomicU32,
    patience: Patience,
    claiming: Patience,
}

/// A reply that waits to be copied.
#[derive(Debug)]
pub struct Reply<'a> {
    blocks: &'a Blocks,
    stack: usize,
    /// Bytes.
    pub length: usize,
}

impl Reply<'_> {
    /// Copies the start of the reply.
    ///
    /// # Panics
    /// If `out` is longer than a message.
    pub fn copy_to(&self, out: &mut [u8]) {
        self.blocks.read(self.stack, out);
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
            client.ring(kernel);
            if deadline.time().is_some_and(|time| kernel.now() >= time) {
                return Err(Error::TimedOut(Phase::Send));
            }
        }
        client.port.introductions.fetch_add(1, AcqRel);
        client.ring(kernel);
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
        self.channel.requests.write(stack, data);
        words.request.length.store(data.len() as u32, Relaxed);
        words.request.caller.store(caller.0, Relaxed);
        let number = (words.request.word.load(Relaxed) >> 2) % (NUMBERS - 1) + 1;
        // SYNC(port-2): pairs with the server's take.
        words.request.word.store(number << 2 | POSTED, Release);
        self.ring(kernel);
        match self.reply(kernel, stack, number, deadline) {
            Ok(()) if words.reply.status.load(Relaxed) == FAILED => {
                self.unclaim(kernel, stack, FREE);
                Err(if self.closed() { self.died(kernel) } else { Error::Aborted })
            }
            Ok(()) => {
                let length = (words.reply.length.load(Relaxed) as usize).min(self.message_size);
                let result = sink(Reply { blocks: &self.channel.replies, stack, length });
                self.unclaim(kernel, stack, FREE);
                Ok(result)
            }
            Err(error) => Err(self.withdraw(kernel, stack, number, error)),
        }
    }

    /// Ends a call that got no reply: if the server has not taken it, nothing happened.
    fn withdraw(&self, kernel: &dyn Kernel, stack: usize, number: u32, error: Error) -> Error {
        let request = &self.channel.stacks[stack].request;
        let cancelled =
            request.word.compare_exchange(number << 2 | POSTED, number << 2 | IDLE, AcqRel, Relaxed).is_ok();
        self.unclaim(kernel, stack, if cancelled { FREE } else { ABANDONED });
        match error {
            Error::TimedOut(_) if cancelled => Error::TimedOut(Phase::Send),
            Error::TimedOut(_) => Error::TimedOut(Phase::Receive),
            other => other,
        }
    }

    /// Waits for the reply, or for the end of the server.
    #[inline]
    fn reply(&self, kernel: &dyn Kernel, stack: usize, number: u32, deadline: Deadline) -> Result<()> {
        let words = &self.channel.stacks[stack];
        // SYNC(port-3): pairs with the server's reply.
        let replied = || words.reply.word.load(Acquire) & !SLEEPERS == number;
        // A call always waits for its reply; without patience it gets the time of a spin.
        let deadline = if deadline == Deadline::NoWait { Deadline::At(0) } else { deadline };
        wait_until(kernel, &words.request.baton, deadline, &self.patience, replied, |watch, _| {
            if replied() {
                return Ok(Some(()));
            }
            let Some(watch) = watch else { return Ok(None) };
            let word = words.reply.word.fetch_or(SLEEPERS, AcqRel) | SLEEPERS;
            watch.word(&words.reply.word, word);
            watch.life(self.server);
            // Asked before the last look, since a server may reply and die.
            let gone = self.gone(kernel, stack);
            if replied() {
                return Ok(Some(()));
            }
            if gone { Err(self.died(kernel)) } else { Ok(None) }
        })
    }

    /// Nobody will answer: the server died, or closed before it took this call.
    fn gone(&self, kernel: &dyn Kernel, stack: usize) -> bool {
        !kernel.alive(self.server)
            || self.closed() && self.channel.stacks[stack].request.word.load(Acquire) & STATE == POSTED
    }

    /// Wakes the server if it sleeps.
    #[inline]
    fn ring(&self, kernel: &dyn Kernel) {
        // SYNC(port-1): pairs with `Server::receive`. The post comes before the look at the bell.
        fence(SeqCst);
        if self.port.doorbell.load(Relaxed) & SLEEPERS != 0 {
            self.ring_slow(kernel);
        }
    }

    #[cold]
    fn ring_slow(&self, kernel: &dyn Kernel) {
        let _owed = Owed::name(kernel, &self.port.baton);
        let mut word = self.port.doorbell.load(Relaxed);
        while word & SLEEPERS != 0 {
            let rung = (word & !SLEEPERS).wrapping_add(1) & !SLEEPERS;
            match self.port.doorbell.compare_exchange(word, rung, AcqRel, Relaxed) {
                Ok(_) => {
                    kernel.wake(&self.port.doorbell, 1);
                    return;
                }
                Err(other) => word = other,
            }
        }
    }

    /// An A-stack for one call, waiting while other threads of this process use them all.
    fn claim(&self, kernel: &dyn Kernel, deadline: Deadline) -> Result<usize> {
        if let Some(stack) = self.try_claim() {
            return Ok(stack);
        }
        let ready = || self.claims.iter().any(|claim| claim.load(Relaxed) == FREE);
        wait_until(kernel, &self.baton, deadline, &self.claiming, ready, |watch, _| {
            let before = self.released.load(Acquire);
            if let Some(watch) = watch {
                watch.word(&self.released, before);
                watch.life(self.server);
            }
            match self.try_claim() {
                Some(stack) => Ok(Some(stack)),
                None => self.check_server(kernel).map(|()| None),
            }
        })
        .map_err(|error| if error == Error::TimedOut(Phase::Wait) { Error::TimedOut(Phase::Send) } else { error })
    }

    #[inline]
    fn try_claim(&self) -> Option<usize> {
        (0..STACKS).find(|stack| {
            let claim = &self.claims[*stack];
            let free = match claim.load(Relaxed) {
                BUSY => false,
                ABANDONED => self.answered(*stack) && claim.compare_exchange(ABANDONED, FREE, Relaxed, Relaxed).is_ok(),
                _ => true,
            };
            free && claim.compare_exchange(FREE, BUSY, Acquire, Relaxed).is_ok()
        })
    }

    /// The server has answered the call that we abandoned there.
    fn answered(&self, stack: usize) -> bool {
        let words = &self.channel.stacks[stack];
        words.reply.word.load(Acquire) & !SLEEPERS == words.request.word.load(Relaxed) >> 2
    }

    #[inline]
    fn unclaim(&self, kernel: &dyn Kernel, stack: usize, state: u32) {
        self.claims[stack].store(state, Release);
        self.released.fetch_add(1, AcqRel);
        if self.claims.iter().filter(|claim| claim.load(Relaxed) != FREE).count() >= STACKS - 1 {
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
