//! What both sides of a stream have said, as rules: bytes of the channel go in, data and answers come out.
//!
//! Each direction ends by itself: FIN says that no more is written and is answered by FIN_ACK; STOP_SENDING says that
//! no more is read; RESET ends both. The channel may be closed when a FIN and a FIN_ACK have arrived.
use std::collections::VecDeque;

use bytes::Bytes;
use thiserror::Error;

use super::frame::{FRAME_MAX_BYTES, Flag, Frame, FrameError};
use crate::{pieces, unframe::Unframer};

/// Bytes received and not yet read, above which the stream is reset: a data channel cannot be paused. Peers that
/// grant each other credit (`crate::credit`) never get there.
pub const UNREAD_MAX_BYTES: usize = 4 * 1024 * 1024;

/// What a piece of data costs besides its bytes.
const PIECE_BYTES: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Write {
    Open,
    /// FIN is sent.
    Finishing,
    /// FIN_ACK has arrived.
    Finished,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    Open,
    /// STOP_SENDING is sent; what comes is thrown away.
    Stopped,
    /// FIN has arrived.
    Finished,
}

/// Why a stream ended before both sides had finished.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum Broken {
    #[error("the peer reset the stream")]
    ResetByPeer,
    #[error("the stream was reset here")]
    ResetHere,
    #[error("the peer closed the channel in the middle of the stream")]
    ChannelClosed,
    #[error("the peer sent more than {UNREAD_MAX_BYTES} bytes that nobody read")]
    TooMuchUnread,
    #[error("too much is unread on all streams of the connection together")]
    ConnectionFull,
    #[error("{0}")]
    Invalid(FrameError),
}

/// What reading gives.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ReadOutcome {
    Data(usize),
    End,
    Nothing,
    Broken(Broken),
}

#[derive(Debug)]
pub(crate) struct State {
    write: Write,
    read: Read,
    /// The other side does not read any more.
    stopped: bool,
    broken: Option<Broken>,
    unframer: Unframer,
    unread: VecDeque<Bytes>,
    unread_bytes: usize,
}

impl Default for State {
    fn default() -> Self {
        Self {
            write: Write::Open,
            read: Read::Open,
            stopped: false,
            broken: None,
            unframer: Unframer::new(FRAME_MAX_BYTES),
            unread: VecDeque::new(),
            unread_bytes: 0,
        }
    }
}

impl State {
    /// Bytes of the channel; frames may be cut anywhere. Returns the flags to answer with.
    pub fn receive(&mut self, bytes: &[u8]) -> Vec<Flag> {
        let mut answers = Vec::new();
        if self.broken.is_some() {
            return answers;
        }
        self.unframer.push(bytes);
        loop {
            let frame = match self.unframer.pop() {
                Ok(None) => return answers,
                Ok(Some(body)) if body.len() + prefix_bytes(body.len()) > FRAME_MAX_BYTES => {
                    let error = crate::unframe::LengthError::TooLong { length: body.len(), max: FRAME_MAX_BYTES };
                    Err(error.into())
                }
                Ok(Some(body)) => Frame::decode(body),
                Err(error) => Err(error.into()),
            };
            let frame = match frame {
                Ok(frame) => frame,
                Err(error) => {
                    self.break_off(Broken::Invalid(error));
                    answers.push(Flag::Reset);
                    return answers;
                }
            };
            answers.extend(self.frame(frame));
            if self.broken.is_some() {
                return answers;
            }
        }
    }

    fn frame(&mut self, frame: Frame) -> Option<Flag> {
        if !frame.data.is_empty() && self.read == Read::Open {
            self.unread_bytes += frame.data.len() + PIECE_BYTES;
            self.unread.push_back(frame.data);
            if self.unread_bytes > UNREAD_MAX_BYTES {
                self.break_off(Broken::TooMuchUnread);
                return Some(Flag::Reset);
            }
        }
        match frame.flag? {
            Flag::Fin => {
                // Said again, it is answered again: the first answer may be what the peer did not understand.
                self.read = Read::Finished;
                Some(Flag::FinAck)
            }
            Flag::FinAck => {
                if self.write == Write::Finishing {
                    self.write = Write::Finished;
                }
                None
            }
            Flag::StopSending => {
                self.stopped = true;
                None
            }
            Flag::Reset => {
                self.break_off(Broken::ResetByPeer);
                None
            }
        }
    }

    /// Bytes held for the reader, with what holding them costs.
    pub fn unread_bytes(&self) -> usize {
        self.unread_bytes
    }

    pub fn read(&mut self, buffer: &mut [u8]) -> ReadOutcome {
        if let Some(broken) = &self.broken
            && self.unread.is_empty()
        {
            return ReadOutcome::Broken(broken.clone());
        }
        if buffer.is_empty() {
            return ReadOutcome::Data(0);
        }
        let before = self.unread.len();
        let length = pieces::take(&mut self.unread, buffer);
        self.unread_bytes -= length + (before - self.unread.len()) * PIECE_BYTES;
        match (length, self.read) {
            (1.., _) => ReadOutcome::Data(length),
            (0, Read::Finished | Read::Stopped) => ReadOutcome::End,
            (0, Read::Open) => ReadOutcome::Nothing,
        }
    }

    /// Whether data may be written; the error says why no more.
    pub fn check_writable(&self) -> Result<(), String> {
        match &self.broken {
            Some(broken) => Err(broken.to_string()),
            None if self.stopped => Err("the peer does not read any more".to_owned()),
            None if self.write != Write::Open => Err("writing has been closed".to_owned()),
            None => Ok(()),
        }
    }

    /// No more is written. FIN is returned the first time.
    pub fn finish(&mut self) -> Option<Flag> {
        if self.broken.is_some() || self.write != Write::Open {
            return None;
        }
        self.write = Write::Finishing;
        Some(Flag::Fin)
    }

    /// Nobody reads or writes here any more. Returns what the other side must be told: STOP_SENDING if it is still
    /// writing; RESET if we were, because it would take what it has for all; but STOP_SENDING is not answered by RESET.
    pub fn abandon(&mut self) -> Vec<Flag> {
        self.unread = VecDeque::new();
        self.unread_bytes = 0;
        if self.broken.is_some() {
            return Vec::new();
        }
        let mut flags = Vec::new();
        if self.write == Write::Open {
            if !self.stopped {
                self.break_off(Broken::ResetHere);
                return vec![Flag::Reset];
            }
            flags.extend(self.finish());
        }
        if self.read == Read::Open {
            self.read = Read::Stopped;
            flags.push(Flag::StopSending);
        }
        flags
    }

    pub fn reset(&mut self) -> Option<Flag> {
        let said = self.broken.is_none().then_some(Flag::Reset);
        self.break_off(Broken::ResetHere);
        said
    }

    /// As [`Self::reset`], because all streams of the connection together hold too much.
    pub fn reset_as_connection_is_full(&mut self) -> Option<Flag> {
        let said = self.broken.is_none().then_some(Flag::Reset);
        self.break_off(Broken::ConnectionFull);
        said
    }

    /// The channel is closed: that is an end in the middle unless the peer had finished. What it sent can be read.
    pub fn channel_closed(&mut self) {
        if self.broken.is_some() {
            return;
        }
        if self.read == Read::Open || self.write == Write::Open {
            let finished = self.read == Read::Finished;
            let (unread, bytes) = (std::mem::take(&mut self.unread), self.unread_bytes);
            if finished {
                // Only our own direction was cut: the reader gets its end, the writer an error.
                self.write = Write::Finished;
                self.stopped = true;
            } else {
                self.break_off(Broken::ChannelClosed);
            }
            (self.unread, self.unread_bytes) = (unread, bytes);
        } else {
            self.write = Write::Finished;
            self.read = Read::Finished;
        }
    }

    /// Whether nothing is left to be said, so that the channel may be closed.
    pub fn is_over(&self) -> bool {
        self.broken.is_some() || (self.write == Write::Finished && self.read == Read::Finished)
    }

    fn break_off(&mut self, why: Broken) {
        self.broken.get_or_insert(why);
        self.unread = VecDeque::new();
        self.unread_bytes = 0;
        self.unframer.clear();
    }
}

/// Bytes that `length` takes as a varint in front of a message of this size.
fn prefix_bytes(length: usize) -> usize {
    if length < 0x80 { 1 } else { 2 }
}

#[cfg(test)]
mod tests;
