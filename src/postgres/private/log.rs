//! The server's log file: bounded at each start, and read when the server ends.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

use super::data_dir::DataDir;
use super::error::PrivatePostgresError;

/// A log that is larger at a start makes place for a new one; one old log is kept.
const LARGEST_BYTES: u64 = 10 * 1024 * 1024;

/// How much of the end is looked at, and how much of it is told.
const TAIL_BYTES: u64 = 8 * 1024;
const TAIL_LINES: usize = 12;

/// The log, open for one life of the server.
#[derive(Debug)]
pub(super) struct Log {
    pub path: PathBuf,
    pub file: File,
    begin: u64,
}

impl Log {
    /// Opens the log and remembers where this life begins.
    pub fn open(data_dir: &DataDir) -> Result<Self, PrivatePostgresError> {
        let path = data_dir.log();
        let opened = || -> io::Result<(File, u64)> {
            if fs::symlink_metadata(&path).is_ok_and(|log| log.len() > LARGEST_BYTES) {
                fs::rename(&path, path.with_extension("log.1"))?;
            }
            let file = data_dir.private_file(&path)?;
            let begin = file.metadata()?.len();
            Ok((file, begin))
        };
        let (file, begin) = opened().map_err(PrivatePostgresError::io("open the log", &path))?;
        Ok(Self { path, file, begin })
    }

    /// The last lines since the log was opened.
    pub fn tail(&self) -> String {
        let read = || -> io::Result<Vec<u8>> {
            let mut file = File::open(&self.path)?;
            let end = file.metadata()?.len();
            file.seek(SeekFrom::Start(self.begin.max(end.saturating_sub(TAIL_BYTES))))?;
            let mut bytes = Vec::new();
            file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let text = String::from_utf8_lossy(&read().unwrap_or_default()).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_large_log_makes_place_and_only_this_life_is_told() {
        let temp = tempfile::tempdir().unwrap();
        let data_dir = DataDir::open(temp.path()).unwrap();
        fs::write(data_dir.log(), "old\n").unwrap();
        let mut log = Log::open(&data_dir).unwrap();
        assert_eq!(log.tail(), "");
        for line in 0..20 {
            writeln!(log.file, "line {line}").unwrap();
        }
        assert!(log.tail().starts_with("line 8\n") && log.tail().ends_with("line 19"), "{}", log.tail());
        log.file.set_len(LARGEST_BYTES + 1).unwrap();
        assert_eq!(Log::open(&data_dir).unwrap().file.metadata().unwrap().len(), 0);
        assert!(temp.path().join("postgres.log.1").exists());
    }
}
