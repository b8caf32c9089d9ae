//! Bytes that came in pieces, read as one.
use std::collections::VecDeque;

use bytes::{Buf, Bytes};

/// Moves as much into `buffer` as there is and as fits; says how much that was. Pieces read to their end are gone.
pub fn take(pieces: &mut VecDeque<Bytes>, buffer: &mut [u8]) -> usize {
    let mut length = 0;
    while length < buffer.len()
        && let Some(piece) = pieces.front_mut()
    {
        let taken = piece.len().min(buffer.len() - length);
        buffer[length..length + taken].copy_from_slice(&piece[..taken]);
        piece.advance(taken);
        length += taken;
        if piece.is_empty() {
            pieces.pop_front();
        }
    }
    length
}
