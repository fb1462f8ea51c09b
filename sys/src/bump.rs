//! An allocator for programs that end soon: it hands out memory from one end of a mapping and hardly looks
//! back.
//!
//! The general allocator of a C library costs tens of microseconds of a start that takes a few hundred. A
//! command that lives for milliseconds needs none of what that buys. It is not for a program that stays: a
//! small block that is freed while it is not the last one is lost until the end. A block of [`LARGE`] bytes
//! or more has a mapping of its own, which grows in place or moves without a copy (mremap(2)) and is given
//! back when it is freed.
//!
//! It is safe with threads and holds no lock, so a fork while another thread allocates leaves nothing locked.
//! Start at [`Bump`].

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull, null_mut};
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use rustix::mm::{MapFlags, MremapFlags, ProtFlags, mmap_anonymous, mremap, munmap};

/// The size of one chunk, of which only the pages in use cost memory. It is below the size of a huge page,
/// which would be zeroed whole.
const CHUNK: usize = 256 * 1024;

/// From this size on a block has a mapping of its own.
pub const LARGE: usize = 64 * 1024;

/// The greatest alignment that every mapping has.
const PAGE: usize = 4096;

/// The allocator, for `#[global_allocator]`.
#[derive(Debug)]
pub struct Bump {
    /// The chunk in use, null before the first allocation.
    chunk: AtomicPtr<Header>,
}

/// The beginning of a chunk. The rest of it is handed out upwards.
#[derive(Debug)]
struct Header {
    /// The address of the first byte that is free.
    next: AtomicUsize,
    /// The address behind the chunk.
    end: usize,
}

impl Bump {
    /// An allocator that owns no memory yet.
    pub const fn new() -> Self {
        Self { chunk: AtomicPtr::new(null_mut()) }
    }

    fn header(&self) -> Option<&Header> {
        let chunk = self.chunk.load(Ordering::Acquire);
        // SAFETY: the pointer is null or that of a header that `add_chunk` wrote before it published the
        // pointer; chunks in use are never unmapped, and all that changes in a header is atomic.
        unsafe { chunk.as_ref() }
    }

    /// Takes a block from the chunk in use, or from a new one.
    fn small(&self, layout: Layout) -> *mut u8 {
        loop {
            if let Some(header) = self.header()
                && let Some(block) = header.take(layout)
            {
                return block;
            }
            if !self.add_chunk(layout) {
                return null_mut();
            }
        }
    }

    /// Maps a chunk with room for `layout` and makes it the one in use, unless another thread was faster.
    fn add_chunk(&self, layout: Layout) -> bool {
        let old = self.chunk.load(Ordering::Acquire);
        let needed = size_of::<Header>().saturating_add(layout.size()).saturating_add(layout.align());
        let size = CHUNK.max(needed);
        let Some(start) = map(size) else {
            return false;
        };
        let address = start.as_ptr().expose_provenance();
        let Some(end) = address.checked_add(size) else {
            return false;
        };
        let header: *mut Header = start.as_ptr().cast();
        let first = address + size_of::<Header>();
        // SAFETY: the mapping is new, aligned to a page and larger than a header; nobody else knows it.
        unsafe { header.write(Header { next: AtomicUsize::new(first), end }) };
        if self.chunk.compare_exchange(old, header, Ordering::AcqRel, Ordering::Acquire).is_err() {
            unmap(start, size);
        }
        true
    }

    /// Lets the block of `old` bytes at `block` become `new` bytes, if it is the last one of the chunk and
    /// has room.
    fn resize_last(&self, block: *mut u8, old: usize, new: usize) -> bool {
        let start = block.addr();
        let Some(header) = self.header() else {
            return false;
        };
        let Some(end) = start.checked_add(new).filter(|end| *end <= header.end) else {
            return false;
        };
        // Only the owner of the last block can have its end here: what lies behind the end is nobody's.
        header.next.compare_exchange(start + old, end, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

impl Default for Bump {
    fn default() -> Self {
        Self::new()
    }
}

impl Header {
    fn take(&self, layout: Layout) -> Option<*mut u8> {
        let mut next = self.next.load(Ordering::Acquire);
        loop {
            let start = next.checked_next_multiple_of(layout.align())?;
            let end = start.checked_add(layout.size()).filter(|end| *end <= self.end)?;
            match self.next.compare_exchange_weak(next, end, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(ptr::with_exposed_provenance_mut(start)),
                Err(now) => next = now,
            }
        }
    }
}

fn is_large(size: usize, align: usize) -> bool {
    size >= LARGE && align <= PAGE
}

/// Zeroed pages at an address of the kernel's choice.
fn map(size: usize) -> Option<NonNull<u8>> {
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing.
    let address = unsafe { mmap_anonymous(null_mut(), size, protection, MapFlags::PRIVATE) }.ok()?;
    NonNull::new(address.cast())
}

/// Gives back what [`map`] gave. A failure (ENOMEM, where a mapping would have to be split) only keeps the
/// memory.
fn unmap(start: NonNull<u8>, size: usize) {
    // SAFETY: the caller owns the mapping of `size` bytes at `start` and uses it no more.
    let _ = unsafe { munmap(start.as_ptr().cast(), size) };
}

// SAFETY: a block is aligned and of the size that was asked for; no two blocks overlap, because each address
// is given out by one successful exchange of `next`, or by a mapping of its own; nothing here panics or
// unwinds.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_large(layout.size(), layout.align()) {
            return map(layout.size()).map_or(null_mut(), NonNull::as_ptr);
        }
        self.small(layout)
    }

    /// Fresh pages are zero, but a block may lie where another was given back.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises for `alloc_zeroed` are those for `alloc`.
        let block = unsafe { self.alloc(layout) };
        if !block.is_null() && !is_large(layout.size(), layout.align()) {
            // SAFETY: the block is of that size and nobody else has it.
            unsafe { block.write_bytes(0, layout.size()) };
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match NonNull::new(block) {
            Some(start) if is_large(layout.size(), layout.align()) => unmap(start, layout.size()),
            _ => {
                let _ = self.resize_last(block, layout.size(), 0);
            }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let was_large = is_large(layout.size(), layout.align());
        let is_large = is_large(size, layout.align());
        if was_large && is_large {
            // SAFETY: the block is a mapping of `layout.size()` bytes that the caller gives up for the
            // result.
            let moved = unsafe { mremap(block.cast(), layout.size(), size, MremapFlags::MAYMOVE) };
            return moved.map_or(null_mut(), |address| address.cast());
        }
        if !was_large && !is_large && self.resize_last(block, layout.size(), size) {
            return block;
        }
        // SAFETY: the caller promises that `size`, rounded up to the alignment, does not overflow isize.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: the caller promises that `size` is not zero.
        let new = unsafe { self.alloc(wanted) };
        if !new.is_null() {
            // SAFETY: both blocks have that many bytes, and the new one overlaps no other block.
            unsafe { ptr::copy_nonoverlapping(block, new, layout.size().min(size)) };
            // SAFETY: the block is of this allocator and layout, and the caller uses it no more.
            unsafe { self.dealloc(block, layout) };
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    fn alloc(bump: &Bump, layout: Layout) -> *mut u8 {
        // SAFETY: the layouts of these tests are not empty.
        let block = unsafe { bump.alloc(layout) };
        assert!(!block.is_null() && block.addr().is_multiple_of(layout.align()));
        block
    }

    fn fill(block: *mut u8, size: usize, byte: u8) {
        // SAFETY: the block is the caller's and has that size.
        unsafe { block.write_bytes(byte, size) };
    }

    fn holds(block: *mut u8, size: usize, byte: u8) -> bool {
        // SAFETY: the block is the caller's, has that size and was filled.
        unsafe { core::slice::from_raw_parts(block, size) }.iter().all(|found| *found == byte)
    }

    fn realloc(bump: &Bump, block: *mut u8, old: Layout, size: usize) -> *mut u8 {
        // SAFETY: the block is of this allocator and layout; the size is not zero.
        let new = unsafe { bump.realloc(block, old, size) };
        assert!(!new.is_null());
        new
    }

    fn free(bump: &Bump, block: *mut u8, layout: Layout) {
        // SAFETY: the block is of this allocator and layout and is used no more.
        unsafe { bump.dealloc(block, layout) };
    }

    #[test]
    fn blocks_are_aligned_and_do_not_overlap() {
        let bump = Bump::new();
        let mut blocks = Vec::new();
        for (n, size) in [1, 7, 8, 100, 4096, 65_535, 65_536, 300_000, 3, 200_000, 65_000, 65_000, 65_000]
            .iter()
            .enumerate()
        {
            for align in [1, 2, 16, 64, 4096, 16_384] {
                let block = alloc(&bump, layout(*size, align));
                fill(block, *size, n as u8);
                blocks.push((block, *size, n as u8));
            }
        }
        for (block, size, byte) in blocks {
            assert!(holds(block, size, byte));
        }
    }

    #[test]
    fn the_last_block_grows_and_shrinks_where_it_is() {
        let bump = Bump::new();
        let small = layout(10, 1);
        let block = alloc(&bump, small);
        fill(block, 10, 7);
        assert_eq!(realloc(&bump, block, small, 1000), block);
        assert_eq!(realloc(&bump, block, layout(1000, 1), 10), block);
        let after = alloc(&bump, small);
        assert_eq!(after.addr(), block.addr() + 10);
        let moved = realloc(&bump, block, small, 20);
        assert_ne!(moved, block);
        assert!(holds(moved, 10, 7));
    }

    #[test]
    fn the_last_block_is_given_back_and_zeroed_for_the_next() {
        let bump = Bump::new();
        let size = layout(64, 8);
        let block = alloc(&bump, size);
        fill(block, 64, 0xff);
        free(&bump, block, size);
        // SAFETY: the layout is not empty.
        let again = unsafe { bump.alloc_zeroed(size) };
        assert_eq!(again, block);
        assert!(holds(again, 64, 0));
    }

    #[test]
    fn a_block_keeps_its_bytes_across_every_size() {
        let bump = Bump::new();
        let mut old = layout(1, 8);
        let mut block = alloc(&bump, old);
        fill(block, 1, 42);
        for size in [100, 65_535, 65_536, 1 << 20, 1 << 22, 70_000, 65_536, 65_535, 3, 300_000, 1] {
            alloc(&bump, layout(24, 8));
            let kept = old.size().min(size);
            block = realloc(&bump, block, old, size);
            old = layout(size, 8);
            assert!(holds(block, kept, 42), "{size}");
            fill(block, size, 42);
        }
        free(&bump, block, old);
    }

    #[test]
    fn a_large_block_is_given_back_to_the_kernel() {
        let mapped = || {
            std::fs::read_to_string("/proc/self/statm")
                .unwrap()
                .split(' ')
                .next()
                .unwrap()
                .parse::<usize>()
                .unwrap()
        };
        let bump = Bump::new();
        let large = layout(1 << 26, 8);
        let before = mapped();
        for _ in 0..64 {
            free(&bump, alloc(&bump, large), large);
        }
        assert!(mapped() < before + (1 << 14), "64 blocks of 64 MiB are gone");
    }

    #[test]
    fn threads_never_get_the_same_block() {
        const THREADS: u8 = 8;
        let bump = Bump::new();
        let barrier = Barrier::new(THREADS.into());
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (bump, barrier) = (&bump, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    let mut blocks: Vec<(usize, usize)> = Vec::new();
                    for round in 0..4000 {
                        let size = 1 + (round * 37 + usize::from(thread) * 11) % 600;
                        let block = alloc(bump, layout(size, 8));
                        fill(block, size, thread);
                        if round % 3 == 0 {
                            free(bump, block, layout(size, 8));
                        } else if round % 5 == 0 {
                            let block = realloc(bump, block, layout(size, 8), size * 2);
                            fill(block, size * 2, thread);
                            blocks.push((block.expose_provenance(), size * 2));
                        } else {
                            blocks.push((block.expose_provenance(), size));
                        }
                    }
                    for (block, size) in blocks {
                        assert!(holds(ptr::with_exposed_provenance_mut(block), size, thread));
                    }
                });
            }
        });
    }

    #[test]
    fn what_cannot_be_had_is_null() {
        let bump = Bump::new();
        let huge = layout(isize::MAX as usize - 4096, 1);
        // SAFETY: the layout is not empty.
        assert!(unsafe { bump.alloc(huge) }.is_null());
        let huge = layout(1 << 62, 1 << 20);
        // SAFETY: the layout is not empty.
        assert!(unsafe { bump.alloc(huge) }.is_null());
    }
}
