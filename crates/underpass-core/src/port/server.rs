//! The server's side: take calls from all channels, answer them, sleep when there are none.

use underpass_shm::layout::port::{PORT_CLOSED, PortWords, REFUSED, REVOKED};
use underpass_shm::life::Life;
use underpass_shm::operation::Operation;
use underpass_shm::place::Placed;
use underpass_shm::socket;
use underpass_shm::sync::{
    AtomicU32, AtomicU64,
    Ordering::{AcqRel, Relaxed, Release, SeqCst},
    fence,
};

use super::admission::{Admission, Door, Newcomer};
use super::annex::Annexes;
use super::badge::{Badge, Mint};
use super::channel::Channel;
use super::doorbell;
use super::payload::Payload;
use super::rendezvous::Reception;
use super::seats::{Call, Seats};
use super::stack::End;
use crate::kernel::{Kernel, Watch};
use crate::many::Ready;
use crate::wait::{Patience, Sleepers, Waiting, wait_until};
use crate::{Deadline, Error, Result};

/// While it spins, the server looks at all active channels every so many looks at its last partner's word.
const LOOK_AROUND: u32 = 16;
/// After so many calls of one partner in a row the others are asked first.
const FAIR: u32 = 64;
/// Channels of those who only read the space, of one user: each takes a descriptor, and a look at every look around.
const CHANNELS: usize = 128;
/// Nanoseconds between two rounds.
const ROUND: u64 = 1_000_000_000;

/// The right to receive, in the process that made it.
#[derive(Debug)]
pub struct Server {
    words: Placed<PortWords>,
    message_size: usize,
    door: Door,
    admission: Box<dyn Admission>,
    /// Other users take part in its space.
    shared: bool,
    mint: Mint,
    seats: Seats,
    annexes: Annexes,
    /// Calls in a row from the last partner.
    streak: Turns,
    /// Looks without a last partner.
    turns: Turns,
    /// When the last round was, and how many were let in since.
    rounded: AtomicU64,
    come: AtomicU32,
    /// Threads that sleep, or are about to.
    receivers: AtomicU32,
    /// 1: one of them may sleep that would take notified bits.
    noticing: AtomicU32,
    refused: AtomicU64,
    patience: Patience,
}

/// Counts to [`FAIR`], again and again. Several threads at once only guess: no call pays for an exact count.
#[derive(Debug, Default)]
struct Turns(AtomicU32);

impl Turns {
    #[inline]
    fn is_over(&self) -> bool {
        let turn = self.0.load(Relaxed).wrapping_add(1);
        self.0.store(turn, Relaxed);
        turn.is_multiple_of(FAIR)
    }
}

/// What one `receive` is after.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wish<'a> {
    /// The partner of the call before: its next one is likely.
    pub last: Option<&'a Call>,
    /// Notified bits, too.
    pub bits: bool,
    /// Leave with `Closed` once this is not 0.
    pub stop: Option<&'a AtomicU32>,
}

/// What came.
#[derive(Debug)]
pub enum Received {
    /// A call, or a message that was sent one way.
    Call(Call),
    /// Bits that gates have set.
    Bits(u64),
}

/// What a server knows of itself.
#[derive(Debug, Clone, Copy)]
pub struct Census {
    /// Channels known.
    pub clients: usize,
    /// Calls that wait to be taken.
    pub queued: usize,
    /// Threads that sleep until a call comes.
    pub receivers: u32,
    /// Bits that wait to be taken.
    pub bits: u64,
    /// Clients that were not let in.
    pub refused: u64,
}

impl Server {
    /// Receives at these words those who come to this reception.
    #[must_use]
    pub fn new(
        words: Placed<PortWords>,
        message_size: usize,
        reception: Box<dyn Reception>,
        admission: Box<dyn Admission>,
        shared: bool,
    ) -> Self {
        Self {
            words,
            message_size,
            door: Door::new(reception, message_size),
            admission,
            shared,
            mint: Mint::default(),
            seats: Seats::default(),
            annexes: Annexes::default(),
            streak: Turns::default(),
            turns: Turns::default(),
            rounded: AtomicU64::new(0),
            come: AtomicU32::new(0),
            receivers: AtomicU32::new(0),
            noticing: AtomicU32::new(0),
            refused: AtomicU64::new(0),
            patience: Patience::new(),
        }
    }

    /// Longest message.
    #[must_use]
    pub fn message_size(&self) -> usize {
        self.message_size
    }

    /// What it knows of itself, now.
    #[must_use]
    pub fn census(&self) -> Census {
        Census {
            clients: self.seats.count(),
            queued: self.seats.queued(),
            receivers: self.receivers.load(Relaxed),
            bits: self.words.notified.load(Relaxed),
            refused: self.refused.load(Relaxed),
        }
    }

    /// Takes the next call, waiting for one.
    pub fn receive(&self, kernel: &dyn Kernel, wish: Wish<'_>, deadline: Deadline) -> Result<Received> {
        let mut turn = 0;
        let ready = || {
            turn += 1;
            wish.last.is_some_and(Call::has_next) || turn % LOOK_AROUND == 0 && self.has_news(wish)
        };
        if let Some(found) = self.next(kernel, wish)? {
            return Ok(found);
        }
        let words = &self.words;
        let (mine, partner) = (kernel.cpus(), wish.last.map_or(0, |call| call.stack().caller.cpus.load(Relaxed)));
        if words.cpus.load(Relaxed) != mine {
            words.cpus.store(mine, Relaxed);
            self.annexes.run_on(mine);
        }
        let mut counted = false;
        let waiting = Waiting {
            sleepers: Some(&**words),
            deadline,
            patience: &self.patience,
            partner,
            operation: Operation::Receive,
        };
        let waited = wait_until(kernel, waiting, ready, |watch, slept| {
            let sleeps = watch.is_some();
            if let Some(watch) = watch {
                if !counted {
                    self.receivers.fetch_add(1, Relaxed);
                    counted = true;
                }
                self.round(kernel);
                // Said before the look, so that whoever posts after it rings.
                watch.word(&words.doorbell, doorbell::announce(words));
                self.annexes.announce(watch);
            }
            let mut found = self.next(kernel, wish)?;
            if slept && found.is_none() && self.door.has_visitors() {
                // Who cannot write the port's words wakes a receiver, and leaves no trace there.
                self.door.insist();
                found = self.next(kernel, wish)?;
            }
            if slept {
                self.pass_on(kernel, wish, found.is_some());
            }
            if sleeps && found.is_none() && wish.bits {
                self.noticing.store(1, Release);
            }
            Ok(found)
        });
        if counted {
            self.receivers.fetch_sub(1, Relaxed);
        }
        waited
    }

    /// Copies the request of a call. A message that was sent one way is acknowledged by that.
    #[inline]
    pub fn request(&self, kernel: &dyn Kernel, call: &Call, out: &mut [u8]) {
        call.stack().asked.read(0, out);
        if call.taken.one_way {
            call.stack().acknowledge(kernel, call.taken.number);
        }
    }

    /// Answers a call. Never waits: the caller may be gone.
    pub fn reply(&self, kernel: &dyn Kernel, call: &Call, data: &(impl Payload + ?Sized)) -> Result<()> {
        if data.length() > self.message_size {
            return Err(Error::TooLong { size: data.length(), limit: self.message_size });
        }
        call.stack().answer(kernel, call.taken.number, data);
        Ok(())
    }

    /// Gives a call up: the caller learns that the server may have acted.
    pub fn abort(&self, kernel: &dyn Kernel, call: &Call) {
        call.stack().fail(kernel, call.taken.number, End::Aborted);
    }

    /// A badge for a new gate.
    #[must_use]
    pub fn badge(&self, number: u64) -> Badge {
        self.mint.mint(number)
    }

    /// Ends all gates of that badge: what they have posted, how many calls that were, and whatever they post later.
    pub fn revoke(&self, kernel: &dyn Kernel, number: u64) -> Result<usize> {
        // Who is at the door already counts.
        let met = self.meet(kernel);
        self.mint.revoke(number);
        let gone = self.seats.remove(|seated| seated.badge == number);
        let cancelled = gone.iter().map(|seated| seated.channel.end(kernel, REVOKED, End::Cancelled)).sum();
        met.map(|()| cancelled)
    }

    /// No calls any more: those that wait to be taken fail, and every receiver leaves with `Closed`.
    pub fn close(&self, kernel: &dyn Kernel) {
        let words = &self.words;
        words.state.store(PORT_CLOSED, SeqCst);
        self.annexes.shut();
        fence(SeqCst);
        self.door.look(words);
        while let Some(newcomer) = self.door.next() {
            newcomer.channel.end(kernel, REFUSED, End::Shut);
        }
        self.door.shut();
        for seated in self.seats.remove(|_| true) {
            seated.channel.end(kernel, REFUSED, End::Shut);
        }
        doorbell::tell(kernel, words, u32::MAX);
    }

    /// Wakes all receivers: the `stop` of some of them was set.
    pub fn tell_all(&self, kernel: &dyn Kernel) {
        doorbell::tell(kernel, &self.words, u32::MAX);
    }

    fn closed(&self) -> bool {
        self.words.state.load(Relaxed) == PORT_CLOSED
    }

    /// Something other than the last partner's next call is there: for the spin.
    fn has_news(&self, wish: Wish<'_>) -> bool {
        self.closed()
            || self.door.has_news(&self.words)
            || self.seats.any(&self.words)
            || wish.bits && self.words.notified.load(Relaxed) != 0
            || wish.stop.is_some_and(|stop| stop.load(Relaxed) != 0)
    }

    /// Takes what is there: bits, the last partner's next call, or anybody's.
    fn next(&self, kernel: &dyn Kernel, wish: Wish<'_>) -> Result<Option<Received>> {
        if self.closed() || wish.stop.is_some_and(|stop| stop.load(Relaxed) != 0) {
            return Err(Error::Closed);
        }
        if wish.bits {
            self.annexes.gather(&self.words);
        }
        if wish.bits && self.words.notified.load(Relaxed) != 0 {
            let bits = self.words.notified.swap(0, AcqRel);
            if bits != 0 {
                return Ok(Some(Received::Bits(bits)));
            }
        }
        if let Some(last) = wish.last {
            if self.streak.is_over() {
                self.round(kernel);
            } else if let Some(call) = last.take_next(self.message_size) {
                return Ok(Some(Received::Call(call)));
            }
        } else {
            // Between others there is no streak, and still time for a round.
            if self.turns.is_over() {
                self.round(kernel);
            }
        }
        self.meet(kernel)?;
        Ok(self.seats.take(kernel, &self.words, wish.last, self.message_size).map(Received::Call))
    }

    /// After a sleep: the wake may have been meant for more than this thread has taken, or could take.
    fn pass_on(&self, kernel: &dyn Kernel, wish: Wish<'_>, found: bool) {
        let words = &self.words;
        self.annexes.gather(words);
        if found && self.receivers.load(Relaxed) > 1 {
            // The ring that woke this thread took the mark off the bell, and others sleep on. What comes from here on rings
            // again; what came in between, a newcomer too, is seen by the look.
            let _ = doorbell::announce(words);
            if self.door.has_news(words) || self.seats.any(words) {
                doorbell::tell(kernel, words, 1);
            }
        }
        if !wish.bits && words.notified.load(Relaxed) != 0 && self.noticing.swap(0, AcqRel) != 0 {
            // The bits are for a thread in `receive_any`, which sleeps among others. The bell has changed since it announced
            // itself, or it sleeps already: a wake is enough.
            kernel.wake(&words.doorbell, u32::MAX);
        }
    }

    /// Meets those who have introduced themselves, and decides about each.
    fn meet(&self, kernel: &dyn Kernel) -> Result<()> {
        if !self.door.has_news(&self.words) {
            return Ok(());
        }
        self.door.look(&self.words);
        let mut decided = Ok(());
        while decided.is_ok()
            && let Some(newcomer) = self.door.next()
        {
            decided = self.decide(kernel, newcomer);
        }
        if decided.is_err() {
            self.door.insist();
        }
        // Clients that come and go faster than rounds must not pile up.
        if self.come.load(Relaxed) as usize > self.seats.count() / 2 {
            self.look_around(kernel);
        }
        // Threads that sleep were perhaps rung while nobody looked there yet.
        doorbell::ring(kernel, &self.words);
        decided
    }

    fn decide(&self, kernel: &dyn Kernel, newcomer: Newcomer) -> Result<()> {
        let Newcomer { channel, badge } = newcomer;
        let welcome = self.mint.made(badge) && self.has_room(kernel, &channel);
        let verdict = if welcome { self.admission.admits(&channel) } else { Ok(false) };
        let verdict = verdict.and_then(|verdict| Ok(verdict && self.furnish(&channel)?));
        if verdict != Ok(true) {
            self.refused.fetch_add(1, Relaxed);
            channel.end(kernel, REFUSED, End::Denied);
            return verdict.map(drop);
        }
        self.come.fetch_add(1, Relaxed);
        let late = || self.closed() || self.mint.is_revoked(badge);
        if let Some(channel) = self.seats.add(kernel, &self.words, channel, badge.number, late) {
            if self.closed() {
                channel.end(kernel, REFUSED, End::Shut);
            } else {
                channel.end(kernel, REVOKED, End::Cancelled);
            }
        }
        Ok(())
    }

    /// A client of another user has what limits that user, and does not claim to live here.
    fn has_room(&self, kernel: &dyn Kernel, channel: &Channel) -> bool {
        let uid = channel.peer.uid;
        if channel.line.is_none() {
            return self.shared || uid == 0 || uid == underpass_shm::space::uid();
        }
        if self.seats.count_of(uid) >= CHANNELS {
            self.look_around(kernel);
        }
        self.seats.count_of(uid) < CHANNELS
    }

    /// Gives a client that cannot write the port's words others; false if there are none left.
    fn furnish(&self, channel: &Channel) -> Result<bool> {
        let Some(line) = &channel.line else { return Ok(true) };
        let annex = self.annexes.of(channel.peer.uid)?;
        Ok(annex.is_some_and(|annex| socket::hand_over(line, &annex.memory)))
    }

    /// A round, if the last was a second ago.
    fn round(&self, kernel: &dyn Kernel) {
        let (now, last) = (kernel.now(), self.rounded.load(Relaxed));
        if now >= last + ROUND && self.rounded.compare_exchange(last, now, Relaxed, Relaxed).is_ok() {
            self.look_around(kernel);
        }
    }

    /// Looks at all channels, whatever their bits say, and forgets those that are gone.
    fn look_around(&self, kernel: &dyn Kernel) {
        self.come.store(0, Relaxed);
        self.seats.show_all(&self.words);
        if self.door.has_visitors() {
            self.door.insist();
        }
        let gone = self.seats.remove(|seated| seated.channel.is_gone(kernel));
        for seated in gone {
            seated.channel.end(kernel, REVOKED, End::Cancelled);
        }
    }
}

impl Ready for Server {
    fn sleepers(&self) -> &dyn Sleepers {
        &*self.words
    }

    /// A receive would not wait: a call or bits are there, or nothing will come any more.
    fn is_ready<'a>(&'a self, kernel: &dyn Kernel, watch: Option<&mut Watch<'a>>) -> Result<bool> {
        let words = &self.words;
        if let Some(watch) = watch {
            self.round(kernel);
            // Said before the look, so that whoever posts after it rings.
            watch.word(&words.doorbell, doorbell::announce(words));
            self.annexes.announce(watch);
            if self.door.has_visitors() {
                self.door.insist();
            }
        }
        if self.closed() {
            return Ok(true);
        }
        self.meet(kernel)?;
        self.annexes.gather(words);
        Ok(words.notified.load(Relaxed) != 0 || self.seats.any(words))
    }
}

impl Call {
    /// Who calls, by the kernel's word.
    #[must_use]
    pub fn peer(&self) -> socket::Credentials {
        self.by.channel.peer
    }

    /// The channel by which it came.
    #[must_use]
    pub fn channel(&self) -> &Channel {
        &self.by.channel
    }

    /// The calling thread, as it says.
    #[must_use]
    pub fn caller(&self) -> Life {
        Life(self.stack().caller.thread.load(Relaxed))
    }

    /// The number that its gate was given; 0: none.
    #[must_use]
    pub fn badge(&self) -> u64 {
        self.by.badge
    }

    /// Nobody waits for a reply.
    #[must_use]
    pub fn is_one_way(&self) -> bool {
        self.taken.one_way
    }

    /// Bytes of the request.
    #[must_use]
    pub fn length(&self) -> usize {
        self.taken.length
    }
}
