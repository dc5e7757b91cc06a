//! The scanner finds what it is made to find: in bytes, across its pieces, in other processes.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};

use super::*;
use crate::keys::random_key;
use crate::support::{can_run, contains};

/// Stands around what is planted; no form has it next to its own bytes often.
const NOISE: u8 = 0xa5;

#[test]
fn any_sixteen_bytes_of_any_form_are_found_at_any_address() {
    let key = random_key(164);
    let scanner = Scanner::of(&[&key]);
    for (form, bytes) in written(key.as_bytes()) {
        for (part, fragment) in bytes.windows(SHORTEST).enumerate() {
            for address in 64..72 {
                let mut memory = [NOISE; 160];
                memory[address..address + SHORTEST].copy_from_slice(fragment);
                let found = scanner.search(&memory);
                // The noise around it may be the form's next byte.
                let is_it =
                    |found: &Found| found.offset <= address && address + SHORTEST <= found.end();
                let what = format!("{form:?}, part {part}, at {address}: {found:?}");
                assert!(found.len() == 1 && is_it(&found[0]), "{what}");
            }
        }
    }
}

#[test]
fn fifteen_bytes_and_other_keys_are_no_find() {
    let (key, other) = (random_key(164), random_key(164));
    let scanner = Scanner::of(&[&key]);
    for fragment in key.as_bytes().windows(SHORTEST - 1) {
        let mut memory = [NOISE; 64];
        memory[24..24 + fragment.len()].copy_from_slice(fragment);
        assert!(scanner.search(&memory).is_empty());
    }
    for (form, bytes) in written(other.as_bytes()) {
        assert!(scanner.search(&bytes).is_empty(), "{form:?}");
    }
}

#[test]
fn a_copy_is_found_in_full_wherever_the_pieces_end() {
    let key = random_key(164);
    let scanner = Scanner::of(&[&key]);
    let end = 3 * PIECE_BYTES;
    let mapping =
        Mapping { addresses: 0..end, permissions: "rw-p".to_owned(), name: String::new() };
    let before_the_edge = (0..=key.len() as u64).step_by(3);
    for address in before_the_edge.map(|before| PIECE_BYTES - before).chain([end - 164]) {
        let memory = tempfile::tempfile().unwrap();
        memory.set_len(end).unwrap();
        memory.write_all_at(key.as_bytes(), address).unwrap();
        let offset = usize::try_from(address).unwrap();
        let expected = Found { key: 0, form: Form::Plain, offset, length: key.len() };
        assert_eq!(scanner.scan_mapping(&memory, &mapping).unwrap(), [expected]);
    }
}

#[test]
fn copies_side_by_side_are_counted_each_and_keys_are_told_apart() {
    let keys = [random_key(164), random_key(40)];
    let scanner = Scanner::of(&[&keys[0], &keys[1]]);
    let memory = format!("{0}{0}{1}{2}", keys[0], keys[1], &keys[0][..20]);
    let found: Vec<_> =
        scanner.search(memory.as_bytes()).iter().map(|found| (found.key, found.length)).collect();
    assert_eq!(found, [(0, 164), (0, 164), (0, 20), (1, 40)]);
}

#[test]
fn what_an_http_2_client_would_send_is_found() {
    let key = random_key(164);
    let scanner = Scanner::of(&[&key]);
    for before in ["", "Bearer ", "x", "xx"] {
        let sent = huffman::encode(format!("{before}{key}").as_bytes());
        let found = scanner.search(&sent);
        let alone = huffman::encode(key.as_bytes()).len();
        assert!(matches!(found[..], [Found { form: Form::Huffman, .. }]), "{before:?}: {found:?}");
        assert!(found[0].length + 2 >= alone, "{before:?}: {found:?} of {alone} bytes");
    }
}

/// A process that holds something until it is dropped.
struct Holder(Child);

impl Holder {
    /// dd(1) keeps the last block that it has read on its heap, while it waits for the next one.
    fn of(bytes: &[u8]) -> Self {
        let mut command = Command::new("dd");
        let mut child = piped(command.arg("bs=64k")).spawn().unwrap();
        child.stdin.as_mut().unwrap().write_all(bytes).unwrap();
        let mut passed_on = vec![0; bytes.len()];
        child.stdout.as_mut().unwrap().read_exact(&mut passed_on).unwrap();
        assert_eq!(passed_on, bytes);
        Self(child)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn piped(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null())
}

#[test]
fn a_key_that_another_process_holds_is_found_in_every_form() {
    if !can_run(cannot_scan()) {
        return;
    }
    let key = random_key(164);
    let scanner = Scanner::of(&[&key]);
    for (form, bytes) in written(key.as_bytes()) {
        let holder = Holder::of(&bytes);
        let scan = scanner.scan(holder.0.id());
        scan.assert_whole();
        let is_it = |(_, found): &(Mapping, Found)| found.length == bytes.len();
        assert!(scan.found.iter().any(is_it), "{form:?}: {scan}");
    }
    let holder = Holder::of(random_key(164).as_bytes());
    let scan = scanner.scan(holder.0.id());
    assert!(scan.found.is_empty(), "another key is taken for this one: {scan}");
}

#[test]
fn a_key_in_a_shells_variable_is_found_on_its_heap() {
    if !can_run(cannot_scan()) {
        return;
    }
    let key = random_key(164);
    let mut shell = Command::new("sh");
    let child = piped(shell.args(["-c", "read -r key; echo read; read -r end"])).spawn().unwrap();
    let mut holder = Holder(child);
    writeln!(holder.0.stdin.as_mut().unwrap(), "{key}").unwrap();
    let mut said = String::new();
    BufReader::new(holder.0.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "read\n");

    let scan = Scanner::of(&[&key]).scan(holder.0.id());
    scan.assert_whole();
    let is_it = |(mapping, found): &(Mapping, Found)| {
        mapping.name == "[heap]" && found.form == Form::Plain && found.length == key.len()
    };
    assert!(scan.found.iter().any(is_it), "{scan}");
    assert!(!contains(scan.to_string().as_bytes(), &key.as_bytes()[..8]), "it prints the key");
}
