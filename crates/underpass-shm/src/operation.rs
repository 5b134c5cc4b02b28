//! What a thread sleeps in: the verbs of the objects, as numbers that fit into its entry of the table of lives.

/// An operation that can wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Operation {
    /// For a unit of a semaphore, or for a mutex.
    Acquire = 1,
    /// For room in a queue.
    Put = 2,
    /// For a message of a queue.
    Get = 3,
    /// Until a queue is drained.
    Join = 4,
    /// For a free place among the calls of a gate, or until a message is received.
    Send = 5,
    /// For the reply to a call.
    Call = 6,
    /// For a call.
    Receive = 7,
    /// For flags, an event, or another value of a word.
    Wait = 8,
    /// For the lock inside an object: its owner is in the middle of a step.
    Lock = 9,
    /// For a name.
    Open = 10,
    /// To read what a writer or those before it keep it from.
    Read = 11,
    /// To write what others read or write.
    Write = 12,
    /// To write what it reads together with others.
    Upgrade = 13,
    /// For any of many objects.
    Any = 14,
    /// For all of many objects.
    All = 15,
    /// For any of many objects, to do one of several operations.
    Select = 16,
    /// For room in a broadcast: for its slowest reader.
    Publish = 17,
    /// For a block of a pool.
    Alloc = 18,
    /// For a word of a stack.
    Pop = 19,
    /// For room in a ring.
    Claim = 20,
    /// For a packet of a ring.
    Take = 21,
}

impl Operation {
    /// All of them.
    const ALL: [Self; 21] = {
        use Operation::{
            Acquire, All, Alloc, Any, Call, Claim, Get, Join, Lock, Open, Pop, Publish, Put, Read, Receive, Select,
            Send, Take, Upgrade, Wait, Write,
        };
        [
            Acquire, Put, Get, Join, Send, Call, Receive, Wait, Lock, Open, Read, Write, Upgrade, Any, All, Select,
            Publish, Alloc, Pop, Claim, Take,
        ]
    };

    /// The operation of that number, if there is one.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|this| *this as u32 == number)
    }

    /// The operation of that name, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|this| this.name() == name)
    }

    /// Whether it waits for many objects.
    #[must_use]
    pub fn is_of_many(self) -> bool {
        matches!(self, Self::Any | Self::All | Self::Select)
    }

    /// The verb.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Acquire => "acquire",
            Self::Put => "put",
            Self::Get => "get",
            Self::Join => "join",
            Self::Send => "send",
            Self::Call => "call",
            Self::Receive => "receive",
            Self::Wait => "wait",
            Self::Lock => "lock",
            Self::Open => "open",
            Self::Read => "read",
            Self::Write => "write",
            Self::Upgrade => "upgrade",
            Self::Any => "wait_any",
            Self::All => "wait_all",
            Self::Select => "select",
            Self::Publish => "publish",
            Self::Alloc => "alloc",
            Self::Pop => "pop",
            Self::Claim => "claim",
            Self::Take => "take",
        }
    }
}
