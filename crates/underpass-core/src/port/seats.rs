//! The channels that a server knows, each at its seat: looked at where something may be posted.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use underpass_shm::layout::port::{ACTIVE_WORDS, PortWords, WORD_BITS};
use underpass_shm::sync::{AtomicU32, Ordering::Relaxed};

use super::channel::Channel;
use super::stack::{STACKS, Stack, Taken};
use super::{active, doorbell};
use crate::kernel::Kernel;

/// So many looks in a row find nothing, and the next comes when the client says so.
const IDLE: u32 = 16;

/// A channel at its seat.
#[derive(Debug)]
pub struct Seated {
    /// Its memory.
    pub channel: Channel,
    /// The number that its gate was given.
    pub badge: u64,
    seat: u32,
    /// Looks in a row that found nothing; guessed by several threads at once.
    idle: AtomicU32,
}

/// A call that was taken and waits for its reply.
#[derive(Debug, Clone)]
pub struct Call {
    /// Who calls.
    pub by: Arc<Seated>,
    stack: usize,
    /// What was taken.
    pub taken: Taken,
}

impl Call {
    /// Where it came from, and where its reply goes.
    #[inline]
    #[must_use]
    pub fn stack(&self) -> &Stack {
        &self.by.channel.stacks[self.stack]
    }

    /// The same caller's next call has been posted.
    #[inline]
    #[must_use]
    pub fn has_next(&self) -> bool {
        self.stack().is_posted()
    }

    /// Takes the same caller's next call.
    #[inline]
    #[must_use]
    pub fn take_next(&self, limit: usize) -> Option<Self> {
        Self::take(&self.by, self.stack, limit)
    }

    #[inline]
    fn take(by: &Arc<Seated>, stack: usize, limit: usize) -> Option<Self> {
        let taken = by.channel.stacks[stack].take(limit)?;
        Some(Self { by: by.clone(), stack, taken })
    }
}

impl Seated {
    fn take(self: &Arc<Self>, limit: usize) -> Option<Call> {
        let call = (0..STACKS).find_map(|stack| Call::take(self, stack, limit))?;
        self.idle.store(0, Relaxed);
        Some(call)
    }

    /// Another look has found nothing; true once that were enough. A client that cannot set its bit keeps it.
    fn is_idle(&self) -> bool {
        if self.channel.line.is_some() {
            return false;
        }
        let looks = self.idle.load(Relaxed) + 1;
        self.idle.store(looks, Relaxed);
        looks > IDLE
    }
}

type Row = Vec<Option<Arc<Seated>>>;

/// All of them. A seat that became free is given away again.
#[derive(Debug, Default)]
pub struct Seats {
    row: RwLock<Row>,
}

impl Seats {
    fn row(&self) -> RwLockReadGuard<'_, Row> {
        self.row.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn row_alone(&self) -> RwLockWriteGuard<'_, Row> {
        self.row.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Channels known.
    pub fn count(&self) -> usize {
        self.row().iter().flatten().count()
    }

    /// Channels of those who have no life here, of one user.
    pub fn count_of(&self, uid: u32) -> usize {
        let row = self.row();
        row.iter().flatten().filter(|seated| seated.channel.line.is_some() && seated.channel.peer.uid == uid).count()
    }

    /// Calls that wait to be taken.
    pub fn queued(&self) -> usize {
        self.row().iter().flatten().flat_map(|seated| &seated.channel.stacks).filter(|stack| stack.is_posted()).count()
    }

    /// Gives a channel a seat, unless `refused` says, under the lock, that it is too late for it: then it comes back.
    pub fn add(
        &self,
        kernel: &dyn Kernel,
        words: &PortWords,
        channel: Channel,
        badge: u64,
        refused: impl FnOnce() -> bool,
    ) -> Option<Channel> {
        let mut row = self.row_alone();
        if refused() {
            return Some(channel);
        }
        let free = row.iter().position(Option::is_none).unwrap_or(row.len());
        let seat = free as u32;
        channel.settle(seat);
        // What was posted before the client could know its seat is found by the next look.
        active::show(words, seat);
        channel.tell_standing(kernel);
        let seated = Some(Arc::new(Seated { channel, badge, seat, idle: AtomicU32::new(0) }));
        if free == row.len() {
            row.push(seated);
        } else {
            row[free] = seated;
        }
        None
    }

    /// Takes away the channels that `condemned` names.
    pub fn remove(&self, condemned: impl Fn(&Seated) -> bool) -> Vec<Arc<Seated>> {
        if !self.row().iter().flatten().any(|seated| condemned(seated)) {
            return Vec::new();
        }
        self.row_alone().iter_mut().filter_map(|seat| seat.take_if(|seated| condemned(seated))).collect()
    }

    /// Looks everywhere, whatever the bits say, and sets those that are missing.
    pub fn show_all(&self, words: &PortWords) {
        for seated in self.row().iter().flatten().filter(|seated| seated.channel.is_posted()) {
            active::show(words, seated.seat);
        }
    }

    /// Something is posted where the server looks.
    pub fn any(&self, words: &PortWords) -> bool {
        let row = self.row();
        visit(words, 0, |bit| sharing(&row, bit).any(|seated| seated.channel.is_posted()).then_some(())).is_some()
    }

    /// Takes a call that is posted: first from those who sit behind the last partner.
    pub fn take(&self, kernel: &dyn Kernel, words: &PortWords, last: Option<&Call>, limit: usize) -> Option<Call> {
        let row = self.row();
        let last = last.map(|call| call.by.seat);
        visit(words, last.map_or(0, |seat| seat + 1), |bit| {
            let mut idle = true;
            for seated in sharing(&row, bit) {
                if let Some(call) = seated.take(limit) {
                    return Some(call);
                }
                idle &= seated.is_idle() && last != Some(seated.seat);
            }
            if !idle {
                return None;
            }
            // SYNC(port-4): looked at once more after the bit was cleared.
            active::hide(words, bit);
            let call = sharing(&row, bit).find_map(|seated| seated.take(limit))?;
            active::show(words, bit);
            // Another thread that went to sleep in between may have missed a second call there.
            doorbell::ring(kernel, words);
            Some(call)
        })
    }
}

/// The channels of one bit.
fn sharing(row: &Row, bit: u32) -> impl Iterator<Item = &Arc<Seated>> {
    row.iter().skip(bit as usize).step_by(active::BITS as usize).flatten()
}

/// Visits the bits that are set, from that of seat `first` on, round to the one before it.
fn visit<T>(words: &PortWords, first: u32, mut see: impl FnMut(u32) -> Option<T>) -> Option<T> {
    let first = first % active::BITS;
    let before = (1 << (first % WORD_BITS)) - 1;
    for turn in 0..=ACTIVE_WORDS {
        let word = ((first / WORD_BITS) as usize + turn) % ACTIVE_WORDS;
        let mut bits = active::bits(words, word);
        match turn {
            0 => bits &= !before,
            ACTIVE_WORDS => bits &= before,
            _ => {}
        }
        while bits != 0 {
            if let Some(seen) = see(word as u32 * WORD_BITS + bits.trailing_zeros()) {
                return Some(seen);
            }
            bits &= bits - 1;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use underpass_shm::layout::port::PortWords;

    use super::{active, visit};

    #[test]
    fn test_every_active_seat_is_visited_once_from_the_first_on() {
        let words = PortWords::new();
        let seats = [0, 5, 63, 64, 130, 1022, 1023];
        for seat in seats {
            active::show(&words, seat);
        }
        for first in [0, 5, 6, 63, 64, 65, 500, 1023, 1024 + 130] {
            let mut seen = Vec::new();
            assert_eq!(
                visit(&words, first, |bit| {
                    seen.push(bit);
                    None::<()>
                }),
                None
            );
            let (mut expected, behind): (Vec<u32>, Vec<u32>) =
                seats.iter().partition(|seat| **seat >= first % active::BITS);
            expected.extend(behind);
            assert_eq!(seen, expected, "from {first}");
        }
        active::hide(&words, 1024 + 5);
        assert_eq!(visit(&words, 1, Some), Some(63));
    }
}
