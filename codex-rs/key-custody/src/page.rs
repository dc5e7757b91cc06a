//! The page that a key stands in: filled once, then read-only, then wiped.

use zeroize::Zeroize;

use crate::CustodyError;
use crate::mapping::Mapping;

/// Which memory holds a key: the best that this system gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageKind {
    /// memfd_secret(2): no other process can read it, root's neither; never in swap, a dump or a hibernation image.
    MemfdSecret,
    /// Locked in memory: never in swap or a dump. Root can read it through /proc/PID/mem.
    Locked,
    /// Neither: it may be written to swap. For operators who have said that they accept it.
    Unlocked,
}

impl PageKind {
    /// All of them, the best first.
    pub const ALL: [Self; 3] = [Self::MemfdSecret, Self::Locked, Self::Unlocked];

    /// In words, as they stand in `status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MemfdSecret => "memfd_secret",
            Self::Locked => "locked page",
            Self::Unlocked => "unlocked page",
        }
    }
}

/// A page that can be written to. Dropped, it is wiped.
pub(crate) struct BlankPage {
    mapping: Mapping,
    kind: PageKind,
}

/// A page that can't be written to any more. Dropped, it is wiped.
pub(crate) struct SecretPage {
    mapping: Mapping,
    kind: PageKind,
    kept_bytes: usize,
}

impl BlankPage {
    /// The best memory that there is for so many bytes.
    pub(crate) fn new(bytes: usize, allow_unlocked: bool) -> Result<Self, CustodyError> {
        if let Ok(mapping) = secret(bytes) {
            return Ok(Self { mapping, kind: PageKind::MemfdSecret });
        }
        let mapping = Mapping::anonymous(bytes).map_err(CustodyError::Page)?;
        let kind = match mapping.lock() {
            Ok(()) => PageKind::Locked,
            Err(_) if allow_unlocked => PageKind::Unlocked,
            Err(errno) => return Err(CustodyError::Lock(errno)),
        };
        keep_to_this_process(&mapping).map_err(CustodyError::Page)?;
        Ok(Self { mapping, kind })
    }

    /// All of it, to be filled in.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        self.mapping.bytes_mut()
    }

    /// Keeps so many bytes of it, wipes the rest, and lets nobody write to it any more.
    pub(crate) fn seal(mut self, kept_bytes: usize) -> Result<SecretPage, CustodyError> {
        self.room()[kept_bytes..].zeroize();
        self.mapping.seal().map_err(CustodyError::Page)?;
        Ok(SecretPage { mapping: self.mapping, kind: self.kind, kept_bytes })
    }
}

impl SecretPage {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.mapping.bytes()[..self.kept_bytes]
    }

    pub(crate) fn kind(&self) -> PageKind {
        self.kind
    }
}

/// Memory that no other process can read.
#[cfg(target_os = "linux")]
fn secret(bytes: usize) -> nix::Result<Mapping> {
    use crate::mapping::CopyAdvice::{NotInDumps, NotInForks};

    // Which locks it: it counts in RLIMIT_MEMLOCK. The mapping outlives the descriptor, which nobody is to find.
    let mapping = Mapping::of_file(crate::memfd_secret::create()?, bytes)?;
    mapping.advise(NotInDumps)?;
    mapping.advise(NotInForks)?; // It is shared memory, which can't be wiped in a child alone.
    Ok(mapping)
}

#[cfg(not(target_os = "linux"))]
fn secret(_: usize) -> nix::Result<Mapping> {
    Err(nix::errno::Errno::ENOSYS)
}

/// No dump has it, and no child that is forked.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn keep_to_this_process(mapping: &Mapping) -> nix::Result<()> {
    use crate::mapping::CopyAdvice::{NotInDumps, WipedInForks};

    mapping.advise(NotInDumps)?;
    let _ = mapping.advise(WipedInForks); // Kernels that don't know it can do without: nothing here forks.
    Ok(())
}

/// Elsewhere there is no such advice: codex-process-hardening forbids dumps, and nothing here forks.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn keep_to_this_process(_: &Mapping) -> nix::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_kept_is_wiped_and_what_is_kept_stays() {
        let mut page = BlankPage::new(100, false).unwrap();
        assert!(page.room().len() >= 100 && page.room().iter().all(|byte| *byte == 0));
        page.room().fill(b'x');
        let page = page.seal(7).unwrap();
        assert_eq!(page.bytes(), b"xxxxxxx");
        assert!(page.mapping.bytes()[7..].iter().all(|byte| *byte == 0));
    }

    #[test]
    #[should_panic(expected = "not written to")]
    fn a_sealed_page_is_not_written_to() {
        let mut page = BlankPage::new(1, false).unwrap().seal(1).unwrap();
        page.mapping.bytes_mut();
    }

    /// What the kernel says about it.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_page_stands_alone_between_guards_and_nothing_is_left_of_it() {
        let maps = || std::fs::read_to_string("/proc/self/maps").unwrap();
        let page = BlankPage::new(4_099, false).unwrap().seal(4_099).unwrap();
        let begin = page.mapping.bytes().as_ptr().addr();
        let end = begin + page.mapping.bytes().len();
        let before = maps();
        let access = |range: &str| -> Option<String> {
            let line = before.lines().find(|line| line.contains(range))?;
            Some(line.split(' ').nth(1)?.to_owned())
        };
        let own = access(&format!("{begin:x}-{end:x} ")).unwrap();
        assert!(["r--s", "r--p"].contains(&own.as_str()), "{own}");
        // Its neighbours may have grown together with others that can't be touched either.
        assert_eq!(access(&format!("-{begin:x} ")).as_deref(), Some("---p"), "{before}");
        assert_eq!(access(&format!("{end:x}-")).as_deref(), Some("---p"), "{before}");
        drop(page);
        assert!(!maps().contains(&format!("{begin:x}-{end:x} ")));
    }
}
