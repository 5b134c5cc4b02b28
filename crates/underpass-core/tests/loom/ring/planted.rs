//! A ring's claim and its reader's wait, with mistakes in them that loom has to find.
//!
//! [`underpass_core::ring`] is the algorithm; these lines are its skeleton: three packets, the count of claims, and one word on which the reader
//! sleeps.

use underpass_core::kernel::{Owed, Parked, Watch};
use underpass_shm::life::Life;
use underpass_shm::sync::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use underpass_shm::sync::{AtomicU32, fence};

use super::*;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mistake {
    None,
    /// A claim is a store: two find the same packet free.
    Stores,
    /// Who finds a claim that is not counted waits for its owner to count it.
    HelpsNot,
    /// The exchange does not publish the bytes.
    Unordered,
    /// The packet is committed before its bytes are there.
    CommitsFirst,
    /// Who claims what is read next says nothing: nobody watches it.
    ClaimsQuietly,
    /// Who commits looks whether the reader sleeps before it commits.
    TellsFirst,
    /// No baton is named.
    NoBaton,
    /// What a dead one has claimed is waited for.
    WaitsForTheDead,
}

const FREE: u32 = 0;
const COMMITTED: u32 = 1;
const SLEEPS: u32 = 1 << 31;

struct Skeleton {
    packets: [AtomicU32; 3],
    claims: AtomicU32,
    freed: AtomicU32,
    news: AtomicU32,
    baton: AtomicU32,
    bytes: Blocks,
}

impl Skeleton {
    fn new() -> Arc<Self> {
        let word = || AtomicU32::new(0);
        let packets = [word(), word(), word()];
        Arc::new(Self { packets, claims: word(), freed: word(), news: word(), baton: word(), bytes: Blocks::own(1, 3) })
    }

    fn tell(&self, kernel: &dyn Kernel) {
        fence(SeqCst);
        if self.news.load(Relaxed) & SLEEPS != 0 {
            self.news.store(self.news.load(Relaxed).wrapping_add(1) & !SLEEPS, Release);
            kernel.wake(&self.news, u32::MAX);
        }
    }

    /// Claims a packet. Who is about to die does not count it.
    fn claim(&self, me: u32, mistake: Mistake, counts: bool) -> Option<usize> {
        for _ in 0..3 {
            let number = self.claims.load(Acquire);
            let packet = &self.packets[number as usize];
            let was_free = packet.load(Acquire) == FREE;
            let mine = if mistake == Mistake::Stores {
                packet.store(me, Release);
                was_free
            } else {
                was_free && packet.compare_exchange(FREE, me, AcqRel, Relaxed).is_ok()
            };
            if mine && !counts {
                return Some(number as usize);
            }
            if mine || mistake != Mistake::HelpsNot {
                let _ = self.claims.compare_exchange(number, number + 1, AcqRel, Relaxed);
            }
            if mine {
                return Some(number as usize);
            }
        }
        None
    }

    fn commit(&self, kernel: &dyn Kernel, number: usize, byte: u8, mistake: Mistake) {
        let _owed = (mistake != Mistake::NoBaton).then(|| Owed::name(kernel, &self.baton));
        let order = if mistake == Mistake::Unordered { Relaxed } else { Release };
        if mistake == Mistake::TellsFirst {
            self.tell(kernel);
        }
        if mistake != Mistake::CommitsFirst {
            self.bytes.write(number, &[byte]);
        }
        self.packets[number].store(COMMITTED, order);
        if mistake == Mistake::CommitsFirst {
            self.bytes.write(number, &[byte]);
        }
        if mistake != Mistake::TellsFirst {
            self.tell(kernel);
        }
    }

    fn write(&self, kernel: &dyn Kernel, byte: u8, mistake: Mistake) {
        let me = sure(kernel.me()).process.0;
        let number = self.claim(me, mistake, true).expect("there is room, and a claim is always made");
        self.commit(kernel, number, byte, mistake);
    }

    fn read(&self, kernel: &dyn Kernel, mistake: Mistake) -> u8 {
        let _owed = (mistake != Mistake::NoBaton).then(|| Owed::name(kernel, &self.baton));
        loop {
            let mut watch = Watch::new();
            watch.word(&self.news, self.news.fetch_or(SLEEPS, AcqRel) | SLEEPS);
            fence(SeqCst);
            loop {
                let number = self.freed.load(Relaxed);
                let state = self.packets[number as usize].load(Acquire);
                if state == COMMITTED {
                    let mut out = [0];
                    self.bytes.read(number as usize, &mut out);
                    self.freed.store(number + 1, Release);
                    return out[0];
                }
                let owner = Life(state);
                if state == FREE {
                    break;
                }
                if mistake == Mistake::WaitsForTheDead || kernel.alive(owner) {
                    if mistake != Mistake::WaitsForTheDead {
                        watch.life(owner);
                    }
                    break;
                }
                self.freed.store(number + 1, Release);
            }
            if kernel.park(&watch, &[&self.baton], None) == Parked::Baton {
                self.news.fetch_add(1, AcqRel);
            }
        }
    }
}

/// Two write at the same time, and one reads.
fn two_write(mistake: Mistake) {
    explore_long(move || {
        let (world, ring) = (World::new(), Skeleton::new());
        let writers = [1, 2].map(|life| {
            let ring = ring.clone();
            world.spawn(life, move |kernel| ring.write(kernel, life as u8, mistake))
        });
        let mut got = world.run(3, |kernel| [ring.read(kernel, mistake), ring.read(kernel, mistake)]);
        join(writers);
        got.sort_unstable();
        assert_eq!(got, [1, 2], "lost");
    });
}

/// One writes, and one looks until the packet is there.
fn one_looks(mistake: Mistake) {
    explore(move || {
        let (world, ring) = (World::new(), Skeleton::new());
        let writer = {
            let ring = ring.clone();
            world.spawn(1, move |kernel| ring.write(kernel, 1, mistake))
        };
        while ring.packets[0].load(Acquire) != COMMITTED {
            loom::thread::yield_now();
        }
        let mut out = [0];
        ring.bytes.read(0, &mut out);
        assert_eq!(out, [1], "too early");
        writer.join();
    });
}

/// One claims, counts or not, and dies, while another writes and one reads.
fn one_dies(mistake: Mistake, counts: bool) {
    explore_long(move || {
        let (world, ring) = (World::mortal(), Skeleton::new());
        let dying = {
            let ring = ring.clone();
            world.spawn(1, move |kernel| {
                let me = sure(kernel.me()).process.0;
                let _owed = Owed::name(kernel, &ring.baton);
                ring.claim(me, mistake, counts);
                kernel.die();
            })
        };
        let writer = {
            let ring = ring.clone();
            world.spawn(2, move |kernel| ring.write(kernel, 2, mistake))
        };
        let got = world.run(3, |kernel| ring.read(kernel, mistake));
        dying.end();
        writer.join();
        assert_eq!(got, 2);
    });
}

/// The reader sleeps at the packet of one that dies, which another has committed behind before: nobody else will tell it.
fn claimed_ahead(mistake: Mistake) {
    explore(move || {
        let (world, ring) = (World::mortal(), Skeleton::new());
        let reader = {
            let ring = ring.clone();
            world.spawn(3, move |kernel| ring.read(kernel, mistake))
        };
        let dying = {
            let ring = ring.clone();
            world.spawn(1, move |kernel| {
                let me = sure(kernel.me()).process.0;
                ring.claim(me, mistake, true);
                fence(SeqCst);
                if mistake != Mistake::ClaimsQuietly {
                    ring.tell(kernel);
                }
                // The other's comes behind, and tells the reader, before this one dies without another word.
                let packet = &ring.packets[1];
                while packet.load(Acquire) != COMMITTED {
                    loom::thread::yield_now();
                }
                kernel.die();
            })
        };
        world.run(2, |kernel| {
            while ring.claims.load(Acquire) == 0 {
                loom::thread::yield_now();
            }
            let me = sure(kernel.me()).process.0;
            let number = ring.claim(me, mistake, true).expect("room");
            ring.bytes.write(number, &[2]);
            // It is told by the death alone: this commit says nothing, as one that was looked for before the reader slept.
            ring.packets[number].store(COMMITTED, Release);
        });
        dying.end();
        assert_eq!(reader.join(), 2);
    });
}

/// One dies between its commit and the wake.
fn dies_before_its_wake(mistake: Mistake) {
    explore(move || {
        let (world, ring) = (World::mortal(), Skeleton::new());
        let dying = {
            let ring = ring.clone();
            world.spawn_dying(1, Dies::BeforeWake, move |kernel| ring.write(kernel, 1, mistake))
        };
        assert_eq!(world.run(3, |kernel| ring.read(kernel, mistake)), 1);
        dying.end();
    });
}

#[test]
fn test_without_a_mistake() {
    two_write(Mistake::None);
    one_looks(Mistake::None);
    one_dies(Mistake::None, true);
    one_dies(Mistake::None, false);
    claimed_ahead(Mistake::None);
    dies_before_its_wake(Mistake::None);
}

#[test]
#[should_panic]
fn test_a_claim_that_is_a_store_is_found() {
    two_write(Mistake::Stores);
}

#[test]
#[should_panic(expected = "a claim is always made")]
fn test_a_claim_that_nobody_helps_is_found() {
    one_dies(Mistake::HelpsNot, false);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn test_an_unordered_commit_is_found() {
    one_looks(Mistake::Unordered);
}

#[test]
#[should_panic]
fn test_a_commit_before_the_bytes_is_found() {
    one_looks(Mistake::CommitsFirst);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_a_quiet_claim_is_found() {
    claimed_ahead(Mistake::ClaimsQuietly);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_telling_first_is_found() {
    two_write(Mistake::TellsFirst);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_no_baton_is_found() {
    dies_before_its_wake(Mistake::NoBaton);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_waiting_for_the_dead_is_found() {
    claimed_ahead(Mistake::WaitsForTheDead);
}
