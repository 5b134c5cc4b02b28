//! Who waits for a change beside others: it sees the change, or whoever makes it sees that somebody looks on.

use underpass_core::atomic::Change;
use underpass_core::waiters::Waiters;
use underpass_shm::layout::waiters::{SlotWords, WaitersWords};
use underpass_shm::place::PlacedSlice;

use super::*;
use crate::many::{onlooker, part, watched};

/// A machine with a number, and a change of it from 0.
fn scene(immortal: bool) -> (Arc<World>, Arc<Change>) {
    let (own, words) = (Placed::own(AtomicWords::new(0)), Placed::own(WaitersWords::new()));
    let slots = PlacedSlice::own(vec![SlotWords::new()]);
    let (value, line) = (part(std::slice::from_ref(&*own)), part(std::slice::from_ref(&*words)));
    let world = World::of(immortal, watched(vec![value, line, part(&slots)]));
    let atomic = AtomicInt::new(own, Waiters::new(words, slots, PlacedSlice::own(Vec::new())));
    (world, Arc::new(Change { atomic, wish: AtomicInt::wish(0) }))
}

#[test]
fn test_a_change_rings() {
    explore(|| {
        let (world, change) = scene(true);
        let looks = onlooker(&world, 1, &change);
        world.run(2, |kernel| assert_eq!(change.atomic.add(kernel, 1), Ok(0)));
        assert_eq!(looks.join(), [0]);
    });
}

#[test]
fn test_a_changer_dies_before_it_rings() {
    for dies in [Dies::BeforeWake, Dies::AfterChange] {
        explore_long(move || {
            let (world, change) = scene(false);
            let looks = onlooker(&world, 1, &change);
            let dying = {
                let change = change.clone();
                world.spawn_dying(2, dies, move |kernel| sure(change.atomic.add(kernel, 1)))
            };
            assert_eq!(looks.join(), [0]);
            dying.end();
        });
    }
}

#[test]
fn test_a_direct_waiter_and_an_onlooker_are_both_told() {
    explore_long(|| {
        let (world, change) = scene(true);
        let looks = onlooker(&world, 1, &change);
        let direct = {
            let change = change.clone();
            world.spawn(2, move |kernel| sure(change.atomic.wait(kernel, 0, Deadline::Never)))
        };
        world.run(3, |kernel| sure(change.atomic.add(kernel, 1)));
        direct.join();
        assert_eq!(looks.join(), [0]);
    });
}
