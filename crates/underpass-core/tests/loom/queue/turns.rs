//! A queue whose waiters have their turns.

use underpass_core::queue::{Line, Lines};
use underpass_core::waiters::Order;

use super::*;
use crate::notification::waiters;

/// One with lines of so many places.
fn in_turn(capacity: usize, places: usize) -> Arc<Queue> {
    let line = || Line::new(waiters(places), Order::Arrival);
    let room = room(Placed::own(RoomWords::new()), capacity, None, false);
    Arc::new(Queue::new(room, None, None, WhenFull::Wait).in_turn(Lines { getting: line(), putting: line() }))
}

/// A getter that sleeps in line, the `count`th who sleeps.
fn in_line(world: &Arc<World>, life: u32, count: usize, queue: &Arc<Queue>) -> Running<Result<u8>> {
    let running = spawn(world, life, Dies::Never, queue, |kernel, queue| get_until(kernel, queue, Deadline::At(100)));
    world.until_asleep(count);
    running
}

#[test]
fn test_two_in_line_get_what_is_theirs() {
    explore_long(|| {
        let (world, queue) = (World::new(), in_turn(2, 2));
        let first = in_line(&world, 1, 1, &queue);
        let second = in_line(&world, 2, 2, &queue);
        world.run(3, |kernel| [1, 2].map(|message| sure(put(kernel, &queue, message))));
        assert_eq!(join([first, second]), [Ok(1), Ok(2)]);
    });
}

#[test]
fn test_two_who_come_at_once_get_a_message_each() {
    explore_longest(|| {
        let (world, queue) = (World::new(), in_turn(2, 2));
        let getters = [1, 2].map(|life| getter(&world, life, Dies::Never, &queue));
        world.run(3, |kernel| [1, 2].map(|message| sure(put(kernel, &queue, message))));
        assert_eq!(sorted(join(getters)), [1, 2]);
    });
}

#[test]
fn test_one_who_finds_no_place_gets_a_message() {
    explore_longest(|| {
        let (world, queue) = (World::new(), in_turn(2, 1));
        let getters = [1, 2].map(|life| getter(&world, life, Dies::Never, &queue));
        world.run(3, |kernel| [1, 2].map(|message| sure(put(kernel, &queue, message))));
        assert_eq!(sorted(join(getters)), [1, 2]);
    });
}

#[test]
fn test_nobody_passes_one_in_line() {
    explore(|| {
        let (world, queue) = (World::new(), in_turn(1, 2));
        let waits = in_line(&world, 1, 1, &queue);
        let passes = spawn(&world, 2, Dies::Never, &queue, |kernel, queue| get_until(kernel, queue, Deadline::NoWait));
        world.run(3, |kernel| sure(put(kernel, &queue, 7)));
        assert_eq!((passes.join(), waits.join()), (Err(Error::WouldBlock), Ok(7)));
    });
}

#[test]
fn test_who_comes_as_a_message_comes_does_not_overtake_the_first() {
    explore_longest(|| {
        let (world, queue) = (World::new(), in_turn(2, 2));
        let first = in_line(&world, 1, 1, &queue);
        let second = getter(&world, 2, Dies::Never, &queue);
        let putter = putter(&world, 3, Dies::Never, &queue);
        assert_eq!(first.join(), Ok(3));
        putter.join();
        world.run(4, |kernel| sure(put(kernel, &queue, 4)));
        assert_eq!(second.join(), 4);
    });
}

#[test]
fn test_putters_in_line_put_in_order() {
    explore_longest(|| {
        let (world, queue) = (World::new(), in_turn(1, 2));
        world.run(3, |kernel| sure(put(kernel, &queue, 3)));
        let putters = [1, 2].map(|life| {
            let running = putter(&world, life, Dies::Never, &queue);
            world.until_asleep(life as usize);
            running
        });
        world.run(3, |kernel| assert_eq!([(); 3].map(|()| sure(get(kernel, &queue))), [3, 1, 2]));
        join(putters);
    });
}

/// The first is killed in its sleep, beside a message that comes.
#[test]
fn test_the_dead_in_line_hold_up_nobody() {
    explore_long(|| {
        let (world, queue) = (World::mortal(), in_turn(1, 2));
        let dies = in_line(&world, 1, 1, &queue);
        let second = in_line(&world, 2, 2, &queue);
        let putter = putter(&world, 3, Dies::Never, &queue);
        let died = world.kill_sleeper(1);
        putter.join();
        // One that was awake has the message.
        assert_eq!(dies.end(), (!died).then_some(Ok(3)));
        if !died {
            world.run(4, |kernel| sure(put(kernel, &queue, 3)));
        }
        assert_eq!(second.join(), Ok(3));
    });
}

#[test]
fn test_the_first_dies_when_it_was_woken() {
    explore_longest(|| {
        let (world, queue) = (World::mortal(), in_turn(2, 2));
        let dying = getter(&world, 1, Dies::AfterPark, &queue);
        world.until_asleep(1);
        let second = in_line(&world, 2, 2, &queue);
        world.run(3, |kernel| sure(put(kernel, &queue, 3)));
        assert_eq!((dying.end(), second.join()), (None, Ok(3)));
    });
}

/// The time of the first is over, or a signal takes it away, beside a message that comes.
#[test]
fn test_who_leaves_the_line_leaves_the_message_to_the_next() {
    for leave in [World::expire_sleeper, World::interrupt_sleeper] {
        explore_long(move || {
            let (world, queue) = (World::new(), in_turn(2, 2));
            let leaves = in_line(&world, 1, 1, &queue);
            let second = in_line(&world, 2, 2, &queue);
            let putter = putter(&world, 3, Dies::Never, &queue);
            let _ = leave(&world, 1);
            putter.join();
            if leaves.join().is_ok() {
                world.run(4, |kernel| sure(put(kernel, &queue, 3)));
            }
            assert_eq!(second.join(), Ok(3));
        });
    }
}

#[test]
fn test_one_is_sent_away_and_the_message_stays() {
    explore_long(|| {
        let (world, queue) = (World::new(), in_turn(1, 2));
        let first = in_line(&world, 1, 1, &queue);
        let second = in_line(&world, 2, 2, &queue);
        let putter = putter(&world, 3, Dies::Never, &queue);
        assert_eq!(world.run(4, |kernel| queue.cancel_wait(kernel)), Ok(true));
        putter.join();
        let ends = join([first, second]);
        assert!(ends == [Err(Error::Reset), Ok(3)] || ends == [Ok(3), Err(Error::Reset)], "{ends:?}");
    });
}

#[test]
fn test_who_sends_away_dies_before_its_wake() {
    explore(|| {
        let (world, queue) = (World::mortal(), in_turn(1, 2));
        let first = in_line(&world, 1, 1, &queue);
        let dying = spawn(&world, 3, Dies::BeforeWake, &queue, |kernel, queue| queue.cancel_wait(kernel));
        assert_eq!((first.join(), dying.end()), (Err(Error::Reset), None));
    });
}

/// A gauge, and a line before it, with one line to spoil.
mod planted {
    use underpass_core::kernel::Watch;
    use underpass_shm::layout::lock::SLEEPERS;
    use underpass_shm::sync::AtomicU64;
    use underpass_shm::sync::Ordering::{AcqRel, Acquire, Release};

    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Mistake {
        None,
        /// Who finds a message and is not the first sleeps on.
        UncalledFirst,
        /// Who has got a message does not tell the next.
        KeepsTurn,
        /// It wakes the next, but does not raise `calls`: one that is about to sleep does.
        UncountedCall,
        /// Who finds a message and is not the first raises `calls`, which it compares itself: it never sleeps.
        CountsItsOwn,
    }

    /// Messages, got by those that stand in line, from the beginning, in the order of their numbers.
    struct Row {
        tail: AtomicU32,
        calls: AtomicU64,
        places: [AtomicU32; 2],
        baton: AtomicU32,
        head: loom::sync::Mutex<u32>,
        mistake: Mistake,
    }

    impl Row {
        fn put(&self, kernel: &dyn Kernel) {
            let mut word = self.tail.load(Acquire);
            while let Err(other) = self.tail.compare_exchange(word, (word & !SLEEPERS) + 1, AcqRel, Acquire) {
                word = other;
            }
            if word & SLEEPERS != 0 {
                kernel.wake(&self.tail, 1);
            }
        }

        fn first(&self) -> Option<usize> {
            self.places.iter().position(|place| place.load(Acquire) == 1)
        }

        fn rouse(&self, kernel: &dyn Kernel) {
            if let Some(first) = self.first() {
                kernel.wake(&self.places[first], 1);
            }
        }

        fn get(&self, kernel: &dyn Kernel, me: usize) -> u32 {
            loop {
                let calls = self.calls.load(Acquire);
                let word = self.tail.fetch_or(SLEEPERS, AcqRel) | SLEEPERS;
                let mut head = self.head.lock().expect("nobody panics");
                let there = |head: u32| self.tail.load(Acquire) & !SLEEPERS != head;
                match self.first() {
                    Some(first) if there(*head) && first == me => {
                        *head += 1;
                        self.places[me].store(0, Release);
                        if there(*head) && self.mistake != Mistake::KeepsTurn {
                            if self.mistake != Mistake::UncountedCall {
                                self.calls.fetch_add(1, AcqRel);
                            }
                            self.rouse(kernel);
                        }
                        return *head;
                    }
                    Some(_) if there(*head) && self.mistake != Mistake::UncalledFirst => {
                        if self.mistake == Mistake::CountsItsOwn {
                            self.calls.fetch_add(1, AcqRel);
                        }
                        self.rouse(kernel);
                    }
                    _ => {}
                }
                drop(head);
                let mut watch = Watch::new();
                watch.word(&self.tail, word);
                watch.word(&self.places[me], 1);
                watch.wide = Some((&self.calls, calls));
                kernel.park(&watch, &[&self.baton], None);
            }
        }
    }

    /// Two that stand in line, and two messages.
    fn two_arrive(mistake: Mistake) {
        explore(move || {
            let world = World::new();
            let row = Arc::new(Row {
                tail: AtomicU32::new(0),
                calls: AtomicU64::new(0),
                places: [AtomicU32::new(1), AtomicU32::new(1)],
                baton: AtomicU32::new(0),
                head: loom::sync::Mutex::new(0),
                mistake,
            });
            let getters = [0, 1].map(|me| {
                let row = row.clone();
                world.spawn(me as u32 + 1, move |kernel| row.get(kernel, me))
            });
            world.run(3, |kernel| [(); 2].map(|()| row.put(kernel)));
            assert_eq!(join(getters), [1, 2]);
        });
    }

    #[test]
    fn test_line_without_a_mistake() {
        two_arrive(Mistake::None);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn test_finds_a_first_that_is_not_called() {
        two_arrive(Mistake::UncalledFirst);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn test_finds_a_turn_that_is_kept() {
        two_arrive(Mistake::KeepsTurn);
    }

    #[test]
    #[should_panic(expected = "maximum number of branches")]
    fn test_finds_one_that_calls_itself() {
        two_arrive(Mistake::CountsItsOwn);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn test_finds_a_call_that_is_not_counted() {
        two_arrive(Mistake::UncountedCall);
    }
}
