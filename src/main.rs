//! The program `observatory`.

use std::process::ExitCode;

/// Many small allocations of many threads, and memory that goes back to the system: the system's own allocator keeps
/// several times as much after a burst of series.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Few arenas, since few threads allocate at once; unused pages go back after a second, on a thread of the allocator.
#[allow(non_upper_case_globals, reason = "the name the allocator looks for")]
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static malloc_conf: &[u8; 70] = b"narenas:4,background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0\0";

fn main() -> ExitCode {
    beast_observatory::cli::run()
}
