//! How much memory the server may take: an eighth of what there is, within bounds.

use std::fs;

const MEBIBYTE: u64 = 1024 * 1024;

/// The least and the most memory for PostgreSQL's shared buffers.
const LEAST: u64 = 128 * MEBIBYTE;
const MOST: u64 = 1024 * MEBIBYTE;

/// The value of `shared_buffers`; the least where nothing can be found out.
pub(super) fn shared_buffers() -> String {
    let limits = [
        fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text)),
        fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok()),
    ];
    format!("{}MB", share(limits.into_iter().flatten().min()) / MEBIBYTE)
}

/// The bytes that `/proc/meminfo` says there are.
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
