//! A channel: the A-stacks that one client shares with one server, in memory that the client made and sealed.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use underpass_shm::header::{Header, Kind, WORDS};
use underpass_shm::layout::port::{CallerWords, ReplyWords, RequestWords};
use underpass_shm::life::Life;
use underpass_shm::place::{Blocks, Placed};
use underpass_shm::region::Region;
use underpass_shm::socket::{Credentials, is_deserted};
use underpass_shm::sync::{
    Ordering::{Acquire, Relaxed, Release, SeqCst},
    fence,
};

use super::stack::{End, STACKS, Stack};
use crate::kernel::Kernel;
use crate::{Error, Result};

/// Two cache lines, which processors fetch together: what one side writes starts at a multiple of it.
const PAIR: usize = 128;

/// The views of a channel's memory.
#[derive(Debug)]
pub struct Channel {
    /// Its A-stacks.
    pub stacks: [Stack; STACKS],
    /// The client's process.
    pub client: Life,
    /// Who the client is, by the kernel's word.
    pub peer: Credentials,
    /// Of a client that has no life here, by the server: the connection, which ends when it does.
    pub line: Option<Arc<OwnedFd>>,
}

/// The space of one half of an A-stack: two words and a message.
fn half(message_size: usize) -> usize {
    (size_of::<RequestWords>() + message_size).next_multiple_of(PAIR)
}

fn stack_size(message_size: usize) -> usize {
    2 * half(message_size) + PAIR
}

/// Bytes of a channel for messages of that size.
#[must_use]
pub fn channel_size(message_size: usize) -> usize {
    WORDS + STACKS * stack_size(message_size)
}

fn view_stack(region: &Arc<Region>, message_size: usize, index: usize) -> Option<Stack> {
    let request = WORDS + index * stack_size(message_size);
    let reply = request + half(message_size);
    Some(Stack {
        request: Placed::at(region, request)?,
        reply: Placed::at(region, reply)?,
        caller: Placed::<CallerWords>::at(region, reply + half(message_size))?,
        asked: Blocks::at(region, request + size_of::<RequestWords>(), message_size, 1)?,
        answered: Blocks::at(region, reply + size_of::<ReplyWords>(), message_size, 1)?,
    })
}

impl Channel {
    /// The views of a new channel, after its header was written.
    pub fn make(region: &Arc<Region>, message_size: usize, client: Life, peer: Credentials) -> Result<Self> {
        let header = Header {
            kind: Kind::Channel,
            space: 0,
            nonce: 0,
            creator: client.0,
            creator_pid: peer.pid.cast_unsigned(),
            parameters: [message_size as u64, 0, 0, 0, 0, 0, 0, 0],
        };
        header.write(region, "a channel")?;
        Self::view(region, message_size, client, peer)
            .ok_or_else(|| Error::Corrupted("a channel that is too short".into()))
    }

    /// Takes a client's memory on; `None` if it is not a channel for this port.
    #[must_use]
    pub fn adopt(
        region: &Arc<Region>,
        message_size: usize,
        peer: Credentials,
        line: Option<Arc<OwnedFd>>,
    ) -> Option<Self> {
        let header = Header::read(region, "a client's channel").ok()?;
        header.expect(Kind::Channel, "a client's channel").ok()?;
        // Somebody without a life here could name one that outlasts him.
        let client = if line.is_some() { Life::NOBODY } else { Life(header.creator) };
        Some(Self { line, ..Self::view(region, message_size, client, peer)? })
    }

    /// A channel as somebody sees it who takes no part; `None` if the memory is none.
    #[must_use]
    pub fn look_at(region: &Arc<Region>, message_size: usize) -> Option<Self> {
        Self::adopt(region, message_size, Credentials { pid: 0, uid: 0, gid: 0 }, None)
    }

    /// The client has given it up, or has died. A system call, unless it is the first.
    #[must_use]
    pub fn is_gone(&self, kernel: &dyn Kernel) -> bool {
        let gone = || match &self.line {
            Some(line) => is_deserted(line),
            None => !kernel.alive(self.client),
        };
        self.stacks[0].caller.closed.load(Relaxed) != 0 || gone()
    }

    /// Gives it up: the server forgets it at its next round.
    pub fn close(&self) {
        self.stacks[0].caller.closed.store(1, Relaxed);
    }

    /// How the server stands to this client: not met, 1 + its seat, or its end.
    #[inline]
    #[must_use]
    pub fn standing(&self) -> u32 {
        self.stacks[0].caller.standing.load(Acquire)
    }

    /// By the server: it looks at this channel from now on.
    pub fn settle(&self, seat: u32) {
        self.stacks[0].caller.standing.store(seat + 1, Release);
    }

    /// By the server: it looks at this channel for the last time. What is posted and not taken ends; how many calls
    /// that were.
    pub fn end(&self, kernel: &dyn Kernel, standing: u32, why: End) -> usize {
        self.stacks[0].caller.standing.store(standing, Release);
        self.tell_standing(kernel);
        // SYNC(port-5): pairs with `Client::show`.
        fence(SeqCst);
        let posted = self.stacks.iter().filter_map(|stack| Some((stack, stack.take(0)?)));
        posted.map(|(stack, taken)| stack.fail(kernel, taken.number, why)).count()
    }

    /// Wakes a client that waits to be let in.
    pub fn tell_standing(&self, kernel: &dyn Kernel) {
        if self.line.is_some() {
            kernel.wake(&self.stacks[0].caller.standing, 1);
        }
    }

    /// Something waits to be taken.
    #[inline]
    #[must_use]
    pub fn is_posted(&self) -> bool {
        self.stacks.iter().any(Stack::is_posted)
    }

    fn view(region: &Arc<Region>, message_size: usize, client: Life, peer: Credentials) -> Option<Self> {
        let stacks = (0..STACKS).map(|index| view_stack(region, message_size, index)).collect::<Option<Vec<_>>>()?;
        Some(Self { stacks: stacks.try_into().ok()?, client, peer, line: None })
    }
}
