//! Names and numbers of signals, as `kill` takes them.

use std::fmt;

use rustix::process::Signal as Named;

/// A signal number from 0 to 64. Zero sends nothing and asks only whether there is a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Signal(u8);

/// The last number the kernel has.
const LAST: u8 = 64;

/// SIGRTMIN and SIGRTMAX as programs see them. The kernel begins at 32, but C libraries keep the first two or
/// three to themselves; image metadata (`STOPSIGNAL SIGRTMIN+3`) counts from 34 whatever the library.
const RTMIN: u8 = 34;
const RTMAX: u8 = 64;

impl Signal {
    /// SIGTERM, the default of `kill`.
    pub const TERM: Self = Self(15);
    /// SIGKILL.
    pub const KILL: Self = Self(9);

    /// The number for kill(2).
    pub fn raw(self) -> i32 {
        i32::from(self.0)
    }

    /// Reads `9`, `KILL`, `SIGKILL` or `RTMIN+3`, in capitals or not.
    ///
    /// # Errors
    /// `unknown signal "X"`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let unknown = || format!("unknown signal {text:?}");
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().ok().filter(|number| *number <= LAST).map(Self).ok_or_else(unknown);
        }
        let name = text.to_ascii_uppercase();
        let name = name.strip_prefix("SIG").unwrap_or(&name);
        by_name(name).or_else(|| real_time(name)).ok_or_else(unknown)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|row| row.1.as_raw() == self.raw()) {
            Some((name, _)) => write!(f, "SIG{name}"),
            None if self.0 >= RTMIN => write!(f, "SIGRTMIN+{}", self.0 - RTMIN),
            None => write!(f, "signal {}", self.0),
        }
    }
}

fn by_name(name: &str) -> Option<Signal> {
    let row = NAMES.iter().find(|row| row.0 == name)?;
    u8::try_from(row.1.as_raw()).ok().map(Signal)
}

fn real_time(name: &str) -> Option<Signal> {
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(""), _) => RTMIN,
        (_, Some("")) => RTMAX,
        (Some(rest), _) => RTMIN.checked_add(offset(rest, '+')?)?,
        (_, Some(rest)) => RTMAX.checked_sub(offset(rest, '-')?)?,
        (None, None) => return None,
    };
    (RTMIN..=RTMAX).contains(&number).then_some(Signal(number))
}

fn offset(rest: &str, sign: char) -> Option<u8> {
    rest.strip_prefix(sign).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
}

/// The names of signal(7). Where two names mean one number, the one to print comes first.
#[rustfmt::skip]
const NAMES: &[(&str, Named)] = &[
    ("HUP", Named::HUP), ("INT", Named::INT), ("QUIT", Named::QUIT), ("ILL", Named::ILL),
    ("TRAP", Named::TRAP), ("ABRT", Named::ABORT), ("IOT", Named::ABORT), ("BUS", Named::BUS),
    ("FPE", Named::FPE), ("KILL", Named::KILL), ("USR1", Named::USR1), ("SEGV", Named::SEGV),
    ("USR2", Named::USR2), ("PIPE", Named::PIPE), ("ALRM", Named::ALARM), ("TERM", Named::TERM),
    ("STKFLT", Named::STKFLT), ("CHLD", Named::CHILD), ("CLD", Named::CHILD), ("CONT", Named::CONT),
    ("STOP", Named::STOP), ("TSTP", Named::TSTP), ("TTIN", Named::TTIN), ("TTOU", Named::TTOU),
    ("URG", Named::URG), ("XCPU", Named::XCPU), ("XFSZ", Named::XFSZ), ("VTALRM", Named::VTALARM),
    ("PROF", Named::PROF), ("WINCH", Named::WINCH), ("IO", Named::IO), ("POLL", Named::IO),
    ("PWR", Named::POWER), ("SYS", Named::SYS),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_in_any_form_are_understood() {
        let table = [
            ("9", 9),
            ("KILL", 9),
            ("SIGKILL", 9),
            ("kill", 9),
            ("sigkill", 9),
            ("SigTerm", 15),
            ("0", 0),
            ("64", 64),
            ("015", 15),
            ("USR1", Named::USR1.as_raw()),
            ("RTMIN", 34),
            ("RTMIN+3", 37),
            ("SIGRTMIN+30", 64),
            ("rtmax-1", 63),
            ("SIGRTMAX", 64),
            ("CLD", Named::CHILD.as_raw()),
            ("IOT", Named::ABORT.as_raw()),
            ("37", 37),
            ("WINCH", Named::WINCH.as_raw()),
        ];
        for (text, number) in table {
            assert_eq!(Signal::parse(text).map(Signal::raw), Ok(number), "{text}");
        }
    }

    #[test]
    fn unknown_signals_are_quoted() {
        for text in [
            "",
            "65",
            "-9",
            "256",
            "SIG",
            "SIGSIGKILL",
            "KILL ",
            "RTMIN+31",
            "RTMIN-1",
            "RTMAX+1",
            "RTMAX-31",
            "RTMIN++1",
            "99999999999",
        ] {
            assert_eq!(Signal::parse(text), Err(format!("unknown signal {text:?}")));
        }
    }

    #[test]
    fn what_is_printed_can_be_read_again() {
        for number in (1..=31).chain(34..=64) {
            let signal = Signal::parse(&number.to_string()).unwrap();
            assert_eq!(Signal::parse(&signal.to_string()), Ok(signal), "{signal}");
        }
    }
}
