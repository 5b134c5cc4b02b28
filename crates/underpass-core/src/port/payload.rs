//! What a message is made of: bytes, or pieces that lie apart and become one message in the A-stack, without a copy in between.

use underpass_shm::place::Blocks;

/// Bytes that can be written into an A-stack.
pub trait Payload {
    /// How many.
    fn length(&self) -> usize;
    /// Copies them to the start of the one block.
    fn write_to(&self, block: &Blocks);
}

impl Payload for [u8] {
    #[inline]
    fn length(&self) -> usize {
        self.len()
    }

    #[inline]
    fn write_to(&self, block: &Blocks) {
        block.write(0, self);
    }
}

impl<const SIZE: usize> Payload for [u8; SIZE] {
    #[inline]
    fn length(&self) -> usize {
        SIZE
    }

    #[inline]
    fn write_to(&self, block: &Blocks) {
        block.write(0, self);
    }
}

impl Payload for [&[u8]] {
    fn length(&self) -> usize {
        self.iter().fold(0, |sum, piece| sum.saturating_add(piece.len()))
    }

    fn write_to(&self, block: &Blocks) {
        block.write_pieces(0, self);
    }
}
