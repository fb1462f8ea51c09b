//! Memory by mmap(2): a plan to read, a page to share, room for pointer arrays.

use core::ops::Deref;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::AtomicU32;

use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

/// Maps `len` bytes of a sealed file from `offset` on, for the life of the process.
///
/// # Errors
/// Those of mmap(2).
pub fn sealed(fd: impl AsFd, offset: u64, len: usize) -> Result<&'static [u8], Errno> {
    // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing.
    let address = unsafe { mmap(null_mut(), len, ProtFlags::READ, MapFlags::PRIVATE, fd, offset) }?;
    // SAFETY: the kernel mapped `len` readable bytes there, nothing unmaps them, and the seals of the file keep them as
    // they are.
    Ok(unsafe { core::slice::from_raw_parts(address.cast::<u8>(), len) })
}

/// The first words of a file that other processes map as well. The mapping goes with the value.
#[derive(Debug)]
pub struct SharedWords {
    start: NonNull<AtomicU32>,
    words: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and nothing in it is reached but by atomics.
unsafe impl Send for SharedWords {}
// SAFETY: as above.
unsafe impl Sync for SharedWords {}

impl SharedWords {
    /// Maps the first `words * 4` bytes of a file.
    ///
    /// # Errors
    /// Those of mmap(2).
    pub fn map(fd: impl AsFd, words: usize) -> Result<Self, Errno> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing.
        let address = unsafe { mmap(null_mut(), words * 4, protection, MapFlags::SHARED, fd, 0) }?;
        // The kernel maps nothing at 0 unless it is asked to.
        let start = NonNull::new(address.cast::<AtomicU32>()).ok_or(Errno::FAULT)?;
        Ok(Self { start, words })
    }
}

impl Deref for SharedWords {
    type Target = [AtomicU32];

    fn deref(&self) -> &[AtomicU32] {
        // SAFETY: the mapping is aligned to a page, holds `words` words and lives as long as `self`; atomics may be shared
        // with other processes, and every bit pattern is a valid one.
        unsafe { core::slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }
}

impl Drop for SharedWords {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `map` with this length, and every borrow of it has ended with `self`.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.words * 4) };
    }
}

/// `count` zeroed values in pages of their own, for the life of the process.
///
/// # Errors
/// ENOMEM.
pub fn zeroed<T: Zero>(count: usize) -> Result<&'static mut [T], Errno> {
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    let bytes = count.checked_mul(size_of::<T>()).ok_or(Errno::NOMEM)?.max(1);
    // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing.
    let address = unsafe { mmap_anonymous(null_mut(), bytes, protection, MapFlags::PRIVATE) }?;
    // SAFETY: the mapping is aligned to a page, holds `count` values of zero bytes, which `Zero` promises to be valid, is
    // never unmapped, and no one else has its address.
    Ok(unsafe { core::slice::from_raw_parts_mut(address.cast::<T>(), count) })
}

/// Types for which zero bytes are a valid value.
///
/// # Safety
/// Implement it only for such types, of an alignment of at most a page.
pub unsafe trait Zero: 'static {}

// SAFETY: zero is a number.
unsafe impl Zero for u8 {}
// SAFETY: zero is a number.
unsafe impl Zero for u32 {}
// SAFETY: a null pointer is a valid pointer value.
unsafe impl Zero for *const core::ffi::c_char {}
