//! The init image: the program that runs inside the new namespaces before the container's own.
//!
//! `init FD OFFSET LENGTH`: the plan is `LENGTH` bytes from `OFFSET` on in the file `FD`, which is this very image,
//! sealed. It exits with an errno where it cannot even begin; everything later is told through the record's page.
#![no_std]
#![no_main]
#![allow(
    unsafe_code,
    reason = "the entry point gets raw arguments, and the panic handler needs an attribute"
)]

use core::ffi::{CStr, c_char, c_int};

use rustix::io::Errno;

// Without std nothing else names the C library, whose start-up code calls `main`.
#[link(name = "c")]
#[cfg_attr(target_env = "gnu", link(name = "gcc_eh"), link(name = "gcc"))]
unsafe extern "C" {}

/// Called by the C start-up code.
#[unsafe(no_mangle)]
extern "C" fn main(count: c_int, arguments: *const *const c_char) -> c_int {
    let begun =
        if count == 4 { begin([1, 2, 3].map(|index| number(arguments, index))) } else { Errno::INVAL };
    begun.raw_os_error()
}

fn begin([fd, offset, len]: [Option<u64>; 3]) -> Errno {
    let (Some(fd), Some(offset), Some(len)) = (fd, offset, len) else { return Errno::INVAL };
    let Ok(fd) = i32::try_from(fd) else { return Errno::BADF };
    match sys::map::sealed(sys::fd::borrow(fd), offset, len as usize) {
        Ok(plan) => child::Executor::run(plan),
        Err(errno) => errno,
    }
}

fn number(arguments: *const *const c_char, index: usize) -> Option<u64> {
    // SAFETY: the kernel passes `count` pointers, and the caller checked that `index` is below it.
    let argument = unsafe { arguments.add(index) };
    // SAFETY: as above.
    let text = unsafe { *argument };
    // SAFETY: argv holds pointers to NUL-terminated strings that live as long as the process.
    unsafe { CStr::from_ptr(text) }.to_str().ok()?.parse().ok()
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    sys::clone::exit(Errno::PROTO.raw_os_error())
}
