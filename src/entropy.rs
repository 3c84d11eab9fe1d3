//! Injected randomness: the only file that may ask the operating system for random bytes.

use std::sync::Mutex;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::clock::Timestamp;

/// A source of random bytes.
pub trait Entropy: Send + Sync + 'static {
    /// Fills the whole buffer with random bytes.
    fn fill(&self, bytes: &mut [u8]);
}

/// A time-ordered UUID (RFC 9562, version 7) for the given instant, which it keeps to the millisecond.
#[must_use]
pub fn uuid_v7(at: Timestamp, entropy: &dyn Entropy) -> Uuid {
    let mut random = [0; 10];
    entropy.fill(&mut random);
    let millis = u64::try_from(at.as_micros() / 1_000).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

/// The operating system's generator, read in blocks of 4,096 bytes.
///
/// Bytes are handed out once, and then wiped from the block.
#[derive(Default)]
pub struct OsEntropy {
    block: Mutex<Block>,
}

/// Bytes drawn from the operating system and not yet handed out.
struct Block {
    bytes: [u8; Block::LEN],
    used: usize,
}

impl Block {
    const LEN: usize = 4096;
}

impl Default for Block {
    fn default() -> Self {
        // Starts as fully used, so that the zeros are never handed out.
        Self { bytes: [0; Self::LEN], used: Self::LEN }
    }
}

impl Entropy for OsEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        if bytes.len() > Block::LEN {
            draw(bytes);
            return;
        }
        let mut block = self.block.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if block.used + bytes.len() > Block::LEN {
            draw(&mut block.bytes);
            block.used = 0;
        }
        let used = block.used;
        let source = &mut block.bytes[used..used + bytes.len()];
        bytes.copy_from_slice(source);
        source.fill(0);
        block.used += bytes.len();
    }
}

/// Fills the buffer from the operating system.
///
/// # Panics
/// If the operating system has no randomness: no key or identifier made after that would be safe.
#[allow(clippy::disallowed_methods, clippy::expect_used)]
fn draw(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the operating system provides no randomness");
}

/// A reproducible stream of bytes from a seed, for deterministic data and tests; never for secrets.
pub struct SeededEntropy {
    state: Mutex<([u8; 32], u64)>,
}

impl SeededEntropy {
    /// The stream of bytes for this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: Mutex::new((Sha256::digest(seed.to_be_bytes()).into(), 0)) }
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for chunk in bytes.chunks_mut(32) {
            let block = Sha256::new().chain_update(state.0).chain_update(state.1.to_be_bytes()).finalize();
            chunk.copy_from_slice(&block[..chunk.len()]);
            state.1 += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        let draw = |seed| {
            let mut bytes = [0; 100];
            SeededEntropy::new(seed).fill(&mut bytes);
            bytes
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn the_system_never_hands_out_the_same_bytes_twice() {
        let entropy = OsEntropy::default();
        let mut seen = std::collections::HashSet::new();
        for _ in 0..1_000 {
            let mut bytes = [0; 24];
            entropy.fill(&mut bytes);
            assert!(seen.insert(bytes));
        }
    }

    #[test]
    fn identifiers_carry_their_instant() {
        let at = Timestamp::from_micros(1_700_000_000_123_456);
        let id = uuid_v7(at, &SeededEntropy::new(1));
        assert_eq!(id.get_version_num(), 7);
        assert_eq!(id.as_u128() >> 80, 1_700_000_000_123);
    }
}
