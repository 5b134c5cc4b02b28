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
/// More than an instruction stores whose size is not known: `xsave`, or a repeated one, each repetition of which is a step.
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

/// Where an instruction stores. `None`: that is not known.
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

#[cfg(test)]
mod tests {
    use std::io;

    use nix::libc::user_regs_struct;
    use nix::unistd::getpid;

    use super::{UNKNOWN, decode, is_call, stored};
    use crate::memory::Memory;

    /// Each register holds something else.
    const REGISTERS: user_regs_struct = user_regs_struct {
        r15: 0xf000,
        r14: 0xe000,
        r13: 0xd000,
        r12: 0xc000,
        rbp: 0x5_0000,
        rbx: 0x3_0000,
        r11: 0xb000,
        r10: 0xa000,
        r9: 0x9000,
        r8: 0x8000,
        rax: 0,
        rcx: 0x10,
        rdx: 0x2_0000,
        rsi: 0x6_0000,
        rdi: 0x7_0000,
        orig_rax: 0,
        rip: 0,
        cs: 0,
        eflags: 0,
        rsp: 0x4_0000,
        ss: 0,
        fs_base: 0x80_0000,
        gs_base: 0x90_0000,
        ds: 0,
        es: 0,
        fs: 0,
        gs: 0,
    };

    /// An instruction, its code, where it stores and how many bytes.
    type Case = (&'static str, &'static [u8], &'static [(u64, u64)]);

    fn stores(code: &[u8]) -> io::Result<Vec<(u64, u64)>> {
        let decoded = decode(&Memory::of(getpid(), 0)?, code.as_ptr() as u64)?;
        let ranges = decoded.stores.iter().filter_map(|store| stored(store, &REGISTERS));
        Ok(ranges.map(|bytes| (bytes.start, bytes.end - bytes.start)).collect())
    }

    #[test]
    fn a_store_is_found_where_it_goes() -> io::Result<()> {
        let instructions: [Case; 9] = [
            ("mov [rdi], rsi", &[0x48, 0x89, 0x37], &[(0x7_0000, 8)]),
            ("mov [rbx+rcx*4-8], r8d", &[0x44, 0x89, 0x44, 0x8b, 0xf8], &[(0x3_0038, 4)]),
            ("lock cmpxchg [rdi], rsi", &[0xf0, 0x48, 0x0f, 0xb1, 0x37], &[(0x7_0000, 8)]),
            ("xchg [rdi], esi", &[0x87, 0x37], &[(0x7_0000, 4)]),
            ("rep stosb", &[0xf3, 0xaa], &[(0x7_0000, UNKNOWN)]),
            ("mov fs:[0x10], rsi", &[0x64, 0x48, 0x89, 0x34, 0x25, 0x10, 0, 0, 0], &[(0x80_0010, 8)]),
            ("push rsi", &[0x56], &[(0x3_fff8, 8)]),
            ("xsave [rdi]", &[0x0f, 0xae, 0x27], &[(0x7_0000, UNKNOWN)]),
            ("mov rsi, [rdi]", &[0x48, 0x8b, 0x37], &[]),
        ];
        for (name, code, expected) in instructions {
            let padded = [code, &[0x90; 16]].concat();
            assert_eq!(stores(&padded)?, expected, "{name}");
        }
        Ok(())
    }

    #[test]
    fn a_system_call_is_one() -> io::Result<()> {
        let code = [[0x0f, 0x05].as_slice(), &[0x90_u8; 16]].concat();
        assert!(is_call(&decode(&Memory::of(getpid(), 0)?, code.as_ptr() as u64)?.instruction));
        Ok(())
    }
}
