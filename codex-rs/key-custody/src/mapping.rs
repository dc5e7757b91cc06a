//! Memory of its own, between two pages that nobody may touch: mmap(2), mprotect(2), mlock(2), madvise(2).
//!
//! An overrun from a neighbour ends in a guard page, and so does one of ours.
#![expect(unsafe_code, reason = "nix's functions for mappings are unsafe")]

use std::ffi::c_void;
use std::num::NonZeroUsize;
#[cfg(target_os = "linux")]
use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::slice;

use nix::errno::Errno;
#[cfg(any(target_os = "linux", target_os = "android"))]
use nix::sys::mman::MmapAdvise;
use nix::sys::mman::{self, MapFlags, ProtFlags};
use nix::unistd::{SysconfVar, sysconf};
use zeroize::Zeroize;

/// Memory that is wiped and given back when it is dropped.
pub(crate) struct Mapping {
    /// The first byte after the first guard page.
    start: NonNull<c_void>,
    /// Whole pages, without the guards.
    bytes: NonZeroUsize,
    guard_bytes: usize,
    is_writable: bool,
}

// SAFETY: the memory belongs to this value alone. It changes through `&mut` and is read through `&` alone, as a Box's.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// At least so many zero bytes, which can be written to.
    pub(crate) fn anonymous(bytes: usize) -> nix::Result<Self> {
        let mut mapping = Self::reserve(bytes)?;
        mapping.protect(ProtFlags::PROT_READ | ProtFlags::PROT_WRITE)?;
        mapping.is_writable = true;
        Ok(mapping)
    }

    /// The same, made of an empty file that nobody else has.
    #[cfg(target_os = "linux")]
    pub(crate) fn of_file(file: OwnedFd, bytes: usize) -> nix::Result<Self> {
        nix::unistd::ftruncate(&file, bytes.try_into().map_err(|_| Errno::EFBIG)?)?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let length = NonZeroUsize::new(bytes).ok_or(Errno::EINVAL)?;
        // Whether it can be had is asked first, anywhere: what fails below costs addresses.
        // SAFETY: the kernel chooses addresses that nothing else has, and nobody else hears of them.
        unsafe {
            let anywhere = mman::mmap(None, length, protection, MapFlags::MAP_SHARED, &file, 0)?;
            mman::munmap(anywhere, bytes)?;
        }
        let mut mapping = Self::reserve(bytes)?;
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_FIXED;
        // SAFETY: what is replaced are pages of our own reservation, which nothing refers to.
        let mapped = unsafe {
            mman::mmap(Some(mapping.start.addr()), mapping.bytes, protection, flags, file, 0)
        };
        if let Err(errno) = mapped {
            // Some kernels have let go of these addresses by then, and another thread may have them: they are left alone.
            std::mem::forget(mapping);
            return Err(errno);
        }
        mapping.is_writable = true;
        Ok(mapping)
    }

    /// Addresses for so many bytes and two guards, none of which can be touched.
    fn reserve(bytes: usize) -> nix::Result<Self> {
        let page_bytes = sysconf(SysconfVar::PAGE_SIZE)?.ok_or(Errno::EINVAL)?;
        let guard_bytes = usize::try_from(page_bytes).map_err(|_| Errno::EINVAL)?;
        let bytes = NonZeroUsize::new(bytes.next_multiple_of(guard_bytes)).ok_or(Errno::EINVAL)?;
        let all = bytes.checked_add(2 * guard_bytes).ok_or(Errno::ENOMEM)?;
        // SAFETY: the kernel chooses addresses that nothing else has.
        let first = unsafe {
            mman::mmap_anonymous(None, all, ProtFlags::PROT_NONE, MapFlags::MAP_PRIVATE)
        }?;
        // SAFETY: the reservation is two guards longer than `bytes`.
        let start = unsafe { first.byte_add(guard_bytes) };
        Ok(Self { start, bytes, guard_bytes, is_writable: false })
    }

    fn protect(&mut self, protection: ProtFlags) -> nix::Result<()> {
        // SAFETY: these pages are ours, and `&mut` proves that nobody is looking at them.
        unsafe { mman::mprotect(self.start, self.bytes.get(), protection) }
    }

    /// From here on it can be read only.
    pub(crate) fn seal(&mut self) -> nix::Result<()> {
        self.protect(ProtFlags::PROT_READ)?;
        self.is_writable = false;
        Ok(())
    }

    /// Keeps it out of swap.
    pub(crate) fn lock(&self) -> nix::Result<()> {
        // SAFETY: these pages are ours, and mlock(2) changes nothing in them.
        unsafe { mman::mlock(self.start, self.bytes.get()) }
    }

    /// Gives the kernel advice that concerns copies of it alone: dumps, forks.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(crate) fn advise(&self, advice: CopyAdvice) -> nix::Result<()> {
        let advice = match advice {
            CopyAdvice::NotInDumps => MmapAdvise::MADV_DONTDUMP,
            CopyAdvice::WipedInForks => MmapAdvise::MADV_WIPEONFORK,
            #[cfg(target_os = "linux")]
            CopyAdvice::NotInForks => MmapAdvise::MADV_DONTFORK,
        };
        // SAFETY: these pages are ours, and none of the three changes them in this process.
        unsafe { mman::madvise(self.start, self.bytes.get(), advice) }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: these bytes are mapped, readable and initialised (with zeros, by the kernel) for as long as we are,
        // and change through `&mut` alone. (What is only reserved does not leave this module.)
        unsafe { slice::from_raw_parts(self.start.cast().as_ptr(), self.bytes.get()) }
    }

    /// # Panics
    ///
    /// When it was sealed.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        assert!(self.is_writable, "a sealed page is not written to");
        // SAFETY: as in `bytes`; they are writable, and we are borrowed exclusively.
        unsafe { slice::from_raw_parts_mut(self.start.cast().as_ptr(), self.bytes.get()) }
    }
}

/// What is to become of the pages where the kernel would copy them.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[derive(Clone, Copy, Debug)]
pub(crate) enum CopyAdvice {
    NotInDumps,
    WipedInForks,
    #[cfg(target_os = "linux")]
    NotInForks,
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if !self.is_writable {
            // Sealed, or only reserved: then it has nothing but zeros. A kernel that can't do this can't be helped.
            self.is_writable = self.protect(ProtFlags::PROT_READ | ProtFlags::PROT_WRITE).is_ok();
        }
        if self.is_writable {
            self.bytes_mut().zeroize();
        }
        // SAFETY: the reservation began one guard before `start`, and nothing refers to it any more.
        let _ = unsafe {
            let first = self.start.byte_sub(self.guard_bytes);
            mman::munmap(first, self.bytes.get() + 2 * self.guard_bytes)
        };
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use nix::sys::memfd::{MFdFlags, memfd_create};

    use super::*;

    /// Seen in a file that is read from elsewhere, since of memory that was given back nothing can be seen.
    #[test]
    fn what_is_dropped_is_wiped_first_also_when_it_was_sealed() {
        for is_sealed in [false, true] {
            let file = memfd_create("custody-test", MFdFlags::MFD_CLOEXEC).unwrap();
            let seen = File::from(file.try_clone().unwrap());
            let mut bytes = [0; 100];
            let mut mapping = Mapping::of_file(file, bytes.len()).unwrap();
            mapping.bytes_mut().fill(b'k');
            if is_sealed {
                mapping.seal().unwrap();
            }
            seen.read_exact_at(&mut bytes, 0).unwrap();
            assert_eq!(bytes, [b'k'; 100]);
            drop(mapping);
            seen.read_exact_at(&mut bytes, 0).unwrap();
            assert_eq!(bytes, [0; 100], "sealed: {is_sealed}");
        }
    }
}
