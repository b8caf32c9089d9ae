//! Parses a request head out of bytes a stranger sent: pure, bounded, no I/O.
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, header};

use super::{MAX_HEAD_BYTES, MAX_HEADERS};

/// Why a request is refused: the status and a sentence for the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub status: StatusCode,
    pub reason: &'static str,
}

impl Refusal {
    pub(super) const fn new(status: StatusCode, reason: &'static str) -> Self {
        Self { status, reason }
    }

    const fn bad(reason: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, reason)
    }
}

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
}

/// A request without its body.
#[derive(Debug)]
pub(super) struct Head {
    pub request: http::Request<()>,
    pub framing: Framing,
    /// The peer wants another exchange on this stream after this one.
    pub keep_alive: bool,
    /// The peer waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
}

/// Where the head that starts `bytes` ends, looking only at what is new since `scanned` bytes were there.
pub(super) fn end_of_head(bytes: &[u8], scanned: usize) -> Option<usize> {
    // An end found now may begin up to three bytes before the new part.
    let from = scanned.saturating_sub(3);
    (from..bytes.len()).find_map(|at| {
        let rest = &bytes[at..];
        if rest.starts_with(b"\n\r\n") {
            Some(at + 3)
        } else if rest.starts_with(b"\n\n") {
            Some(at + 2)
        } else {
            None
        }
    })
}

/// Empty lines before a request, which a server ignores (RFC 9112, 2.2).
pub(super) fn leading_empty_lines(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count()
}

/// `bytes` is one head up to and including its empty line.
pub(super) fn parse(bytes: &[u8]) -> Result<Head, Refusal> {
    if bytes.len() > MAX_HEAD_BYTES {
        return Err(Refusal::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the request head is too large"));
    }
    let mut storage = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut storage);
    match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
        Ok(_) => return Err(Refusal::bad("the request head is not HTTP/1.1")),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Refusal::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the request has too many headers"));
        }
        Err(_) => return Err(Refusal::bad("the request head is not HTTP/1.1")),
    }
    let headers = headers(parsed.headers)?;
    let version = if parsed.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    if version == Version::HTTP_11 && headers.get_all(header::HOST).iter().count() != 1 {
        return Err(Refusal::bad("an HTTP/1.1 request has exactly one Host header"));
    }
    let framing = framing(&headers, version)?;
    let keep_alive = keep_alive(&headers, version);
    let expects_continue = headers.get(header::EXPECT).is_some_and(|value| value.as_bytes() == b"100-continue");
    let mut request = http::Request::new(());
    *request.method_mut() = Method::from_bytes(parsed.method.unwrap_or_default().as_bytes())
        .map_err(|_| Refusal::bad("the request method is malformed"))?;
    *request.uri_mut() = path_and_query(parsed.path.unwrap_or_default())?;
    *request.version_mut() = version;
    *request.headers_mut() = headers;
    Ok(Head { request, framing, keep_alive, expects_continue })
}

fn headers(parsed: &[httparse::Header<'_>]) -> Result<HeaderMap, Refusal> {
    let mut headers = HeaderMap::with_capacity(parsed.len());
    for header in parsed {
        let name = HeaderName::from_bytes(header.name.as_bytes());
        let value = HeaderValue::from_maybe_shared(Bytes::copy_from_slice(header.value));
        match (name, value) {
            (Ok(name), Ok(value)) => headers.append(name, value),
            _ => return Err(Refusal::bad("a request header is malformed")),
        };
    }
    Ok(headers)
}

/// Path and query of the request target; of an absolute URI the rest is dropped, as the connection says who we are.
fn path_and_query(target: &str) -> Result<Uri, Refusal> {
    let uri: Uri = target.parse().map_err(|_| Refusal::bad("the request target is malformed"))?;
    match uri.into_parts().path_and_query {
        Some(path) if path.as_str().starts_with('/') => Ok(path.into()),
        _ => Err(Refusal::bad("the request target is not a path")),
    }
}

/// RFC 9112, 6.3. Both framings at once, or two lengths, are how requests are smuggled: refused.
fn framing(headers: &HeaderMap, version: Version) -> Result<Framing, Refusal> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    match (codings.next(), lengths.next()) {
        (None, None) => Ok(Framing::Length(0)),
        (None, Some(length)) if lengths.next().is_none() => content_length(length.as_bytes()),
        (Some(coding), None) if version == Version::HTTP_11 && codings.next().is_none() => {
            if coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
                Ok(Framing::Chunked)
            } else {
                Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, "the only transfer coding known is chunked"))
            }
        }
        _ => Err(Refusal::bad("the length of the body is told twice")),
    }
}

fn content_length(value: &[u8]) -> Result<Framing, Refusal> {
    let digits = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    match digits.and_then(|text| text.parse().ok()) {
        Some(length) => Ok(Framing::Length(length)),
        None => Err(Refusal::bad("the Content-Length is malformed")),
    }
}

fn keep_alive(headers: &HeaderMap, version: Version) -> bool {
    let has = |option: &str| {
        headers.get_all(header::CONNECTION).iter().any(|value| {
            value
                .as_bytes()
                .split(|byte| *byte == b',')
                .any(|item| item.trim_ascii().eq_ignore_ascii_case(option.as_bytes()))
        })
    };
    !has("close") && (version == Version::HTTP_11 || has("keep-alive"))
}
