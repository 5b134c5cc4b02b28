//! Words that lend, as Linux has them (`kernel/futex/pi.c`): who waits is handed the word, and who dies in it is taken out.
//!
//! The kernel knows whom the first that came to wait found there (`pi_state`). It hands the word on when that one unlocks it,
//! or dies; then the heir writes itself into the word, with `DIED`, when it runs. Meanwhile the word and the kernel disagree,
//! and whoever comes is sent away.

use std::ptr::with_exposed_provenance;

use loom::thread;
use underpass_core::kernel::{Kernel, Lent, Locked, Parked, Watch};
use underpass_shm::layout::mutex::{DIED, TID, WAITERS};
use underpass_shm::sync::AtomicU64;
use underpass_shm::sync::Ordering::{AcqRel, Acquire};

use super::{Dies, Place, Sleeper, State, ThreadKernel};

const UPPER: u64 = !0 << 32;

/// What is wrong with a thread's kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    /// Nothing.
    None,
    /// Who may be handed a word that lends does not name it.
    UnnamedHeir,
    /// Who gives it back does not say so where others wait.
    UntoldKernel,
}

/// A word for which somebody waits, or whose heir has not run yet.
#[derive(Debug)]
pub(super) struct Lending {
    at: usize,
    /// None: it died, and the heir has not written itself.
    owner: Option<u32>,
    heir: Option<u32>,
}

/// All of them.
pub(super) type Lendings = Vec<Lending>;

fn word<'a>(at: usize) -> &'a AtomicU64 {
    // SAFETY: S3, whoever waits for it or names it shares it until its thread has ended.
    unsafe { &*with_exposed_provenance::<AtomicU64>(at) }
}

/// Exchanges the lower half for what `change` makes of it; none: it leaves it. What it was.
fn exchange(word: &AtomicU64, change: impl Fn(u32) -> Option<u32>) -> u32 {
    loop {
        let before = word.fetch_or(0, AcqRel);
        let Some(after) = change(before as u32) else { return before as u32 };
        let after = before & UPPER | u64::from(after);
        if after == before || word.compare_exchange(before, after, AcqRel, Acquire).is_ok() {
            return before as u32;
        }
    }
}

impl State {
    /// The first of those who wait there is to have it.
    fn heir(&mut self, at: usize) -> Option<u32> {
        let place = Some(Place::Lent(at));
        let heir = self.sleepers.iter().find(|sleeper| sleeper.queued.contains(&place)).map(|sleeper| sleeper.life);
        self.wake(Place::Lent(at), 1);
        heir
    }

    /// What becomes of the words that a thread is in when it dies.
    pub(super) fn hand_on(&mut self, life: u32, named: usize) {
        if named & 1 == 1 {
            exchange(word(named - 1), |lower| (lower & TID == life).then_some(lower & WAITERS | DIED));
        }
        let owned: Vec<usize> = self.lendings.iter().filter(|it| it.owner == Some(life)).map(|it| it.at).collect();
        for at in owned {
            let heir = self.heir(at);
            self.lendings.retain(|it| it.at != at || heir.is_some());
            if let Some(lending) = self.lendings.iter_mut().find(|it| it.at == at) {
                (lending.owner, lending.heir) = (None, heir);
            }
        }
    }

    /// A thread that was handed a word by a death writes itself.
    pub(super) fn settle(&mut self, life: u32) {
        if let Some(lending) = self.lendings.iter_mut().find(|it| it.owner.is_none() && it.heir == Some(life)) {
            (lending.owner, lending.heir) = (Some(life), None);
            exchange(word(lending.at), |lower| Some(lower & DIED | DIED | WAITERS | life));
        }
    }

    /// Forgets a word for which nobody waits: whoever comes next goes by what stands in it.
    fn forget(&mut self, at: usize) {
        let place = Some(Place::Lent(at));
        let waits = self.sleepers.iter().any(|sleeper| sleeper.queued.contains(&place));
        self.lendings.retain(|it| it.at != at || waits || it.owner.is_none());
    }
}

/// What the kernel makes of one who comes.
enum Came {
    Mine,
    Queued,
    /// The word and the kernel disagree for a moment.
    Unsettled,
    /// It names somebody who does not exist.
    Nobody,
    Cycle,
}

impl ThreadKernel {
    /// The same thread, with that mistake.
    pub fn mistaken(&self, mistake: Mistake) -> Self {
        Self { mistake, ..Self::new(&self.world, self.life, self.dies) }
    }

    pub(super) fn forgets<T>(&self, word: *const T) -> bool {
        self.mistake == Mistake::UnnamedHeir && word.addr() & 1 == 1
    }

    fn come(&self, state: &mut State, lent: Lent<'_>, at: usize) -> Came {
        state.forget(at);
        let known = state.lendings.iter().find(|it| it.at == at).map(|it| it.owner);
        let dead = |tid: u32| state.dead.contains(&tid);
        let lower = exchange(lent.word, |lower| match (known, lower & TID) {
            (None, 0) => Some(lower | self.life),
            (None, there) if there == self.life => None,
            (_, _) => Some(lower | WAITERS),
        });
        match (known, lower & TID) {
            (None, 0) => Came::Mine,
            (_, there) if there == self.life => Came::Cycle,
            (None, there) if dead(there) => Came::Nobody,
            (None, there) => {
                state.lendings.push(Lending { at, owner: Some(there), heir: None });
                Came::Queued
            }
            (Some(_), 0) if lower & DIED != 0 => Came::Queued,
            (Some(Some(owner)), there) if there == owner => Came::Queued,
            (Some(_), _) => Came::Unsettled,
        }
    }

    pub(super) fn lock(&self, lent: Lent<'_>, watch: &mut Watch<'_>, until: Option<u64>) -> Locked {
        let at = std::ptr::from_ref(lent.word).expose_provenance();
        let mut state = self.world.state();
        match self.come(&mut state, lent, at) {
            Came::Mine => return Locked::Mine,
            Came::Cycle => return Locked::Cycle,
            Came::Unsettled => {
                drop(state);
                thread::yield_now();
                return Locked::Look;
            }
            Came::Nobody => {
                drop(state);
                // A nap, after which it would find whose life has ended; with no life in the word it would find that for ever.
                if lent.word.fetch_or(0, AcqRel) & UPPER != 0 {
                    return Locked::Look;
                }
                return match self.park(watch, &[], until) {
                    Parked::Expired => Locked::Expired,
                    _ => Locked::Look,
                };
            }
            Came::Queued if until == Some(0) => {
                state.forget(at);
                return Locked::Expired;
            }
            Came::Queued => {}
        }
        state.sleepers.push(Sleeper {
            life: self.life,
            thread: thread::current(),
            queued: vec![Some(Place::Lent(at))],
            woken: Vec::new(),
            batons: Vec::new(),
            named: self.named(),
            killed: false,
            can_expire: until.is_some(),
            ended: None,
            for_step: false,
        });
        state.tell_onlooker();
        drop(state);
        self.sleep(at)
    }

    /// Until it is handed the word, or leaves.
    fn sleep(&self, at: usize) -> Locked {
        loop {
            thread::park();
            let mut state = self.world.state();
            let mine = state.sleepers.iter().position(|sleeper| sleeper.life == self.life).expect("still listed");
            let Sleeper { ended, killed, ref woken, .. } = state.sleepers[mine];
            let handed = !woken.is_empty();
            if !handed && !killed && ended.is_none() {
                continue;
            }
            state.sleepers.remove(mine);
            if killed {
                drop(state);
                self.vanish();
            }
            if !handed {
                state.forget(at);
                return if ended == Some(Parked::Interrupted) { Locked::Interrupted } else { Locked::Expired };
            }
            state.settle(self.life);
            drop(state);
            if self.dies == Dies::AfterPark {
                self.die();
            }
            return Locked::Mine;
        }
    }

    pub(super) fn unlock(&self, lent: Lent<'_>) {
        if self.dies == Dies::BeforeWake {
            self.die();
        }
        if self.mistake == Mistake::UntoldKernel {
            return;
        }
        let at = std::ptr::from_ref(lent.word).expose_provenance();
        let mut state = self.world.state();
        let heir = state.heir(at);
        exchange(lent.word, |lower| {
            assert_eq!(lower & TID, self.life, "nobody unlocks what is not its own");
            Some(heir.map_or(0, |heir| heir | WAITERS))
        });
        if let Some(lending) = state.lendings.iter_mut().find(|it| it.at == at) {
            lending.owner = heir;
        }
        state.lendings.retain(|it| it.at != at || heir.is_some());
    }
}
