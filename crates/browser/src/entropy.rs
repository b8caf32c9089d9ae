//! The browser's cryptographic randomness.
use warren::ports::Entropy;

pub struct BrowserEntropy;

impl Entropy for BrowserEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        // `crypto.getRandomValues` exists in every worker; keys must not be made without it.
        getrandom::fill(buffer).expect("the browser has a source of randomness");
    }
}
