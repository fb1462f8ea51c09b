//! From rules about names to answers for numbers: which answer each number of each architecture gets.
//!
//! Start at [`lower`]. What comes out is the same for every use of a profile: [`crate::compile()`] turns it into
//! jumps, [`crate::explain`] looks one number up.

use crate::arch::{Arch, Width, X32_BIT};
use crate::ir::{Action, Condition, Operator, Policy, enosys};
use crate::tables::{self, ARM_PRIVATE_BASE, DENSE, Multiplexer, Number, Row};
use std::cmp::Ordering;

/// Places behind the dense ones for ARM's private calls.
const PRIVATE: usize = 16;

/// What the rules say about one place: 0 is nothing, otherwise a rule and one, or a chain with [`CHAIN`] set. While the
/// rules are read, it is the last conditional rule so far with [`PENDING`] set.
type Slot = u32;

const CHAIN: Slot = 1 << 31;
const PENDING: Slot = 1 << 30;

/// Whether no rule without conditions has taken a slot, while the rules are read.
fn is_open(slot: Slot) -> bool {
    slot == 0 || slot & PENDING != 0
}

/// One architecture's calls.
pub(crate) struct Section {
    pub(crate) arch: Arch,
    /// `seccomp_data.arch`, the place in the rows of the tables, and what is added to their numbers.
    pub(crate) audit: u32,
    column: usize,
    base: u32,
    slots: Vec<Slot>,
    /// The newest call that the profile names, whatever it says about it.
    newest: Option<u16>,
    /// The first number that gets ENOSYS for being newer, once all rules are read.
    newer: Option<u32>,
    socketcall: Option<u16>,
    ipc: Option<u16>,
}

/// Conditions that hold together, and the rule that then decides.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Alternative {
    pub(crate) conditions: Vec<Condition>,
    pub(crate) rule: usize,
}

/// The alternatives of one call in the order in which they are tried. When none holds, the default answers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) width: Width,
    pub(crate) alternatives: Vec<Alternative>,
}

/// Who decides about a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// No rule: the default.
    Default,
    /// `linux.seccomp.syscalls[N]`, unconditionally.
    Rule(usize),
    /// The place of a chain in [`Lowered::chains`].
    Chain(usize),
    /// The profile is older than the call: ENOSYS.
    Newer,
    /// `seccomp_data.arch`, or the half of x86-64's numbers, is of no listed architecture.
    Foreign,
}

/// All of a profile, spread over its architectures.
pub(crate) struct Lowered<'p> {
    pub(crate) default: Action,
    pub(crate) actions: Vec<Action>,
    pub(crate) sections: Vec<Section>,
    pub(crate) chains: Vec<Chain>,
    pub(crate) enosys: Option<Action>,
    /// Names that no architecture has.
    pub(crate) unknown: Vec<&'p str>,
    /// Rules with conditions on arguments that `socketcall` or `ipc` hide from the filter.
    pub(crate) hidden: Vec<usize>,
    /// For each rule, whether somewhere another with the same or fewer conditions decides first.
    pub(crate) unreachable: Vec<bool>,
}

/// A conditional rule for one place, while the rules are read.
struct Pending {
    alternative: Alternative,
    /// The slot before, which says what was pending then.
    before: Slot,
}

/// The conditional rules that were read, and where: each section and place once.
#[derive(Default)]
struct Gathered {
    pending: Vec<Pending>,
    places: Vec<(usize, u16)>,
}

/// Spreads a policy over its architectures.
pub(crate) fn lower<'p>(policy: &Policy<'p>) -> Lowered<'p> {
    let native = policy.architectures.first().copied();
    let enosys = native.filter(|_| policy.refuses_by_default()).map(|arch| Action::Errno(enosys(arch)));
    let mut lowered = Lowered {
        default: policy.default,
        actions: policy.rules.iter().map(|rule| rule.action).collect(),
        sections: policy.architectures.iter().copied().map(Section::new).collect(),
        chains: Vec::new(),
        enosys,
        unknown: Vec::new(),
        hidden: Vec::new(),
        unreachable: vec![false; policy.rules.len()],
    };
    let mut gathered = Gathered::default();
    for (place, rule) in policy.rules.iter().enumerate() {
        // A rule that says what the default says is skipped, but its names count as known to the profile.
        if rule.action == policy.default {
            rule.names.iter().for_each(|name| lowered.mention(name));
        } else {
            rule.names.iter().for_each(|name| lowered.add(name, place, &rule.alternatives, &mut gathered));
        }
    }
    lowered.chain(gathered);
    for section in &mut lowered.sections {
        section.newer = enosys.and_then(|_| section.first_newer());
    }
    lowered
}

impl Section {
    fn new(arch: Arch) -> Self {
        let place = |kind: Multiplexer| match tables::lookup(kind.name())?.number(arch)? {
            Number::Dense(number) => Some(number),
            Number::Private(_) => None,
        };
        let (socketcall, ipc) = (place(Multiplexer::Socketcall), place(Multiplexer::Ipc));
        Self {
            arch,
            audit: arch.audit(),
            column: arch.column(),
            base: arch.base(),
            slots: vec![0; DENSE + PRIVATE],
            newest: None,
            newer: None,
            socketcall,
            ipc,
        }
    }

    fn multiplexer(&self, kind: Multiplexer) -> Option<u16> {
        match kind {
            Multiplexer::Socketcall => self.socketcall,
            Multiplexer::Ipc => self.ipc,
        }
    }

    /// The place of a number, noting that the profile knows it. ARM's private calls are no measure of that.
    #[inline]
    fn mention(&mut self, number: Number) -> u16 {
        match number {
            Number::Dense(number) => {
                self.newest = self.newest.max(Some(number));
                number
            }
            Number::Private(number) => DENSE as u16 + number,
        }
    }

    fn slot(&self, place: usize) -> Slot {
        self.slots.get(place).copied().unwrap_or(0)
    }

    /// The first rule without conditions decides; one with conditions never does beside it.
    #[inline]
    fn set(&mut self, place: u16, rule: usize) {
        if let Some(slot) = self.slots.get_mut(usize::from(place))
            && is_open(*slot)
        {
            *slot = rule as Slot + 1;
        }
    }

    /// The first number after the newest that the profile names, or nothing where it names none but number 0:
    /// runc takes that for none at all.
    fn first_newer(&self) -> Option<u32> {
        let newest = self.base + u32::from(self.newest?);
        (newest != 0).then_some(newest + 1)
    }

    /// Who decides about a number of this architecture.
    fn decide(&self, raw: u32) -> Decision {
        if self.newer.is_some() && raw == 0 && matches!(self.arch, Arch::S390 | Arch::S390x) {
            // The kernel puts 0 into the number when it does not know the real one, which a program passes in
            // a register of its own here. Number 0, setup(2), does not exist otherwise.
            return Decision::Newer;
        }
        match Decision::of(self.place(raw).map_or(0, |place| self.slot(place))) {
            Decision::Default if self.newer.is_some_and(|newer| raw >= newer) => Decision::Newer,
            decided => decided,
        }
    }

    /// Where the slot of a number is.
    fn place(&self, raw: u32) -> Option<usize> {
        let below = |base, limit| raw.checked_sub(base).map(|it| it as usize).filter(move |it| *it < limit);
        match below(self.base, DENSE) {
            None if self.arch == Arch::Arm => below(ARM_PRIVATE_BASE, PRIVATE).map(|place| DENSE + place),
            dense => dense,
        }
    }
}

impl Decision {
    fn of(slot: Slot) -> Self {
        match slot {
            0 => Self::Default,
            slot if slot & CHAIN != 0 => Self::Chain((slot & !CHAIN) as usize),
            slot => Self::Rule(slot as usize - 1),
        }
    }
}

impl<'p> Lowered<'p> {
    /// Notes that the profile knows a call.
    fn mention(&mut self, name: &'p str) {
        let Some(row) = tables::lookup(name) else { return self.unknown.push(name) };
        for section in &mut self.sections {
            if let Some(number) = row.at(section.column) {
                section.mention(number);
            }
            if let Some(place) = row.selector().and_then(|(kind, _)| section.multiplexer(kind)) {
                section.mention(Number::Dense(place));
            }
        }
    }

    /// Adds a rule for a call to every architecture that has it.
    fn add(&mut self, name: &'p str, rule: usize, when: &[Vec<Condition>], gathered: &mut Gathered) {
        let Some(row) = tables::lookup(name) else { return self.unknown.push(name) };
        let mut multiplexed = false;
        for (index, section) in self.sections.iter_mut().enumerate() {
            if let Some(number) = row.at(section.column) {
                let place = section.mention(number);
                if when.is_empty() {
                    section.set(place, rule);
                } else {
                    section.add(place, rule, when.iter().cloned(), index, gathered);
                }
            }
            multiplexed |= section.socketcall.is_some() || section.ipc.is_some();
        }
        if multiplexed {
            self.add_multiplexed(row, rule, when, gathered);
        }
    }

    /// Adds a rule for a call where `socketcall` or `ipc` is another entry to it.
    fn add_multiplexed(&mut self, row: Row, rule: usize, when: &[Vec<Condition>], gathered: &mut Gathered) {
        let Some((kind, value)) = row.selector() else { return };
        let select = Condition { argument: 0, operator: Operator::MaskedEq { mask: kind.mask() }, value };
        for (index, section) in self.sections.iter_mut().enumerate() {
            let Some(place) = section.multiplexer(kind) else { continue };
            section.mention(Number::Dense(place));
            if !is_open(section.slot(usize::from(place))) {
                continue;
            }
            if when.is_empty() {
                section.add(place, rule, std::iter::once(vec![select]), index, gathered);
                continue;
            }
            let selected = when.iter().map(|conditions| behind(select, conditions));
            section.add(place, rule, selected, index, gathered);
            if self.hidden.last() != Some(&rule) {
                self.hidden.push(rule);
            }
        }
    }

    /// Makes a chain of the conditional rules of each place that no unconditional one holds.
    fn chain(&mut self, mut gathered: Gathered) {
        for (index, place) in gathered.places {
            let Some(section) = self.sections.get(index) else { continue };
            let mut slot = section.slot(usize::from(place));
            let mut alternatives = Vec::new();
            while slot & PENDING != 0 {
                let Some(pending) = gathered.pending.get_mut((slot & !PENDING) as usize) else { break };
                alternatives.push(std::mem::take(&mut pending.alternative));
                slot = pending.before;
            }
            if alternatives.is_empty() {
                continue;
            }
            alternatives.reverse();
            alternatives.sort_by(|a, b| precedence(&a.conditions, &b.conditions));
            absorb(&mut alternatives, &mut self.unreachable);
            let slot = CHAIN | self.intern(Chain { width: section.arch.width(), alternatives }) as Slot;
            let section = self.sections.get_mut(index);
            if let Some(free) = section.and_then(|it| it.slots.get_mut(usize::from(place))) {
                *free = slot;
            }
        }
    }

    fn intern(&mut self, chain: Chain) -> usize {
        self.chains.iter().position(|known| *known == chain).unwrap_or_else(|| {
            self.chains.push(chain);
            self.chains.len() - 1
        })
    }

    /// Who decides about a number, as the kernel gives it with an architecture.
    pub(crate) fn decide(&self, audit: u32, raw: u32) -> Decision {
        self.entry(audit).decide(raw)
    }

    /// The sections whose calls come with a `seccomp_data.arch`.
    pub(crate) fn entry(&self, audit: u32) -> Entry<'_> {
        let of = |arch: Arch| self.sections.iter().find(|section| section.arch == arch);
        if audit != Arch::X32.audit() {
            let section = self.sections.iter().find(|section| section.audit == audit);
            return section.map_or(Entry::Foreign, Entry::Only);
        }
        match (of(Arch::X86_64), of(Arch::X32)) {
            (None, None) => Entry::Foreign,
            (Some(section), Some(x32)) => Entry::Both(section, x32),
            (Some(section), None) => Entry::WithoutX32(section),
            (None, Some(x32)) => Entry::OnlyX32(x32),
        }
    }

    /// The answer of a decision that needs no argument. A chain has none of its own.
    pub(crate) fn answer(&self, decision: Decision) -> Option<Action> {
        match decision {
            Decision::Default => Some(self.default),
            Decision::Rule(rule) => self.actions.get(rule).copied(),
            Decision::Newer => self.enosys,
            Decision::Foreign => Some(FOREIGN),
            Decision::Chain(_) => None,
        }
    }
}

/// Whose calls come with one `seccomp_data.arch`. That of x86-64 and x32 is the same.
#[derive(Clone, Copy)]
pub(crate) enum Entry<'l> {
    Foreign,
    Only(&'l Section),
    WithoutX32(&'l Section),
    OnlyX32(&'l Section),
    Both(&'l Section, &'l Section),
}

impl Entry<'_> {
    /// Who decides about a number.
    pub(crate) fn decide(self, raw: u32) -> Decision {
        match self {
            Self::Foreign => Decision::Foreign,
            Self::Only(section) => section.decide(raw),
            Self::WithoutX32(section) => section.decide_without_x32(raw),
            Self::OnlyX32(x32) => x32.decide_only_x32(raw),
            Self::Both(section, x32) => (if raw & X32_BIT == 0 { section } else { x32 }).decide(raw),
        }
    }

    /// Puts the numbers at which the decision may change into `all`, in order.
    pub(crate) fn boundaries(self, all: &mut Vec<u32>) {
        all.clear();
        all.push(0);
        match self {
            Self::Foreign => {}
            Self::Only(section) | Self::WithoutX32(section) | Self::OnlyX32(section) => {
                section.boundaries(all);
            }
            Self::Both(section, x32) => {
                section.boundaries(all);
                x32.boundaries(all);
            }
        }
        if !matches!(self, Self::Foreign | Self::Only(_)) {
            all.extend([X32_BIT, 2 * X32_BIT, 3 * X32_BIT, u32::MAX]);
        }
        order(all);
        all.dedup();
    }
}

/// Puts numbers in order that almost are: each goes back past the few that are greater.
fn order(all: &mut [u32]) {
    for end in 1..all.len() {
        let mut rest = all.get_mut(..=end).unwrap_or_default();
        while let [before @ .., a, b] = rest
            && *a > *b
        {
            std::mem::swap(a, b);
            let shorter = before.len() + 1;
            rest = rest.get_mut(..shorter).unwrap_or_default();
        }
    }
}

/// What the call of an architecture gets that the profile does not list: libseccomp's `SCMP_FLTATR_ACT_BADARCH`.
pub(crate) const FOREIGN: Action = Action::KillThread;

impl Section {
    /// x86-64 alone: x32 is another architecture. The number -1 is not, for a tracer puts it there to skip a call.
    fn decide_without_x32(&self, raw: u32) -> Decision {
        match raw {
            u32::MAX => Decision::Default,
            0..X32_BIT => self.decide(raw),
            _ if raw & X32_BIT == 0 && self.newer.is_some() => Decision::Newer,
            _ => Decision::Foreign,
        }
    }

    /// x32 alone, which is native to nobody but a kernel's author.
    fn decide_only_x32(&self, raw: u32) -> Decision {
        match raw {
            0..X32_BIT => Decision::Foreign,
            _ if raw & X32_BIT == 0 => Decision::Default,
            _ => self.decide(raw),
        }
    }

    fn boundaries(&self, all: &mut Vec<u32>) {
        let base = self.base;
        let mut last = 0;
        all.push(base);
        let used = self.newest.map_or(0, |newest| usize::from(newest) + 1);
        for (number, slot) in self.slots.iter().take(used).enumerate() {
            if *slot != last {
                all.push(base + number as u32);
                last = *slot;
            }
        }
        all.push(base + used as u32);
        if self.arch == Arch::Arm {
            all.extend((0..=PRIVATE as u32).map(|number| ARM_PRIVATE_BASE + number));
        }
        if matches!(self.arch, Arch::S390 | Arch::S390x) {
            all.push(1);
        }
    }

    /// Adds the alternatives of a rule to a place, in the form that this architecture's width gives them.
    fn add(
        &mut self,
        place: u16,
        rule: usize,
        when: impl Iterator<Item = Vec<Condition>>,
        index: usize,
        gathered: &mut Gathered,
    ) {
        for mut conditions in when {
            narrow(&mut conditions, self.arch.width());
            if conditions.is_empty() {
                self.set(place, rule);
            } else {
                self.gather(place, Alternative { conditions, rule }, index, gathered);
            }
        }
    }

    /// Adds to what is pending for a place, where no unconditional rule is.
    fn gather(&mut self, place: u16, alternative: Alternative, index: usize, gathered: &mut Gathered) {
        let Some(slot) = self.slots.get_mut(usize::from(place)) else { return };
        match *slot {
            0 => gathered.places.push((index, place)),
            slot if !is_open(slot) => return,
            _ => {}
        }
        gathered.pending.push(Pending { alternative, before: *slot });
        *slot = PENDING | (gathered.pending.len() - 1) as Slot;
    }
}

/// The conditions of a call as `socketcall` or `ipc` sees them: the first argument is the selector, the others are
/// compared as they are there, which is what libseccomp does.
fn behind(select: Condition, conditions: &[Condition]) -> Vec<Condition> {
    let others = conditions.iter().filter(|condition| condition.argument != 0);
    std::iter::once(select).chain(others.copied()).collect()
}

/// Brings conditions to a width, and drops those that always hold because their mask is empty.
fn narrow(conditions: &mut Vec<Condition>, width: Width) {
    let keep = match width {
        Width::Bits32 => u64::from(u32::MAX),
        Width::Bits64 => u64::MAX,
    };
    for condition in conditions.iter_mut() {
        condition.value &= keep;
        if let Operator::MaskedEq { mask } = &mut condition.operator {
            *mask &= keep;
        }
    }
    conditions.retain(|condition| condition.operator != Operator::MaskedEq { mask: 0 });
}

/// Which of two alternatives is tried first, when rules with conditions overlap and disagree. The spec is silent and
/// profiles depend on libseccomp's order, which does not follow the profile's: later arguments before earlier
/// ones, equalities before bounds, narrow bounds before wide ones, and fewer conditions before more.
fn precedence(a: &[Condition], b: &[Condition]) -> Ordering {
    let rank = |condition: &Condition| {
        let (class, narrow) = match condition.operator {
            Operator::Eq | Operator::Ne | Operator::MaskedEq { .. } => (3, condition.value),
            Operator::Le | Operator::Lt => (2, !condition.value),
            Operator::Ge | Operator::Gt => (1, condition.value),
        };
        (condition.argument, class, narrow)
    };
    let unequal = a.iter().zip(b).map(|(a, b)| rank(b).cmp(&rank(a))).find(|order| order.is_ne());
    unequal.unwrap_or_else(|| a.len().cmp(&b.len()))
}

/// Drops the alternatives that never decide, because one with only a part of their conditions is before them. Notes
/// the rules that lose one by it and would have answered differently.
fn absorb(alternatives: &mut Vec<Alternative>, unreachable: &mut [bool]) {
    let mut kept: Vec<Alternative> = Vec::with_capacity(alternatives.len());
    for alternative in alternatives.drain(..) {
        match kept.last() {
            Some(last) if alternative.conditions.starts_with(&last.conditions) => {
                if last.rule != alternative.rule
                    && let Some(rule) = unreachable.get_mut(alternative.rule)
                {
                    *rule = true;
                }
            }
            _ => kept.push(alternative),
        }
    }
    *alternatives = kept;
}
