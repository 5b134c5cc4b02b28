//! A word that lends, in a world without priorities: the states are the kernel's, and who waits does so as for any other.
//!
//! A thread id stands for a life here ([`Life::tid`]). Nothing is handed over: the lower half becomes vacant, all look, and
//! one is the first. So whatever order a kernel might have chosen is one of those that come about.

use underpass_shm::layout::mutex::{DIED, TID, WAITERS};
use underpass_shm::life::Life;
use underpass_shm::sync::Ordering::{AcqRel, Acquire, Relaxed};

use super::{Kernel, Lent, Locked, Parked, Watch};
use crate::Result;

const UPPER: u64 = !0 << 32;

/// What [`Kernel::lock_pi`] says.
pub(super) fn lock<K: Kernel + ?Sized>(
    kernel: &K,
    lent: Lent<'_>,
    watch: &mut Watch<'_>,
    until: Option<u64>,
) -> Result<Locked> {
    let Lent { word, turn, tid } = lent;
    loop {
        let turned = turn.load(Acquire);
        let before = word.load(Acquire);
        let lower = before as u32;
        let there = Life(lower & TID);
        let dead = there != Life::NOBODY && !kernel.alive(there);
        let is_vacant = there == Life::NOBODY || dead;
        let after = if is_vacant {
            lower & (WAITERS | DIED) | tid | if dead { DIED } else { 0 }
        } else if there.0 == tid {
            return Ok(Locked::Cycle);
        } else {
            lower | WAITERS
        };
        let after = before & UPPER | u64::from(after);
        if word.compare_exchange(before, after, AcqRel, Relaxed).is_err() {
            continue;
        }
        if is_vacant {
            return Ok(Locked::Mine);
        }
        if until == Some(0) {
            return Ok(Locked::Expired);
        }
        let mut sleep = Watch::new();
        sleep.purpose = watch.purpose.take();
        sleep.word(turn, turned);
        sleep.life(there);
        let parked = kernel.park(&sleep, &[], until);
        watch.purpose = sleep.purpose;
        return Ok(match parked {
            Parked::Look | Parked::Baton => Locked::Look,
            Parked::Expired => Locked::Expired,
            Parked::Interrupted => Locked::Interrupted,
        });
    }
}

/// What [`Kernel::unlock_pi`] says.
pub(super) fn unlock<K: Kernel + ?Sized>(kernel: &K, lent: Lent<'_>) {
    lent.word.fetch_and(UPPER, AcqRel);
    lent.turn.fetch_add(1, AcqRel);
    kernel.wake(lent.turn, u32::MAX);
}
