//! A heap for programs that end soon: fast, and never given back.
//!
//! musl's own asks the kernel for memory, and gives it back, several hundred times while a container
//! is made. For a process that stays for long, giving back is right: so each chooses for itself.

#![allow(unsafe_code, reason = "an allocator; see the crate documentation")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use dlmalloc::Dlmalloc;
use rustix::mm::{MapFlags, ProtFlags};

/// Address space of the heap; only what is used of it is memory.
const SIZE: usize = 64 << 20;
const PAGE: usize = 4096;

/// Where the heap begins; 0: there is none.
static START: AtomicUsize = AtomicUsize::new(0);
/// How much of it dlmalloc has.
static USED: AtomicUsize = AtomicUsize::new(0);
static HEAP: Heap = Heap {
    own: UnsafeCell::new(Dlmalloc::new_with_allocator(Region)),
    // Children of a clone are made while nobody allocates: it is never held in one.
    lock: Mutex::new(()),
};

/// The system's allocator until [`begin`] is called, and the heap from then on, as long as it lasts.
#[derive(Debug)]
pub struct Allocator;

/// Makes the heap. Where no room can be reserved, everything stays as it is.
pub fn begin() {
    if START.load(Ordering::Acquire) != 0 {
        return;
    }
    let (prot, flags) =
        (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE | MapFlags::NORESERVE);
    // SAFETY: a new mapping where the kernel wants it.
    let made = unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), SIZE, prot, flags) };
    if let Ok(start) = made {
        START.store(start.expose_provenance(), Ordering::Release);
    }
}

/// The heap's part of the address space, handed out from its beginning to its end.
struct Region;

// SAFETY: every piece is handed out once, lies in the mapping and is never unmapped.
unsafe impl dlmalloc::Allocator for Region {
    fn alloc(&self, size: usize) -> (*mut u8, usize, u32) {
        let used = USED.load(Ordering::Relaxed);
        // The lock is held: nobody else is here.
        match used.checked_add(size).filter(|end| *end <= SIZE) {
            Some(end) => {
                USED.store(end, Ordering::Relaxed);
                let start = START.load(Ordering::Relaxed) + used;
                (ptr::with_exposed_provenance_mut(start), size, 0)
            }
            None => (ptr::null_mut(), 0, 0),
        }
    }

    fn remap(&self, _: *mut u8, _: usize, _: usize, _: bool) -> *mut u8 {
        ptr::null_mut()
    }

    fn free_part(&self, _: *mut u8, _: usize, _: usize) -> bool {
        false
    }

    fn free(&self, _: *mut u8, _: usize) -> bool {
        false
    }

    fn can_release_part(&self, _: u32) -> bool {
        false
    }

    fn allocates_zeros(&self) -> bool {
        true
    }

    fn page_size(&self) -> usize {
        PAGE
    }
}

struct Heap {
    own: UnsafeCell<Dlmalloc<Region>>,
    lock: Mutex<()>,
}

// SAFETY: `own` is only used with `lock` held.
unsafe impl Sync for Heap {}

impl Heap {
    fn with<T>(&self, work: impl FnOnce(&mut Dlmalloc<Region>) -> T) -> T {
        let _held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the lock is held, and `work` doesn't allocate, which would come back here.
        work(unsafe { &mut *self.own.get() })
    }
}

fn is_ours(block: *mut u8) -> bool {
    let start = START.load(Ordering::Acquire);
    start != 0 && block.addr().wrapping_sub(start) < SIZE
}

// SAFETY: blocks come from one of two allocators that keep the contract, and go back to the one whose
// address they have.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if START.load(Ordering::Acquire) != 0 {
            // SAFETY: the caller's promise about the layout.
            let block = HEAP.with(|heap| unsafe { heap.malloc(layout.size(), layout.align()) });
            if !block.is_null() {
                return block;
            }
        }
        // SAFETY: the caller's promise about the layout.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if is_ours(block) {
            // SAFETY: the address tells that `alloc` took it from the heap, with this layout.
            HEAP.with(|heap| unsafe { heap.free(block, layout.size(), layout.align()) });
        } else {
            // SAFETY: it is the system's then.
            unsafe { System.dealloc(block, layout) }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !is_ours(block) {
            // SAFETY: it is the system's, with this layout.
            return unsafe { System.realloc(block, layout, size) };
        }
        let (old, align) = (layout.size(), layout.align());
        // SAFETY: the address tells that `alloc` took it from the heap, with this layout.
        let grown = HEAP.with(|heap| unsafe { heap.realloc(block, old, align, size) });
        if !grown.is_null() {
            return grown;
        }
        // SAFETY: the heap is full: the block is still valid, and the other is at least as long as what
        // is copied.
        unsafe {
            let other = System.alloc(Layout::from_size_align_unchecked(size, align));
            if !other.is_null() {
                ptr::copy_nonoverlapping(block, other, old.min(size));
                self.dealloc(block, layout);
            }
            other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_go_back_to_where_they_came_from_and_a_full_heap_has_another_behind_it() {
        let layout = |size| Layout::from_size_align(size, 64).expect("a layout");
        // SAFETY: every block is used within its size and given back once, with its last layout.
        unsafe {
            let before = Allocator.alloc(layout(100));
            assert!(!is_ours(before));
            begin();
            let small = Allocator.alloc(layout(100));
            assert!(is_ours(small) && small.addr().is_multiple_of(64));
            small.write_bytes(7, 100);
            let large = Allocator.alloc(layout(SIZE));
            assert!(!large.is_null() && !is_ours(large));
            let moved = Allocator.realloc(small, layout(100), SIZE);
            assert!(!is_ours(moved) && (0..100).all(|at| *moved.add(at) == 7));
            let again = Allocator.alloc(layout(100));
            assert!(is_ours(again));
            for (block, size) in [(before, 100), (large, SIZE), (moved, SIZE), (again, 100)] {
                Allocator.dealloc(block, layout(size));
            }
        }
    }
}
