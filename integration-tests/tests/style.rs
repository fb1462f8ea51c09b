//! What every reader counts on, as tests: who may import whom, how long a function is, where unsafe code is, and that
//! the documents say what the tree is.
//!
//! They read files and what cargo says of the packages, start nothing else and take less than a second. What the
//! compiler and clippy check is not repeated; a test makes sure that no crate is left out of it.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "test code: a failed expectation ends the test with its reason"
)]

#[path = "style/source.rs"]
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use serde_json::Value;
use source::{Source, words};

/// Which crates of ours each crate may import. The order is that of the floors, the lowest first.
const FLOORS: [(&str, &[&str]); 9] = [
    ("sys", &[]),
    ("seccomp", &[]),
    ("child", &["sys"]),
    ("cgroups", &["sys"]),
    ("orlop", &["child", "cgroups", "seccomp", "sys"]),
    ("containerd-shim-orlop-v2", &["orlop", "cgroups", "sys"]),
    // Black boxes: what they import of ours they could not judge.
    ("integration-tests", &[]),
    ("oci-conformance", &[]),
    // Not shipped: it writes files from what the crates know.
    ("xtask", &["orlop", "seccomp"]),
];

/// Inside the runtime: which modules a file or folder may not name.
const MODULE_FLOORS: [(&str, &[&str]); 5] = [
    ("config", &["plan", "launch", "commands", "cli", "foreground", "state"]),
    ("stages.rs", &["plan", "launch", "commands", "cli", "foreground", "state"]),
    ("plan.rs", &["launch", "commands", "cli", "foreground", "state"]),
    ("plan_exec.rs", &["commands", "cli", "foreground", "state"]),
    ("launch", &["commands", "cli", "foreground"]),
];

/// The longest function.
const LINES: usize = 60;

/// Functions that may be longer: flat, so that every line can be read by itself.
const LONG: [(&str, &str, &str); 2] = [
    ("child/src/op.rs", "fmt", "a match with one arm for each step"),
    ("child/src/run.rs", "execute", "a match with one arm for each step"),
];

/// Where unsafe code may be, besides `sys`, and how often the word may stand there.
const UNSAFE: [(&str, usize); 7] = [
    // The C start-up code calls it with raw arguments.
    ("child/src/main.rs", 5),
    // The execve(2) of the container's program.
    ("child/src/ops/exec.rs", 1),
    // The floor program is the kernel's price without any of orlop's code, and the probe asks what no crate offers.
    ("integration-tests/src/bin/floor.rs", usize::MAX),
    ("integration-tests/src/bin/probe.rs", usize::MAX),
    // Signals and the I/O priority, which the conformance suite's probe asks for.
    ("oci-conformance/src/raw.rs", 5),
    // The benchmark loads filters in processes of their own.
    ("seccomp/benches/compile.rs", 5),
    // The agent of a filter answers by ioctl(2), for which there is no safe function.
    ("integration-tests/tests/seccomp_listener.rs", 2),
];

/// The projects whose numbers may be cited.
const PROJECTS: [&str; 8] = ["buildah", "containerd", "cri-o", "crun", "moby", "podman", "runc", "youki"];

/// The hosts that a file may name.
const HOSTS: [&str; 10] = [
    "127.0.0.1",
    "dbus.freedesktop.org",
    "docs.kernel.org",
    "github.com",
    "keepachangelog.com",
    "kernel.org",
    "man7.org",
    "semver.org",
    "www.apache.org",
    "www.w3.org",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// What git does not track in a folder and below, by the file that tells it so.
fn ignored(folder: &Path) -> Vec<String> {
    let ignore = fs::read_to_string(folder.join(".gitignore")).unwrap_or_default();
    ignore.lines().map(|line| line.trim_matches('/').to_owned()).chain([".git".to_owned()]).collect()
}

/// Every file of the tree that is text, by its path from the top.
static TEXTS: LazyLock<BTreeMap<String, String>> = LazyLock::new(texts);

/// Every file of Rust, likewise.
static SOURCES: LazyLock<BTreeMap<&'static str, Source>> = LazyLock::new(|| {
    let files = TEXTS.iter().filter(|(path, _)| path.ends_with(".rs"));
    files.map(|(path, text)| (path.as_str(), Source::new(text))).collect()
});

fn texts() -> BTreeMap<String, String> {
    let root = root();
    let mut found = BTreeMap::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        let ignored = ignored(&folder);
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if ignored.contains(&entry.file_name().into_string().unwrap()) {
                continue;
            }
            let path = entry.path();
            let name = path.strip_prefix(&root).unwrap().display().to_string();
            // A file that an editor wrote a moment ago may be gone.
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(path),
                Ok(kind) if kind.is_file() => {
                    drop(fs::read_to_string(path).map(|text| found.insert(name, text)));
                }
                _ => {}
            }
        }
    }
    found
}

/// Test code and benches: they are no part of any program.
fn is_test(path: &str) -> bool {
    path.split('/').any(|part| ["tests", "tests.rs", "benches"].contains(&part))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).current_dir(root()).args(arguments).output().unwrap();
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The packages of the workspace by name.
fn packages() -> BTreeMap<String, Value> {
    let text = cargo(&["metadata", "--offline", "--no-deps", "--format-version", "1"]);
    let mut metadata: Value = serde_json::from_str(&text).unwrap();
    let packages = metadata["packages"].as_array_mut().unwrap();
    packages.drain(..).map(|package| (package["name"].as_str().unwrap().to_owned(), package)).collect()
}

/// The names of a package's dependencies: `kind` is Null, "dev" or "build".
fn dependencies(package: &Value, kind: &Value) -> BTreeSet<String> {
    let all = package["dependencies"].as_array().unwrap().iter();
    // An optional one belongs to whoever asks for the feature.
    all.filter(|one| one["kind"] == *kind && one["optional"] == false)
        .map(|one| one["name"].as_str().unwrap().to_owned())
        .collect()
}

fn none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn imports_between_crates_go_only_downward() {
    let packages = packages();
    let mut faults = Vec::new();
    for (name, package) in &packages {
        let Some((_, allowed)) = FLOORS.iter().find(|floor| floor.0 == name) else {
            faults.push(format!("{name} has no floor"));
            continue;
        };
        for dependency in package["dependencies"].as_array().unwrap() {
            let to = dependency["name"].as_str().unwrap();
            if packages.contains_key(to) && !allowed.contains(&to) {
                faults.push(format!("{name} -> {to}"));
            }
        }
    }
    none(&faults);
    assert_eq!(packages.len(), FLOORS.len(), "a floor without a crate");
}

#[test]
fn imports_inside_the_runtime_go_only_downward() {
    let mut faults = Vec::new();
    for (place, forbidden) in MODULE_FLOORS {
        let place = format!("runtime/src/{place}");
        let inside = |path: &str| path == place || path.starts_with(&format!("{place}/"));
        let files: Vec<_> = SOURCES.iter().filter(|(path, _)| inside(path)).collect();
        assert!(!files.is_empty(), "{place} is gone");
        for (path, Source { code, .. }) in files {
            let found = forbidden.iter().filter(|module| imports(code, module));
            faults.extend(found.map(|module| format!("{path} names crate::{module}")));
        }
    }
    none(&faults);
}

/// Whether code names `crate::MODULE`, alone or in braces.
fn imports(code: &str, module: &str) -> bool {
    let grouped = code.split("use crate::{").skip(1).filter_map(|rest| rest.split(';').next());
    let in_group = |group: &str| words(group, module).any(|place| !group[..place].ends_with("::"));
    words(code, module).any(|place| code[..place].ends_with("crate::")) || grouped.into_iter().any(in_group)
}

#[test]
fn a_function_fits_on_a_screen() {
    let mut faults = Vec::new();
    let mut excused = BTreeSet::new();
    for (path, source) in SOURCES.iter().filter(|(path, _)| !is_test(path)) {
        for function in source.functions().iter().filter(|function| function.lines > LINES) {
            match LONG.iter().find(|long| (long.0, long.1) == (*path, &function.name)) {
                Some(long) => drop(excused.insert((long.0, long.1))),
                None => faults.push(format!(
                    "{path}:{}: {} has {} lines",
                    function.line, function.name, function.lines
                )),
            }
        }
    }
    none(&faults);
    assert_eq!(excused.len(), LONG.len(), "an excuse that nobody needs; {excused:?} do");
}

#[test]
fn the_scanner_finds_what_it_looks_for() {
    let body = "let brace = \"}\"; // }\n".repeat(LINES);
    let text = format!(
        "//! fn no() {{}}\nconst R: &str = r#\"\" fn no() {{\"#;\nfn long<'a>(x: [u8; 2]) -> char {{\n{body}'}}'\n}}\n\
         trait T {{ fn declared(&self); }}\n/* fn no() {{ /* */ }} */\n\
         #[cfg(test)]\nmod tests {{\n fn inside() {{ unsafe {{}} }}\n}}\nfn after(f: fn(u8)) {{ b'\\''; '\\u{{7d}}'; 'é'; }}\n"
    );
    let source = Source::new(&text);
    let found: Vec<_> =
        source.functions().iter().map(|one| (one.name.clone(), one.line, one.lines)).collect();
    assert_eq!(found, [("long".to_owned(), 3, LINES + 3), ("after".to_owned(), LINES + 12, 1)]);
    assert_eq!(source.count("unsafe"), 1);
    assert_eq!(source.code.len(), text.len());
    assert!(imports("use crate::plan::Plan;", "plan") && imports("use crate::{a::b, plan};", "plan"));
    assert!(!imports("use crate::{a::plan, Error}; let plan = planned;", "plan"));
}

#[test]
fn every_crate_has_the_lints_of_the_workspace() {
    let workspace = read("Cargo.toml");
    for lint in ["missing_docs = \"warn\"", "unsafe_code = \"deny\"", "undocumented_unsafe_blocks = \"deny\""]
    {
        assert!(workspace.contains(lint), "{lint}");
    }
    assert!(read("Makefile").contains("clippy --workspace --all-targets -- -D warnings"));
    let mut faults = Vec::new();
    for package in packages().values() {
        let manifest = fs::read_to_string(package["manifest_path"].as_str().unwrap()).unwrap();
        let own =
            ["missing_docs = \"warn\"", "undocumented_unsafe_blocks = \"deny\"", "unwrap_used = \"deny\""];
        let complete = manifest.contains("[lints]\nworkspace = true")
            || (package["name"] == "sys" && own.iter().all(|lint| manifest.contains(lint)));
        if !complete {
            faults.push(format!("{} has lints of its own", package["name"]));
        }
    }
    // A switched-off lint would make the above worthless.
    for (path, source) in SOURCES.iter() {
        let off = ["allow(missing_docs", "allow(clippy::undocumented_unsafe_blocks"];
        faults
            .extend(off.iter().filter(|off| source.code.contains(**off)).map(|off| format!("{path}: {off}")));
    }
    none(&faults);
}

#[test]
fn unsafe_code_is_where_it_is_argued() {
    let mut faults = Vec::new();
    for (path, source) in SOURCES.iter().filter(|(path, _)| !path.starts_with("sys/")) {
        let allowed = UNSAFE.iter().find(|place| place.0 == *path).map_or(0, |place| place.1);
        let count = source.count("unsafe");
        if count > allowed {
            faults.push(format!("{path}: {count} times unsafe, {allowed} allowed"));
        }
    }
    none(&faults);
}

#[test]
fn every_file_says_what_it_is() {
    let files = TEXTS.iter().filter(|(path, _)| path.ends_with(".rs"));
    let faults: Vec<String> =
        files.filter(|(_, text)| !text.starts_with("//!")).map(|(path, _)| path.clone()).collect();
    none(&faults);
}

/// The first column of a table in a document: what stands between backticks there.
fn first_column(document: &str) -> Vec<String> {
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| Some(row.split_once('`')?.0.to_owned())).collect()
}

/// The part of a document below a heading.
fn section<'a>(document: &'a str, heading: &str) -> &'a str {
    let start = document.find(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no heading {heading}"));
    let rest = &document[start + heading.len() + 2..];
    rest.find("\n## ").map_or(rest, |end| &rest[..end])
}

#[test]
fn the_folder_list_of_the_readme_is_the_tree() {
    let listed: BTreeSet<String> = first_column(section(&read("README.md"), "## Folders"))
        .iter()
        .map(|folder| folder.trim_end_matches('/').to_owned())
        .collect();
    let entries = fs::read_dir(root()).unwrap().map(Result::unwrap);
    let folders = entries.filter(|entry| entry.file_type().unwrap().is_dir());
    let names = folders.map(|folder| folder.file_name().into_string().unwrap());
    let ignored = ignored(&root());
    assert_eq!(listed, names.filter(|name| !ignored.contains(name)).collect());
}

#[test]
fn the_readme_lists_the_commands_that_are_built() {
    let code = Source::new(&read("runtime/src/commands/mod.rs")).code;
    let arms = code.lines().filter_map(|line| line.trim_start().strip_prefix("Command::"));
    let built: BTreeSet<String> = arms.filter(|arm| arm.contains("=>")).map(command_name).collect();
    assert!(built.contains("run"));
    let listed = first_column(section(&read("README.md"), "## Commands"));
    assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), built);
}

/// The words of a variant: `SeccompExplain` is the command `seccomp explain`.
fn command_name(arm: &str) -> String {
    let variant = arm.split(|letter: char| !letter.is_alphanumeric()).next().unwrap();
    let mut name = String::new();
    for letter in variant.chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push(' ');
        }
        name.extend(letter.to_lowercase());
    }
    name
}

#[test]
fn make_targets_that_documents_name_exist() {
    let makefile = read("Makefile");
    let rules = makefile.lines().filter(|line| !line.starts_with(['\t', '#', ' ']));
    let targets: BTreeSet<&str> =
        rules.filter_map(|line| Some(line.split_once(':')?.0)).flat_map(str::split_whitespace).collect();
    let mut named = 0;
    let mut faults = Vec::new();
    for (path, text) in TEXTS.iter().filter(|(path, _)| path.ends_with(".md")) {
        let calls = text.split("`make ").skip(1).chain(text.split("\nmake ").skip(1));
        for target in calls.filter_map(|rest| rest.split(['`', ' ', '\n']).next()) {
            named += 1;
            if !targets.contains(target) {
                faults.push(format!("{path}: make {target}"));
            }
        }
    }
    none(&faults);
    assert!(named > 3, "the documents name no target");
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut faults = Vec::new();
    for (path, text) in TEXTS.iter().filter(|(path, _)| path.ends_with(".md")) {
        let folder = root().join(path).parent().unwrap().to_owned();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        let local = links.filter(|link| !link.is_empty() && !link.contains("://"));
        faults.extend(local.filter(|link| !folder.join(link).exists()).map(|link| format!("{path}: {link}")));
    }
    none(&faults);
}

#[test]
fn the_architecture_is_one_short_page() {
    let lines = read("ARCHITECTURE.md").lines().count();
    assert!(lines <= 150, "{lines} lines");
}

/// The crates that are in a shipped program, and what each takes of others.
fn shipped() -> BTreeSet<String> {
    let packages = packages();
    let programs = ["orlop", "containerd-shim-orlop-v2", "oci-conformance"];
    let mut ours: BTreeSet<&str> = programs.into();
    let mut direct = BTreeSet::new();
    let mut todo: Vec<&str> = programs.into();
    while let Some(name) = todo.pop() {
        for dependency in dependencies(&packages[name], &Value::Null) {
            match packages.get_key_value(&dependency) {
                Some((key, _)) if ours.insert(key) => todo.push(key),
                Some(_) => {}
                None => drop(direct.insert(dependency)),
            }
        }
    }
    direct
}

#[test]
fn every_shipped_dependency_has_its_reason_and_no_reason_is_left_over() {
    let document = read("DEPENDENCIES.md");
    let rows: BTreeSet<String> = first_column(section(&document, "## Shipped")).into_iter().collect();
    assert_eq!(rows, shipped());
    let packages = packages();
    let not_shipped = ["integration-tests", "xtask"].map(|name| dependencies(&packages[name], &Value::Null));
    let of_tests = packages.values().map(|package| dependencies(package, &Value::from("dev")));
    let others: BTreeSet<String> = of_tests.chain(not_shipped).flatten().collect();
    let ours = |name: &String| packages.contains_key(name);
    let rows: BTreeSet<String> = first_column(section(&document, "## Not shipped")).into_iter().collect();
    assert_eq!(rows, others.into_iter().filter(|name| !ours(name) && !shipped().contains(name)).collect());
}

#[test]
fn the_shipped_tree_is_small_and_counted() {
    let tree = cargo(&["tree", "--offline", "--edges", "normal", "--package", "orlop", "--prefix", "none"]);
    let crates: BTreeSet<&str> =
        tree.lines().filter_map(|line| line.split(" (").next()).filter(|line| !line.is_empty()).collect();
    assert!(crates.len() <= 60, "{} crates", crates.len());
    let said = format!("**{}** crates", crates.len());
    assert!(read("DEPENDENCIES.md").contains(&said), "DEPENDENCIES.md does not say: {said}");
}

/// The texts in double quotes of a file's part.
fn quoted(text: &str) -> Vec<&str> {
    text.split('"').skip(1).step_by(2).collect()
}

#[test]
fn the_table_of_keys_is_that_of_the_code() {
    let code = read("runtime/src/config/keys.rs");
    let table = code.split("const FILES").nth(1).unwrap().split("\n];").next().unwrap();
    let rows = table.lines().filter(|line| line.trim_start().starts_with("(\"")).map(quoted);
    let files: BTreeMap<&str, &str> =
        rows.map(|row| (row[0], row.get(1).copied().unwrap_or("none"))).collect();
    assert!(files.len() > 40);
    let document = read("docs/config-keys.md");
    let rows = document.lines().filter(|line| line.starts_with("| `"));
    let said = rows.map(|row| row.split('|').map(|cell| cell.trim().trim_matches('`')));
    let said: BTreeMap<&str, &str> =
        said.map(|mut cells| (cells.nth(1).unwrap(), cells.next().unwrap())).collect();
    assert_eq!(said, files);
}

#[test]
fn the_table_of_annotations_is_that_of_the_code() {
    let code = read("runtime/src/config/annotations.rs");
    let table = code.split("pub const HONOURED").nth(1).unwrap().split("];").next().unwrap();
    let names = table.split("key:").skip(1).map(|rest| rest.split(',').next().unwrap().trim());
    let value = |name: &str| {
        let constant = code.split(&format!("const {name}: &str =")).nth(1);
        constant.map_or_else(|| name.trim_matches('"').to_owned(), |rest| quoted(rest)[0].to_owned())
    };
    let honoured: BTreeSet<String> = names.map(value).collect();
    assert!(!honoured.is_empty());
    let rows = first_column(section(&read("docs/annotations.md"), "## Honoured"));
    assert_eq!(
        rows.into_iter().map(|row| row.trim_end_matches('*').to_owned()).collect::<BTreeSet<_>>(),
        honoured
    );
}

/// Nothing points to where it was written: a reader could not follow.
#[test]
fn the_project_speaks_of_itself_alone() {
    let places = [
        concat!("/wo", "rk/"),
        concat!("/tmp/", "target"),
        concat!("/tmp/", "setup"),
        concat!("process", "_api"),
    ];
    let mut faults = Vec::new();
    for (path, text) in TEXTS.iter() {
        for (number, line) in text.lines().enumerate() {
            let mut fault =
                |what: &str| faults.push(format!("{path}:{}: {what}: {}", number + 1, line.trim()));
            places.iter().filter(|place| names_place(line, place)).for_each(|place| fault(place));
            if cites_a_number(line) {
                fault("a number that only its tracker knows");
            }
            hosts(line).filter(|host| !HOSTS.contains(host)).for_each(&mut fault);
        }
    }
    none(&faults);
}

/// Whether a line has the word or, for a path, the path from the root on.
fn names_place(line: &str, place: &str) -> bool {
    let before = |start: usize| line[..start].chars().next_back();
    let is_part = |letter: Option<char>| {
        letter.is_some_and(|letter| letter.is_alphanumeric() || "._-})".contains(letter))
    };
    line.match_indices(place).any(|(start, _)| !place.starts_with('/') || !is_part(before(start)))
}

/// A number after a bare `#` or the word "issue". With a project's name before it everybody can look it up.
fn cites_a_number(line: &str) -> bool {
    let starts_with_number = |rest: &str| {
        let digits = rest.chars().take_while(char::is_ascii_digit).count();
        let after = rest.chars().nth(digits);
        (1..=4).contains(&digits) && after.is_none_or(|letter| !letter.is_alphanumeric() && letter != '_')
    };
    let is_named =
        |before: &str| before.split_whitespace().next_back().is_some_and(|word| PROJECTS.contains(&word));
    [" #", "(#", "issue ", "Issue "].into_iter().any(|mark| {
        let found = line.match_indices(mark);
        let mut parts = found.map(|(start, _)| (&line[..start], &line[start + mark.len()..]));
        parts.any(|(before, rest)| starts_with_number(rest) && !is_named(before))
    })
}

fn hosts(line: &str) -> impl Iterator<Item = &str> {
    let addresses = line.split("://").skip(1);
    let is_host = |letter: char| letter.is_ascii_alphanumeric() || letter == '.' || letter == '-';
    let hosts = addresses.map(move |rest| rest.split(|letter| !is_host(letter)).next().unwrap_or_default());
    // A path or a place-holder stands where no host is.
    hosts.filter(|host| host.contains('.'))
}

#[test]
fn a_foreign_word_is_found() {
    let place = concat!("/wo", "rk/");
    assert!(
        names_place(&format!("see {place}main"), place) && !names_place(&format!("upper/..{place}x"), place)
    );
    for (line, cites) in [
        ("as in @12.", true),
        ("(@7)", true),
        ("runc@12, crun @2114, {:@010x}, @[test], @ 1 and colour @12ab34, @99999", false),
    ] {
        let line = line.replace('@', "#");
        assert_eq!(cites_a_number(&line), cites, "{line}");
    }
    assert!(cites_a_number(&["issue", "3"].join(" ")));
    let address = ["at https:", "a.example:80/x and unix:", "{socket}"].join("//");
    assert_eq!(hosts(&address).collect::<Vec<_>>(), ["a.example"]);
}
