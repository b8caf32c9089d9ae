//! Requests and answers as messages between this program and a tab.
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use serde::{Deserialize, Serialize};

const LENGTH_BYTES: usize = 4;

#[derive(Serialize)]
struct RequestHead<'a> {
    id: u64,
    method: &'a str,
    url: String,
    headers: Vec<(&'a str, &'a str)>,
}

#[derive(Deserialize)]
struct AnswerHead {
    id: u64,
    status: u16,
    headers: Vec<(String, String)>,
}

/// Headers that are not text are left out: nothing of Matrix has any.
pub fn of_request(id: u64, request: &Request<Bytes>) -> Bytes {
    let headers = request.headers().iter();
    let head = RequestHead {
        id,
        method: request.method().as_str(),
        url: request.uri().to_string(),
        headers: headers.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?))).collect(),
    };
    let head = serde_json::to_vec(&head).expect("strings and numbers are JSON");
    let mut message = BytesMut::with_capacity(LENGTH_BYTES + head.len() + request.body().len());
    message.put_u32(head.len() as u32);
    message.put_slice(&head);
    message.put_slice(request.body());
    message.freeze()
}

/// The answer in `message` and the request it belongs to; `None` for what is none.
pub fn into_response(message: &Bytes) -> Option<(u64, Response<Bytes>)> {
    let (length, rest) = message.split_first_chunk::<LENGTH_BYTES>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let head: AnswerHead = serde_json::from_slice(rest.get(..length)?).ok()?;
    let mut response = Response::new(message.slice(LENGTH_BYTES + length..));
    *response.status_mut() = StatusCode::from_u16(head.status).ok()?;
    for (name, value) in head.headers {
        let name = HeaderName::try_from(name).ok()?;
        response.headers_mut().append(name, HeaderValue::try_from(value).ok()?);
    }
    Some((head.id, response))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: u32, rest: &[u8]) -> Bytes {
        [&length.to_be_bytes(), rest].concat().into()
    }

    #[test]
    fn a_request_is_its_head_and_its_body() {
        let request =
            Request::put("/_matrix/x?y=1").header("authorization", "Bearer t").body(Bytes::from("{}")).unwrap();
        let sent = of_request(7, &request);
        let head = br#"{"id":7,"method":"PUT","url":"/_matrix/x?y=1","headers":[["authorization","Bearer t"]]}"#;
        assert_eq!(sent, message(head.len() as u32, &[&head[..], b"{}"].concat()));
    }

    #[test]
    fn an_answer_is_read_and_what_is_none_is_not() {
        let head = br#"{"id":7,"status":404,"headers":[["content-type","application/json"]]}"#;
        let (id, response) = into_response(&message(head.len() as u32, &[&head[..], b"{}"].concat())).unwrap();
        assert_eq!((id, response.status().as_u16(), &response.body()[..]), (7, 404, &b"{}"[..]));
        assert_eq!(response.headers()["content-type"], "application/json");
        for bad in [
            Bytes::new(),
            Bytes::from_static(b"\0\0"),
            message(u32::MAX, b"{}"),
            message(2, b"{}"),
            message(head.len() as u32 + 1, head),
            message(43, br#"{"id":7,"status":99,"headers":[["a b","c"]]}"#),
        ] {
            assert!(into_response(&bad).is_none(), "{bad:?}");
        }
    }
}
