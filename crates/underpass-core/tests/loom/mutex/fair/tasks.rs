//! Tasks in line: they have it in their turn beside sleepers, and what one leaves or dies with is the next one's.

use underpass_core::many::{self, Enough, Member};
use underpass_core::mutex::InLine;
use underpass_core::stay::{Slotted as _, Stay, Steps as _};
use underpass_shm::layout::bell::WatchersWords;

use super::*;
use crate::kernel::Watched;

const NONCE: u64 = 74;

fn world(immortal: bool) -> Arc<World> {
    World::of(immortal, vec![Watched { words: Vec::new(), watchers: WatchersWords::new(), nonce: NONCE }])
}

fn stay(guarded: &Guarded) -> Stay<InLine> {
    Stay::new(Arc::new(guarded.mutex.in_line().unwrap()), InLine::wish(false))
}

/// One in a slot, whose event loop does not look.
fn seated(kernel: &ThreadKernel, guarded: &Guarded) -> Stay<InLine> {
    let stay = stay(guarded);
    assert_eq!(stay.step(kernel), Err(Error::WouldBlock));
    stay
}

/// What a task does that waits, and its event loop.
fn come(world: &World, kernel: &ThreadKernel, stay: &Stay<InLine>) -> End {
    loop {
        match stay.step(kernel).and_then(|given| stay.object().judge(given)) {
            Err(Error::WouldBlock) => {}
            Ok(None) => return End::Counted,
            Err(Error::OwnerDied(_)) => return End::Told,
            other => panic!("{other:?}"),
        }
        let member = Member { object: stay, kernel, watchers: world.watchers(0), nonce: NONCE };
        sure(many::wait(&[member], Enough::Any, Deadline::Never));
    }
}

fn visit(world: &World, kernel: &ThreadKernel, guarded: &Guarded) -> End {
    let end = come(world, kernel, &stay(guarded));
    if end == End::Counted {
        guarded.count();
        sure(guarded.mutex.release(kernel));
    }
    end
}

fn task(world: &Arc<World>, life: u32, guarded: &Arc<Guarded>) -> Running<End> {
    let (guarded, of) = (guarded.clone(), world.clone());
    world.spawn(life, move |kernel| visit(&of, kernel, &guarded))
}

fn until(is: impl Fn() -> bool) {
    while !is() {
        loom::thread::yield_now();
    }
}

/// One in a slot until it is handed the mutex; and then that.
fn handed(
    world: &Arc<World>,
    life: u32,
    guarded: &Arc<Guarded>,
    then: fn(&Stay<InLine>, &ThreadKernel),
) -> Running<()> {
    let of = guarded.clone();
    let running = world.spawn(life, move |kernel| {
        let stay = seated(kernel, &of);
        until(|| stay.object().waiters().is_granted(0));
        then(&stay, kernel);
    });
    until(|| guarded.mutex.waiting() == 1);
    running
}

#[test]
fn test_a_task_and_a_thread_exclude_each_other() {
    explore_long(|| {
        let (world, guarded) = (world(true), guarded(2));
        let task = task(&world, 1, &guarded);
        world.run(2, |kernel| guarded.raise(kernel, Deadline::Never));
        assert_eq!(task.join(), End::Counted);
        assert_eq!(guarded.counted(), 2);
        assert_eq!(world.run(3, |kernel| guarded.raise(kernel, Deadline::NoWait)), End::Counted);
    });
}

#[test]
fn test_a_task_is_handed_it_and_hands_it_to_a_sleeper() {
    explore_long(|| {
        let (world, guarded) = (world(true), guarded(2));
        acquire(&world, 3, &guarded);
        let task = task(&world, 1, &guarded);
        until(|| guarded.mutex.waiting() == 1);
        let sleeper = raiser(&world, 2, Dies::Never, &guarded);
        release(&world, 3, &guarded);
        assert_eq!(task.join(), End::Counted);
        assert_eq!(sleeper.join(), End::Counted);
    });
}

#[test]
fn test_a_task_that_gives_up_what_it_was_handed_hands_it_on() {
    explore_long(|| {
        let (world, guarded) = (world(true), guarded(2));
        acquire(&world, 3, &guarded);
        let task = handed(&world, 1, &guarded, |stay, kernel| sure(stay.give_up(kernel)));
        let sleeper = raiser(&world, 2, Dies::Never, &guarded);
        until(|| guarded.mutex.waiting() == 2);
        world.until_asleep(1);
        release(&world, 3, &guarded);
        assert_eq!(sleeper.join(), End::Counted);
        task.join();
    });
}

/// It was handed to a task that dies before its loop looks: that one has held nothing.
#[test]
fn test_a_task_that_dies_with_what_it_was_handed_hands_it_on() {
    explore_long(|| {
        let (world, guarded) = (world(false), guarded(2));
        acquire(&world, 3, &guarded);
        let task = handed(&world, 1, &guarded, |_, kernel| kernel.die());
        let sleeper = raiser(&world, 2, Dies::Never, &guarded);
        until(|| guarded.mutex.waiting() == 2);
        world.until_asleep(1);
        release(&world, 3, &guarded);
        assert_eq!(sleeper.join(), End::Counted);
        assert_eq!(task.end(), None);
        assert_eq!(guarded.counted(), 1);
    });
}

#[test]
fn test_the_death_of_an_owner_is_told_to_a_task() {
    explore_long(|| {
        let (world, guarded) = (world(false), guarded(2));
        acquire(&world, 3, &guarded);
        let task = task(&world, 1, &guarded);
        until(|| guarded.mutex.waiting() == 1);
        world.spawn(3, |kernel: &ThreadKernel| -> () { kernel.die() }).end();
        assert_eq!(task.join(), End::Told);
    });
}

/// The first of two tasks of one thread returns it, and does not come to hand it on; the second is not taken for it.
#[test]
fn test_what_one_task_returns_is_not_taken_from_another_of_its_thread() {
    explore_long(|| {
        let (world, guarded) = (world(true), guarded(2));
        acquire(&world, 3, &guarded);
        let tasks = world.spawn(1, {
            let guarded = guarded.clone();
            move |kernel| {
                let [first, second] = [(); 2].map(|()| seated(kernel, &guarded));
                until(|| first.object().waiters().is_granted(0));
                first.object().waiters().hand_back(kernel, 0);
                until(|| second.step(kernel).is_ok());
                guarded.count();
                sure(guarded.mutex.release(kernel));
            }
        });
        until(|| guarded.mutex.waiting() == 2);
        release(&world, 3, &guarded);
        let passers = world.spawn(2, {
            let guarded = guarded.clone();
            move |kernel| {
                for _ in 0..2 {
                    if guarded.mutex.acquire(kernel, Deadline::NoWait).is_ok() {
                        guarded.count();
                        sure(guarded.mutex.release(kernel));
                    }
                }
            }
        });
        tasks.join();
        passers.join();
    });
}
