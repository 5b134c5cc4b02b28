//! Who waits for a queue to be drained, and for other things besides.

use underpass_core::queue::ForJoining;

use super::*;
use crate::many::slots::{Careless, Mistake};
use crate::many::{onlooker, watched_at};

/// One message is queued, in the only slot.
fn scene(immortal: bool) -> (Arc<World>, Arc<Queue>) {
    let words = Placed::own(RoomWords::new());
    let world = World::of(immortal, watched_at(&words));
    let queue = queue_over(words, 1);
    world.run(3, |kernel| sure(put(kernel, &queue, 3)));
    (world, queue)
}

fn looks(world: &Arc<World>, queue: &Arc<Queue>) -> Running<Vec<usize>> {
    onlooker(world, 1, &Arc::new(ForJoining(queue.clone())))
}

#[test]
fn test_the_last_get_rings() {
    explore(|| {
        let (world, queue) = scene(true);
        let looks = looks(&world, &queue);
        assert_eq!(world.run(3, |kernel| get(kernel, &queue)), Ok(3));
        assert_eq!(looks.join(), [0]);
    });
}

#[test]
fn test_the_end_of_the_last_lease_rings() {
    explore_long(|| {
        let (world, queue) = scene(true);
        let looks = looks(&world, &queue);
        world.run(3, |kernel| {
            let ticket = sure(queue.take(kernel, Deadline::Never));
            sure(queue.done(kernel, &ticket));
        });
        assert_eq!(looks.join(), [0]);
    });
}

#[test]
fn test_who_joins_and_who_looks_on_are_both_told() {
    explore_long(|| {
        let (world, queue) = scene(true);
        let looks = looks(&world, &queue);
        let joiner = spawn(&world, 2, Dies::Never, &queue, |kernel, queue| queue.join(kernel, Deadline::Never));
        assert_eq!(world.run(3, |kernel| get(kernel, &queue)), Ok(3));
        assert_eq!(joiner.join(), Ok(()));
        assert_eq!(looks.join(), [0]);
    });
}

#[test]
fn test_getter_dies_before_it_rings() {
    explore(|| {
        let (world, queue) = scene(false);
        let looks = looks(&world, &queue);
        world.until_asleep(1);
        let dying = getter(&world, 2, Dies::BeforeWake, &queue);
        assert_eq!(looks.join(), [0]);
        dying.end();
        assert_eq!(queue.depth(), 0);
    });
}

/// One joins that says nowhere that it does.
#[test]
#[should_panic(expected = "deadlock")]
fn test_finds_one_that_the_queue_does_not_know() {
    explore(|| {
        let (world, queue) = scene(true);
        let careless = Careless { object: Arc::new(ForJoining(queue.clone())), mistake: Mistake::Unannounced };
        let looks = onlooker(&world, 1, &Arc::new(careless));
        world.until_asleep(1);
        assert_eq!(world.run(3, |kernel| get(kernel, &queue)), Ok(3));
        looks.join();
    });
}
