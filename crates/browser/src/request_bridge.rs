//! Turns a request of the page into one for the core, and the answer back.
use bytes::Bytes;
use js_sys::{Array, Object, Reflect, Uint8Array};
use wasm_bindgen::prelude::*;

/// The largest body taken from the page, in bytes: more than any endpoint takes, less than hurts the worker.
const MAX_BODY_BYTES: u32 = 100 * 1024 * 1024;

/// What the page handed over as a request is none; answered at once with this.
pub(crate) type Refusal = http::Response<Bytes>;

pub(crate) fn request(
    method: &str,
    url: &str,
    headers: &Array,
    body: Option<Uint8Array>,
) -> Result<http::Request<Bytes>, Refusal> {
    if body.as_ref().is_some_and(|body| body.length() > MAX_BODY_BYTES) {
        return Err(refusal(413, "M_TOO_LARGE", "The request body is too large"));
    }
    let mut builder = http::Request::builder().method(method).uri(url);
    for header in headers.iter() {
        let header: Array = header.dyn_into().map_err(|_| malformed())?;
        let (Some(name), Some(value)) = (header.get(0).as_string(), header.get(1).as_string()) else {
            return Err(malformed());
        };
        builder = builder.header(name, value);
    }
    let body = body.map(|body| Bytes::from(body.to_vec())).unwrap_or_default();
    builder.body(body).map_err(|_| malformed())
}

/// `{ status, headers, body }`; the body is a copy in a buffer of its own, so that it can be transferred.
pub(crate) fn response(response: &http::Response<Bytes>) -> Result<JsValue, JsValue> {
    let headers = Array::new();
    for (name, value) in response.headers() {
        let value = String::from_utf8_lossy(value.as_bytes());
        headers.push(&Array::of2(&name.as_str().into(), &JsValue::from_str(&value)));
    }
    let answer = Object::new();
    Reflect::set(&answer, &"status".into(), &response.status().as_u16().into())?;
    Reflect::set(&answer, &"headers".into(), &headers)?;
    Reflect::set(&answer, &"body".into(), &Uint8Array::from(&response.body()[..]))?;
    Ok(answer.into())
}

fn malformed() -> Refusal {
    refusal(400, "M_UNKNOWN", "The request is not HTTP")
}

fn refusal(status: u16, code: &str, message: &str) -> Refusal {
    let body = format!(r#"{{"errcode":"{code}","error":"{message}"}}"#);
    http::Response::builder()
        .status(status)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(Bytes::from(body))
        .expect("a constant response is valid")
}
