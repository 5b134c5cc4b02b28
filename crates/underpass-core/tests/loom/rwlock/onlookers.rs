//! Who waits to read or write beside others: whoever leaves, comes or dies meanwhile has it look again.

use underpass_core::rwlock::{Entry, How};
use underpass_core::waiters::Waiters;
use underpass_shm::layout::waiters::{SlotWords, WaitersWords};

use super::*;
use crate::many::{onlooker, part, watched};

/// A machine with a lock, and a way into it.
fn scene(immortal: bool, how: How) -> (Arc<World>, Arc<Entry>) {
    let (own, words) = (Placed::own(RWLockWords::new()), Placed::own(WaitersWords::new()));
    let places = PlacedSlice::own((0..PLACES).map(|_| PlaceWords::new()).collect());
    let slots = PlacedSlice::own(vec![SlotWords::new()]);
    let (gate, line) = (part(std::slice::from_ref(&*own)), part(std::slice::from_ref(&*words)));
    let world = World::of(immortal, watched(vec![gate, part(&places), line, part(&slots)]));
    let waiters = Waiters::new(words, slots, PlacedSlice::own(Vec::new()));
    (world, Arc::new(Entry { lock: Arc::new(RWLock::new(own, places, waiters, Prefer::Writers)), how }))
}

fn inside(world: &Arc<World>, life: u32, dies: Dies, entry: &Arc<Entry>, how: How) -> Running<()> {
    let lock = entry.lock.clone();
    world.spawn_dying(life, dies, move |kernel| {
        if how == How::Read {
            sure(lock.read(kernel, Deadline::Never));
        } else {
            sure(lock.write(kernel, Deadline::Never));
        }
        sure(lock.leave(kernel, true));
    })
}

#[test]
fn test_who_leaves_tells_who_looks_on() {
    for (holds, comes) in [(How::Write, How::Read), (How::Read, How::Write), (How::Write, How::Write)] {
        explore_long(move || {
            let (world, entry) = scene(true, comes);
            let looks = onlooker(&world, 1, &entry);
            inside(&world, 2, Dies::Never, &entry, holds).join();
            assert_eq!(looks.join(), [0]);
        });
    }
}

#[test]
fn test_a_reader_that_comes_meanwhile_is_waited_for_as_well() {
    explore_long(|| {
        let (world, entry) = scene(true, How::Write);
        let looks = onlooker(&world, 1, &entry);
        let readers = [2, 3].map(|life| inside(&world, life, Dies::Never, &entry, How::Read));
        join(readers);
        assert_eq!(looks.join(), [0]);
    });
}

#[test]
fn test_a_writer_dies_before_it_has_told() {
    explore_long(|| {
        let (world, entry) = scene(false, How::Read);
        let looks = onlooker(&world, 1, &entry);
        let dying = inside(&world, 2, Dies::BeforeWake, &entry, How::Write);
        assert_eq!(looks.join(), [0]);
        dying.end();
    });
}
