//! Who has waited for room, and one who purges.

use underpass_shm::sync::Ordering::{AcqRel, Acquire};

use super::*;

/// One who has waited since before a purge, and finds room while it is made: it puts before it, or not at all.
fn puts_beside_a_purge(capacity: usize) {
    let (world, queue) = (World::new(), queue(capacity));
    world.run(3, |kernel| sure(put(kernel, &queue, 3)));
    let putter = spawn(&world, 1, Dies::Never, &queue, |kernel, queue| queue.put_since(kernel, &[1], 0, 0));
    let thrown = world.run(3, |kernel| sure(queue.purge(kernel)));
    let (put, depth) = (putter.join(), queue.depth());
    match put {
        Ok(()) => assert_eq!((thrown, depth), (2, 0)),
        Err(error) => {
            assert_eq!((thrown, depth), (1, 0));
            assert!(error == Error::Reset || capacity == 1 && error == Error::WouldBlock, "{error:?}");
        }
    }
}

#[test]
fn test_one_who_has_waited_puts_before_a_purge_or_not_at_all() {
    explore(|| puts_beside_a_purge(1));
    explore(|| puts_beside_a_purge(2));
}

/// A queue of one slot, of which only what purging is about is there, with one line to spoil.
#[derive(Clone, Copy, PartialEq)]
enum Purging {
    AsItIs,
    /// Who has waited looks for a purge before it takes the putters' side.
    LooksLate,
    /// Who purges says so without the putters' side.
    BesidePutters,
}

fn a_put_and_a_purge(mistake: Purging, room: usize) {
    let putting = Arc::new(loom::sync::Mutex::new(()));
    let (purges, taken) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(1)));
    let putter = {
        let (putting, purges, taken) = (putting.clone(), purges.clone(), taken.clone());
        loom::thread::spawn(move || {
            let early = purges.load(Acquire);
            let _side = putting.lock().expect("nobody panics");
            let seen = if mistake == Purging::LooksLate { early } else { purges.load(Acquire) };
            if seen != 0 || taken.load(Acquire) as usize > room - 1 {
                return false;
            }
            taken.fetch_add(1, AcqRel);
            true
        })
    };
    if mistake == Purging::BesidePutters {
        purges.fetch_add(1, AcqRel);
    } else {
        let _side = putting.lock().expect("nobody panics");
        purges.fetch_add(1, AcqRel);
    }
    let thrown = taken.swap(0, AcqRel);
    let put = putter.join().expect("it panics nowhere");
    assert_eq!((thrown, taken.load(Acquire)), (1 + u32::from(put), 0), "what was put beside a purge went with it");
}

#[test]
fn test_what_purging_is_about_is_enough() {
    loom::model(|| a_put_and_a_purge(Purging::AsItIs, 1));
    loom::model(|| a_put_and_a_purge(Purging::AsItIs, 2));
}

#[test]
#[should_panic(expected = "went with it")]
fn test_finds_one_that_looks_late_for_a_purge() {
    loom::model(|| a_put_and_a_purge(Purging::LooksLate, 1));
}

#[test]
#[should_panic(expected = "went with it")]
fn test_finds_a_purge_beside_the_putters() {
    loom::model(|| a_put_and_a_purge(Purging::BesidePutters, 2));
}
