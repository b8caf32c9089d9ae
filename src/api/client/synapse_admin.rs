//! What tools ask of any homeserver though no specification says so: Synapse's admin API, as far as it concerns
//! registration tokens, server notices and reports.
pub mod reports;

use std::rc::Rc;

use http::Method;
use ruma::{CanonicalJsonObject, OwnedUserId, events::TimelineEventType};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::{
    json_answer::JsonAnswer,
    own_endpoint::{Endpoint, OwnRequest},
};
use crate::{
    api::ApiError,
    homeserver::{
        Homeserver, administration,
        registration_tokens::{self, KnownToken, REGISTRATION_TOKEN_CHARS, REGISTRATION_TOKEN_MAX_CHARS},
        server_notices::{self, Notice},
        sessions::Session,
    },
};

/// The body of a request that needs none.
#[derive(Deserialize)]
pub struct Nothing {}

pub struct ListRegistrationTokens;

impl Endpoint for ListRegistrationTokens {
    const METHOD: Method = Method::GET;
    const PATH: &'static str = "/_synapse/admin/v1/registration_tokens";
    type Body = Nothing;
}

/// `GET /_synapse/admin/v1/registration_tokens`: all of them, or with `?valid=true` or `false` those that are good or not.
pub async fn list_registration_tokens(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: OwnRequest<ListRegistrationTokens>,
) -> Result<JsonAnswer, ApiError> {
    administration::check_admin(homeserver, &session).await?;
    let wanted = match request.query.split('&').find_map(|part| part.strip_prefix("valid=")) {
        None => None,
        Some("true") => Some(true),
        Some("false") => Some(false),
        Some(_) => return Err(ApiError::invalid_param("`valid` is neither `true` nor `false`.")),
    };
    let good = |token: &KnownToken| registration_tokens::would_be_good(homeserver, &token.row);
    let tokens = registration_tokens::all(homeserver).await?;
    let tokens = tokens.into_iter().filter(|token| wanted.is_none_or(|wanted| wanted == good(token)));
    Ok(JsonAnswer(json!({ "registration_tokens": tokens.map(as_json).collect::<Vec<_>>() })))
}

/// What a token is made of, or made to be. `null` is no limit.
#[derive(Deserialize)]
pub struct TokenSettings {
    token: Option<String>,
    length: Option<usize>,
    #[serde(default, deserialize_with = "nullable")]
    uses_allowed: Option<Option<u64>>,
    /// Milliseconds since 1970.
    #[serde(default, deserialize_with = "nullable")]
    expiry_time: Option<Option<u64>>,
}

fn nullable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<u64>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

pub struct NewRegistrationToken;

impl Endpoint for NewRegistrationToken {
    const METHOD: Method = Method::POST;
    const PATH: &'static str = "/_synapse/admin/v1/registration_tokens/new";
    type Body = TokenSettings;
}

/// `POST /_synapse/admin/v1/registration_tokens/new`
pub async fn new_registration_token(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: OwnRequest<NewRegistrationToken>,
) -> Result<JsonAnswer, ApiError> {
    administration::check_admin(homeserver, &session).await?;
    let TokenSettings { token, length, uses_allowed, expiry_time } = request.body;
    let length = length.unwrap_or(REGISTRATION_TOKEN_CHARS);
    if length == 0 || length > REGISTRATION_TOKEN_MAX_CHARS {
        let message = format!("A registration token has 1 to {REGISTRATION_TOKEN_MAX_CHARS} characters.");
        return Err(ApiError::invalid_param(message));
    }
    let (uses_allowed, expires_ms) = (uses_allowed.flatten(), expiry_time.flatten());
    let token = registration_tokens::make(homeserver, token, length, uses_allowed, expires_ms).await?;
    Ok(JsonAnswer(as_json(token)))
}

const ONE_TOKEN: &str = "/_synapse/admin/v1/registration_tokens/{token}";

pub struct GetRegistrationToken;

impl Endpoint for GetRegistrationToken {
    const METHOD: Method = Method::GET;
    const PATH: &'static str = ONE_TOKEN;
    type Body = Nothing;
}

/// `GET /_synapse/admin/v1/registration_tokens/{token}`
pub async fn get_registration_token(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: OwnRequest<GetRegistrationToken>,
) -> Result<JsonAnswer, ApiError> {
    administration::check_admin(homeserver, &session).await?;
    let token = request.path_args.into_iter().next().unwrap_or_default();
    Ok(JsonAnswer(as_json(registration_tokens::one(homeserver, token).await?)))
}

pub struct SetRegistrationToken;

impl Endpoint for SetRegistrationToken {
    const METHOD: Method = Method::PUT;
    const PATH: &'static str = ONE_TOKEN;
    type Body = TokenSettings;
}

/// `PUT /_synapse/admin/v1/registration_tokens/{token}`: what the request does not name stays as it is.
pub async fn set_registration_token(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: OwnRequest<SetRegistrationToken>,
) -> Result<JsonAnswer, ApiError> {
    administration::check_admin(homeserver, &session).await?;
    let token = request.path_args.into_iter().next().unwrap_or_default();
    let TokenSettings { uses_allowed, expiry_time, .. } = request.body;
    Ok(JsonAnswer(as_json(registration_tokens::change(homeserver, token, uses_allowed, expiry_time).await?)))
}

pub struct DeleteRegistrationToken;

impl Endpoint for DeleteRegistrationToken {
    const METHOD: Method = Method::DELETE;
    const PATH: &'static str = ONE_TOKEN;
    type Body = Nothing;
}

/// `DELETE /_synapse/admin/v1/registration_tokens/{token}`
pub async fn delete_registration_token(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: OwnRequest<DeleteRegistrationToken>,
) -> Result<JsonAnswer, ApiError> {
    administration::check_admin(homeserver, &session).await?;
    registration_tokens::delete(homeserver, request.path_args.into_iter().next().unwrap_or_default()).await?;
    Ok(JsonAnswer(json!({})))
}

fn as_json(KnownToken { token, row }: KnownToken) -> Value {
    json!({
        "token": token,
        "uses_allowed": row.uses_allowed,
        // An account is made in one step here, so none is ever half made.
        "pending": 0,
        "completed": row.completed,
        "expiry_time": row.expires_ms,
    })
}

/// What is to be said to whom.
#[derive(Deserialize)]
pub struct AskedNotice {
    user_id: OwnedUserId,
    #[serde(rename = "type")]
    kind: Option<TimelineEventType>,
    state_key: Option<String>,
    content: CanonicalJsonObject,
}

pub struct SendServerNotice;

impl Endpoint for SendServerNotice {
    const METHOD: Method = Method::POST;
    const PATH: &'static str = "/_synapse/admin/v1/send_server_notice";
    type Body = AskedNotice;
}

/// `POST /_synapse/admin/v1/send_server_notice`
pub async fn send_server_notice(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: OwnRequest<SendServerNotice>,
) -> Result<JsonAnswer, ApiError> {
    send_notice(homeserver, &session, request.body, None).await
}

pub struct PutServerNotice;

impl Endpoint for PutServerNotice {
    const METHOD: Method = Method::PUT;
    const PATH: &'static str = "/_synapse/admin/v1/send_server_notice/{txn_id}";
    type Body = AskedNotice;
}

/// `PUT /_synapse/admin/v1/send_server_notice/{txnId}`: says it once, however often it is asked.
pub async fn put_server_notice(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: OwnRequest<PutServerNotice>,
) -> Result<JsonAnswer, ApiError> {
    send_notice(homeserver, &session, request.body, request.path_args.into_iter().next()).await
}

async fn send_notice(
    homeserver: &Rc<Homeserver>,
    session: &Session,
    asked: AskedNotice,
    txn_id: Option<String>,
) -> Result<JsonAnswer, ApiError> {
    let kind = asked.kind.unwrap_or(TimelineEventType::RoomMessage);
    let notice = Notice { kind, state_key: asked.state_key, content: asked.content };
    let event_id = server_notices::send(homeserver, session, &asked.user_id, notice, txn_id).await?;
    Ok(JsonAnswer(json!({ "event_id": event_id })))
}
