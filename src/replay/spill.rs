//! Bounded memory for what a replay collects: records are kept by slice of their key, and beyond a limit in temporary
//! files.
//!
//! The files have no name, so nothing is left of them however the process ends, and they are encrypted with a key that
//! only this process has: what they hold is what the tables hold, names and hashes included.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};

use bytes::BytesMut;

use super::error::ReplayError;
use crate::entropy::Entropy;
use crate::sealing::DataKey;

/// How many slices there are. Ten million events give slices of about 50 MB.
pub(super) const SLICES: usize = 128;

/// How many bytes all slices together keep in memory.
const MEMORY: usize = 96 * 1024 * 1024;

/// Records by slice, each slice in the order in which they were added.
pub(super) struct Spill<'e> {
    slices: Vec<Slice>,
    /// How many bytes may be in memory, and how many are.
    memory: usize,
    in_memory: usize,
    key: DataKey,
    entropy: &'e dyn Entropy,
}

#[derive(Default)]
struct Slice {
    memory: BytesMut,
    /// The encrypted chunks that did not fit into memory, and their lengths.
    file: Option<File>,
    chunks: Vec<usize>,
}

impl<'e> Spill<'e> {
    pub(super) fn new(entropy: &'e dyn Entropy) -> Self {
        let slices = std::iter::repeat_with(Slice::default).take(SLICES).collect();
        Self { slices, memory: MEMORY, in_memory: 0, key: DataKey::new(entropy), entropy }
    }

    /// Adds records to a slice.
    pub(super) fn add(&mut self, slice: usize, records: &[u8]) -> Result<(), ReplayError> {
        self.slices[slice].memory.extend_from_slice(records);
        self.in_memory += records.len();
        if self.in_memory > self.memory {
            for slice in &mut self.slices {
                // Small ones stay: a chunk costs a call and a nonce. At least one slice is larger than the average.
                if slice.memory.len() >= self.memory / SLICES / 2 {
                    self.in_memory -= slice.memory.len();
                    slice.write_out(&self.key, self.entropy)?;
                }
            }
        }
        Ok(())
    }

    /// Takes all records of a slice, to be read back.
    pub(super) fn take(&mut self, slice: usize) -> Spilled {
        let slice = std::mem::take(&mut self.slices[slice]);
        self.in_memory -= slice.memory.len();
        Spilled { slice, key: self.key.clone() }
    }
}

/// All records of a slice, in memory and in its file.
pub(super) struct Spilled {
    slice: Slice,
    key: DataKey,
}

impl Spilled {
    /// The records, in the order in which they were added.
    pub(super) fn read(self) -> Result<BytesMut, ReplayError> {
        self.slice.read_back(&self.key)
    }
}

impl Slice {
    fn write_out(&mut self, key: &DataKey, entropy: &dyn Entropy) -> Result<(), ReplayError> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile().map_err(ReplayError::temporary)?),
        };
        // The number of the chunk is bound in, so that the chunks of a file cannot be exchanged.
        let sealed = key.encrypt(&self.memory, &self.chunks.len().to_be_bytes(), entropy)?;
        file.write_all(&sealed).map_err(ReplayError::temporary)?;
        self.chunks.push(sealed.len());
        self.memory = BytesMut::new();
        Ok(())
    }

    fn read_back(self, key: &DataKey) -> Result<BytesMut, ReplayError> {
        let Some(mut file) = self.file else { return Ok(self.memory) };
        file.seek(SeekFrom::Start(0)).map_err(ReplayError::temporary)?;
        let mut all = BytesMut::with_capacity(self.chunks.iter().sum::<usize>() + self.memory.len());
        for (number, length) in self.chunks.iter().enumerate() {
            let mut sealed = vec![0; *length];
            file.read_exact(&mut sealed).map_err(ReplayError::temporary)?;
            all.extend_from_slice(&key.decrypt(&sealed, &number.to_be_bytes())?);
        }
        all.extend_from_slice(&self.memory);
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;

    #[test]
    fn records_beyond_the_limit_come_back_in_order_and_are_in_no_file_in_clear() {
        let entropy = SeededEntropy::new(1);
        let mut spill = Spill::new(&entropy);
        spill.memory = 1_000_000;
        let record = |number: usize| format!("record {number:032}").into_bytes();
        let count = 3 * spill.memory / record(0).len() / 2 * 2;
        for number in 0..count {
            spill.add(number % 2, &record(number)).unwrap();
        }
        assert!(spill.in_memory <= spill.memory);
        let mut file = spill.slices[0].file.as_ref().unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        let mut written = vec![0; 400_000];
        file.read_exact(&mut written).unwrap();
        assert!(!written.windows(7).any(|bytes| bytes == b"record "));
        file.seek(SeekFrom::End(0)).unwrap();
        let all = spill.take(1).read().unwrap();
        assert_eq!(all.len(), count / 2 * record(0).len());
        assert!(all.starts_with(&record(1)) && all.ends_with(&record(count - 1)));
    }
}
