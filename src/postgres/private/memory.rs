//! Sizes the shared buffers of the server: one eighth of the memory, within bounds.

use std::fs;

const MEBIBYTE: u64 = 1024 * 1024;

/// The lower and the upper limit for `shared_buffers`, in bytes.
const LEAST: u64 = 128 * MEBIBYTE;
const MOST: u64 = 1024 * MEBIBYTE;

/// The value of `shared_buffers`; the lower limit if the amount of memory is unknown.
pub(super) fn shared_buffers() -> String {
    // The smaller one counts: in a container the machine has more memory than the server may use. Without a limit,
    // `memory.max` contains `max`, which does not parse and is left out.
    let limits = [
        fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text)),
        fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok()),
    ];
    format!("{}MB", share(limits.into_iter().flatten().min()) / MEBIBYTE)
}

/// The total memory in bytes, from the content of `/proc/meminfo`.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn share(available: Option<u64>) -> u64 {
    available.map_or(LEAST, |bytes| (bytes / 8).clamp(LEAST, MOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_eighth_of_the_memory_is_taken_within_bounds() {
        assert_eq!(share(None), 128 * MEBIBYTE);
        assert_eq!(share(Some(512 * MEBIBYTE)), 128 * MEBIBYTE);
        assert_eq!(share(Some(4096 * MEBIBYTE)), 512 * MEBIBYTE);
        assert_eq!(share(Some(u64::MAX)), 1024 * MEBIBYTE);
    }

    #[test]
    fn the_total_is_read_from_meminfo() {
        assert_eq!(total("MemTotal:       24576 kB\nMemFree: 1 kB\n"), Some(24 * MEBIBYTE));
        assert_eq!(total("nothing"), None);
    }
}
