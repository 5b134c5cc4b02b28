//! A channel: the A-stacks that one client shares with one server, in memory that the client made and sealed.

use std::sync::Arc;

use underpass_shm::header::{Header, Kind, PARAMETERS, WORDS};
use underpass_shm::layout::port::StackWords;
use underpass_shm::life::Life;
use underpass_shm::place::{Blocks, PlacedSlice};
use underpass_shm::region::Region;
use underpass_shm::socket::{Credentials, sealed_size};

use crate::{Error, Result};

/// A-stacks of a channel: calls that one client has in progress at a time.
pub const STACKS: usize = 4;
/// Messages start at multiples of a cache line.
const LINE: usize = 64;

/// The views of a channel's memory.
#[derive(Debug)]
pub struct Channel {
    /// The words of each A-stack.
    pub stacks: PlacedSlice<StackWords>,
    /// What clients ask, an A-stack each.
    pub requests: Blocks,
    /// What the server answers.
    pub replies: Blocks,
    /// The client's process.
    pub client: Life,
    /// Who the client is, by the kernel's word.
    pub peer: Credentials,
}

/// The space one message takes.
fn block(message_size: usize) -> usize {
    message_size.max(1).next_multiple_of(LINE)
}

/// Bytes of a channel for messages of that size.
#[must_use]
pub fn channel_size(message_size: usize) -> usize {
    WORDS + STACKS * (size_of::<StackWords>() + 2 * block(message_size))
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
        const { assert!(PARAMETERS == 8) };
        header.write(region, "a channel")?;
        Self::view(region, message_size, client, peer).ok_or_else(|| Error::Corrupted("a channel that is too short".into()))
    }

    /// Takes a client's memory on; `None` if it is not a channel for this port.
    #[must_use]
    pub fn adopt(memory: &std::os::fd::OwnedFd, message_size: usize, peer: Credentials) -> Option<Self> {
        let size = sealed_size(memory)?;
        if size != channel_size(message_size) {
            return None;
        }
        let region = Region::map(memory, size, "a client's channel").ok()?;
        let header = Header::read(&region, "a client's channel").ok()?;
        header.expect(Kind::Channel, "a client's channel").ok()?;
        Self::view(&region, message_size, Life(header.creator), peer)
    }

    fn view(region: &Arc<Region>, message_size: usize, client: Life, peer: Credentials) -> Option<Self> {
        let words = WORDS + STACKS * size_of::<StackWords>();
        let block = block(message_size);
        Some(Self {
            stacks: PlacedSlice::at(region, WORDS, STACKS)?,
            requests: Blocks::at(region, words, block, STACKS)?,
            replies: Blocks::at(region, words + STACKS * block, block, STACKS)?,
            client,
            peer,
        })
    }
}
