//! Many objects at once: which of them are ready, taking nothing from any.
//!
//! Follows Zephyr's `k_poll` and Linux's `poll`: level-triggered, whoever waits for one object alone comes first. Each
//! thread that waits so has a bell, and whoever wakes the sleepers of an object rings the bells that watch it.
//!
//! Invariant: a bell stands among an object's watchers before its owner announces itself there, so whoever changes the
//! object after that look finds somebody announced, wakes, and rings.

use underpass_shm::layout::bell::{BellWords, MARKS, WatchersWords};
use underpass_shm::operation::Operation;
use underpass_shm::sync::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};
use underpass_shm::sync::fence;

use crate::error::Phase;
use crate::kernel::{Kernel, Parked, Purpose, Watch};
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
}

/// Rings the bells that watch an object, which is known by `nonce`: after its change, with its baton named. `bell` finds
/// the words of a bell, and `wake` wakes who sleeps there, and says whether its owner lives.
pub fn ring<'a>(
    watchers: &WatchersWords,
    nonce: u64,
    bell: impl Fn(usize) -> Option<&'a BellWords>,
    wake: impl Fn(&'a BellWords) -> bool,
) {
    for (group, word) in watchers.bells.iter().enumerate() {
        let mut left = word.load(Relaxed);
        while left != 0 {
            let bit = left.trailing_zeros() as usize;
            left &= left - 1;
            let ring = || {
                bell(group * 64 + bit).is_some_and(|words| {
                    let mark = nonce % MARKS;
                    words.ready[(mark / 64) as usize].fetch_or(1 << (mark % 64), AcqRel);
                    words.rings.fetch_add(1, AcqRel);
                    wake(words)
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

/// While this lives, the bell is rung for the object.
#[derive(Debug)]
struct Watching<'a> {
    watchers: &'a WatchersWords,
    number: usize,
}

impl<'a> Watching<'a> {
    fn begin(member: &Member<'a>, bell: Bell<'_>) -> Self {
        member.watchers.bells[bell.number / 64].fetch_or(1 << (bell.number % 64), Relaxed);
        Self { watchers: member.watchers, number: bell.number }
    }
}

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        self.watchers.bells[self.number / 64].fetch_and(!(1 << (self.number % 64)), Relaxed);
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

impl Enough {
    fn is(self, ready: &[usize], members: &[Member<'_>]) -> bool {
        match self {
            Self::Any => !ready.is_empty() || members.is_empty(),
            Self::All => ready.len() == members.len(),
        }
    }
}

/// Waits until enough of the members are ready; all that are, by their places.
pub fn wait(members: &[Member<'_>], enough: Enough, deadline: Deadline) -> Result<Vec<usize>> {
    let ready = look(members)?;
    let (false, Some(first)) = (enough.is(&ready, members), members.first()) else { return Ok(ready) };
    if deadline == Deadline::NoWait {
        return Err(Error::WouldBlock);
    }
    let kernel = first.kernel;
    let mut bells: Vec<Bell<'_>> = Vec::new();
    let mut watching = Vec::with_capacity(members.len());
    for member in members {
        let bell = member.kernel.bell()?;
        if bells.iter().all(|other| !std::ptr::eq(other.words, bell.words)) {
            bells.push(bell);
        }
        watching.push(Watching::begin(member, bell));
    }
    // SYNC(many-1): pairs with whoever wakes, which finds somebody announced before it looks at the watchers.
    fence(SeqCst);
    let batons: Vec<_> = members.iter().map(|member| member.object.sleepers().baton()).collect();
    let mut watch = Watch::new();
    watch.purpose = Some(Purpose::new(Operation::Wait));
    let mut expired = deadline.time().is_some_and(|time| kernel.now() >= time);
    loop {
        watch.clear();
        for bell in &bells {
            watch.word(&bell.words.rings, bell.words.rings.load(Acquire));
        }
        let ready = announce(members, &mut watch)?;
        if enough.is(&ready, members) {
            return Ok(ready);
        }
        if expired {
            return Err(Error::TimedOut(Phase::Wait));
        }
        match kernel.park(&watch, &batons, deadline.time()) {
            Parked::Look => {}
            Parked::Baton => members.iter().for_each(|member| member.object.sleepers().recall(member.kernel)),
            Parked::Expired => expired = true,
            Parked::Interrupted => return Err(Error::Interrupted),
        }
    }
}

/// Which members are ready.
fn look(members: &[Member<'_>]) -> Result<Vec<usize>> {
    let mut ready = Vec::new();
    for (index, member) in members.iter().enumerate() {
        if member.object.is_ready(member.kernel, None)? {
            ready.push(index);
        }
    }
    Ok(ready)
}

/// The same, and the caller is announced at those that are not.
fn announce(members: &[Member<'_>], watch: &mut Watch<'_>) -> Result<Vec<usize>> {
    let (mut ready, mut own) = (Vec::new(), Watch::new());
    for (index, member) in members.iter().enumerate() {
        loop {
            own.clear();
            if member.object.is_ready(member.kernel, Some(&mut own))? {
                ready.push(index);
                break;
            }
            // Who sleeps there does so only while these are as they were; whoever changes them from now on rings.
            if own.holds() {
                break;
            }
        }
        own.lives().iter().for_each(|life| watch.life(*life));
        watch.unheard |= own.unheard;
    }
    Ok(ready)
}
