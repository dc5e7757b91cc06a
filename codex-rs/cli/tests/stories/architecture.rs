//! The map in docs/ARCHITECTURE.md is the territory: what it says, this reads and holds.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// For tests, benches and the demo; it knows none of the others.
const MOCK: &str = "codex-mock-upstream";
/// The crates in which a system call has no safe wrapper.
const MAY_USE_UNSAFE: [&str; 2] = ["codex-key-custody", "codex-process-hardening"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn map() -> String {
    fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap()
}

fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// The table of crates: layer and folder by name. The mock's layer is a dash.
fn crates(map: &str) -> BTreeMap<&str, (Option<u8>, &str)> {
    let table = map.split("## Code map").nth(1).unwrap().split("###").next().unwrap();
    table
        .lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let name = cells.get(2)?.strip_prefix('`')?.strip_suffix('`')?;
            Some((name, (cells[1].parse().ok(), cells[3])))
        })
        .collect()
}

/// The modules that the map gives to a crate.
fn modules<'map>(map: &'map str, name: &str) -> BTreeSet<&'map str> {
    let text = if name == "codex-responses-api-proxy" {
        map.split("### The proxy, module by module").nth(1).unwrap().split("###").next().unwrap()
    } else {
        let others =
            map.split("### The other crates").nth(1).unwrap().split("\n## ").next().unwrap();
        let begin = format!("- **`{name}`**");
        others.split(begin.as_str()).nth(1).unwrap().split("\n- **").next().unwrap()
    };
    let is_module =
        |word: &&str| word.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_');
    let listed = text.lines().filter_map(|line| match line.strip_prefix("| ") {
        Some(row) => row.split(" | ").next(), // Of a table, the first column.
        None => Some(line),
    });
    listed.flat_map(|part| part.split('`').skip(1).step_by(2)).filter(is_module).collect()
}

/// The files below a folder that are modules with a name of their own.
fn files(folder: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if path.is_dir() {
            names.append(&mut files(&path));
        } else if !["lib", "main", "error", "tests"].contains(&name) {
            names.insert(name.to_owned());
        }
    }
    names
}

#[test]
fn the_map_names_every_crate_and_module_and_no_other() {
    let map = map();
    let crates = crates(&map);
    let packages = packages();
    let names: BTreeSet<&str> =
        packages.iter().map(|package| package["name"].as_str().unwrap()).collect();
    assert_eq!(crates.keys().copied().collect::<BTreeSet<_>>(), names);
    for package in &packages {
        let name = package["name"].as_str().unwrap();
        let manifest =
            Path::new(package["manifest_path"].as_str().unwrap()).canonicalize().unwrap();
        let folder = root().join(crates[name].1).canonicalize().unwrap();
        assert_eq!(manifest.parent(), Some(folder.as_path()), "{name} is elsewhere");
        let there = files(&folder.join("src"));
        assert_eq!(modules(&map, name), there.iter().map(String::as_str).collect(), "{name}");
    }
}

#[test]
fn dependencies_point_down_the_map() {
    let map = map();
    let crates = crates(&map);
    for package in packages() {
        let name = package["name"].as_str().unwrap();
        for dependency in package["dependencies"].as_array().unwrap() {
            let on = dependency["name"].as_str().unwrap();
            if !on.starts_with("codex-") || dependency["kind"] == "dev" {
                continue;
            }
            assert!(name != MOCK, "the mock depends on {on}");
            if on == MOCK {
                let only_demo = name == "codex-cli" && dependency["optional"] == true;
                assert!(only_demo, "{name} depends on the mock outside the feature `demo`");
            } else {
                assert!(
                    crates[on].0 < crates[name].0,
                    "{name} depends on {on}, which is not below it"
                );
            }
        }
    }
}

#[test]
fn unsafe_code_is_where_a_system_call_has_no_safe_wrapper_and_nowhere_else() {
    for package in packages() {
        let name = package["name"].as_str().unwrap();
        for target in package["targets"].as_array().unwrap() {
            let kind = target["kind"][0].as_str().unwrap();
            if kind != "lib" && kind != "bin" {
                continue;
            }
            let source = fs::read_to_string(target["src_path"].as_str().unwrap()).unwrap();
            let forbids = source.contains("#![forbid(unsafe_code)]");
            assert_eq!(forbids, !MAY_USE_UNSAFE.contains(&name), "{name}, {kind}");
        }
    }
}
