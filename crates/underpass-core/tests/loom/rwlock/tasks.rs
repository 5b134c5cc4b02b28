//! Tasks that come in steps: they exclude as threads do, keep their turn, and leave nobody behind who waited for them.

use underpass_core::kernel::Kernel as _;
use underpass_core::many::{self, Enough, Member};
use underpass_core::rwlock::How;
use underpass_core::stay::{Slotted as _, Stay, Steps as _};
use underpass_shm::layout::bell::WatchersWords;

use super::*;
use crate::kernel::Watched;

const NONCE: u64 = 73;

fn world(immortal: bool) -> Arc<World> {
    World::of(immortal, vec![Watched { words: Vec::new(), watchers: WatchersWords::new(), nonce: NONCE }])
}

fn stay(kernel: &ThreadKernel, lock: &Arc<RWLock>, task: u32, how: How) -> Stay<RWLock> {
    Stay::new(lock.clone(), RWLock::wish(sure(kernel.me()), task, how))
}

/// Comes as that task, whose event loop sleeps for it.
fn come(world: &World, kernel: &ThreadKernel, lock: &Arc<RWLock>, task: u32, how: How) -> Result<Option<Death>> {
    let stay = stay(kernel, lock, task, how);
    loop {
        match stay.step(kernel) {
            Err(Error::WouldBlock) => {}
            given => return lock.judge(stay.wish(), given?),
        }
        let member = Member { object: &stay, kernel, watchers: world.watchers(0), nonce: NONCE };
        many::wait(&[member], Enough::Any, Deadline::Never)?;
    }
}

fn task(world: &Arc<World>, life: u32, lock: &Arc<RWLock>, pair: &Arc<Pair>, how: How) -> Running<()> {
    let (lock, pair, of) = (lock.clone(), pair.clone(), world.clone());
    world.spawn(life, move |kernel| {
        assert_eq!(come(&of, kernel, &lock, 1, how), Ok(None));
        if how == How::Read {
            pair.read();
        } else {
            pair.write();
        }
        sure(lock.leave_of(kernel, 1, true));
    })
}

#[test]
fn test_a_task_that_writes_and_a_reader_exclude_each_other() {
    explore_long(|| {
        let (world, lock, pair) = (world(true), lock(Prefer::Writers), Pair::new());
        let writer = task(&world, 1, &lock, &pair, How::Write);
        world.run(2, |kernel| read(kernel, &lock, &pair));
        writer.join();
        assert!(lock.is_free());
    });
}

#[test]
fn test_a_task_that_reads_and_a_writer_exclude_each_other() {
    explore_long(|| {
        let (world, lock, pair) = (world(true), lock(Prefer::Arrival), Pair::new());
        let reader = task(&world, 1, &lock, &pair, How::Read);
        world.run(2, |kernel| write(kernel, &lock, &pair));
        reader.join();
        assert!(lock.is_free());
    });
}

#[test]
fn test_two_tasks_of_a_thread_are_two_owners() {
    explore(|| {
        let (world, lock) = (world(true), lock(Prefer::Writers));
        world.run(1, |kernel| {
            let step = |task, how| stay(kernel, &lock, task, how).step(kernel).map(drop);
            assert_eq!(step(1, How::Read), Ok(()));
            assert_eq!(step(2, How::Read), Ok(()));
            let first = stay(kernel, &lock, 1, How::Upgrade);
            assert_eq!(first.step(kernel), Err(Error::WouldBlock));
            assert!(matches!(step(2, How::Upgrade), Err(Error::Misuse(_))));
            assert!(matches!(lock.write(kernel, Deadline::Never), Err(Error::Misuse(_))));
            let other = stay(kernel, &lock, 3, How::Read);
            assert_eq!(other.step(kernel), Err(Error::WouldBlock), "who upgrades goes first");
            sure(lock.leave_of(kernel, 2, true));
            assert_eq!(first.step(kernel).map(drop), Ok(()));
            assert!(matches!(step(1, How::Write), Err(Error::Misuse(_))));
            assert_eq!(lock.leave_of(kernel, 2, true), Err(Error::NotOwner));
            sure(lock.downgrade_of(kernel, 1));
            assert_eq!(other.step(kernel).map(drop), Ok(()));
            sure(lock.leave_of(kernel, 1, true));
            sure(lock.leave_of(kernel, 3, true));
        });
        assert!(lock.is_free());
    });
}

/// A reader waits behind a task that comes to write; that one ends so.
fn a_reader_behind_a_task(dies: bool, ends: fn(&Stay<RWLock>, &ThreadKernel, &RWLock)) {
    explore_long(move || {
        let (world, lock, pair) = (world(!dies), lock(Prefer::Writers), Pair::new());
        sure(world.run(9, |kernel| lock.read(kernel, Deadline::Never)));
        let writer = world.spawn(1, {
            let lock = lock.clone();
            move |kernel| {
                let stay = stay(kernel, &lock, 1, How::Write);
                assert_eq!(stay.step(kernel), Err(Error::WouldBlock));
                ends(&stay, kernel, &lock);
            }
        });
        until_in_line(&lock, 1);
        let reader = start(&world, 2, &lock, &pair, read);
        if dies {
            until_in_line(&lock, 2);
            world.until_asleep(1);
            world.run(9, |kernel| sure(lock.leave(kernel, true)));
        }
        reader.join();
        writer.end();
    });
}

#[test]
fn test_a_task_that_gives_up_writing_lets_readers_in() {
    a_reader_behind_a_task(false, |stay, kernel, lock| {
        until_in_line(lock, 2);
        sure(stay.give_up(kernel));
    });
}

#[test]
fn test_a_task_that_was_let_in_dies_before_it_looks() {
    a_reader_behind_a_task(true, |_, kernel, lock| {
        while !lock.waiters().is_granted(0) {
            loom::thread::yield_now();
        }
        kernel.die();
    });
}

#[test]
fn test_a_task_is_let_in_when_whoever_leaves_dies_before_its_wake() {
    explore_long(|| {
        let (world, lock, pair) = (world(false), lock(Prefer::Arrival), Pair::new());
        let leaver = world.spawn_dying(1, Dies::BeforeWake, {
            let lock = lock.clone();
            move |kernel| {
                sure(lock.read(kernel, Deadline::Never));
                sure(lock.leave(kernel, true));
            }
        });
        let writer = task(&world, 2, &lock, &pair, How::Write);
        writer.join();
        let _ = leaver.end();
        assert!(lock.is_free());
    });
}

mod planted {
    //! One that keeps others back by its waiting alone, over the real slots, with one line to spoil.

    use std::cell::Cell;
    use std::sync::Arc;

    use underpass_core::Deadline;
    use underpass_core::kernel::{Kernel, Watch};
    use underpass_core::stay::{Slotted, Stay, Steps as _};
    use underpass_core::waiters::{AWAITS, Room, Waiters, Wish};
    use underpass_core::{Error, Result};

    use super::world;
    use crate::kernel::{explore_long, sure};
    use crate::notification::waiters;

    const FIRST: Wish = Wish { value: 0, how: 0 };
    const BEHIND: Wish = Wish { value: 0, how: 1 };

    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Mistake {
        None,
        /// One that gives up leaves its slot, and those whom it kept back where they are.
        KeptBack,
    }

    #[derive(Debug)]
    struct Spoiled {
        waiters: Waiters,
        mistake: Mistake,
    }

    impl Spoiled {
        fn serve(&self, kernel: &dyn Kernel) {
            if self.waiters.first_of(|wish| wish == FIRST).is_some() {
                return;
            }
            let _owed = self.waiters.begin(kernel);
            while let Some(index) = self.waiters.first_of(|wish| wish == BEHIND) {
                if self.waiters.grant(index, 1) {
                    self.waiters.tell(kernel, index);
                }
            }
            self.waiters.settle(kernel, self);
        }
    }

    impl Room for Spoiled {
        fn ready(&self, _wish: Wish) -> bool {
            false
        }

        fn now(&self, wish: Wish) -> Option<u64> {
            (wish == BEHIND && self.waiters.first_of(|wish| wish == FIRST).is_none()).then_some(1)
        }

        fn watch<'a>(&'a self, _wish: Wish, _watch: &mut Watch<'a>) {}

        fn mend(&self, kernel: &dyn Kernel) {
            self.serve(kernel);
        }

        fn take_back(&self, _kernel: &dyn Kernel, _index: usize, _given: u64) {}
    }

    impl Slotted for Spoiled {
        fn waiters(&self) -> &Waiters {
            &self.waiters
        }

        fn is_torn(&self, _kernel: &dyn Kernel) -> bool {
            false
        }

        fn step(&self, kernel: &dyn Kernel, wish: Wish, seat: &Cell<Option<usize>>) -> Result<Option<u64>> {
            let (mut mine, wish) = (seat.get(), Wish { how: wish.how & !AWAITS, ..wish });
            let given = self.waiters.attempt(kernel, self, wish, &mut mine, Some(&mut Watch::new()), true);
            seat.set(mine);
            given
        }

        fn give_up(&self, kernel: &dyn Kernel, index: usize) -> Result<()> {
            let left = self.waiters.leave(kernel, self, index, Error::Interrupted);
            assert_eq!(left, Err(Error::Interrupted));
            if self.mistake != Mistake::KeptBack {
                let _held = self.waiters.enter(kernel, self)?;
                self.serve(kernel);
            }
            Ok(())
        }
    }

    fn one_keeps_another_back(mistake: Mistake) {
        explore_long(move || {
            let (world, object) = (world(true), Arc::new(Spoiled { waiters: waiters(2), mistake }));
            let first = world.spawn(1, {
                let object = object.clone();
                move |kernel| {
                    let stay = Stay::new(object.clone(), FIRST);
                    assert_eq!(stay.step(kernel), Err(Error::WouldBlock));
                    while object.waiters.waiting().count() < 2 {
                        loom::thread::yield_now();
                    }
                    sure(stay.give_up(kernel));
                }
            });
            while object.waiters.waiting().count() < 1 {
                loom::thread::yield_now();
            }
            let given = world.run(2, |kernel| object.waiters.wait(kernel, &*object, BEHIND, Deadline::Never));
            assert_eq!(given, Ok(1));
            first.join();
        });
    }

    #[test]
    fn test_without_a_mistake() {
        one_keeps_another_back(Mistake::None);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn test_kept_back() {
        one_keeps_another_back(Mistake::KeptBack);
    }
}
