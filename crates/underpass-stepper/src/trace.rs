//! The instructions of one call, in order; and the quick way to any of them in another process that makes the same call.
//!
//! To step k times costs k switches between two processes, for every k: the square of the call's length. So a process runs at
//! full speed to the nearest instruction before that is told apart by its address and how often it was executed, and is
//! stepped from there.

use std::collections::HashMap;
use std::ops::Range;

use crate::tracee::{Reached, Tracee};

/// How far back a quicker start is looked for.
const BACK: usize = 400;
/// Stops that passing a breakpoint costs: the breakpoint's, and a step over it.
const PASS: usize = 2;

/// The instructions of a call.
#[derive(Debug, Default)]
pub struct Trace {
    addresses: Vec<u64>,
    /// How often the same address stands before each.
    before: Vec<u32>,
}

/// Tells when a call is over: the instruction after it, with the stack above what it was inside.
#[derive(Debug, Clone, Copy)]
struct Return {
    address: u64,
    stack: u64,
}

impl Return {
    /// At the first instruction of a function.
    fn of(tracee: &Tracee) -> nix::Result<Self> {
        let stack = tracee.registers()?.rsp;
        Ok(Self { address: tracee.peek(stack)?.cast_unsigned(), stack })
    }

    fn is_reached(self, tracee: &Tracee, address: u64) -> nix::Result<bool> {
        Ok(address == self.address && tracee.registers()?.rsp > self.stack)
    }
}

impl Trace {
    /// Steps from the first instruction in `library` until that call returns (true) or the process dies (false).
    pub fn record(tracee: &mut Tracee, library: Range<u64>) -> nix::Result<(Self, bool)> {
        let mut address = tracee.registers()?.rip;
        while !library.contains(&address) {
            if !tracee.step()? {
                return Ok((Self::default(), false));
            }
            address = tracee.registers()?.rip;
        }
        let end = Return::of(tracee)?;
        let mut trace = Self::default();
        let mut seen = HashMap::new();
        loop {
            let count = seen.entry(address).or_insert(0);
            trace.addresses.push(address);
            trace.before.push(*count);
            *count += 1;
            if !tracee.step()? {
                return Ok((trace, false));
            }
            address = tracee.registers()?.rip;
            if end.is_reached(tracee, address)? {
                return Ok((trace, true));
            }
        }
    }

    /// Instructions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.addresses.len()
    }

    /// The call's first instruction.
    #[must_use]
    pub fn entry(&self) -> u64 {
        self.addresses[0]
    }

    /// The instruction that comes after `count` others.
    #[must_use]
    pub fn address(&self, count: usize) -> u64 {
        self.addresses[count]
    }

    /// The stretches in which the next instruction lies outside of `library`.
    #[must_use]
    pub fn outside(&self, library: Range<u64>) -> Vec<Range<usize>> {
        let mut stretches: Vec<Range<usize>> = Vec::new();
        for (count, address) in self.addresses.iter().enumerate() {
            match stretches.last_mut() {
                _ if library.contains(address) => {}
                Some(last) if last.end == count => last.end = count + 1,
                _ => stretches.push(count..count + 1),
            }
        }
        stretches
    }

    /// Takes another process, which has a breakpoint at the entry, to the instruction that comes after `count` others.
    ///
    /// Where the calls differ, because somebody else is quicker or slower, it ends where as many steps lead.
    pub fn follow(&self, tracee: &mut Tracee, count: usize) -> nix::Result<Reached> {
        if tracee.run()?.is_none() {
            return Ok(Reached::Died);
        }
        let end = Return::of(tracee)?;
        let start = self.start(count);
        tracee.pull_all()?;
        if start > 0 {
            let wanted = self.addresses[start];
            tracee.plant(end.address)?;
            let mut left = self.before[start];
            if wanted == self.entry() {
                // The breakpoint there was the first time.
                left -= 1;
                tracee.step()?;
            }
            tracee.plant(wanted)?;
            loop {
                let Some(address) = tracee.run()? else { return Ok(Reached::Died) };
                if end.is_reached(tracee, address)? {
                    return Ok(Reached::Returned);
                }
                if address == wanted && left == 0 {
                    break;
                }
                left -= u32::from(address == wanted);
                tracee.pull(address)?;
                if !tracee.step()? {
                    return Ok(Reached::Died);
                }
                tracee.plant(address)?;
            }
            tracee.pull_all()?;
        }
        let mut address = self.addresses[start];
        for _ in start..count {
            if !tracee.step()? {
                return Ok(Reached::Died);
            }
            address = tracee.registers()?.rip;
            if end.is_reached(tracee, address)? {
                return Ok(Reached::Returned);
            }
        }
        Ok(Reached::At(address))
    }

    /// Where to stop running and start stepping.
    fn start(&self, count: usize) -> usize {
        let cost = |start: usize| count - start + PASS * self.before[start] as usize;
        (count.saturating_sub(BACK)..=count).chain([0]).min_by_key(|start| cost(*start)).unwrap_or(0)
    }
}
