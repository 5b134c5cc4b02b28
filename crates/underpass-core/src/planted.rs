//! Faults that the checkers have to find: each is one line of the protocol left out, in a build of its own.
//!
//! Without the feature `planted` no fault is, and the compiler forgets the question. With it one can be planted at a
//! time, per thread: so the models of loom do not disturb each other, and a fork inherits it.

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Who adds units to a semaphore that somebody sleeps on names no baton: its wake dies with it.
    MissingBaton,
    /// It wakes the sleepers before it adds the units: who looks at once finds none, and sleeps on.
    WakeBeforeStore,
    /// What a waiter was given who has died stays with it.
    GrantToTheDead,
    /// Of several who sleep for a lock the next does not look when it changes hands: it watches who had it before.
    KeptWatch,
    /// A message's slot is its place in the ring: one that is leased longer than its successors blocks who comes round.
    LeaseInTheRing,
    /// A queue's leases stay with a process that has died.
    LeaseOfTheDead,
    /// A queue that was shut down ends for its getters while a message is leased, which may come back.
    EarlyEndOfStream,
    /// Who calls a queue's sleepers for anything but a count only clears their bit: another sets it before they sleep.
    UncountedCall,
    /// Who calls all who sleep at a queue, and finds their bit cleared by a wake of one, leaves it at that.
    UnheardCall,
    /// The side of a queue that gets does not say what it is about to do: nobody completes it.
    UnannouncedStep,
    /// Who inherits the side of a queue that gets takes the heap of its shelf as the dead one left it.
    StaleShelf,
    /// Who inherits the side of a queue that gets, in the middle of a drop, does not count it.
    UncountedDrop,
    /// Who waits at a barrier is not told of a party that becomes known later: nobody watches it.
    UnwatchedParty,
    /// Who waits at a condition gives its mutex back before it has a slot: a notification in between is for nobody.
    LateSeat,
    /// Who has its mutex again after a wake-up does not tell the next one.
    KeptTurn,
    /// Whoever lets readers in does not tell the writer that waits on: it watches who held the lock before.
    UnwatchedReader,
    /// Who was handed a mutex does not tell those behind it, of whom one has to watch it.
    UnwatchedHeir,
    /// Who opens a latch wakes one of those who sleep, as if that one passed it on.
    WakeOfOne,
    /// What a process held of a leased semaphore stays with it when it dies.
    UnitsOfTheDead,
    /// Who waits for many falls asleep whatever has become of what it announced: who changed it may have died before the ring.
    UncomparedAnnouncement,
    /// Who may be handed a mutex that lends does not name it: if it dies before it has come, it stays in the word for ever.
    UnnamedHeir,
    /// Who gives back a mutex that lends, or a lock of readers and writers, does not tell those who look on.
    UntoldOnlooker,
    /// Who changes what is waited for in slots asks whether somebody sleeps at the door, and not whether somebody looks on.
    UnseenOnlooker,
    /// The place of a reader that has died holds the writer of a broadcast back for ever.
    ReaderOfTheDead,
    /// A reader of a broadcast says nothing when it has made room.
    UntoldRoom,
    /// What a reader of a broadcast reads in place holds its writer back no longer than what it copies.
    UnpinnedLease,
    /// The loan of a broadcast's writer that has died stays open.
    LoanOfTheDead,
    /// The blocks of a pool stay with a process that has died.
    BlocksOfTheDead,
}

/// Whether that is wrong, here and now.
#[cfg(not(feature = "planted"))]
#[inline]
#[must_use]
pub(crate) const fn planted(_fault: Fault) -> bool {
    false
}

#[cfg(feature = "planted")]
pub use chosen::{plant, planted};

#[cfg(feature = "planted")]
mod chosen {
    use std::cell::Cell;

    use super::Fault;

    /// All of them, by what they are called.
    const FAULTS: [(&str, Fault); 28] = [
        ("missing baton", Fault::MissingBaton),
        ("wake before store", Fault::WakeBeforeStore),
        ("grant to the dead", Fault::GrantToTheDead),
        ("kept watch", Fault::KeptWatch),
        ("lease in the ring", Fault::LeaseInTheRing),
        ("lease of the dead", Fault::LeaseOfTheDead),
        ("early end of stream", Fault::EarlyEndOfStream),
        ("uncounted call", Fault::UncountedCall),
        ("unheard call", Fault::UnheardCall),
        ("unannounced step", Fault::UnannouncedStep),
        ("stale shelf", Fault::StaleShelf),
        ("uncounted drop", Fault::UncountedDrop),
        ("unwatched party", Fault::UnwatchedParty),
        ("late seat", Fault::LateSeat),
        ("kept turn", Fault::KeptTurn),
        ("unwatched reader", Fault::UnwatchedReader),
        ("unwatched heir", Fault::UnwatchedHeir),
        ("wake of one", Fault::WakeOfOne),
        ("units of the dead", Fault::UnitsOfTheDead),
        ("uncompared announcement", Fault::UncomparedAnnouncement),
        ("unnamed heir", Fault::UnnamedHeir),
        ("untold onlooker", Fault::UntoldOnlooker),
        ("unseen onlooker", Fault::UnseenOnlooker),
        ("reader of the dead", Fault::ReaderOfTheDead),
        ("untold room", Fault::UntoldRoom),
        ("unpinned lease", Fault::UnpinnedLease),
        ("loan of the dead", Fault::LoanOfTheDead),
        ("blocks of the dead", Fault::BlocksOfTheDead),
    ];

    thread_local! {
        static PLANTED: Cell<Option<Fault>> = const { Cell::new(None) };
    }

    /// Plants one fault in what the calling thread does, in place of any other; false if none is called that.
    #[must_use]
    pub fn plant(name: &str) -> bool {
        let known = FAULTS.iter().find(|(known, _)| *known == name);
        PLANTED.set(known.map(|(_, fault)| *fault));
        known.is_some()
    }

    /// Whether that is wrong, here and now.
    #[must_use]
    pub fn planted(fault: Fault) -> bool {
        PLANTED.get() == Some(fault)
    }
}
