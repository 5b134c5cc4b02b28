//! The instructions of one call, in order; and the quick way to any of them in another process that makes the same call.
//!
//! To step k times costs k switches between two processes, for every k: the square of the call's length. So a process runs at
//! full speed to the nearest instruction before that is told apart by its address and how often it was executed, and is
//! stepped from there.

use std::collections::HashMap;
use std::io;
use std::ops::Range;

use crate::effect::{Effect, Watch};
use crate::memory::{Left, Memory};
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
    effects: Vec<(usize, Effect)>,
    changes: Vec<usize>,
}

/// How much is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looking {
    /// The effects that the instructions have, as they are decoded.
    Decode,
    /// Besides, at each instruction, whether what others see is as before: slow, and leans on no decoder.
    Compare,
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
    pub fn record(
        tracee: &mut Tracee,
        library: Range<u64>,
        memory: Memory,
        looking: Looking,
    ) -> io::Result<(Self, bool)> {
        let mut registers = tracee.registers()?;
        while !library.contains(&registers.rip) {
            if !tracee.step()? {
                return Ok((Self::default(), false));
            }
            registers = tracee.registers()?;
        }
        let end = Return::of(tracee)?;
        let mut trace = Self::default();
        let mut seen = HashMap::new();
        let mut watch = Watch::of(memory);
        let mut left = Left::behind(watch.memory())?;
        loop {
            let executed = trace.len();
            let count = seen.entry(registers.rip).or_insert(0);
            trace.addresses.push(registers.rip);
            trace.before.push(*count);
            *count += 1;
            trace.effects.extend(watch.next(&registers)?.map(|effect| (executed, effect)));
            if !tracee.step()? {
                return Ok((trace, false));
            }
            if looking == Looking::Compare {
                let now = Left::behind(watch.memory())?;
                trace.changes.extend((now != left).then_some(executed));
                left = now;
            }
            registers = tracee.registers()?;
            if end.is_reached(tracee, registers.rip)? {
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

    /// Those that have an effect, each by how many come before it.
    #[must_use]
    pub fn effects(&self) -> &[(usize, Effect)] {
        &self.effects
    }

    /// Those that were seen to change something.
    #[must_use]
    pub fn changes(&self) -> &[usize] {
        &self.changes
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
                    tracee.pull_all()?;
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
