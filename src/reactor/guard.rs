//! Turns a fault in mapped memory into an error of that torrent.
//!
//! A page of a mapped file that the disk cannot deliver (the file was cut short, the disk is full
//! or broken) raises SIGBUS in the thread that touches it. One handler for the process puts zero
//! pages there and raises a flag that [`guarded`] reports. It does nothing for system calls on
//! mapped memory: the kernel gives EFAULT for those, and no signal.

// Signals and fixed mappings exist only in C.
#![allow(unsafe_code)]

use core::ffi::{c_int, c_void};
use core::mem;
use core::ptr;
use core::sync::atomic::{compiler_fence, AtomicUsize, Ordering};
use std::sync::Once;

/// The memory was not there: what was read is zeros, what was written is lost.
///
/// The pages now stand apart from the file, so the map they belong to must be given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faulted {
    /// A bit for each range, the first lowest.
    ranges: usize,
}

impl Faulted {
    /// Whether the range of this number was among those not delivered.
    #[must_use]
    pub const fn hit(self, range: usize) -> bool {
        self.ranges >> range & 1 == 1
    }
}

/// Ranges that one closure may touch.
pub const RANGES_MAX: usize = 8;

/// What the running closure of this thread may touch.
struct Watched {
    ranges: [Range; RANGES_MAX],
    /// The bits of [`Faulted`].
    faulted: AtomicUsize,
}

/// Invariant: empty while nothing is guarded.
struct Range {
    start: AtomicUsize,
    end: AtomicUsize,
}

// SIGBUS comes to the thread that faulted, so each thread needs to know only its own range. The
// value is constant and has nothing to drop, so the handler finds it without allocating.
thread_local! {
    static WATCHED: Watched = const {
        Watched {
            ranges: [const { Range { start: AtomicUsize::new(0), end: AtomicUsize::new(0) } };
                RANGES_MAX],
            faulted: AtomicUsize::new(0),
        }
    };
}

static INSTALL: Once = Once::new();
/// Bytes of a page; set before the handler can run.
static PAGE_BYTES: AtomicUsize = AtomicUsize::new(4096);

/// Installs the handler, once for the process. Also ignores SIGXFSZ, so that a file size limit is
/// an error of the call that met it and not the end of the process.
pub fn install() {
    INSTALL.call_once(|| {
        // SAFETY: sysconf only reads a constant.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        if let Ok(page @ 1..) = usize::try_from(page) {
            PAGE_BYTES.store(page, Ordering::Relaxed);
        }
        // SAFETY: all zeros is a valid sigaction (no flags, empty mask); the handler has the
        // signature that SA_SIGINFO asks for and calls only what a signal handler may.
        unsafe {
            let mut action: libc::sigaction = mem::zeroed();
            action.sa_sigaction = on_sigbus as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigaction(libc::SIGBUS, &action, ptr::null_mut());
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        }
    });
}

/// Bytes of a page of this machine.
#[must_use]
pub fn page_bytes() -> usize {
    install();
    PAGE_BYTES.load(Ordering::Relaxed)
}

/// Runs `access`, which may touch the `len` bytes of a file map at `start`.
///
/// # Errors
/// [`Faulted`] if any of them could not be delivered.
///
/// # Panics
/// In a debug build, if called from within `access`.
pub fn guarded<R>(start: *const u8, len: usize, access: impl FnOnce() -> R) -> Result<R, Faulted> {
    guarded_all(&[(start, len)], access)
}

/// Runs `access`, which may touch parts of several file maps, each given by where it starts and
/// its bytes.
///
/// # Errors
/// [`Faulted`] if any byte could not be delivered.
///
/// # Panics
/// With more than [`RANGES_MAX`] ranges. In a debug build, if called from within `access`.
pub fn guarded_all<R>(
    ranges: &[(*const u8, usize)],
    access: impl FnOnce() -> R,
) -> Result<R, Faulted> {
    assert!(ranges.len() <= RANGES_MAX, "at most {RANGES_MAX} ranges");
    install();
    WATCHED.with(|watched| {
        let idle = watched.ranges.iter().all(|range| range.end.load(Ordering::Relaxed) == 0);
        debug_assert!(idle, "guards do not nest");
        watched.faulted.store(0, Ordering::Relaxed);
        for (range, &(start, len)) in watched.ranges.iter().zip(ranges) {
            range.start.store(start as usize, Ordering::Relaxed);
            range.end.store(start as usize + len, Ordering::Relaxed);
        }
        // Closes the ranges even if `access` unwinds.
        let closing = Closing(watched);
        // The handler runs on this thread: only the compiler must not move loads over this line.
        compiler_fence(Ordering::SeqCst);
        let result = access();
        compiler_fence(Ordering::SeqCst);
        drop(closing);
        match watched.faulted.load(Ordering::Relaxed) {
            0 => Ok(result),
            ranges => Err(Faulted { ranges }),
        }
    })
}

struct Closing<'a>(&'a Watched);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        for range in &self.0.ranges {
            range.start.store(0, Ordering::Relaxed);
            range.end.store(0, Ordering::Relaxed);
        }
    }
}

impl Watched {
    /// Puts zero pages from the faulting one to the end of its range; false if the address is
    /// in none.
    fn cover(&self, address: usize) -> bool {
        // Not an iterator: what runs in a signal handler had better be plain.
        let mut hit = 0;
        let mut end = 0;
        while hit < RANGES_MAX {
            let start = self.ranges[hit].start.load(Ordering::Relaxed);
            end = self.ranges[hit].end.load(Ordering::Relaxed);
            if address >= start && address < end {
                break;
            }
            hit += 1;
        }
        if hit == RANGES_MAX {
            return false;
        }
        let page = PAGE_BYTES.load(Ordering::Relaxed);
        let from = address - address % page;
        // SAFETY: [from, end) rounded up to a page lies within one file map, because the caller
        // of `guarded` named a part of one; replacing pages of it takes them from nobody else.
        // The map's owner unmaps the whole range later as usual.
        let zeros = unsafe {
            libc::mmap(
                from as *mut c_void,
                end - from,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        let covered = zeros != libc::MAP_FAILED;
        if covered {
            self.faulted.fetch_or(1 << hit, Ordering::Relaxed);
        }
        covered
    }
}

extern "C" fn on_sigbus(signal: c_int, about: *mut libc::siginfo_t, _context: *mut c_void) {
    // SAFETY: the kernel passes a valid siginfo, which has an address for SIGBUS; errno belongs
    // to this thread and is put back as the interrupted code left it.
    unsafe {
        let errno = *libc::__errno_location();
        let (address, code) = ((*about).si_addr() as usize, (*about).si_code);
        // A code above zero says that the kernel saw a fault; others come from kill().
        let covered =
            code > 0 && WATCHED.try_with(|watched| watched.cover(address)).unwrap_or(false);
        if !covered {
            // Somebody else's fault: after the return it happens again, now with the default
            // action, and the dump shows the true place.
            libc::signal(signal, libc::SIG_DFL);
            if code <= 0 {
                libc::raise(signal);
            }
        }
        *libc::__errno_location() = errno;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memmap2::MmapOptions;
    use std::io::Write as _;

    #[test]
    fn a_truncated_file_is_an_error_and_the_next_one_works() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 65_536]).unwrap();
        let map = MmapOptions::new().len(65_536).map_raw(&file).unwrap();
        let sum = || {
            // SAFETY: the map is 64 KiB long.
            let bytes = unsafe { core::slice::from_raw_parts(map.as_ptr(), 65_536) };
            bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>()
        };
        assert_eq!(guarded(map.as_ptr(), 65_536, sum), Ok(7 * 65_536));
        file.set_len(4096).unwrap();
        assert_eq!(guarded(map.as_ptr(), 65_536, sum), Err(Faulted { ranges: 1 }));

        file.set_len(65_536).unwrap();
        let again = MmapOptions::new().len(65_536).map_raw(&file).unwrap();
        // SAFETY: the map is 64 KiB long.
        let last = guarded(again.as_ptr(), 65_536, || unsafe { *again.as_ptr().add(65_535) });
        assert_eq!(last, Ok(0));
    }

    #[test]
    fn of_several_ranges_the_right_one_is_named() {
        let files = [8192, 4096, 8192].map(|length| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&vec![1; length]).unwrap();
            file
        });
        let maps = files.each_ref().map(|file| MmapOptions::new().len(8192).map_raw(file).unwrap());
        let ranges = maps.each_ref().map(|map| (map.as_ptr(), 8192));
        let mut sums = [0; 3];
        let result = guarded_all(&ranges, || {
            for (sum, &(start, len)) in sums.iter_mut().zip(&ranges) {
                // SAFETY: each map is as long as its range says.
                let bytes = unsafe { core::slice::from_raw_parts(start, len) };
                *sum = bytes.iter().map(|&byte| u32::from(byte)).sum::<u32>();
            }
        });
        let faulted = result.unwrap_err();
        assert_eq!([0, 1, 2].map(|range| faulted.hit(range)), [false, true, false]);
        assert_eq!(sums, [8192, 4096, 8192]);
    }

    #[test]
    fn a_fault_elsewhere_still_ends_the_process() {
        // SAFETY: the child only touches memory and exits; it takes no lock.
        let status = unsafe {
            let file = tempfile::tempfile().unwrap();
            file.set_len(8192).unwrap();
            let map = MmapOptions::new().len(8192).map_raw(&file).unwrap();
            file.set_len(0).unwrap();
            install();
            let child = libc::fork();
            if child == 0 {
                let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
                libc::setrlimit(libc::RLIMIT_CORE, &none);
                map.as_ptr().read_volatile();
                libc::_exit(0);
            }
            let mut status = 0;
            libc::waitpid(child, &mut status, 0);
            status
        };
        assert!(libc::WIFSIGNALED(status));
        assert_eq!(libc::WTERMSIG(status), libc::SIGBUS);
    }
}
