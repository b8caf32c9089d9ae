//! Takes a body out of what has arrived, whichever way its end is told: pure, bounded, no I/O.
use bytes::{Buf, Bytes, BytesMut};
use http::StatusCode;

use super::{
    MAX_HEAD_BYTES,
    head::{Framing, Refusal},
};

/// The line before a chunk: its size in hexadecimal and extensions nobody uses, in bytes.
const MAX_CHUNK_LINE_BYTES: usize = 256;

const TOO_LARGE: Refusal = Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "the request body is too large");
const BAD_CHUNK: Refusal = Refusal::new(StatusCode::BAD_REQUEST, "the chunked body is malformed");

/// Where in the body the input stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In a body, or a chunk's data, of which this much is missing.
    Data {
        missing: u64,
    },
    ChunkLine,
    ChunkEnd,
    Trailers {
        seen: usize,
    },
    Done,
}

/// Collects one body.
pub(super) struct Decoder {
    chunked: bool,
    place: Place,
    limit: usize,
    body: BytesMut,
}

impl Decoder {
    /// Refuses at once a body that says it exceeds `limit` bytes.
    pub(super) fn new(framing: Framing, limit: usize) -> Result<Self, Refusal> {
        let place = match framing {
            Framing::Length(length) if length > limit as u64 => return Err(TOO_LARGE),
            Framing::Length(0) => Place::Done,
            Framing::Length(missing) => Place::Data { missing },
            Framing::Chunked => Place::ChunkLine,
        };
        Ok(Self { chunked: framing == Framing::Chunked, place, limit, body: BytesMut::new() })
    }

    /// Moves what belongs to the body out of `input`; true once the body is whole. What follows it stays in `input`.
    pub(super) fn decode(&mut self, input: &mut BytesMut) -> Result<bool, Refusal> {
        loop {
            let more = match self.place {
                Place::Done => return Ok(true),
                Place::Data { missing } => self.data(input, missing),
                Place::ChunkLine => self.chunk_line(input)?,
                Place::ChunkEnd => self.chunk_end(input)?,
                Place::Trailers { seen } => self.trailers(input, seen)?,
            };
            if !more {
                return Ok(false);
            }
        }
    }

    /// Bytes of the body so far.
    pub(super) fn length(&self) -> usize {
        self.body.len()
    }

    pub(super) fn into_body(self) -> Bytes {
        self.body.freeze()
    }

    fn data(&mut self, input: &mut BytesMut, missing: u64) -> bool {
        let here = input.len().min(usize::try_from(missing).unwrap_or(usize::MAX));
        self.body.extend_from_slice(&input[..here]);
        input.advance(here);
        let missing = missing - here as u64;
        self.place = match missing {
            0 if self.chunked => Place::ChunkEnd,
            0 => Place::Done,
            _ => Place::Data { missing },
        };
        missing == 0
    }

    fn chunk_line(&mut self, input: &mut BytesMut) -> Result<bool, Refusal> {
        let Some(end) = input.iter().take(MAX_CHUNK_LINE_BYTES).position(|byte| *byte == b'\n') else {
            return if input.len() < MAX_CHUNK_LINE_BYTES { Ok(false) } else { Err(BAD_CHUNK) };
        };
        let size = match httparse::parse_chunk_size(&input[..=end]) {
            Ok(httparse::Status::Complete((_, size))) => size,
            _ => return Err(BAD_CHUNK),
        };
        if size > (self.limit - self.body.len()) as u64 {
            return Err(TOO_LARGE);
        }
        input.advance(end + 1);
        self.place = if size == 0 { Place::Trailers { seen: 0 } } else { Place::Data { missing: size } };
        Ok(true)
    }

    fn chunk_end(&mut self, input: &mut BytesMut) -> Result<bool, Refusal> {
        if input.len() < 2 {
            return Ok(false);
        }
        if !input.starts_with(b"\r\n") {
            return Err(BAD_CHUNK);
        }
        input.advance(2);
        self.place = Place::ChunkLine;
        Ok(true)
    }

    /// Trailers are read past and forgotten; an empty line ends them.
    fn trailers(&mut self, input: &mut BytesMut, seen: usize) -> Result<bool, Refusal> {
        let Some(end) = input.iter().position(|byte| *byte == b'\n') else {
            return if seen + input.len() < MAX_HEAD_BYTES { Ok(false) } else { Err(BAD_CHUNK) };
        };
        let seen = seen + end + 1;
        if seen > MAX_HEAD_BYTES {
            return Err(BAD_CHUNK);
        }
        let last = matches!(&input[..=end], b"\r\n" | b"\n");
        input.advance(end + 1);
        self.place = if last { Place::Done } else { Place::Trailers { seen } };
        Ok(true)
    }
}
