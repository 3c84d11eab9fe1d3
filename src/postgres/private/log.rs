//! The server's log file: rotated at a start if it is large, and read when the server exits.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

use super::data_dir::DataDir;
use super::error::PrivatePostgresError;

/// The size above which the log is rotated at a start. One old log is kept (`postgres.log.1`).
const LARGEST_BYTES: u64 = 10 * 1024 * 1024;

/// How many bytes at the end of the log are read, and how many lines of them an error quotes at most.
const TAIL_BYTES: u64 = 8 * 1024;
const TAIL_LINES: usize = 12;

/// The log, opened for one run of the server.
#[derive(Debug)]
pub(super) struct Log {
    pub path: PathBuf,
    pub file: File,
    begin: u64,
}

impl Log {
    /// Opens the log and remembers where the output of this run begins.
    pub fn open(data_dir: &DataDir) -> Result<Self, PrivatePostgresError> {
        let path = data_dir.log();
        let opened = || -> io::Result<(File, u64)> {
            // Only at a start: the server holds the file open and would go on writing to the renamed one.
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

    /// The last lines written since the log was opened, at most 12; empty if the log cannot be read.
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
