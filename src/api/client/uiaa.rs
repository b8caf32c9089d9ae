//! Pages on which people complete the stages of an authentication that their client knows nothing of (client-server API,
//! "User-Interactive Authentication API", "Fallback").
use std::rc::Rc;

use http::Method;
use ruma::api::{
    IncomingRequest, Metadata,
    client::uiaa::{
        AuthData, AuthType,
        get_uiaa_fallback_page::{self, v3::Response},
    },
    error::{DeserializationError, Error},
};
use serde_json::{Map, Value, json};

use super::json_answer::JsonAnswer;
use crate::{
    api::{ApiError, uiaa},
    homeserver::Homeserver,
};

type Page = get_uiaa_fallback_page::v3::Request;

/// `GET /_matrix/client/v3/auth/{authType}/fallback/web` (client-server API, "Fallback")
pub async fn get_uiaa_fallback_page(homeserver: &Rc<Homeserver>, _: (), request: Page) -> Result<Response, ApiError> {
    let now_ms = homeserver.environment.clock.now_ms();
    if homeserver.auth_sessions.open(&request.session, now_ms).is_none() {
        return Err(ApiError::not_found("This authentication is over: begin again where you came from."));
    }
    let form = match request.auth_type {
        AuthType::Dummy => "<button>Continue</button>".to_owned(),
        AuthType::Password => PASSWORD_FORM.to_owned(),
        AuthType::RegistrationToken => TOKEN_FORM.to_owned(),
        AuthType::Terms => terms_form(homeserver),
        other => return Err(ApiError::not_found(format!("{other} is not offered here."))),
    };
    Ok(Response::html(PAGE.replace("{form}", &form).into_bytes()))
}

/// What somebody filled in. The session is in the query, as it is for the page.
pub struct FilledIn(AuthData);

impl Metadata for FilledIn {
    const METHOD: Method = Method::POST;
    const RATE_LIMITED: bool = true;
    type Authentication = <Page as Metadata>::Authentication;
    type PathBuilder = <Page as Metadata>::PathBuilder;
    const PATH_BUILDER: Self::PathBuilder = Page::PATH_BUILDER;
}

impl IncomingRequest for FilledIn {
    type EndpointError = Error;
    type OutgoingResponse = JsonAnswer;

    fn try_from_http_request_inner(
        request: http::Request<&[u8]>,
        path_args: &[&str],
    ) -> Result<Self, DeserializationError> {
        let (parts, body) = request.into_parts();
        let mut fields: Map<String, Value> = serde_json::from_slice(if body.is_empty() { b"{}" } else { body })?;
        let page = Page::try_from_http_request_inner(http::Request::from_parts(parts, &b""[..]), path_args)?;
        if let Some(user) = fields.remove("user") {
            fields.insert("identifier".to_owned(), json!({ "type": "m.id.user", "user": user }));
        }
        fields.insert("type".to_owned(), page.auth_type.as_str().into());
        fields.insert("session".to_owned(), page.session.into());
        // What is wrong is in a part of the request that has no name of its own.
        Ok(Self(serde_json::from_value(Value::Object(fields)).map_err(|error| {
            <serde_json::Error as serde::de::Error>::custom(format!("the form is not filled in: {error}"))
        })?))
    }
}

/// `POST /_matrix/client/v3/auth/{authType}/fallback/web`: what the form of the page sends.
pub async fn complete_on_fallback_page(
    homeserver: &Rc<Homeserver>,
    _: (),
    FilledIn(auth): FilledIn,
) -> Result<JsonAnswer, ApiError> {
    uiaa::complete_elsewhere(homeserver, &auth).await?;
    Ok(JsonAnswer(json!({})))
}

fn terms_form(homeserver: &Homeserver) -> String {
    let url = homeserver.options.terms.as_ref().map(|terms| terms.url.as_str()).unwrap_or_default();
    let escaped = url.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;");
    format!("<p>Read the <a href=\"{escaped}\" target=\"_blank\">Terms of Service</a>.</p><button>I agree</button>")
}

const PASSWORD_FORM: &str = "<label>Username <input name=\"user\" autocomplete=\"username\" required></label>\
     <label>Password <input name=\"password\" type=\"password\" autocomplete=\"current-password\" required></label>\
     <button>Continue</button>";

const TOKEN_FORM: &str = "<label>Registration token <input name=\"token\" required></label><button>Continue</button>";

/// Tells the client's window when it is done, in the ways that the specification gives.
const PAGE: &str = r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Authentication</title>
<style>
  body { font: 1rem/1.5 system-ui, sans-serif; max-width: 24rem; margin: 4rem auto; padding: 0 1rem }
  label, button { display: block; margin: 1rem 0 }
</style>
<form>{form}</form>
<p role="status"></p>
<script>
  const form = document.forms[0], status = document.querySelector("[role=status]");
  form.onsubmit = async (event) => {
    event.preventDefault();
    const answer = await fetch(location.href, { method: "POST", body: JSON.stringify(Object.fromEntries(new FormData(form))) });
    if (!answer.ok) {
      status.textContent = (await answer.json()).error;
      return;
    }
    form.remove();
    status.textContent = "Done. You may close this window.";
    if (window.onAuthDone) window.onAuthDone();
    else if (window.opener) window.opener.postMessage("authDone", "*");
  };
</script>
"#;
