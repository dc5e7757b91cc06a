//! The map in docs/ARCHITECTURE.md is the territory.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Which layer each crate is in: it may depend on lower ones only.
const LAYERS: [(&str, u8); 6] = [
    ("codex-process-hardening", 0),
    ("codex-request-log", 0),
    ("codex-key-custody", 1),
    ("codex-proxy-client", 1),
    ("codex-responses-api-proxy", 2),
    ("codex-cli", 3),
];
/// For tests, benches and the demo; it knows none of the others.
const MOCK: &str = "codex-mock-upstream";
/// The crates in which a system call has no safe wrapper.
const MAY_USE_UNSAFE: [&str; 2] = ["codex-key-custody", "codex-process-hardening"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
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

#[test]
fn dependencies_point_one_way() {
    let layers = BTreeMap::from(LAYERS);
    for package in packages() {
        let name = package["name"].as_str().unwrap();
        for dependency in package["dependencies"].as_array().unwrap() {
            let on = dependency["name"].as_str().unwrap();
            if !on.starts_with("codex-") || dependency["kind"] == "dev" {
                continue;
            }
            if on == MOCK {
                let only_demo = name == "codex-cli" && dependency["optional"] == true;
                assert!(only_demo, "{name} depends on the mock outside the feature `demo`");
                continue;
            }
            assert!(name != MOCK, "the mock depends on {on}");
            let layer =
                |name: &str| *layers.get(name).unwrap_or_else(|| panic!("{name} has no layer"));
            assert!(layer(on) < layer(name), "{name} depends on {on}, which is not below it");
        }
    }
}

#[test]
fn the_map_names_every_crate_and_module() {
    let map = fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    for package in packages() {
        let name = package["name"].as_str().unwrap();
        assert!(map.contains(&format!("`{name}`")), "docs/ARCHITECTURE.md does not name {name}");
        let folder =
            Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap().join("src");
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let module = path.file_stem().unwrap().to_str().unwrap();
            if path.is_file() && !["lib", "main", "error"].contains(&module) {
                assert!(
                    map.contains(&format!("`{module}`")),
                    "docs/ARCHITECTURE.md does not name {name}'s {module}"
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
