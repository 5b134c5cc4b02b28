//! A mutex that is handed over, over the real slots, with one line to spoil.

use underpass_core::Kernel;
use underpass_core::kernel::Watch;
use underpass_core::waiters::{AWAITS, Room, UNRANKED, Waiters, Wish};
use underpass_shm::layout::lock::SLEEPERS;
use underpass_shm::life::Life;
use underpass_shm::sync::AtomicU32;
use underpass_shm::sync::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::*;

const WISH: Wish = Wish { value: 0, how: 0 };

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mistake {
    None,
    /// Who queues does not say so in the word: a release does not come to look.
    QueuesInSilence,
    /// While it is handed over it is free for whoever comes.
    FreeInBetween,
    /// Who hands it over names no baton.
    NoBaton,
    /// Who was handed it tells nobody: those behind it watch who had it before.
    UnwatchedHeir,
    /// What the dead were handed is gone with them.
    HandsNothingOn,
    /// Who comes says so before its name is in the word.
    ComesNameless,
    /// Who hands it to a task has nobody watch that.
    UnwatchedTask,
    /// Somebody is served while one returns it: another task of that one's thread is taken for it.
    ServesTwice,
}

struct Spoiled {
    word: AtomicU32,
    waiters: Waiters,
    mistake: Mistake,
}

/// The line, as one thread sees it.
struct Line<'a>(&'a Spoiled, &'a dyn Kernel, u32);

impl Spoiled {
    fn new(mistake: Mistake) -> Arc<Self> {
        Arc::new(Self { word: AtomicU32::new(0), waiters: waiters(2), mistake })
    }

    /// True if it was taken, false if its owner has died.
    fn acquire(&self, kernel: &dyn Kernel) -> bool {
        let me = sure(kernel.me()).thread.0;
        if self.word.compare_exchange(0, me, Acquire, Relaxed).is_ok() {
            return true;
        }
        let _owed = self.waiters.owe(kernel);
        if sure(self.waiters.wait(kernel, &Line(self, kernel, me), WISH, Deadline::Never)) == 2 {
            return false;
        }
        if self.mistake == Mistake::ComesNameless {
            self.word.swap(me | SLEEPERS, AcqRel);
        }
        if self.waiters.waiting().next().is_some() && self.mistake != Mistake::UnwatchedHeir {
            self.waiters.call_one(kernel);
        }
        true
    }

    fn release(&self, kernel: &dyn Kernel) {
        let me = sure(kernel.me()).thread.0;
        if self.word.compare_exchange(me, 0, Release, Relaxed).is_ok() {
            return;
        }
        self.word.fetch_xor(if self.mistake == Mistake::FreeInBetween { me | SLEEPERS } else { me }, AcqRel);
        let line = Line(self, kernel, me);
        let _held = sure(self.waiters.enter(kernel, &line));
        line.serve();
    }

    fn is_handed(&self) -> bool {
        let returns = self.waiters.returned().next().is_some() && self.mistake != Mistake::ServesTwice;
        self.waiters.granted().next().is_some() || returns
    }

    fn owner(&self) -> u32 {
        self.word.load(Acquire) & !SLEEPERS
    }

    /// A task's place.
    fn seat(&self, kernel: &dyn Kernel) -> usize {
        let line = Line(self, kernel, sure(kernel.me()).thread.0);
        let _held = sure(self.waiters.enter(kernel, &line));
        line.watch(WISH, &mut Watch::new());
        sure(self.waiters.seat(kernel, &line, Wish { how: AWAITS, ..WISH }, UNRANKED)).unwrap()
    }
}

impl Line<'_> {
    fn serve(&self) {
        let Self(mutex, kernel, _) = self;
        if mutex.is_handed() {
            return;
        }
        let owner = mutex.word.load(Acquire) & !SLEEPERS;
        if owner != 0 && kernel.alive(Life(owner)) {
            return;
        }
        let mut owed = None;
        while let Some(index) = mutex.waiters.first() {
            if mutex.mistake != Mistake::NoBaton {
                owed.get_or_insert_with(|| mutex.waiters.begin(*kernel));
            }
            let given = if owner == 0 { 1 } else { 2 };
            if mutex.waiters.grant(index, given) {
                if !mutex.waiters.tell(*kernel, index) {
                    mutex.waiters.dismiss(index);
                } else if given == 1 {
                    let task = mutex.waiters.wish(index).how & AWAITS != 0;
                    if task && mutex.mistake != Mistake::UnwatchedTask {
                        mutex.waiters.call_one(*kernel);
                    }
                    return;
                }
            }
        }
        let _ = mutex.word.compare_exchange(SLEEPERS, 0, AcqRel, Relaxed);
    }
}

impl Room for Line<'_> {
    fn ready(&self, _wish: Wish) -> bool {
        self.0.word.load(Relaxed) == 0
    }

    fn now(&self, _wish: Wish) -> Option<u64> {
        self.serve();
        let taken = self.0.word.compare_exchange(0, self.2, AcqRel, Relaxed);
        taken.is_ok().then_some(1)
    }

    fn watch<'a>(&'a self, _wish: Wish, watch: &mut Watch<'a>) {
        let silent = self.0.mistake == Mistake::QueuesInSilence;
        let before = self.0.word.fetch_or(if silent { 0 } else { SLEEPERS }, AcqRel);
        watch.life(Life(before & !SLEEPERS));
    }

    fn mend(&self, _kernel: &dyn Kernel) {
        self.serve();
    }

    fn come(&self, given: u64) {
        if given == 1 && self.0.mistake != Mistake::ComesNameless {
            self.0.word.swap(self.2 | SLEEPERS, AcqRel);
        }
    }

    fn take_back(&self, _kernel: &dyn Kernel, index: usize, _given: u64) {
        let came = self.0.waiters.life(index).0;
        let _ = self.0.word.compare_exchange(came | SLEEPERS, SLEEPERS, AcqRel, Relaxed);
        self.0.waiters.dismiss(index);
        if self.0.mistake != Mistake::HandsNothingOn {
            self.serve();
        }
    }
}

/// The mutex, and what it protects.
struct Shared(Arc<Spoiled>, UnsafeCell<u32>);

// SAFETY: S3, loom's cell reports every access that is not exclusive.
unsafe impl Sync for Shared {}
// SAFETY: S3.
unsafe impl Send for Shared {}

impl Shared {
    fn new(mistake: Mistake) -> Arc<Self> {
        Arc::new(Self(Spoiled::new(mistake), UnsafeCell::new(0)))
    }

    fn visit(&self, kernel: &dyn Kernel) -> bool {
        let taken = self.0.acquire(kernel);
        if taken {
            // SAFETY: S3, loom checks it.
            self.1.with_mut(|count| unsafe { *count += 1 });
            self.0.release(kernel);
        }
        taken
    }
}

fn sleeper(world: &Arc<World>, life: u32, dies: Dies, shared: &Arc<Shared>) -> Running<bool> {
    let running = world.spawn_dying(life, dies, {
        let shared = shared.clone();
        move |kernel| shared.visit(kernel)
    });
    until_waiting(world, life as usize, || shared.0.waiters.waiting().count());
    running
}

/// One queues while another gives it back.
fn queueing(mistake: Mistake) {
    explore(move || {
        let (world, shared) = (World::new(), Shared::new(mistake));
        world.run(2, |kernel| assert!(shared.0.acquire(kernel)));
        let other = world.spawn(1, {
            let shared = shared.clone();
            move |kernel| shared.visit(kernel)
        });
        world.run(2, |kernel| shared.0.release(kernel));
        assert!(other.join());
    });
}

/// One who sleeps for it and one who comes, while it is given back.
fn overtaking(mistake: Mistake) {
    explore(move || {
        let (world, shared) = (World::new(), Shared::new(mistake));
        world.run(3, |kernel| assert!(shared.0.acquire(kernel)));
        let first = sleeper(&world, 1, Dies::Never, &shared);
        let other = world.spawn(2, {
            let shared = shared.clone();
            move |kernel| shared.visit(kernel)
        });
        world.run(3, |kernel| shared.0.release(kernel));
        assert!(first.join() && other.join());
    });
}

/// One who sleeps, and one who comes as it is given back, finds whose turn it is, and dies before it has said so.
fn death_of_a_passer_by(mistake: Mistake) {
    explore(move || {
        let (world, shared) = (World::mortal(), Shared::new(mistake));
        world.run(2, |kernel| assert!(shared.0.acquire(kernel)));
        let first = sleeper(&world, 1, Dies::Never, &shared);
        let dying = world.spawn_dying(3, Dies::BeforeWake, {
            let shared = shared.clone();
            move |kernel| {
                let line = Line(&shared.0, kernel, 3);
                shared.0.waiters.wait(kernel, &line, WISH, Deadline::NoWait).map(|_| shared.0.release(kernel))
            }
        });
        world.run(2, |kernel| shared.0.release(kernel));
        assert!(first.join());
        dying.end();
    });
}

/// Two who sleep; the first is handed it and dies in its sleep.
fn death_of_the_woken(mistake: Mistake) {
    explore(move || {
        let (world, shared) = (World::mortal(), Shared::new(mistake));
        world.run(3, |kernel| assert!(shared.0.acquire(kernel)));
        let dying = sleeper(&world, 1, Dies::AfterPark, &shared);
        let other = sleeper(&world, 2, Dies::Never, &shared);
        world.run(3, |kernel| shared.0.release(kernel));
        assert!(other.join());
        assert_eq!(dying.end(), None);
    });
}

/// Two who sleep; the first has it and dies of it.
fn death_of_the_heir(mistake: Mistake) {
    explore(move || {
        let (world, shared) = (World::mortal(), Shared::new(mistake));
        world.run(3, |kernel| assert!(shared.0.acquire(kernel)));
        let dying = world.spawn(1, {
            let shared = shared.clone();
            move |kernel: &ThreadKernel| -> () {
                shared.0.acquire(kernel);
                kernel.die()
            }
        });
        until_waiting(&world, 1, || shared.0.waiters.waiting().count());
        let other = sleeper(&world, 2, Dies::Never, &shared);
        world.run(3, |kernel| shared.0.release(kernel));
        assert!(!other.join());
        assert_eq!(dying.end(), None);
    });
}

/// A task and one who sleeps; the task is handed it, and dies before its loop looks.
fn death_of_a_task(mistake: Mistake) {
    explore(move || {
        let (world, shared) = (World::mortal(), Shared::new(mistake));
        world.run(3, |kernel| assert!(shared.0.acquire(kernel)));
        let dying = world.spawn(1, {
            let shared = shared.clone();
            move |kernel: &ThreadKernel| -> () {
                let seat = shared.0.seat(kernel);
                while !shared.0.waiters.is_granted(seat) {
                    loom::thread::yield_now();
                }
                kernel.die()
            }
        });
        while shared.0.waiters.waiting().count() < 1 {
            loom::thread::yield_now();
        }
        let other = world.spawn(2, {
            let shared = shared.clone();
            move |kernel| shared.visit(kernel)
        });
        world.until_asleep(1);
        world.run(3, |kernel| shared.0.release(kernel));
        assert!(other.join());
        assert_eq!(dying.end(), None);
    });
}

/// Two tasks of a thread; the first returns it while another holds the waiters' lock, and the second comes for it.
fn returning(mistake: Mistake) {
    explore(move || {
        let (world, shared) = (World::new(), Shared::new(mistake));
        let mutex = &*shared.0;
        world.run(3, |kernel| assert!(mutex.acquire(kernel)));
        let [first, second] = world.run(1, |kernel| [(); 2].map(|()| mutex.seat(kernel)));
        world.run(3, |kernel| mutex.release(kernel));
        world.run(2, |kernel| {
            let line = Line(mutex, kernel, 2);
            let _held = sure(mutex.waiters.enter(kernel, &line));
            world.run(1, |kernel| mutex.waiters.hand_back(kernel, first));
            line.serve();
        });
        let come = |kernel: &ThreadKernel| mutex.waiters.take(kernel, &Line(mutex, kernel, 1), second).is_some();
        let came = world.run(1, |kernel| come(kernel));
        world.run(2, |kernel| drop(mutex.waiters.enter(kernel, &Line(mutex, kernel, 2))));
        assert!(came || world.run(1, |kernel| come(kernel)));
        assert_eq!(mutex.owner(), 1, "it was taken from its owner");
    });
}

#[test]
fn test_without_a_mistake() {
    queueing(Mistake::None);
    overtaking(Mistake::None);
    death_of_a_passer_by(Mistake::None);
    death_of_the_woken(Mistake::None);
    death_of_the_heir(Mistake::None);
    death_of_a_task(Mistake::None);
    returning(Mistake::None);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_unwatched_task() {
    death_of_a_task(Mistake::UnwatchedTask);
}

#[test]
#[should_panic(expected = "it was taken from its owner")]
fn test_serves_twice() {
    returning(Mistake::ServesTwice);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_queues_in_silence() {
    queueing(Mistake::QueuesInSilence);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn test_free_in_between() {
    overtaking(Mistake::FreeInBetween);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_no_baton() {
    death_of_a_passer_by(Mistake::NoBaton);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_hands_nothing_on() {
    death_of_the_woken(Mistake::HandsNothingOn);
}

#[test]
#[should_panic(expected = "deadlock")]
fn test_unwatched_heir() {
    death_of_the_heir(Mistake::UnwatchedHeir);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn test_comes_nameless() {
    overtaking(Mistake::ComesNameless);
}
