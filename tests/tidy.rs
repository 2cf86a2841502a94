//! The rules of the house that no compiler checks, read from the source as text: floors import
//! downward only and within a floor in no circle, every file says what it is for, files stay short, time, files and sockets belong
//! to the reactor, and `unsafe` stays where it is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lines one file may have before its tests.
const LINES_MAX: usize = 600;
/// The only files and folders of the reactor with `unsafe`.
const MAY_BE_UNSAFE: &[&str] =
    &["gather.rs", "guard.rs", "lanes", "mmap.rs", "window.rs", "write_back.rs"];
/// What only the reactor and the app may name.
const ONLY_ABOVE: &[&str] = &[
    "std::time",
    "std::net::Tcp",
    "std::net::Udp",
    "std::fs",
    "std::io",
    "std::thread",
    "std::env",
    "std::process",
    "HashMap",
    "HashSet",
];
/// Each floor, and what it must not import: all that is above it.
const FLOORS: &[(&str, &[&str])] = &[
    ("units", &["wire", "proto", "reactor", "app"]),
    ("wire", &["proto", "reactor", "app"]),
    ("proto", &["reactor", "app"]),
    ("reactor", &["app"]),
    ("app", &[]),
];
/// Crates that belong to the reactor and the app.
const CRATES_ABOVE: &[&str] = &["mio", "memmap2", "socket2", "rustix", "libc", "signal_hook"];

/// Licences that may be combined with MIT OR Apache-2.0.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];
/// Where crates come from.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// A source file: its path below `src`, its lines before the tests, and all of them.
struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    fn floor(&self) -> Option<&str> {
        let first = self.path.components().next()?.as_os_str().to_str()?;
        FLOORS.iter().any(|(floor, _)| *floor == first).then_some(first)
    }

    fn is_test(&self) -> bool {
        self.path.iter().any(|part| part == "tests" || part == "tests.rs")
    }

    /// Where the module of unit tests begins: a `#[cfg(test)]`, other attributes, `mod`.
    fn tests_at(&self) -> usize {
        let marks = self.text.match_indices("\n#[cfg(test)]\n");
        let mut opens_module = marks.filter(|(at, mark)| {
            let mut after = self.text[at + mark.len()..].lines();
            after.find(|line| !line.starts_with("#[")).is_some_and(|line| line.contains("mod "))
        });
        opens_module.next().map_or(self.text.len(), |(at, _)| at)
    }

    /// The lines before the unit tests, numbered from 1.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text[..self.tests_at()].lines().enumerate().map(|(at, line)| (at + 1, line))
    }

    /// The same without comments. A `//` within a string is one of an address, which names no
    /// module either.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines().map(|(at, line)| (at, line.split("//").next().unwrap_or_default()))
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the source is there") {
            let path = entry.expect("the source is readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("source is text");
                let path = path.strip_prefix(&root).expect("found below src").to_owned();
                found.push(Source { path, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() > 10, "only {} files found", found.len());
    found
}

/// Fails with all findings at once.
fn check(rule: &str, findings: Vec<String>) {
    assert!(findings.is_empty(), "{rule}:\n  {}", findings.join("\n  "));
}

fn names(line: &str, word: &str) -> bool {
    let boundary = |c: Option<char>| !c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| {
        boundary(line[..at].chars().next_back()) && boundary(line[at + word.len()..].chars().next())
    })
}

/// Whether a line reaches into the module `floor` of this crate.
fn imports(line: &str, floor: &str) -> bool {
    let named = ["crate::", "reactor_peer::"].iter().any(|root| {
        line.match_indices(root).any(|(at, _)| {
            let rest = &line[at + root.len()..];
            rest.starts_with(floor) && names(rest, floor)
                || rest.strip_prefix('{').is_some_and(|group| {
                    group.split(',').any(|part| {
                        part.trim().split("::").next().is_some_and(|first| {
                            first.trim_matches(|c| c == '{' || c == '}' || c == ';') == floor
                        })
                    })
                })
        })
    });
    named || line.contains(&format!("super::super::{floor}::"))
}

#[test]
fn floors_import_downward_only() {
    let mut findings = Vec::new();
    for source in sources() {
        let Some(floor) = source.floor() else { continue };
        let above = FLOORS.iter().find(|(name, _)| *name == floor).map_or(&[][..], |(_, up)| *up);
        for (at, line) in source.code() {
            for up in above.iter().filter(|up| imports(line, up)) {
                findings.push(format!("{}:{at}: {floor} names {up}", source.path.display()));
            }
        }
    }
    check("a floor names only those below it", findings);
}

/// The paths that begin at the front of `text`, a `use` tree taken apart; each goes behind `prefix`.
/// Returns what follows them.
fn take_paths<'a>(
    text: &'a str,
    prefix: &mut Vec<&'a str>,
    found: &mut Vec<Vec<&'a str>>,
) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = take_paths(rest, prefix, found).trim_start();
            rest = match rest.split_once([',', '}']) {
                Some((_, after)) if rest[..rest.len() - after.len()].ends_with(',') => after,
                Some((_, after)) => return after,
                None => return "",
            };
        }
    }
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    prefix.push(name);
    let rest = match rest.strip_prefix("::") {
        Some(rest) => take_paths(rest, prefix, found),
        None => {
            found.push(prefix.clone());
            rest
        }
    };
    prefix.pop();
    rest
}

/// All paths in `code` that begin with `crate` or `super`, each from the crate's root on; `module`
/// is where the code stands.
fn paths_from_root<'a>(code: &'a str, module: &[&'a str]) -> Vec<Vec<&'a str>> {
    let mut found = Vec::new();
    for root in ["crate::", "super::"] {
        for (at, _) in code.match_indices(root) {
            let before = code[..at].chars().next_back();
            if !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                take_paths(&code[at..], &mut Vec::new(), &mut found);
            }
        }
    }
    let resolve = |path: Vec<&'a str>| {
        let up = path.iter().take_while(|part| **part == "super").count();
        let from = if up == 0 { &[][..] } else { &module[..module.len().saturating_sub(up)] };
        [from, &path[up.max(1)..]].concat()
    };
    found.into_iter().map(resolve).collect()
}

/// The shortest way from `start` back to itself.
fn circle<'a>(
    start: &'a str,
    imports: &BTreeMap<&'a str, BTreeSet<&'a str>>,
) -> Option<Vec<&'a str>> {
    let mut ways = VecDeque::from([vec![start]]);
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop_front() {
        for &next in way.last().and_then(|last| imports.get(last)).into_iter().flatten() {
            if next == start {
                return Some([&way[..], &[start]].concat());
            }
            if seen.insert(next) {
                ways.push_back([&way[..], &[next]].concat());
            }
        }
    }
    None
}

#[test]
fn modules_of_a_floor_import_in_no_circle() {
    let files: Vec<(Vec<String>, String)> = sources()
        .iter()
        .filter(|source| !source.is_test())
        .map(|source| {
            let path = source.path.with_extension("");
            let mut module: Vec<_> =
                path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
            if module.last().is_some_and(|last| last == "mod") {
                module.pop();
            }
            (module, source.code().map(|(_, line)| format!("{line}\n")).collect())
        })
        .collect();
    let mut findings = Vec::new();
    for (floor, _) in FLOORS {
        let here = files.iter().filter(|(module, _)| module.len() > 1 && module[0] == *floor);
        let mut imports: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (module, _) in here.clone() {
            imports.entry(&module[1]).or_default();
        }
        let names: BTreeSet<&str> = imports.keys().copied().collect();
        for (module, code) in here {
            let module: Vec<&str> = module.iter().map(String::as_str).collect();
            for path in paths_from_root(code, &module) {
                if let [first, second, ..] = path[..] {
                    if first == *floor && second != module[1] && names.contains(second) {
                        imports.entry(module[1]).or_default().insert(second);
                    }
                }
            }
        }
        assert!(*floor == "units" || imports.values().any(|named| named.len() > 1), "{imports:?}");
        let circles = names.iter().filter_map(|name| circle(name, &imports));
        findings.extend(circles.map(|way| format!("{floor}: {}", way.join(" -> "))));
    }
    check("modules of a floor lean on each other in one direction", findings);
}

#[test]
fn time_files_and_sockets_belong_to_the_reactor() {
    let mut findings = Vec::new();
    for source in sources().iter().filter(|s| !s.is_test()) {
        if !matches!(source.floor(), Some("units" | "wire" | "proto")) {
            continue;
        }
        for (at, line) in source.code() {
            let crates = CRATES_ABOVE.iter().map(|name| format!("{name}::"));
            let banned = ONLY_ABOVE.iter().map(ToString::to_string).chain(crates);
            for word in banned.filter(|word| line.contains(word.as_str())) {
                findings.push(format!("{}:{at}: {word}", source.path.display()));
            }
        }
    }
    check("the core is given time, bytes and randomness; it takes none", findings);
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent = |s: &Source| !s.text.lines().next().is_some_and(|l| l.starts_with("//! "));
    let findings = sources().into_iter().filter(silent).map(|s| s.path.display().to_string());
    check("a file opens with `//!` and a sentence", findings.collect());
}

#[test]
fn files_stay_short() {
    let long = sources().into_iter().filter(|s| !s.is_test()).filter_map(|s| {
        let lines = s.lines().count();
        (lines > LINES_MAX).then(|| format!("{}: {lines} lines", s.path.display()))
    });
    check("a file has at most 600 lines before its tests", long.collect());
}

#[test]
fn unsafe_stays_where_it_is() {
    let mut findings = Vec::new();
    for source in sources() {
        let known = |part: &str| MAY_BE_UNSAFE.contains(&part);
        if source.floor() == Some("reactor")
            && source.path.iter().filter_map(|p| p.to_str()).any(known)
        {
            continue;
        }
        for (at, _) in source.code().filter(|(_, line)| names(line, "unsafe")) {
            findings.push(format!("{}:{at}", source.path.display()));
        }
    }
    check("`unsafe` is in the files that are known for it", findings);
}

#[test]
fn unsafe_gives_its_reason() {
    let mut findings = Vec::new();
    for source in sources() {
        let lines: Vec<&str> = source.lines().map(|(_, line)| line).collect();
        for (at, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if !(code.contains("unsafe {") || code.contains("unsafe impl")) {
                continue;
            }
            let before = &lines[at.saturating_sub(8)..=at];
            if !before.iter().any(|line| line.contains("SAFETY:")) {
                findings.push(format!("{}:{}", source.path.display(), at + 1));
            }
        }
    }
    check("every unsafe block has its reason in a `// SAFETY:` line above it", findings);
}

#[test]
fn no_unwrap_outside_tests() {
    let mut findings = Vec::new();
    for source in sources().iter().filter(|s| !s.is_test()) {
        for (at, _) in source.code().filter(|(_, line)| line.contains(".unwrap()")) {
            findings.push(format!("{}:{at}", source.path.display()));
        }
    }
    check("errors are values, and what cannot fail says why with `expect`", findings);
}

/// Whether a licence expression leaves a choice among those known: every part that is joined by
/// AND has one that is joined by OR.
fn is_licence_known(expression: &str) -> bool {
    let flat = expression.replace(['(', ')'], "").replace('/', " OR ");
    flat.split(" AND ").all(|part| part.split(" OR ").any(|one| LICENCES.contains(&one.trim())))
}

#[test]
fn every_crate_has_a_licence_we_may_use_and_is_from_the_registry() {
    let output = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
        let done = command.output().unwrap_or_else(|error| panic!("{program}: {error}"));
        assert!(done.status.success(), "{program}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).expect("both print UTF-8")
    };
    let version = output("rustc", &["-vV"]);
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("a host");
    // Of other platforms nothing has been fetched.
    let arguments = ["metadata", "--format-version=1", "--offline", "--filter-platform", host];
    let metadata: serde_json::Value =
        serde_json::from_str(&output(env!("CARGO"), &arguments)).expect("metadata is JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    assert!(packages.len() > 20, "only {} packages found", packages.len());
    let mut findings = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let licence = package["license"].as_str().unwrap_or("none");
        if !is_licence_known(licence) {
            findings.push(format!("{name}: {licence}"));
        }
        let source = package["source"].as_str();
        if source.is_some_and(|source| source != REGISTRY)
            || source.is_none() && name != "reactor-peer"
        {
            findings.push(format!("{name}: from {source:?}"));
        }
    }
    check("crates are from the registry, under a known licence", findings);
}

#[test]
fn the_rules_see_what_they_should() {
    assert!(is_licence_known("(MIT OR GPL-3.0-only) AND Unicode-3.0"));
    assert!(is_licence_known("Unlicense/MIT"));
    assert!(!is_licence_known("MIT AND GPL-3.0-only") && !is_licence_known("none"));
    assert!(imports("use crate::reactor::mmap;", "reactor"));
    assert!(imports("use crate::{units, reactor::mmap};", "reactor"));
    assert!(!imports("use crate::reactor_words::mmap;", "reactor"));
    assert!(!imports("use crate::proto::reactor;", "reactor"));
    let code = "use super::super::wire::{self, http::{Head, get}, text}; crate::proto::x::f();";
    let paths = paths_from_root(code, &["proto", "peer", "dial"]);
    let paths: Vec<String> = paths.iter().map(|path| path.join("::")).collect();
    let of = ["wire::self", "wire::http::Head", "wire::http::get", "wire::text"]
        .map(|p| format!("proto::{p}"));
    assert_eq!(paths, [&["proto::x::f".to_owned()][..], &of].concat());
    let imports = [("a", ["b"].into()), ("b", ["c", "b2"].into()), ("c", ["b"].into())];
    let imports = BTreeMap::from(imports);
    assert_eq!(circle("b", &imports), Some(vec!["b", "c", "b"]));
    assert_eq!(circle("a", &imports), None);
    assert!(names("unsafe { x }", "unsafe"));
    assert!(!names("#![deny(unsafe_code)]", "unsafe"));
}
