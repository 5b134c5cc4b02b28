//! Who lives: the ids that owner words, leases and file names carry.

const PROCESS_BIT: u32 = 1 << 31;
const SLOT_BITS: u32 = 15;
const SLOT_MASK: u32 = (1 << SLOT_BITS) - 1;
pub(crate) const GENERATION_MASK: u32 = (1 << 16) - 1;

/// The id of a process or of a thread in one space; never reused while anybody could remember it.
///
/// ```text
///  31        30              15 14           0
/// ┌─────────┬──────────────────┬──────────────┐   process = 0: a thread. 31 bits are left for it, so that a
/// │ process │    generation    │     slot     │   lock word has one for itself.
/// └─────────┴──────────────────┴──────────────┘   0 is nobody: generations start at 1.
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Life(pub u32);

impl Life {
    /// Nobody.
    pub const NOBODY: Self = Self(0);

    pub(crate) fn thread(slot: u32, generation: u32) -> Self {
        Self((generation & GENERATION_MASK) << SLOT_BITS | slot)
    }

    pub(crate) fn process(slot: u32, generation: u32) -> Self {
        Self(PROCESS_BIT | (generation & GENERATION_MASK) << SLOT_BITS | slot)
    }

    /// True for the id of a process.
    #[must_use]
    pub fn is_process(self) -> bool {
        self.0 & PROCESS_BIT != 0
    }

    pub(crate) fn slot(self) -> u32 {
        self.0 & SLOT_MASK
    }

    pub(crate) fn generation(self) -> u32 {
        self.0 >> SLOT_BITS & GENERATION_MASK
    }
}

/// Who is asking: the calling thread and its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Me {
    /// Owns locks.
    pub thread: Life,
    /// Owns leases, loans, anonymous objects, ports.
    pub process: Life,
    /// The thread's id for the kernel, in its own pid namespace.
    pub tid: u32,
    /// That namespace, by inode; 0: not known.
    pub namespace: u32,
}

impl Me {
    /// One who lives nowhere.
    pub const NOBODY: Self = Self { thread: Life::NOBODY, process: Life::NOBODY, tid: 0, namespace: 0 };
}
