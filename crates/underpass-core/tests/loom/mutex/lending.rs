//! The mutex that lends, in a kernel that hands it over: nobody is forgotten, and what a death means is the same.

use super::*;
use crate::kernel::Mistake;

fn guarded() -> Arc<Guarded> {
    Arc::new(Guarded { mutex: Mutex::lending(Placed::own(MutexWords::new()), false), count: UnsafeCell::new(0) })
}

fn acquire(world: &Arc<World>, life: u32, guarded: &Arc<Guarded>) {
    world.run(life, |kernel| sure(guarded.mutex.acquire(kernel, Deadline::Never)));
}

fn release(world: &Arc<World>, life: u32, guarded: &Arc<Guarded>) {
    world.run(life, |kernel| sure(guarded.mutex.release(kernel)));
}

/// One that sleeps, the `life`th to do so, and counts.
fn asleep(world: &Arc<World>, life: u32, dies: Dies, guarded: &Arc<Guarded>) -> Running<End> {
    let running = raiser(world, life, dies, guarded);
    world.until_asleep(life as usize);
    running
}

#[test]
fn test_one_at_a_time() {
    explore(|| {
        let (world, guarded) = (World::new(), guarded());
        let other = raiser(&world, 1, Dies::Never, &guarded);
        world.run(2, |kernel| guarded.raise(kernel, Deadline::Never));
        assert_eq!(other.join(), End::Counted);
        assert_eq!(guarded.counted(), 2);
        assert_eq!(world.run(3, |kernel| guarded.raise(kernel, Deadline::NoWait)), End::Counted);
    });
}

#[test]
fn test_three_have_it_one_after_the_other() {
    explore_long(|| {
        let (world, guarded) = (World::new(), guarded());
        let others = [1, 2].map(|life| raiser(&world, life, Dies::Never, &guarded));
        world.run(3, |kernel| guarded.raise(kernel, Deadline::Never));
        assert_eq!(join(others), [End::Counted; 2]);
        assert_eq!(guarded.counted(), 3);
    });
}

#[test]
fn test_newcomer_takes_nothing_from_a_sleeper() {
    explore(|| {
        let (world, guarded) = (World::new(), guarded());
        acquire(&world, 3, &guarded);
        let sleeper = world.spawn(1, {
            let guarded = guarded.clone();
            move |kernel| guarded.mutex.acquire(kernel, Deadline::Never)
        });
        world.until_asleep(1);
        let newcomer = world.spawn(2, {
            let guarded = guarded.clone();
            move |kernel| guarded.mutex.acquire(kernel, Deadline::NoWait)
        });
        release(&world, 3, &guarded);
        assert_eq!(sleeper.join(), Ok(()));
        assert_eq!(newcomer.join(), Err(Error::WouldBlock));
    });
}

#[test]
fn test_time_runs_out_as_it_is_handed_over() {
    explore(|| {
        let (world, guarded) = (World::new(), guarded());
        acquire(&world, 2, &guarded);
        let late = world.spawn(1, {
            let guarded = guarded.clone();
            move |kernel| guarded.raise(kernel, Deadline::At(1))
        });
        world.until_asleep(1);
        let giver = world.spawn(2, {
            let guarded = guarded.clone();
            move |kernel| sure(guarded.mutex.release(kernel))
        });
        world.expire_sleeper(1);
        giver.join();
        let late = late.join();
        assert_eq!(guarded.counted(), u32::from(late == End::Counted));
        // Whoever comes next finds it free, also where the bit of one that left was still set.
        assert_eq!(world.run(3, |kernel| guarded.raise(kernel, Deadline::NoWait)), End::Counted);
    });
}

#[test]
fn test_all_who_wait_for_the_dead_are_told() {
    explore(|| {
        let (world, guarded) = (World::mortal(), guarded());
        let dying = dying_owner(&world, &guarded);
        let waiters = [2, 3].map(|life| raiser(&world, life, Dies::Never, &guarded));
        assert_eq!(dying.end(), None);
        assert!(join(waiters).iter().all(|end| matches!(end, End::Counted | End::Told)));
        assert_eq!(world.run(4, |kernel| guarded.raise(kernel, Deadline::Never)), End::Told);
    });
}

/// Nobody waits in the kernel when the owner dies: its thread id stays in the word until somebody takes it out.
#[test]
fn test_the_dead_are_taken_out_by_who_comes() {
    explore(|| {
        let (world, guarded) = (World::mortal(), guarded());
        assert_eq!(dying_owner(&world, &guarded).end(), None);
        let waiter = raiser(&world, 2, Dies::Never, &guarded);
        assert_eq!(world.run(3, |kernel| guarded.recover(kernel, true)), End::Repaired);
        assert!(matches!(waiter.join(), End::Counted | End::Told));
        assert_eq!(world.run(4, |kernel| guarded.raise(kernel, Deadline::NoWait)), End::Counted);
    });
}

/// The last of those who waited for it has left, and its bit is in the word when the owner dies.
#[test]
fn test_the_dead_are_taken_out_where_the_bit_of_a_waiter_is_left() {
    explore(|| {
        let (world, guarded) = (World::mortal(), guarded());
        let dying = world.spawn(1, {
            let (world, guarded) = (world.clone(), guarded.clone());
            move |kernel: &ThreadKernel| {
                sure(guarded.mutex.acquire(kernel, Deadline::Never));
                let late = world.spawn(2, {
                    let guarded = guarded.clone();
                    move |kernel| guarded.raise(kernel, Deadline::At(1))
                });
                world.until_asleep(1);
                world.expire_sleeper(2);
                assert_eq!(late.join(), End::Late);
                kernel.die()
            }
        });
        let () = dying.end().unwrap_or(());
        let waiter = raiser(&world, 3, Dies::Never, &guarded);
        assert_eq!(world.run(4, |kernel| guarded.recover(kernel, true)), End::Repaired);
        assert!(matches!(waiter.join(), End::Counted | End::Told));
        assert_eq!(world.run(4, |kernel| guarded.raise(kernel, Deadline::Never)), End::Counted);
    });
}

#[test]
fn test_recovery_that_fails_tells_all_who_wait() {
    explore_long(|| {
        let (world, guarded) = (World::mortal(), guarded());
        assert_eq!(dying_owner(&world, &guarded).end(), None);
        let waiters = [2, 3].map(|life| raiser(&world, life, Dies::Never, &guarded));
        assert_eq!(world.run(4, |kernel| guarded.recover(kernel, false)), End::Repaired);
        assert_eq!(join(waiters), [End::Told; 2]);
    });
}

#[test]
fn test_owner_dies_between_its_release_and_the_kernel() {
    explore(|| {
        let (world, guarded) = (World::mortal(), guarded());
        acquire(&world, 3, &guarded);
        let others = [1, 2].map(|life| asleep(&world, life, Dies::Never, &guarded));
        let dying = world.spawn_dying(3, Dies::BeforeWake, {
            let guarded = guarded.clone();
            move |kernel| sure(guarded.mutex.release(kernel))
        });
        assert_eq!(join(others), [End::Counted; 2]);
        assert_eq!(dying.end(), None);
    });
}

/// One that was handed it dies before it has come: it has held nothing.
#[test]
fn test_heir_dies_before_it_comes() {
    explore(|| {
        let (world, guarded) = (World::mortal(), guarded());
        acquire(&world, 3, &guarded);
        let dying = asleep(&world, 1, Dies::AfterPark, &guarded);
        let taker = asleep(&world, 2, Dies::Never, &guarded);
        release(&world, 3, &guarded);
        assert_eq!(taker.join(), End::Counted);
        assert_eq!(dying.end(), None);
        assert_eq!(guarded.counted(), 1);
    });
}

fn lonely_heir_dies(mistake: Mistake) {
    explore(move || {
        let (world, guarded) = (World::mortal(), guarded());
        acquire(&world, 3, &guarded);
        let dying = world.spawn_dying(1, Dies::AfterPark, {
            let guarded = guarded.clone();
            move |kernel| guarded.raise(&kernel.mistaken(mistake), Deadline::Never)
        });
        world.until_asleep(1);
        release(&world, 3, &guarded);
        assert_eq!(dying.end(), None);
        assert_eq!(world.run(4, |kernel| guarded.raise(kernel, Deadline::Never)), End::Counted);
    });
}

#[test]
fn test_heir_dies_before_it_comes_and_nobody_waits() {
    lonely_heir_dies(Mistake::None);
}

#[test]
#[should_panic = "deadlock"]
fn test_finds_an_heir_that_does_not_name_the_word() {
    lonely_heir_dies(Mistake::UnnamedHeir);
}

fn release_to_a_sleeper(mistake: Mistake) {
    explore(move || {
        let (world, guarded) = (World::new(), guarded());
        acquire(&world, 3, &guarded);
        let sleeper = asleep(&world, 1, Dies::Never, &guarded);
        world.run(3, |kernel| sure(guarded.mutex.release(&kernel.mistaken(mistake))));
        assert_eq!(sleeper.join(), End::Counted);
    });
}

#[test]
fn test_release_hands_it_to_a_sleeper() {
    release_to_a_sleeper(Mistake::None);
}

#[test]
#[should_panic = "deadlock"]
fn test_finds_a_release_that_does_not_tell_the_kernel() {
    release_to_a_sleeper(Mistake::UntoldKernel);
}

#[test]
fn test_sleeper_is_killed() {
    explore(|| {
        let (world, guarded) = (World::mortal(), guarded());
        acquire(&world, 3, &guarded);
        let killed = asleep(&world, 1, Dies::Never, &guarded);
        let taker = asleep(&world, 2, Dies::Never, &guarded);
        let giver = world.spawn(3, {
            let guarded = guarded.clone();
            move |kernel| sure(guarded.mutex.release(kernel))
        });
        world.kill_sleeper(1);
        giver.join();
        // Killed when it had come, it was an owner.
        assert!(matches!(taker.join(), End::Counted | End::Told));
        killed.end();
    });
}

#[test]
fn test_death_of_one_it_was_handed_to_is_told() {
    explore(|| {
        let (world, guarded) = (World::mortal(), guarded());
        acquire(&world, 3, &guarded);
        let dying = world.spawn(1, {
            let guarded = guarded.clone();
            move |kernel| sure(guarded.raise_and_die(kernel))
        });
        world.until_asleep(1);
        let waiter = world.spawn(2, {
            let guarded = guarded.clone();
            move |kernel| guarded.mutex.acquire(kernel, Deadline::Never)
        });
        world.until_asleep(2);
        release(&world, 3, &guarded);
        assert!(matches!(waiter.join(), Err(Error::OwnerDied(_))));
        assert_eq!(dying.end(), None);
    });
}
