//! A process under ptrace: steps, breakpoints, its end.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;

use nix::errno::Errno;
use nix::libc::user_regs_struct;
use nix::sys::ptrace::{self, AddressType, Options};
use nix::sys::signal::{SIGKILL, SIGTRAP, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// `int3` of x86.
const TRAP: i64 = 0xcc;
const LOW_BYTE: i64 = 0xff;

/// Where a process came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// This instruction is the next.
    At(u64),
    /// The call has returned.
    Returned,
    /// It is dead.
    Died,
}

/// A process that this one traces, stopped between requests.
#[derive(Debug)]
pub struct Tracee {
    pid: Pid,
    /// The words that breakpoints replaced, by address.
    planted: BTreeMap<u64, i64>,
    /// The kernel's own functions. The one that reads the clock begins anew when a tick falls into it, as it does for ever where each
    /// instruction takes as long as a tick: so they are passed at full speed. They store nothing that others see.
    vdso: Range<u64>,
}

#[derive(Debug, Clone, Copy)]
enum How {
    Step,
    Run,
}

impl Tracee {
    /// Seizes a process and stops it, in a system call that goes on later. If this process ends, so does that one.
    pub fn attach(pid: Pid) -> nix::Result<Self> {
        ptrace::seize(pid, Options::PTRACE_O_EXITKILL)?;
        ptrace::interrupt(pid)?;
        waitpid(pid, Some(WaitPidFlag::__WALL))?;
        Ok(Self { pid, planted: BTreeMap::new(), vdso: vdso(pid)? })
    }

    /// One that an earlier request left stopped.
    #[must_use]
    pub fn held(pid: Pid) -> Self {
        Self { pid, planted: BTreeMap::new(), vdso: 0..0 }
    }

    /// The registers.
    pub fn registers(&self) -> nix::Result<user_regs_struct> {
        ptrace::getregs(self.pid)
    }

    /// The word at an address.
    pub fn peek(&self, address: u64) -> nix::Result<i64> {
        ptrace::read(self.pid, address as AddressType)
    }

    /// Executes one instruction, a whole system call if it is one, and a whole call of the kernel's own functions. False: it is dead.
    pub fn step(&mut self) -> nix::Result<bool> {
        if !self.resume(How::Step)? {
            return Ok(false);
        }
        let registers = self.registers()?;
        if !self.vdso.contains(&registers.rip) {
            return Ok(true);
        }
        let back = self.peek(registers.rsp)?.cast_unsigned();
        let was_planted = self.planted.contains_key(&back);
        self.plant(back)?;
        if self.run()?.is_none() {
            return Ok(false);
        }
        if !was_planted {
            self.pull(back)?;
        }
        Ok(true)
    }

    /// Runs to the next breakpoint. `None`: it is dead.
    pub fn run(&mut self) -> nix::Result<Option<u64>> {
        if !self.resume(How::Run)? {
            return Ok(None);
        }
        let mut registers = self.registers()?;
        registers.rip -= 1;
        if self.planted.contains_key(&registers.rip) {
            ptrace::setregs(self.pid, registers)?;
        }
        Ok(Some(registers.rip))
    }

    /// Sets a breakpoint.
    pub fn plant(&mut self, address: u64) -> nix::Result<()> {
        if !self.planted.contains_key(&address) {
            let word = self.peek(address)?;
            ptrace::write(self.pid, address as AddressType, word & !LOW_BYTE | TRAP)?;
            self.planted.insert(address, word);
        }
        Ok(())
    }

    /// Removes a breakpoint. One byte is put back: a neighbour's may lie in the same word.
    pub fn pull(&mut self, address: u64) -> nix::Result<()> {
        if let Some(word) = self.planted.remove(&address) {
            let now = self.peek(address)?;
            ptrace::write(self.pid, address as AddressType, now & !LOW_BYTE | word & LOW_BYTE)?;
        }
        Ok(())
    }

    /// Removes all breakpoints.
    pub fn pull_all(&mut self) -> nix::Result<()> {
        while let Some(address) = self.planted.keys().next().copied() {
            self.pull(address)?;
        }
        Ok(())
    }

    /// Lets it go, with a signal if one is given.
    pub fn release(mut self, signal: Option<Signal>) -> nix::Result<()> {
        self.pull_all()?;
        ptrace::detach(self.pid, signal)
    }

    /// Kills it, and waits until its parent may do so too.
    pub fn kill(self) -> nix::Result<()> {
        match kill(self.pid, SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => return Err(errno),
        }
        loop {
            match waitpid(self.pid, Some(WaitPidFlag::__WALL)) {
                Ok(WaitStatus::Signaled(..) | WaitStatus::Exited(..)) | Err(Errno::ECHILD) => return Ok(()),
                Ok(_) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Goes on until the trap that `how` ends with; signals are passed on. False: it is dead.
    fn resume(&mut self, how: How) -> nix::Result<bool> {
        let mut signal = None;
        loop {
            let resumed = match how {
                How::Step => ptrace::step(self.pid, signal),
                How::Run => ptrace::cont(self.pid, signal),
            };
            match resumed {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => return Err(errno),
            }
            signal = match waitpid(self.pid, Some(WaitPidFlag::__WALL))? {
                WaitStatus::Stopped(_, SIGTRAP) => return Ok(true),
                WaitStatus::Stopped(_, other) => Some(other),
                WaitStatus::Signaled(..) | WaitStatus::Exited(..) => return Ok(false),
                _ => None,
            };
        }
    }
}

fn vdso(pid: Pid) -> nix::Result<Range<u64>> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).map_err(|_| Errno::ESRCH)?;
    let line = maps.lines().find(|line| line.ends_with("[vdso]"));
    let range = line.and_then(|line| line.split_ascii_whitespace().next()?.split_once('-'));
    let number = |text| u64::from_str_radix(text, 16).unwrap_or(0);
    Ok(range.map_or(0..0, |(low, high)| number(low)..number(high)))
}
