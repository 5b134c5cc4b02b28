//! A bell that is taken over from the dead in the moment in which somebody rings it: who has armed it since is told.

use loom::thread;
use underpass_shm::layout::bell::{ARMED, BellWords, RUNG};
use underpass_shm::life::Life;
use underpass_shm::sync::Ordering::{AcqRel, Relaxed};

use super::*;

const DEAD: Life = Life(1);
const HEIR: Life = Life(2);

/// Whom the ringer tells.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Tells {
    /// Who has it once it was struck.
    TheOwner,
    /// A mistake: who had it before.
    WhomItKnew,
}

fn taken_over_while_it_is_rung(tells: Tells) {
    explore(move || {
        let bell = Arc::new(BellWords::new());
        bell.owner.store(DEAD.0, Relaxed);
        bell.socket.store(ARMED, Release);
        // `Lives::claim_bell`, `Bell::claim`.
        let claimed = bell.clone();
        let heir = thread::spawn(move || {
            assert_eq!(claimed.owner.compare_exchange(DEAD.0, HEIR.0, AcqRel, Relaxed), Ok(DEAD.0));
            claimed.socket.swap(0, AcqRel);
            claimed.socket.store(ARMED, Release);
        });
        // `Lives::knock`.
        let known = Life(bell.owner.load(Relaxed));
        let told = bell.strike(RUNG).map(|owner| if tells == Tells::TheOwner { owner } else { known });
        heir.join().unwrap();
        if bell.socket.load(Relaxed) == RUNG {
            // Whoever rings from here on takes it to have been told.
            assert_eq!(told, Some(HEIR), "its owner is deaf");
        }
    });
}

#[test]
fn test_who_takes_a_bell_over_is_told_what_it_is_rung_for() {
    taken_over_while_it_is_rung(Tells::TheOwner);
}

#[test]
#[should_panic(expected = "its owner is deaf")]
fn test_finds_who_tells_the_dead() {
    taken_over_while_it_is_rung(Tells::WhomItKnew);
}
