//! Blocks and those who sleep for one, with one line to spoil.

use underpass_core::kernel::{Owed, Parked, Watch};
use underpass_shm::life::Life;
use underpass_shm::sync::Ordering::{AcqRel, Acquire, Relaxed};
use underpass_shm::sync::{AtomicU32, AtomicU64};

use super::*;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mistake {
    None,
    /// Who gives a block back says so before it does.
    TellsFirst,
    /// Who waits looks before it announces itself.
    AnnouncesLate,
    /// The owner's word does not publish the bytes.
    Unordered,
    /// The generation stays: a reference is good for ever.
    KeptGeneration,
    /// Who gives a block back wakes one, which may need another.
    WakesOne,
    /// Who frees a dead one's blocks does not tell the others that watched it.
    KeptNews,
    /// No baton is named.
    NoBaton,
}

/// Two blocks. Their owners' generations are in the upper halves.
struct Blocked {
    owners: [AtomicU64; 2],
    news: AtomicU32,
    baton: AtomicU32,
    bytes: Blocks,
}

const WAITED_FOR: u32 = 1;

impl Blocked {
    /// Owned by those; 0: free.
    fn new(owners: [u32; 2]) -> Arc<Self> {
        let owners = owners.map(|owner| AtomicU64::new(u64::from(owner)));
        Arc::new(Self { owners, news: AtomicU32::new(0), baton: AtomicU32::new(0), bytes: Blocks::own(1, 2) })
    }

    fn change(&self, block: usize, from: u64, process: u32, mistake: Mistake) -> bool {
        let raised = u64::from(process != 0 && mistake != Mistake::KeptGeneration);
        let next = ((from >> 32) + raised) << 32 | u64::from(process);
        let order = if mistake == Mistake::Unordered { Relaxed } else { AcqRel };
        self.owners[block].compare_exchange(from, next, order, Relaxed).is_ok()
    }

    fn tell(&self, kernel: &dyn Kernel, mistake: Mistake) {
        if self.news.fetch_add(2, AcqRel) & WAITED_FOR != 0
            && self.news.fetch_and(!WAITED_FOR, AcqRel) & WAITED_FOR != 0
        {
            kernel.wake(&self.news, if mistake == Mistake::WakesOne { 1 } else { u32::MAX });
        }
    }

    fn release(&self, kernel: &dyn Kernel, block: usize, mistake: Mistake) {
        let _owed = (mistake != Mistake::NoBaton).then(|| Owed::name(kernel, &self.baton));
        if mistake == Mistake::TellsFirst {
            self.tell(kernel, mistake);
        }
        self.change(block, self.owners[block].load(Relaxed), 0, mistake);
        if mistake != Mistake::TellsFirst {
            self.tell(kernel, mistake);
        }
    }

    /// A free block of these.
    fn take(&self, kernel: &dyn Kernel, from: usize, mistake: Mistake) -> Option<usize> {
        let me = sure(kernel.me()).process.0;
        (from..2).find(|block| {
            let word = self.owners[*block].load(Relaxed);
            word as u32 == 0 && self.change(*block, word, me, mistake)
        })
    }

    fn alloc(&self, kernel: &dyn Kernel, from: usize, mistake: Mistake) -> usize {
        let _owed = (mistake != Mistake::NoBaton).then(|| Owed::name(kernel, &self.baton));
        let (mut early, mut slept) = (None, false);
        loop {
            if mistake == Mistake::AnnouncesLate {
                early = self.take(kernel, from, mistake);
            }
            let mut watch = Watch::new();
            watch.word(&self.news, self.news.fetch_or(WAITED_FOR, AcqRel) | WAITED_FOR);
            let taken = early
                .or_else(|| if mistake == Mistake::AnnouncesLate { None } else { self.take(kernel, from, mistake) });
            if let Some(block) = taken {
                self.bytes.write(block, &[1]);
                if slept && mistake != Mistake::KeptNews {
                    self.tell(kernel, mistake);
                }
                return block;
            }
            let mut freed = false;
            for block in 0..2 {
                let word = self.owners[block].load(Acquire);
                let owner = Life(word as u32);
                if owner == Life::NOBODY || kernel.alive(owner) {
                    watch.life(owner);
                } else {
                    freed |= self.change(block, word, 0, mistake);
                }
            }
            if freed {
                if mistake != Mistake::KeptNews {
                    self.tell(kernel, mistake);
                }
                continue;
            }
            if kernel.park(&watch, &[&self.baton], None) == Parked::Baton {
                self.news.fetch_add(2, AcqRel);
                kernel.wake(&self.news, u32::MAX);
            }
            slept = true;
        }
    }
}

/// Two blocks are given back, and two wait.
fn one_gives_back(mistake: Mistake, dies: Dies) {
    explore_long(move || {
        let world = if matches!(dies, Dies::Never) { World::new() } else { World::mortal() };
        let pool = Blocked::new([0, 0]);
        world.run(3, |kernel| {
            assert_eq!((pool.alloc(kernel, 0, mistake), pool.alloc(kernel, 1, mistake)), (0, 1));
        });
        let waiters = [1, 2].map(|life| {
            let pool = pool.clone();
            world.spawn(life, move |kernel| pool.alloc(kernel, 0, mistake))
        });
        let giver = {
            let pool = pool.clone();
            // As whoever the blocks belong to.
            world.spawn_dying(4, dies, move |kernel| {
                for block in [0, 1] {
                    pool.bytes.write(block, &[2]);
                    pool.release(kernel, block, mistake);
                }
            })
        };
        if giver.end().is_none() {
            world.run(5, |kernel| {
                for block in (0..2).filter(|block| pool.owners[*block].load(Acquire) as u32 & 0x7fff_ffff == 3) {
                    pool.release(kernel, block, Mistake::None);
                }
            });
        }
        let mut got = join(waiters);
        got.sort_unstable();
        assert_eq!(got, [0, 1]);
    });
}

/// Two wait, and the first block that is given back fits one of them alone.
fn one_fits(mistake: Mistake) {
    explore_long(move || {
        let (world, pool) = (World::new(), Blocked::new([0, 0]));
        world.run(3, |kernel| [0, 1].map(|block| pool.alloc(kernel, block, mistake)));
        let [large, any] = [1, 0].map(|from| {
            let pool = pool.clone();
            world.spawn(1 + from as u32, move |kernel| pool.alloc(kernel, from, mistake))
        });
        world.until_asleep(2);
        world.run(4, |kernel| pool.release(kernel, 0, mistake));
        assert_eq!(any.join(), 0);
        world.run(4, |kernel| pool.release(kernel, 1, mistake));
        assert_eq!(large.join(), 1);
    });
}

/// One who owns both dies, and two wait.
fn owner_dies(mistake: Mistake) {
    explore_long(move || {
        let (world, pool) = (World::mortal(), Blocked::new([0, 0]));
        world.run(1, |kernel| [0, 1].map(|block| pool.alloc(kernel, block, mistake)));
        let owner = world.spawn(1, |kernel| kernel.die());
        let waiters = [2, 3].map(|life| {
            let pool = pool.clone();
            world.spawn(life, move |kernel| pool.alloc(kernel, 0, mistake))
        });
        owner.end();
        let mut got = join(waiters);
        got.sort_unstable();
        assert_eq!(got, [0, 1]);
    });
}

/// What one has received is not received by another, who comes later with the same reference.
fn two_receive(mistake: Mistake) {
    explore(move || {
        let (world, pool) = (World::new(), Blocked::new([0, 0]));
        world.run(3, |kernel| assert_eq!(pool.alloc(kernel, 0, mistake), 0));
        let generation = pool.owners[0].load(Acquire) >> 32;
        let receivers = [1, 2].map(|life| {
            let pool = pool.clone();
            world.spawn(life, move |kernel| {
                let me = sure(kernel.me()).process.0;
                let word = pool.owners[0].load(Acquire);
                word >> 32 == generation && pool.change(0, word, me, mistake)
            })
        });
        let mut got = join(receivers);
        got.sort_unstable();
        assert_eq!(got, [false, true], "twice");
    });
}

#[test]
fn test_without_a_mistake() {
    one_gives_back(Mistake::None, Dies::Never);
    one_gives_back(Mistake::None, Dies::BeforeWake);
    one_fits(Mistake::None);
    owner_dies(Mistake::None);
    two_receive(Mistake::None);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_telling_first_is_found() {
    one_gives_back(Mistake::TellsFirst, Dies::Never);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_a_late_announcement_is_found() {
    one_gives_back(Mistake::AnnouncesLate, Dies::Never);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn test_an_unordered_word_is_found() {
    one_gives_back(Mistake::Unordered, Dies::Never);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_a_wake_of_one_is_found() {
    one_fits(Mistake::WakesOne);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_no_baton_is_found() {
    one_gives_back(Mistake::NoBaton, Dies::BeforeWake);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_kept_news_of_a_death_is_found() {
    owner_dies(Mistake::KeptNews);
}

#[test]
#[should_panic(expected = "twice")]
fn test_a_kept_generation_is_found() {
    two_receive(Mistake::KeptGeneration);
}
