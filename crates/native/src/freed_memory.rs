//! Has the C library give freed memory back to the system: by itself it keeps what a few large buffers took, in each thread.

/// A buffer from this size on is memory of its own, which ends with it: what a password's hash needs, a long answer.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE_MIN_BYTES: std::ffi::c_int = 256 * 1024;

/// What may lie free at the end of a heap.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const FREE_MAX_BYTES: std::ffi::c_int = 1024 * 1024;

/// Heaps that threads share: one for the homeserver's, one for the others, each of which has little to do.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const HEAPS_MAX: std::ffi::c_int = 2;

/// To be called before there is a second thread. glibc otherwise raises its threshold for large buffers with the first that
/// is freed: 30 logins, 7 MiB each and one after the other, left 110 MB behind. Other systems' libraries have no such need.
pub fn give_back_at_once() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (parameter, value) in [
        (libc::M_MMAP_THRESHOLD, LARGE_MIN_BYTES),
        (libc::M_TRIM_THRESHOLD, FREE_MAX_BYTES),
        (libc::M_ARENA_MAX, HEAPS_MAX),
    ] {
        // SAFETY: it sets a number; glibc has it take a lock of its own, and no other thread is there yet.
        if unsafe { libc::mallopt(parameter, value) } == 0 {
            tracing::debug!(parameter, value, "the allocator stays as it is");
        }
    }
}
