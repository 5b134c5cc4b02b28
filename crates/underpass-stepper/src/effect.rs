//! What of an instruction others can tell: it calls the kernel, or stores to what others share or the kernel reads at a death.
//!
//! Between two instructions with an effect a death leaves the same behind, wherever it is.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::ops::Range;

use iced_x86::{
    Code, Decoder, DecoderOptions, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, Register, UsedMemory,
};
use nix::libc::{SYS_set_robust_list, user_regs_struct};

use crate::memory::Memory;

/// Longer than the longest instruction.
const LONGEST: usize = 16;
/// What an instruction stores whose size is not known, as `xsave` does: more than that.
const UNKNOWN: u64 = 1 << 14;
const BITS: u32 = 64;

/// Why others can tell that an instruction was executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It is a system call.
    Call,
    /// It stores to shared memory.
    Store,
    /// The same, by an atomic operation.
    Atomic,
    /// It stores to the robust list.
    Robust,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Call => "call",
            Self::Store => "store",
            Self::Atomic => "atomic",
            Self::Robust => "robust",
        })
    }
}

/// An instruction, and what it may store.
#[derive(Debug)]
struct Decoded {
    instruction: Instruction,
    stores: Vec<UsedMemory>,
}

/// Tells of each instruction of a process whether it has an effect.
#[derive(Debug)]
pub struct Watch {
    memory: Memory,
    shared: Vec<Range<u64>>,
    robust: Vec<Range<u64>>,
    decoded: HashMap<u64, Decoded>,
    stale: bool,
}

impl Watch {
    /// Of a process that is stopped.
    pub fn of(memory: Memory) -> Self {
        Self { memory, shared: Vec::new(), robust: Vec::new(), decoded: HashMap::new(), stale: true }
    }

    /// What it looks at.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// What the next instruction will do, of a process with these registers.
    pub fn next(&mut self, registers: &user_regs_struct) -> io::Result<Option<Effect>> {
        if self.stale {
            self.shared = self.memory.shared()?;
            self.decoded.clear();
        }
        if !self.decoded.contains_key(&registers.rip) {
            let decoded = decode(&self.memory, registers.rip)?;
            self.decoded.insert(registers.rip, decoded);
        }
        let Decoded { instruction, stores } = &self.decoded[&registers.rip];
        if is_call(instruction) {
            // It may map what was not mapped.
            self.stale = true;
            if registers.rax == SYS_set_robust_list.cast_unsigned() {
                self.memory.set_head(registers.rdi);
            }
            return Ok(Some(Effect::Call));
        }
        self.stale = false;
        if stores.is_empty() {
            return Ok(None);
        }
        // Its nodes may be shared, and somebody else may have changed them.
        self.robust = self.memory.robust();
        let reaches = |ranges: &[Range<u64>]| {
            stores.iter().any(|store| {
                stored(store, registers)
                    .is_none_or(|bytes| ranges.iter().any(|range| range.start < bytes.end && bytes.start < range.end))
            })
        };
        Ok(if reaches(&self.robust) {
            Some(Effect::Robust)
        } else if !reaches(&self.shared) {
            None
        } else if instruction.has_lock_prefix() || instruction.mnemonic() == Mnemonic::Xchg {
            Some(Effect::Atomic)
        } else {
            Some(Effect::Store)
        })
    }
}

fn is_call(instruction: &Instruction) -> bool {
    matches!(instruction.code(), Code::Syscall | Code::Int_imm8 | Code::Sysenter | Code::INVALID)
}

fn decode(memory: &Memory, address: u64) -> io::Result<Decoded> {
    let mut code = [0; LONGEST];
    let read = memory.read(address, &mut code)?;
    let instruction = Decoder::with_ip(BITS, &code[..read], address, DecoderOptions::NONE).decode();
    let stores = InstructionInfoFactory::new()
        .info(&instruction)
        .used_memory()
        .iter()
        .filter(|used| is_store(used.access()))
        .copied()
        .collect();
    Ok(Decoded { instruction, stores })
}

fn is_store(access: OpAccess) -> bool {
    matches!(access, OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite)
}

/// Where an instruction stores. A repeated one is as many instructions, since each repetition is a step. `None`: that is not known.
fn stored(store: &UsedMemory, registers: &user_regs_struct) -> Option<Range<u64>> {
    let start = store.virtual_address(0, |register, _, _| value(register, registers))?;
    let size = u64::try_from(store.memory_size().size()).ok().filter(|size| *size > 0).unwrap_or(UNKNOWN);
    Some(start..start.saturating_add(size))
}

fn value(register: Register, registers: &user_regs_struct) -> Option<u64> {
    let whole = match register.full_register() {
        Register::RAX => registers.rax,
        Register::RBX => registers.rbx,
        Register::RCX => registers.rcx,
        Register::RDX => registers.rdx,
        Register::RSI => registers.rsi,
        Register::RDI => registers.rdi,
        Register::RBP => registers.rbp,
        Register::RSP => registers.rsp,
        Register::R8 => registers.r8,
        Register::R9 => registers.r9,
        Register::R10 => registers.r10,
        Register::R11 => registers.r11,
        Register::R12 => registers.r12,
        Register::R13 => registers.r13,
        Register::R14 => registers.r14,
        Register::R15 => registers.r15,
        _ => {
            return match register {
                Register::FS => Some(registers.fs_base),
                Register::GS => Some(registers.gs_base),
                // Flat, on this machine.
                Register::CS | Register::DS | Register::ES | Register::SS => Some(0),
                _ => None,
            };
        }
    };
    Some(if register.size() == size_of::<u32>() { whole & u64::from(u32::MAX) } else { whole })
}
