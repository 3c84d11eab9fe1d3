//! Recognises in the last lines of PostgreSQL's log why it exited. Pure, without I/O.

/// Why the server exited, as far as it has an error of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StartFailure {
    /// No space is left on the disk.
    DiskFull,
    /// Processes of an earlier server still use its shared memory, or that server is still running.
    StillUsed,
    /// The database files are damaged or incomplete.
    Damaged,
    /// Anything else; the log has the details.
    Unknown,
}

/// Phrases of PostgreSQL and the C library. The first one that the log contains counts, so the order matters.
const PHRASES: &[(&str, StartFailure)] = &[
    ("pre-existing shared memory block", StartFailure::StillUsed),
    ("lock file \"postmaster.pid\" already exists", StartFailure::StillUsed),
    // Before "No space left on device", which the system also reports when its limit of shared memory is reached.
    ("could not create shared memory segment", StartFailure::Unknown),
    ("No space left on device", StartFailure::DiskFull),
    ("Disk quota exceeded", StartFailure::DiskFull),
    ("could not locate a valid checkpoint record", StartFailure::Damaged),
    ("incorrect checksum in control file", StartFailure::Damaged),
    ("could not open file \"global/pg_control\"", StartFailure::Damaged),
    ("could not find the database system", StartFailure::Damaged),
];

/// Recognises the failure in the last lines of a log.
pub(super) fn start_failure(said: &str) -> StartFailure {
    PHRASES
        .iter()
        .find(|(phrase, _)| said.contains(phrase))
        .map_or(StartFailure::Unknown, |(_, found)| *found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_complaint_is_recognised_in_what_postgresql_prints() {
        for (said, expected) in [
            (
                "FATAL:  could not write lock file \"postmaster.pid\": No space left on device",
                StartFailure::DiskFull,
            ),
            ("initdb: error: could not write file \"x\": No space left on device", StartFailure::DiskFull),
            (
                "PANIC:  could not write to file \"pg_wal/xlogtemp.1\": Disk quota exceeded",
                StartFailure::DiskFull,
            ),
            (
                "FATAL:  could not create shared memory segment: No space left on device",
                StartFailure::Unknown,
            ),
            (
                "FATAL:  pre-existing shared memory block (key 1, ID 2) is still in use",
                StartFailure::StillUsed,
            ),
            ("FATAL:  lock file \"postmaster.pid\" already exists", StartFailure::StillUsed),
            ("PANIC:  could not locate a valid checkpoint record", StartFailure::Damaged),
            ("postgres: could not find the database system", StartFailure::Damaged),
            ("FATAL:  something new", StartFailure::Unknown),
            ("", StartFailure::Unknown),
        ] {
            assert_eq!(start_failure(said), expected, "{said}");
        }
    }
}
