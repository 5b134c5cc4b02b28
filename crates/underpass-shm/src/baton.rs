//! The baton: a wake that survives the death of whoever owes it.
//!
//! A thread that owes a wake, or has received one, names the object's baton (a word that is always 0, on which every
//! sleeper also waits) as `list_op_pending` in the robust list that glibc has registered for it. If the thread dies,
//! the kernel finds the zero word and wakes one sleeper there: `handle_futex_death` in `kernel/futex/core.c`.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst, compiler_fence};

use crate::futex;

#[repr(C)]
struct RobustListHead {
    list: *mut libc::c_void,
    futex_offset: libc::c_long,
    list_op_pending: *mut libc::c_void,
}

thread_local! {
    static HEAD: Cell<*mut RobustListHead> = const { Cell::new(std::ptr::null_mut()) };
}

/// Names `word`, which must be 0 for ever, as what the kernel wakes if this thread dies; null names nothing. Returns
/// what was named before, so that batons nest. Only one can be named at a time: another one that this one covers is
/// passed on first, to a sleeper who then looks for itself. An odd address names a futex that lends, by the list's own
/// convention ([`crate::layout::mutex::MutexWords::named`]): if this thread dies while it is in there, the kernel takes it out.
pub fn name(word: *const AtomicU32) -> *const AtomicU32 {
    let head = head();
    compiler_fence(SeqCst);
    // SAFETY: S5, the head is this thread's own and only this thread writes it; the kernel undoes the offset and reads
    // a word of a mapping that the operation under way pins.
    unsafe {
        let offset = (*head).futex_offset as isize;
        let pending = std::ptr::addr_of_mut!((*head).list_op_pending);
        let named = pending.read();
        let before: *const AtomicU32 =
            if named.is_null() { std::ptr::null() } else { named.cast::<u8>().wrapping_offset(offset).cast() };
        // Nobody sleeps for ever on what lends: the kernel hands it on itself.
        if !word.is_null() && !before.is_null() && before != word && before.addr() & 1 == 0 {
            futex::wake(&*before, 1);
        }
        let entry = if word.is_null() { std::ptr::null() } else { word.cast::<u8>().wrapping_offset(-offset) };
        pending.write_volatile(entry.cast_mut().cast());
        // The kernel reads on this very processor: program order is all that is needed.
        compiler_fence(SeqCst);
        before
    }
}

/// The calling thread's robust list, which glibc registered at the thread's birth and again after fork.
fn head() -> *mut RobustListHead {
    HEAD.with(|cached| {
        if cached.get().is_null() {
            let mut head: *mut RobustListHead = std::ptr::null_mut();
            let mut size: libc::size_t = 0;
            // SAFETY: S5, the kernel fills in the two out-parameters.
            let code = unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut head, &raw mut size) };
            assert!(code == 0 && !head.is_null(), "this libc registers no robust list: underpass needs glibc");
            cached.set(head);
        }
        cached.get()
    })
}
