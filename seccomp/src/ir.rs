//! The valid profile: what [`crate::profile`] makes of the written one and `lower.rs` spreads over the
//! architectures. Nothing here is optional that is not optional for the kernel too.

use crate::arch::Arch;

/// What the kernel does with a call: `SECCOMP_RET_*` and its data.
///
/// The spec's KILL is `KillThread`, as it was in the kernel before KILL_PROCESS existed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// The process dies as if by SIGSYS.
    KillProcess,
    /// The thread dies as if by SIGSYS.
    KillThread,
    /// The thread gets SIGSYS.
    Trap,
    /// The call is not made and fails with this errno; with 0 it is not made and succeeds.
    Errno(u16),
    /// The listener's owner answers.
    Notify,
    /// The tracer is told, with this number. Without a tracer the call fails with ENOSYS.
    Trace(u16),
    /// The call is made and logged.
    Log,
    /// The call is made.
    Allow,
}

/// `ENOSYS`, the same number in every architecture's ABI that this crate knows but MIPS and PA-RISC, where the
/// kernel expects its own: see [`enosys`].
const ENOSYS: u16 = 38;

/// What `ENOSYS` is on the machine the filter is for. Source: `arch/*/include/uapi/asm/errno.h`.
#[must_use]
pub const fn enosys(native: Arch) -> u16 {
    match native {
        Arch::Mips | Arch::Mips64 | Arch::Mips64N32 | Arch::Mipsel | Arch::Mipsel64 | Arch::Mipsel64N32 => 89,
        Arch::Parisc | Arch::Parisc64 => 251,
        _ => ENOSYS,
    }
}

impl Action {
    /// The value that the program returns. Source: `include/uapi/linux/seccomp.h`.
    #[must_use]
    pub const fn word(self) -> u32 {
        match self {
            Self::KillProcess => 0x8000_0000,
            Self::KillThread => 0,
            Self::Trap => 0x0003_0000,
            Self::Errno(errno) => 0x0005_0000 | errno as u32,
            Self::Notify => 0x7fc0_0000,
            Self::Trace(data) => 0x7ff0_0000 | data as u32,
            Self::Log => 0x7ffc_0000,
            Self::Allow => 0x7fff_0000,
        }
    }

    /// What the kernel makes of a returned value. One that it does not know kills the process.
    #[must_use]
    pub const fn from_word(word: u32) -> Self {
        let data = (word & 0xffff) as u16;
        match word & 0xffff_0000 {
            0 => Self::KillThread,
            0x0003_0000 => Self::Trap,
            0x0005_0000 => Self::Errno(data),
            0x7fc0_0000 => Self::Notify,
            0x7ff0_0000 => Self::Trace(data),
            0x7ffc_0000 => Self::Log,
            0x7fff_0000 => Self::Allow,
            _ => Self::KillProcess,
        }
    }

    /// The spec's name without the data, such as `SCMP_ACT_ERRNO`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::KillProcess => "SCMP_ACT_KILL_PROCESS",
            Self::KillThread => "SCMP_ACT_KILL_THREAD",
            Self::Trap => "SCMP_ACT_TRAP",
            Self::Errno(_) => "SCMP_ACT_ERRNO",
            Self::Notify => "SCMP_ACT_NOTIFY",
            Self::Trace(_) => "SCMP_ACT_TRACE",
            Self::Log => "SCMP_ACT_LOG",
            Self::Allow => "SCMP_ACT_ALLOW",
        }
    }

    /// Whether a call that gets this answer can be made: at once, or by leave of an agent or a tracer.
    #[must_use]
    pub const fn may_proceed(self) -> bool {
        matches!(self, Self::Allow | Self::Log | Self::Notify | Self::Trace(_))
    }
}

impl std::fmt::Display for Action {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Errno(data) | Self::Trace(data) => write!(out, "{}({data})", self.name()),
            _ => out.write_str(self.name()),
        }
    }
}

/// How an argument is compared. All comparisons are unsigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the spec's, without SCMP_CMP_")]
pub enum Operator {
    Ne,
    Lt,
    Le,
    Eq,
    Ge,
    Gt,
    /// The bits of the mask are compared, the others ignored.
    MaskedEq {
        /// The spec's `value`; what they are compared with is `valueTwo`.
        mask: u64,
    },
}

/// One comparison of one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Condition {
    /// 0 to 5.
    pub argument: u8,
    /// How.
    pub operator: Operator,
    /// With what. For `MaskedEq` it has no bits outside the mask.
    pub value: u64,
}

impl Condition {
    /// Whether an argument meets the condition. `argument` has the upper half cleared where the architecture is
    /// of 32 bits, and so has the condition.
    #[must_use]
    pub const fn holds(&self, argument: u64) -> bool {
        match self.operator {
            Operator::Ne => argument != self.value,
            Operator::Lt => argument < self.value,
            Operator::Le => argument <= self.value,
            Operator::Eq => argument == self.value,
            Operator::Ge => argument >= self.value,
            Operator::Gt => argument > self.value,
            Operator::MaskedEq { mask } => argument & mask == self.value,
        }
    }
}

impl std::fmt::Display for Condition {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { argument, operator, value } = self;
        let sign = match operator {
            Operator::MaskedEq { mask } => return write!(out, "arg{argument} & {mask:#x} == {value:#x}"),
            Operator::Ne => "!=",
            Operator::Lt => "<",
            Operator::Le => "<=",
            Operator::Eq => "==",
            Operator::Ge => ">=",
            Operator::Gt => ">",
        };
        write!(out, "arg{argument} {sign} {value:#x}")
    }
}

/// One entry of `linux.seccomp.syscalls`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule<'p> {
    /// The calls it is about.
    pub names: &'p [String],
    /// What they get.
    pub action: Action,
    /// When: any one of these, each of which holds when all its conditions do. None at all means always.
    pub alternatives: Vec<Vec<Condition>>,
}

/// The whole of `linux.seccomp`, valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy<'p> {
    /// The answer to a call that no rule is about.
    pub default: Action,
    /// The architectures whose calls the rules are about, the native one first. The calls of any other kill
    /// the thread.
    pub architectures: Vec<Arch>,
    /// In the order of the profile, so the place of a rule is the `N` of `linux.seccomp.syscalls[N]`.
    pub rules: Vec<Rule<'p>>,
    /// `SECCOMP_FILTER_FLAG_*` for `seccomp(2)`.
    pub flags: u32,
}

impl Policy<'_> {
    /// Whether a number newer than the profile gets ENOSYS. A default that lets calls through, or that a tracer
    /// answers, holds for them too: only a refusal would be mistaken for something else than a missing call.
    #[must_use]
    pub const fn refuses_by_default(&self) -> bool {
        !matches!(self.default, Action::Allow | Action::Log | Action::Trace(_))
    }
}
