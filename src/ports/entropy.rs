//! Randomness for keys, tokens and jitter.

pub trait Entropy {
    /// Fills `buffer` with bytes fit for cryptographic keys.
    fn fill(&self, buffer: &mut [u8]);
}
