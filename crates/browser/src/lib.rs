//! The shell in a browser worker.
