//! The page that the child shares with whoever watches it: how far it came and what failed.
//!
//! It is the first page of the container's record. A store to it is not a system call, so it works after any filter is
//! loaded, and it survives every way in which the child can die. End of file on a socket alone would prove nothing: a
//! kill for lack of memory gives the same.

use core::sync::atomic::Ordering;

use rustix::fd::AsFd;
use rustix::io::Errno;
use sys::map::SharedWords;

/// The size of the page in 32-bit words.
pub const WORDS: usize = 1024;

const PHASE: usize = 0;
const STEP: usize = 1;
const ERRNO: usize = 2;
const VALUE: usize = 3;
const CALL: usize = 4;
const CALL_WORDS: usize = 8;
const LISTENER: usize = 12;
/// The time from which the stamps count, in nanoseconds since 1970, low half first; 0 where nobody asked for stamps.
const ORIGIN: usize = 13;
const RAN: usize = 15;
const FIRST_RAN: usize = 16;
/// How many steps are stamped at most. Their stamps follow their numbers.
const STAMPED: usize = (WORDS - FIRST_RAN) / 2;
/// A stamp counts these nanoseconds: 32 bits last seven minutes.
const STAMP_NS: u64 = 100;

/// How far the child came.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
#[repr(u32)]
pub enum Phase {
    /// The image was not executed yet.
    Cloned = 0,
    /// Steps run.
    Setup = 1,
    /// The program waits for start.
    Ready = 2,
    /// Start was received.
    Started = 3,
    /// The next system call is the execve of the container's program.
    Executing = 4,
    /// A step failed; step, call and errno say how.
    Failed = 5,
}

const PHASES: [Phase; 6] =
    [Phase::Cloned, Phase::Setup, Phase::Ready, Phase::Started, Phase::Executing, Phase::Failed];

/// A view of the page.
#[derive(Debug)]
pub struct Page(SharedWords);

/// What the child left about a step that failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The system call, or a short phrase where a check of ours said no.
    pub call: &'static str,
    /// Its errno.
    pub errno: Errno,
    /// A number that belongs to it: the exit status of a hook.
    pub value: u32,
}

/// A [`Failure`] as the other side reads it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Report {
    /// The index of the step in the plan.
    pub step: u32,
    /// The bytes of the call's name, zero-filled.
    pub call: [u8; CALL_WORDS * 4],
    /// The errno as a number.
    pub errno: u32,
    /// See [`Failure::value`].
    pub value: u32,
}

impl Page {
    /// Maps the first page of `file`.
    ///
    /// # Errors
    /// Those of mmap(2).
    pub fn map(file: impl AsFd) -> Result<Self, Errno> {
        SharedWords::map(file, WORDS).map(Self)
    }

    fn store(&self, index: usize, value: u32) {
        if let Some(word) = self.0.get(index) {
            word.store(value, Ordering::Release);
        }
    }

    fn load(&self, index: usize) -> u32 {
        self.0.get(index).map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// Notes how far the child came.
    pub fn set_phase(&self, phase: Phase) {
        self.store(PHASE, phase as u32);
    }

    /// How far the child came; `None` for a value that no version of ours wrote.
    pub fn phase(&self) -> Option<Phase> {
        let value = self.load(PHASE);
        PHASES.into_iter().find(|phase| *phase as u32 == value)
    }

    /// Notes the number of the filter's listener: the message about it may have to pass the filter.
    pub fn set_listener(&self, number: i32) {
        self.store(LISTENER, number.unsigned_abs());
    }

    /// The number of the filter's listener, once there is one.
    pub fn listener(&self) -> Option<u32> {
        Some(self.load(LISTENER)).filter(|number| *number != 0)
    }

    /// Asks the child for the time at which each step begins; `now` is in nanoseconds since 1970.
    pub fn time_steps(&self, now: u64) {
        self.store(ORIGIN + 1, (now >> 32) as u32);
        self.store(ORIGIN, now as u32);
    }

    fn origin(&self) -> u64 {
        u64::from(self.load(ORIGIN)) | u64::from(self.load(ORIGIN + 1)) << 32
    }

    fn room(&self) -> usize {
        if self.origin() == 0 { WORDS - FIRST_RAN } else { STAMPED }
    }

    /// Notes that a step begins. The clock is read only if somebody asked for the time.
    pub fn begin(&self, step: u32, clock: impl Fn() -> u64) {
        let count = self.load(RAN) as usize;
        self.store(STEP, step);
        if count < self.room() {
            self.store(FIRST_RAN + count, step);
        }
        let origin = self.origin();
        if origin != 0 && count < STAMPED {
            let stamp = clock().saturating_sub(origin) / STAMP_NS;
            self.store(FIRST_RAN + STAMPED + count, u32::try_from(stamp).unwrap_or(u32::MAX));
        }
        self.store(RAN, u32::try_from(count.saturating_add(1)).unwrap_or(u32::MAX));
    }

    /// The step that began last.
    pub fn step(&self) -> u32 {
        self.load(STEP)
    }

    /// The steps that began, in order, with the time of that in nanoseconds since 1970 or 0; the page has room for about a
    /// thousand steps, and for half as many with their times.
    pub fn ran(&self) -> impl Iterator<Item = (u32, u64)> {
        let (count, origin) = ((self.load(RAN) as usize).min(self.room()), self.origin());
        let at = move |index| match self.load(FIRST_RAN + STAMPED + index) {
            0 => 0,
            stamp if origin != 0 => origin + u64::from(stamp) * STAMP_NS,
            _ => 0,
        };
        (0..count).map(move |index| (self.load(FIRST_RAN + index), at(index)))
    }

    /// Notes the failure of the step that began last.
    pub fn fail(&self, failure: Failure) {
        for (index, chunk) in failure.call.as_bytes().chunks(4).take(CALL_WORDS).enumerate() {
            let mut word = [0; 4];
            word.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
            self.store(CALL + index, u32::from_ne_bytes(word));
        }
        self.store(ERRNO, failure.errno.raw_os_error().unsigned_abs());
        self.store(VALUE, failure.value);
        self.set_phase(Phase::Failed);
    }

    /// What failed, if something did.
    pub fn failure(&self) -> Option<Report> {
        if self.phase()? != Phase::Failed {
            return None;
        }
        let mut call = [0; CALL_WORDS * 4];
        for (index, chunk) in call.chunks_exact_mut(4).enumerate() {
            chunk.copy_from_slice(&self.load(CALL + index).to_ne_bytes());
        }
        Some(Report { step: self.load(STEP), call, errno: self.load(ERRNO), value: self.load(VALUE) })
    }

    /// Forgets everything, for a new child.
    pub fn clear(&self) {
        self.0.iter().for_each(|word| word.store(0, Ordering::Relaxed));
    }
}

impl Report {
    /// The name of the call.
    pub fn call(&self) -> &str {
        let len = self.call.iter().position(|byte| *byte == 0).unwrap_or(self.call.len());
        self.call.get(..len).and_then(|bytes| core::str::from_utf8(bytes).ok()).unwrap_or("?")
    }

    /// The errno.
    pub fn errno(&self) -> Errno {
        let number = i32::try_from(self.errno).unwrap_or(0).clamp(1, 4095);
        Errno::from_raw_os_error(number)
    }
}

/// The call of a [`Failure`] whose value is the signal that killed a hook; 0 where it is not known.
pub const KILLED: &str = "hook was killed";

impl Failure {
    /// A failed system call, or a check of ours with the errno that fits it best.
    pub fn new(call: &'static str, errno: Errno) -> Self {
        Self { call, errno, value: 0 }
    }
}

/// Names the call in the result of a system call.
pub trait Called<T> {
    /// Turns an errno into a [`Failure`] of `call`.
    fn called(self, call: &'static str) -> Result<T, Failure>;
}

impl<T> Called<T> for Result<T, Errno> {
    fn called(self, call: &'static str) -> Result<T, Failure> {
        self.map_err(|errno| Failure::new(call, errno))
    }
}
