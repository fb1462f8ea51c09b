//! Tests of [`super`]: what engines read of a log.

use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::{Duration, UNIX_EPOCH};

use rustix::io::Errno;

use super::*;

fn at(seconds: u64, nanos: u32) -> SystemTime {
    UNIX_EPOCH + Duration::new(seconds, nanos)
}

fn message(text: &str) -> Record<'_> {
    Record { level: Level::Error, message: text, fields: &[] }
}

/// A directory of its own below /tmp, removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("it-log-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn dates_are_right_around_leap_days_and_centuries() {
    let table = [
        (0, "1970-01-01T00:00:00"),
        (951_782_399, "2000-02-28T23:59:59"),
        (951_782_400, "2000-02-29T00:00:00"),
        (951_868_800, "2000-03-01T00:00:00"),
        (1_709_164_800, "2024-02-29T00:00:00"),
        (1_735_689_599, "2024-12-31T23:59:59"),
        (1_735_689_600, "2025-01-01T00:00:00"),
        (4_107_542_399, "2100-02-28T23:59:59"),
        (4_107_542_400, "2100-03-01T00:00:00"),
        (253_402_300_799, "9999-12-31T23:59:59"),
    ];
    for (seconds, text) in table {
        assert_eq!(rfc3339(at(seconds, 7)), format!("{text}.000000007Z"));
    }
    assert_eq!(rfc3339(UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01T00:00:00.000000000Z");
}

#[test]
fn the_two_formats_look_as_engines_expect() {
    let record =
        Record { level: Level::Warning, message: "a \"b\"\n", fields: &[("key".into(), "x y".into())] };
    assert_eq!(
        text_line(&record, at(0, 0)),
        "time=\"1970-01-01T00:00:00.000000000Z\" level=warning msg=\"a \\\"b\\\"\\n\" key=\"x y\"\n"
    );
    assert_eq!(
        json_line(&record, at(0, 0)),
        "{\"level\":\"warning\",\"msg\":\"a \\\"b\\\"\\n\",\"time\":\"1970-01-01T00:00:00.000000000Z\",\"key\":\"x y\"}\n"
    );
}

#[test]
fn every_character_survives_json_and_none_ends_the_line() {
    let every: String = (0..=0x0011_0000_u32).filter_map(char::from_u32).collect();
    let line = json_line(&message(&every), at(1, 1));
    assert_eq!(line.matches('\n').count(), 1);
    assert!(!line.chars().any(|letter| letter.is_control() && letter != '\n'));
    let back: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(back["msg"].as_str().unwrap(), every);
    assert_eq!(back["level"], "error");
    let text = text_line(&message(&every), at(1, 1));
    assert_eq!(text.matches('\n').count(), 1);
    assert!(!text.chars().any(|letter| letter == '\u{1b}' || letter == '\u{202e}' || letter == '\u{85}'));
}

#[test]
fn a_target_is_a_path_or_a_service() {
    let target = |text: &str| Target::from(OsStr::new(text));
    assert_eq!(target("/run/x/log.json"), Target::File("/run/x/log.json".into()));
    assert_eq!(target("file:/a"), Target::File("/a".into()));
    assert_eq!(target("file:file:a"), Target::File("file:a".into()));
    assert_eq!(target("journald:web"), Target::Journald("web".into()));
    assert_eq!(target("syslog:web"), Target::Syslog("web".into()));
    assert_eq!(target("syslog:"), Target::Syslog("orlop".into()));
    assert_eq!(target("syslog:a: <0>\n"), Target::Syslog("a_ <0>_".into()));
    assert_eq!(target("/dev/stderr"), Target::Stderr);
    assert_eq!(target(""), Target::Stderr);
    let bytes = OsStr::from_bytes(b"/a\xff");
    assert_eq!(Target::from(bytes), Target::File(bytes.into()));
}

#[test]
fn a_file_is_appended_to_and_not_inherited() {
    let directory = Directory::new("file");
    let path = directory.0.join("log");
    std::fs::write(&path, "before\n").unwrap();
    let options =
        LogOptions { target: Target::File(path.clone()), format: Format::Json, ..LogOptions::default() };
    let log = Log::open(&options).unwrap();
    log.write(&message("one"));
    log.write(&message("two"));
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0] == "before" && lines[1].contains("\"one\"") && lines[2].contains("\"two\""));
    let Sink::File(file) = &log.sink else { panic!("a file") };
    let flags = rustix::io::fcntl_getfd(file).unwrap();
    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC), "descriptor {}", file.as_raw_fd());
}

#[test]
fn a_new_file_can_be_read_by_others_and_written_by_none() {
    let directory = Directory::new("mode");
    let path = directory.0.join("log");
    Log::open(&LogOptions { target: Target::File(path.clone()), ..LogOptions::default() }).unwrap();
    let mode = std::fs::metadata(&path).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777 & !0o644, 0, "{:o}", mode.mode());
}

#[test]
fn a_log_that_cannot_be_opened_is_named() {
    let directory = Directory::new("missing");
    let options = |path: PathBuf| LogOptions { target: Target::File(path), ..LogOptions::default() };
    let error = Log::open(&options(directory.0.join("no/log"))).unwrap_err();
    assert!(error.to_string().contains("no/log") && error.errno() == Some(Errno::NOENT), "{error}");
    // A FIFO without a reader gives an error at once instead of a process that waits for ever.
    let fifo = directory.0.join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert_eq!(Log::open(&options(fifo)).unwrap_err().errno(), Some(Errno::NXIO));
}

#[test]
fn the_final_error_carries_what_a_program_wants_to_know() {
    let directory = Directory::new("fail");
    let path = directory.0.join("log");
    let options =
        LogOptions { target: Target::File(path.clone()), format: Format::Json, level: Level::Error };
    let error = Error::kernel("attach /a at /b\u{1b}[2J", "move_mount", Errno::ACCESS).with_key("mounts[3]");
    Log::open(&options).unwrap().fail(&error);
    let line: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(line["msg"].as_str().unwrap(), error.to_string());
    for (key, value) in [
        ("level", "error"),
        ("kind", "kernel"),
        ("key", "mounts[3]"),
        ("call", "move_mount"),
        ("errno", "EACCES"),
    ] {
        assert_eq!(line[key], value);
    }
}

#[test]
fn events_of_tracing_arrive_with_their_fields_if_the_level_allows() {
    let directory = Directory::new("events");
    let path = directory.0.join("log");
    let options = LogOptions { target: Target::File(path.clone()), format: Format::Json, level: Level::Info };
    let log = Arc::new(Log::open(&options).unwrap());
    tracing::dispatcher::with_default(&Dispatch::new(Arc::clone(&log)), || {
        tracing::warn!(path = "/a", count = 3, level = "x", "skipped {}", "this");
        tracing::debug!("not this");
    });
    let mut text = String::new();
    File::open(&path).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text.lines().count(), 1);
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    for (key, value) in
        [("level", "warning"), ("msg", "skipped this"), ("path", "/a"), ("count", "3"), ("fields.level", "x")]
    {
        assert_eq!(line[key], value);
    }
}

#[test]
fn the_journal_and_syslog_get_one_datagram_each() {
    let directory = Directory::new("datagram");
    let path = directory.0.join("socket");
    let receiver = UnixDatagram::bind(&path).unwrap();
    let mut buffer = vec![0; 1 << 17];
    let mut send = |sink: Sink, text: &str| {
        let log = Log { sink, format: Format::Text, level: Level::Info, timing: None };
        log.write(&Record {
            level: Level::Warning,
            message: text,
            fields: &[("errno".into(), "EIO".into())],
        });
        let length = receiver.recv(&mut buffer).unwrap();
        buffer[..length].to_vec()
    };
    let socket = || connect(&path, "test").unwrap();
    let entry = send(Sink::Journald { socket: socket(), id: "web".into() }, "a\nPRIORITY=0");
    let field = |name: &str, value: &str| {
        [name.as_bytes(), b"\n", &(value.len() as u64).to_le_bytes(), value.as_bytes(), b"\n"].concat()
    };
    let expected = [
        field("PRIORITY", "4"),
        field("SYSLOG_IDENTIFIER", "web"),
        field("MESSAGE", "a\nPRIORITY=0"),
        field("ORLOP_ERRNO", "EIO"),
    ];
    assert_eq!(entry, expected.concat());
    let line = send(Sink::Syslog { socket: socket(), id: "web".into() }, "a\n<0>b");
    assert_eq!(line, format!("<28>web[{}]: a\\n<0>b", std::process::id()).into_bytes());
    let long = send(Sink::Syslog { socket: socket(), id: "web".into() }, &"ä".repeat(100_000));
    assert!(long.len() <= DATAGRAM + 64);
}

#[test]
fn a_missing_journal_is_an_error_that_names_it() {
    let error = connect(Path::new("/nonexistent/socket"), "journald").unwrap_err();
    assert!(error.to_string().contains("journald"), "{error}");
}
