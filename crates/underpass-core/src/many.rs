//! Many objects at once: which of them are ready, taking nothing from any.
//!
//! Follows Zephyr's `k_poll` and Linux's `poll`: level-triggered, whoever waits for one object alone comes first. Each
//! thread that waits so has a bell, and whoever wakes the sleepers of an object rings the bells that watch it.
//!
//! Invariant: a bell stands among an object's watchers before its owner announces itself there, so whoever changes the
//! object after that look finds somebody announced, wakes, and rings.

use underpass_shm::layout::bell::{BellWords, MARKS, WatchersWords};
use underpass_shm::life::Life;
use underpass_shm::operation::Operation;
use underpass_shm::sync::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use underpass_shm::sync::fence;

use crate::error::Phase;
use crate::kernel::{Announced, Kernel, Parked, Purpose, WORDS, Watch};
use crate::planted::{Fault, planted};
use crate::wait::Sleepers;
use crate::{Deadline, Error, Result};

/// What can be waited for beside others.
pub trait Ready: std::fmt::Debug {
    /// Those who sleep on it.
    fn sleepers(&self) -> &dyn Sleepers;

    /// Says whether it is ready, and takes nothing. With a watch list a caller that finds it is not is announced like one
    /// who waits for it alone.
    fn is_ready<'a>(&'a self, kernel: &dyn Kernel, watch: Option<&mut Watch<'a>>) -> Result<bool>;
}

/// A bell, as its owner uses it and those who ring it.
#[derive(Debug, Clone, Copy)]
pub struct Bell<'a> {
    /// Its words.
    pub words: &'a BellWords,
    /// Which it is, of those of its space.
    pub number: usize,
}

/// One of those that are waited for.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    /// The object.
    pub object: &'a dyn Ready,
    /// Its world.
    pub kernel: &'a dyn Kernel,
    /// Who is rung for it.
    pub watchers: &'a WatchersWords,
    /// By what those who ring know it.
    pub nonce: u64,
}

/// Rings the bells that watch an object, which is known by `nonce`: after its change, with its baton named. `bell` finds
/// the words of a bell, and `wake` wakes who sleeps there, and says whether its owner lives.
pub fn ring<'a>(
    watchers: &WatchersWords,
    nonce: u64,
    bell: impl Fn(usize) -> Option<&'a BellWords>,
    wake: impl Fn(usize, &'a BellWords) -> bool,
) {
    for (group, word) in watchers.bells.iter().enumerate() {
        // SYNC(many-2): pairs with `watch`: whoever finds the bit sees the bell as its owner has set it up, with a socket or without.
        let mut left = word.load(Acquire);
        while left != 0 {
            let bit = left.trailing_zeros() as usize;
            left &= left - 1;
            let ring = || {
                let number = group * 64 + bit;
                bell(number).is_some_and(|words| {
                    let mark = mark_of(nonce);
                    words.ready[(mark / 64) as usize].fetch_or(1 << (mark % 64), AcqRel);
                    words.rings.fetch_add(1, AcqRel);
                    wake(number, words)
                })
            };
            if ring() {
                continue;
            }
            // Its owner has died, and left it here.
            word.fetch_and(!(1 << bit), AcqRel);
            if ring() {
                // Somebody else has it by now, and may have asked for it in between.
                word.fetch_or(1 << bit, AcqRel);
                ring();
            }
        }
    }
}

/// The mark that is left at a bell for the object of that nonce; several can have the same.
#[must_use]
pub fn mark_of(nonce: u64) -> u64 {
    nonce % MARKS
}

/// From now on the bell of that number is rung for the object.
pub fn watch(watchers: &WatchersWords, number: usize) {
    // SYNC(many-2): pairs with `ring`.
    watchers.bells[number / 64].fetch_or(1 << (number % 64), Release);
    // SYNC(many-1): pairs with whoever wakes, which finds somebody announced before it looks at the watchers.
    fence(SeqCst);
}

/// It is not any more.
pub fn unwatch(watchers: &WatchersWords, number: usize) {
    watchers.bells[number / 64].fetch_and(!(1 << (number % 64)), Relaxed);
}

/// Says whether an object is ready; if it is not, who asks is announced there, and rung for from now on.
pub fn announce<'a>(object: &'a dyn Ready, kernel: &dyn Kernel, own: &mut Watch<'a>) -> Result<bool> {
    loop {
        own.clear();
        let ready = object.is_ready(kernel, Some(&mut *own))?;
        // Who sleeps there does so only while these are as they were; whoever changes them from now on rings.
        if ready || own.holds() {
            return Ok(ready);
        }
    }
}

/// While this lives, the bell is rung for the object.
#[derive(Debug)]
struct Watching<'a> {
    watchers: &'a WatchersWords,
    number: usize,
}

impl<'a> Watching<'a> {
    fn begin(watchers: &'a WatchersWords, number: usize) -> Self {
        watch(watchers, number);
        Self { watchers, number }
    }
}

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        unwatch(self.watchers, self.number);
    }
}

/// While this lives, a wait of the calling thread uses its bell. One that a signal handler begins uses the same.
#[derive(Debug)]
struct Turn<'a> {
    bell: Bell<'a>,
    number: u32,
}

impl<'a> Turn<'a> {
    fn begin(bell: Bell<'a>) -> Self {
        Self { bell, number: bell.words.waits.fetch_add(1, Relaxed).wrapping_add(1) }
    }

    /// A wait inside this one has taken marks, and bits back; whether there was one.
    fn resume(&mut self) -> bool {
        let number = self.bell.words.waits.load(Relaxed);
        std::mem::replace(&mut self.number, number) != number
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // The wait around this one, which is about to sleep, looks again.
        self.bell.words.rings.fetch_add(1, Relaxed);
    }
}

/// How many of the members have to be ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enough {
    /// One.
    Any,
    /// All, at one look.
    All,
}

/// What is known of the members.
#[derive(Debug)]
struct Seen<'m, 'a> {
    members: &'m [Member<'a>],
    ready: Vec<bool>,
    /// How many are ready.
    count: usize,
    /// Whose ends would change what is known, of which member.
    lives: Vec<(usize, Life)>,
    /// What was announced at each.
    announced: Vec<Announced<'a>>,
    /// Some member may not be told of everything.
    unheard: bool,
}

impl<'m, 'a> Seen<'m, 'a> {
    fn nothing(members: &'m [Member<'a>]) -> Self {
        let announced = members.iter().map(|_| Announced::default()).collect();
        Self { members, ready: vec![false; members.len()], count: 0, lives: Vec::new(), announced, unheard: false }
    }

    fn is(&self, enough: Enough) -> bool {
        match enough {
            Enough::Any => self.count > 0 || self.members.is_empty(),
            Enough::All => self.count == self.members.len(),
        }
    }

    fn ready(&self) -> Vec<usize> {
        (0..self.members.len()).filter(|index| self.ready[*index]).collect()
    }

    /// Which are ready, without a word to anybody.
    fn look(&mut self) -> Result<()> {
        for (index, member) in self.members.iter().enumerate() {
            let ready = member.object.is_ready(member.kernel, None)?;
            self.learn(index, ready);
        }
        Ok(())
    }

    /// The same; who waits is announced at those that are not. With marks only those are looked at that bear one.
    fn announce(&mut self, marks: Option<&Marks>) -> Result<()> {
        if marks.is_none() {
            self.unheard = false;
        }
        let mut own = Watch::new();
        for (index, member) in self.members.iter().enumerate() {
            if marks.is_some_and(|marks| !marks.bears(member.nonce)) {
                continue;
            }
            self.lives.retain(|(other, _)| *other != index);
            let ready = announce(member.object, member.kernel, &mut own)?;
            self.learn(index, ready);
            let announced = &mut self.announced[index];
            announced.words.clear();
            announced.wide = None;
            if !self.ready[index] {
                announced.words.extend(own.words());
                announced.wide = own.wide;
                self.lives.extend(own.lives().iter().map(|life| (index, *life)));
                self.unheard |= own.unheard;
            }
        }
        Ok(())
    }

    fn learn(&mut self, index: usize, ready: bool) {
        self.count = self.count + usize::from(ready) - usize::from(self.ready[index]);
        self.ready[index] = ready;
    }
}

/// The bits that are set.
fn bits(mut left: u64) -> impl Iterator<Item = u64> {
    std::iter::from_fn(move || {
        let bit = left.trailing_zeros();
        left &= left.wrapping_sub(1);
        (bit < u64::BITS).then_some(u64::from(bit))
    })
}

/// Which objects may be ready, by what their ringers said.
#[derive(Debug)]
pub struct Marks([u64; MARKS as usize / 64]);

impl Marks {
    /// Nothing.
    #[must_use]
    pub fn none() -> Self {
        Self([0; MARKS as usize / 64])
    }

    /// Takes those that were left at a bell.
    pub fn take(&mut self, bell: &BellWords) {
        for (mark, word) in self.0.iter_mut().zip(&bell.ready) {
            if word.load(Relaxed) != 0 {
                *mark |= word.swap(0, AcqRel);
            }
        }
    }

    /// The same, one by one, for who keeps none.
    pub fn take_each(bell: &BellWords, mut taken: impl FnMut(u64)) {
        for (group, word) in (0..).zip(&bell.ready) {
            if word.load(Relaxed) != 0 {
                bits(word.swap(0, AcqRel)).for_each(|bit| taken(group * 64 + bit));
            }
        }
    }

    /// The marks of objects that may be ready: [`mark_of`] tells an object's.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.iter().zip(0..).flat_map(|(word, group)| bits(*word).map(move |bit| group * 64 + bit))
    }

    fn bears(&self, nonce: u64) -> bool {
        let mark = mark_of(nonce);
        self.0[(mark / 64) as usize] >> (mark % 64) & 1 != 0
    }
}

/// What it is for, for those who look on: they find the members by the bell. Not those of other spaces, which have another.
fn purpose(members: &[Member<'_>], operation: Operation, bells: usize) -> Purpose {
    let mut nonces: Vec<u64> = members.iter().map(|member| member.nonce).collect();
    nonces.sort_unstable();
    nonces.dedup();
    let operation = if bells > 1 { Operation::Wait } else { operation };
    Purpose { members: nonces.len() as u32, ..Purpose::new(operation) }
}

/// Waits until enough of the members are ready; all that are, by their places.
pub fn wait(members: &[Member<'_>], enough: Enough, deadline: Deadline) -> Result<Vec<usize>> {
    let operation = match enough {
        Enough::Any => Operation::Any,
        Enough::All => Operation::All,
    };
    wait_in(operation, members, enough, deadline)
}

/// The same, in an operation that those who look on are told of.
pub fn wait_in(operation: Operation, members: &[Member<'_>], enough: Enough, deadline: Deadline) -> Result<Vec<usize>> {
    let mut seen = Seen::nothing(members);
    seen.look()?;
    let (false, Some(first)) = (seen.is(enough), members.first()) else { return Ok(seen.ready()) };
    if deadline == Deadline::NoWait {
        return Err(Error::WouldBlock);
    }
    let kernel = first.kernel;
    let mut bells: Vec<Bell<'_>> = Vec::new();
    let mut turns = Vec::new();
    let mut watching = Vec::with_capacity(members.len());
    for member in members {
        let bell = member.kernel.bell()?;
        if bells.iter().all(|other| !std::ptr::eq(other.words, bell.words)) {
            if bells.len() == WORDS {
                return Err(Error::Misuse(format!("they are of more than {WORDS} spaces: wait for fewer at once")));
            }
            bells.push(bell);
            turns.push(Turn::begin(bell));
        }
        watching.push(Watching::begin(member.watchers, bell.number));
    }
    let batons: Vec<_> = members.iter().map(|member| member.object.sleepers().baton()).collect();
    let mut watch = Watch::new();
    watch.purpose = Some(purpose(members, operation, bells.len()));
    let mut expired = deadline.time().is_some_and(|time| kernel.now() >= time);
    // Whoever was not told why it was woken looks at all: a life has ended, or nobody has rung for long.
    let mut told = false;
    let mut rings: Vec<u32> = bells.iter().map(|bell| bell.words.rings.load(Acquire)).collect();
    loop {
        let mut marks = Marks::none();
        for bell in &bells {
            marks.take(bell.words);
        }
        seen.announce(told.then_some(&marks))?;
        if told && enough == Enough::All && seen.is(enough) {
            // Those that were ready may have been taken since.
            seen.announce(None)?;
        }
        if seen.is(enough) {
            return Ok(seen.ready());
        }
        if expired {
            return Err(Error::TimedOut(Phase::Wait));
        }
        watch.clear();
        for (bell, rings) in bells.iter().zip(&rings) {
            watch.word(&bell.words.rings, *rings);
        }
        seen.lives.iter().for_each(|(_, life)| watch.life(*life));
        watch.unheard = seen.unheard;
        // Who dies between its change and the ring is told by a baton, on which this sleeper may not be queued yet.
        if !planted(Fault::UncomparedAnnouncement) {
            std::mem::swap(&mut watch.announced, &mut seen.announced);
        }
        let parked = kernel.park(&watch, &batons, deadline.time());
        if !planted(Fault::UncomparedAnnouncement) {
            std::mem::swap(&mut watch.announced, &mut seen.announced);
        }
        let heard: Vec<u32> = bells.iter().map(|bell| bell.words.rings.load(Acquire)).collect();
        told = parked == Parked::Look && heard != rings;
        rings = heard;
        match parked {
            Parked::Look => {}
            Parked::Baton => members.iter().for_each(|member| member.object.sleepers().recall(member.kernel)),
            Parked::Expired => expired = true,
            Parked::Interrupted => return Err(Error::Interrupted),
        }
        let resumed = turns.iter_mut().fold(false, |resumed, turn| turn.resume() | resumed);
        if resumed || !told {
            told = false;
            // Whoever rings for one that has died takes its bit back, and dies before it sees whose the bell is now.
            for one in &watching {
                self::watch(one.watchers, one.number);
            }
        }
    }
}
