//! Typed views of shared bytes, each keeping its mapping alive.
//!
//! In the product a view is a pointer into a [`Region`](crate::region::Region); under loom it owns what it shows, since
//! loom cannot lay its atomics over raw bytes. The cast is what loom does not see.

use std::ops::Deref;
use std::sync::Arc;

#[cfg(not(loom))]
use crate::region::Region;
use crate::sync::{AtomicU32, AtomicU64};

/// A type that may lie in shared memory.
///
/// # Safety
/// S1: the type is `repr(C)` and consists of atomics only, so that every bit pattern is a value and every access is
/// shared; its alignment is at most 4096, a page.
pub unsafe trait Shared: Sync {}

// SAFETY: S1, they are atomics.
unsafe impl Shared for AtomicU32 {}
// SAFETY: S1.
unsafe impl Shared for AtomicU64 {}

/// One `T` in shared memory.
#[derive(Debug)]
pub struct Placed<T> {
    slice: PlacedSlice<T>,
}

/// Several `T` in a row in shared memory.
#[derive(Debug)]
pub struct PlacedSlice<T> {
    #[cfg(not(loom))]
    first: std::ptr::NonNull<T>,
    #[cfg(not(loom))]
    length: usize,
    #[cfg(not(loom))]
    region: Arc<Region>,
    #[cfg(loom)]
    values: Arc<[T]>,
}

impl<T> Clone for PlacedSlice<T> {
    fn clone(&self) -> Self {
        #[cfg(not(loom))]
        return Self { first: self.first, length: self.length, region: self.region.clone() };
        #[cfg(loom)]
        return Self { values: self.values.clone() };
    }
}

impl<T> Clone for Placed<T> {
    fn clone(&self) -> Self {
        Self { slice: self.slice.clone() }
    }
}

#[cfg(not(loom))]
// SAFETY: S1, all that the view gives out are shared references to atomics.
unsafe impl<T: Shared> Send for PlacedSlice<T> {}
#[cfg(not(loom))]
// SAFETY: S1.
unsafe impl<T: Shared> Sync for PlacedSlice<T> {}

#[cfg(not(loom))]
impl<T: Shared> PlacedSlice<T> {
    /// The `length` values that start at `offset` of the region; none if they do not lie inside it, aligned.
    #[must_use]
    pub fn at(region: &Arc<Region>, offset: usize, length: usize) -> Option<Self> {
        let bytes = length.checked_mul(size_of::<T>())?;
        if offset.checked_add(bytes)? > region.len() || !offset.is_multiple_of(align_of::<T>()) {
            return None;
        }
        let first = region.pointer(offset).cast();
        Some(Self { first, length, region: region.clone() })
    }
}

#[cfg(not(loom))]
impl<T: Shared> PlacedSlice<T> {
    /// Has the system find room for some of the values, where they may lie in a hole of the file.
    pub fn furnish(&self, values: std::ops::Range<usize>, what: &str) -> crate::Result<()> {
        let start = self.first.addr().get() - self.region.addresses().start;
        self.region.furnish(start + values.start * size_of::<T>()..start + values.end * size_of::<T>(), what)
    }
}

#[cfg(not(loom))]
impl PlacedSlice<AtomicU64> {
    /// Where the bytes of the words from that one on start, for whom the protocol lets write or read them in place.
    ///
    /// # Panics
    /// If there is no such word.
    #[must_use]
    pub fn start(&self, index: usize) -> *mut u8 {
        assert!(index < self.length, "an index that was checked");
        // SAFETY: S2, just checked.
        unsafe { self.first.as_ptr().add(index).cast() }
    }
}

#[cfg(not(loom))]
impl<T: Shared> Placed<T> {
    /// The value at `offset` of the region; none if it does not lie inside it, aligned.
    #[must_use]
    pub fn at(region: &Arc<Region>, offset: usize) -> Option<Self> {
        PlacedSlice::at(region, offset, 1).map(|slice| Self { slice })
    }
}

#[cfg(loom)]
impl<T> PlacedSlice<T> {
    /// Takes the values that loom constructed.
    pub fn own(values: Vec<T>) -> Self {
        Self { values: values.into() }
    }
}

#[cfg(loom)]
impl<T> Placed<T> {
    /// Takes the value that loom constructed.
    pub fn own(value: T) -> Self {
        Self { slice: PlacedSlice::own(vec![value]) }
    }
}

impl<T> Deref for PlacedSlice<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        #[cfg(not(loom))]
        // SAFETY: S2, `at` checked the bounds and the alignment, and `region` keeps the mapping.
        return unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.length) };
        #[cfg(loom)]
        return &self.values;
    }
}

impl<T> Deref for Placed<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.slice[0]
    }
}

/// Payload in shared memory: a row of blocks of one size, copied in and out, never borrowed.
#[derive(Debug, Clone)]
pub struct Blocks {
    block: usize,
    #[cfg(not(loom))]
    bytes: PlacedSlice<std::sync::atomic::AtomicU8>,
    #[cfg(loom)]
    cells: Arc<[loom::cell::UnsafeCell<Vec<u8>>]>,
}

#[cfg(not(loom))]
// SAFETY: S1.
unsafe impl Shared for std::sync::atomic::AtomicU8 {}

#[cfg(loom)]
// SAFETY: S3, loom's cells report every access that the algorithm does not order.
unsafe impl Sync for Blocks {}
#[cfg(loom)]
// SAFETY: S3.
unsafe impl Send for Blocks {}

impl Blocks {
    /// `count` blocks of `block` bytes that start at `offset` of the region; none if they do not lie inside it.
    #[cfg(not(loom))]
    #[must_use]
    pub fn at(region: &Arc<Region>, offset: usize, block: usize, count: usize) -> Option<Self> {
        let bytes = PlacedSlice::at(region, offset, block.checked_mul(count)?)?;
        Some(Self { block, bytes })
    }

    /// Blocks for loom to watch.
    #[cfg(loom)]
    pub fn own(block: usize, count: usize) -> Self {
        let cells = (0..count).map(|_| loom::cell::UnsafeCell::new(vec![0; block])).collect::<Vec<_>>();
        Self { block, cells: cells.into() }
    }

    /// Bytes in a block.
    #[must_use]
    pub fn block_size(&self) -> usize {
        self.block
    }

    /// Copies `data` to the start of a block.
    ///
    /// # Panics
    /// If the block does not exist or is too small: callers check what they read from shared memory.
    #[inline]
    pub fn write(&self, block: usize, data: &[u8]) {
        assert!(data.len() <= self.block);
        #[cfg(not(loom))]
        // SAFETY: S3, `start` checked the bounds; who may write the block is the object's protocol.
        unsafe {
            std::ptr::copy_nonoverlapping(data.as_ptr(), self.start(block), data.len());
        }
        #[cfg(loom)]
        // SAFETY: S3.
        self.cells[block].with_mut(|cell| unsafe { (&mut (*cell))[..data.len()].copy_from_slice(data) });
    }

    /// Copies pieces to a block, one behind the other.
    ///
    /// # Panics
    /// If the block does not exist or is smaller than all of them: callers check what they read from shared memory.
    pub fn write_pieces(&self, block: usize, pieces: &[&[u8]]) {
        let mut end = 0;
        for piece in pieces {
            let start = end;
            end += piece.len();
            assert!(end <= self.block);
            #[cfg(not(loom))]
            // SAFETY: S3, as `write`, and the piece ends inside the block.
            unsafe {
                std::ptr::copy_nonoverlapping(piece.as_ptr(), self.start(block).add(start), piece.len());
            }
            #[cfg(loom)]
            // SAFETY: S3.
            self.cells[block].with_mut(|cell| unsafe { (&mut (*cell))[start..end].copy_from_slice(piece) });
        }
    }

    /// Copies the start of a block to `out`.
    ///
    /// # Panics
    /// If the block does not exist or is smaller than `out`: callers check what they read from shared memory.
    #[inline]
    pub fn read(&self, block: usize, out: &mut [u8]) {
        assert!(out.len() <= self.block);
        #[cfg(not(loom))]
        // SAFETY: S3.
        unsafe {
            std::ptr::copy_nonoverlapping(self.start(block), out.as_mut_ptr(), out.len());
        }
        #[cfg(loom)]
        // SAFETY: S3.
        self.cells[block].with(|cell| unsafe { out.copy_from_slice(&(&(*cell))[..out.len()]) });
    }

    /// Copies `data` over blocks in a row, from the start of `first` on.
    ///
    /// # Panics
    /// If they are not that many bytes: callers check what they read from shared memory.
    #[inline]
    pub fn write_across(&self, first: usize, data: &[u8]) {
        #[cfg(not(loom))]
        // SAFETY: S3, `across` checked the bounds; who may write the blocks is the object's protocol.
        unsafe {
            std::ptr::copy_nonoverlapping(data.as_ptr(), self.across(first, data.len()), data.len());
        }
        #[cfg(loom)]
        for (cell, piece) in self.cells[first..].iter().zip(data.chunks(self.block)) {
            // SAFETY: S3.
            cell.with_mut(|cell| unsafe { (&mut (*cell))[..piece.len()].copy_from_slice(piece) });
        }
    }

    /// Copies blocks in a row to `out`, from the start of `first` on.
    ///
    /// # Panics
    /// If they are not that many bytes: callers check what they read from shared memory.
    #[inline]
    pub fn read_across(&self, first: usize, out: &mut [u8]) {
        #[cfg(not(loom))]
        // SAFETY: S3.
        unsafe {
            std::ptr::copy_nonoverlapping(self.across(first, out.len()), out.as_mut_ptr(), out.len());
        }
        #[cfg(loom)]
        for (cell, piece) in self.cells[first..].iter().zip(out.chunks_mut(self.block)) {
            // SAFETY: S3.
            cell.with(|cell| unsafe { piece.copy_from_slice(&(&(*cell))[..piece.len()]) });
        }
    }

    /// Where so many bytes from the start of a block on are.
    #[cfg(not(loom))]
    #[inline]
    fn across(&self, first: usize, length: usize) -> *mut u8 {
        let offset = first.checked_mul(self.block).expect("a block index that was checked");
        assert!(length <= self.bytes.len().saturating_sub(offset), "a length that was checked");
        // SAFETY: S2, just checked.
        unsafe { self.bytes.first.as_ptr().cast::<u8>().add(offset) }
    }

    /// Where a block starts, for a buffer that Python reads or writes in place while it holds the block.
    ///
    /// # Panics
    /// If the block does not exist.
    #[cfg(not(loom))]
    #[inline]
    #[must_use]
    pub fn start(&self, block: usize) -> *mut u8 {
        let offset = block.checked_mul(self.block).expect("a block index that was checked");
        assert!(offset + self.block <= self.bytes.len(), "a block index that was checked");
        // SAFETY: S2, just checked.
        unsafe { self.bytes.first.as_ptr().cast::<u8>().add(offset) }
    }
}
