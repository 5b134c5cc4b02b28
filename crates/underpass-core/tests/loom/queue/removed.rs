//! A message is taken out from among others: by somebody who dies in the middle, and by several.

use underpass_core::wait::Patience;
use underpass_shm::layout::queue::REMOVING;
use underpass_shm::sync::Ordering::{Relaxed, Release};

use super::*;

fn three() -> (Arc<World>, Arc<Queue>, Room) {
    let room = room(Placed::own(RoomWords::new()), 3, None, false);
    let (world, queue) = (World::mortal(), Arc::new(Queue::new(room.clone(), None, None, WhenFull::Wait)));
    world.run(3, |kernel| [1, 2, 3].map(|message| sure(put(kernel, &queue, message))));
    (world, queue, room)
}

#[test]
fn test_one_of_two_removes_it() {
    explore_long(|| {
        let (world, queue, _) = three();
        let remover =
            |life| spawn(&world, life, Dies::Never, &queue, |kernel, queue| u8::from(sure(queue.remove(kernel, &[2]))));
        assert_eq!(sorted(join([remover(1), remover(2)])), [0, 1]);
        world.run(3, |kernel| {
            assert_eq!([(); 2].map(|()| sure(get(kernel, &queue))), [1, 3]);
            sure(queue.join(kernel, Deadline::Never));
        });
    });
}

#[test]
fn test_room_of_a_removed_message_wakes_a_putter() {
    explore_long(|| {
        let (world, queue, _) = three();
        let putter = putter(&world, 4, Dies::Never, &queue);
        world.run(3, |kernel| assert_eq!(queue.remove(kernel, &[2]), Ok(true)));
        putter.join();
        world.run(3, |kernel| assert_eq!([(); 3].map(|()| sure(get(kernel, &queue))), [1, 3, 4]));
    });
}

/// Who takes out the last of three dies after so many stores of its ring; the heir goes on, or, as a mistake, begins anew.
fn taken_out(stores: u32, anew: bool) {
    explore(move || {
        let (world, queue, room) = three();
        let dying = spawn(&world, 1, Dies::Never, &queue, move |kernel, _| {
            let _side = sure(room.getters(kernel, &Patience::new(), sure(kernel.me())));
            let (get, intent) = (&room.words.get, &room.words.get.intent);
            for (word, value) in [(&intent.operand, 2), (&intent.head, 0), (&intent.freed, 3)] {
                word.store(value, Relaxed);
            }
            intent.beside.store(2, Relaxed);
            intent.step.store(REMOVING, Release);
            // From 0 1 2: 0 1 1, 0 0 1, 2 0 1; then the front moves.
            let ring = [(2, 1), (1, 0), (0, 2)];
            for (place, slot) in ring.into_iter().take(stores as usize) {
                room.ring[place].store(slot, Release);
            }
            if stores > 3 {
                get.head.store(1, Release);
            }
            if anew && stores < 3 {
                // As if nothing were done.
                for (place, _) in ring.into_iter().take(2) {
                    room.ring[place].store(room.ring[place - 1].load(Relaxed), Release);
                }
            }
            kernel.die();
        });
        assert_eq!(dying.end(), None::<()>);
        world.run(2, |kernel| {
            assert_eq!([(); 2].map(|()| sure(get(kernel, &queue))), [1, 2]);
            sure(queue.join(kernel, Deadline::Never));
        });
    });
}

#[test]
fn test_heir_goes_on_with_a_removal() {
    for stores in 0..=4 {
        taken_out(stores, false);
    }
}

#[test]
#[should_panic(expected = "left == right")]
fn test_heir_that_begins_a_removal_anew() {
    taken_out(2, true);
}
