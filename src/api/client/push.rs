//! Push rules, what they notified of, and where notifications are pushed to.
use std::rc::Rc;

use ruma::{
    api::client::push::{
        PushRule, delete_pushrule, get_notifications, get_pushers, get_pushrule, get_pushrule_actions,
        get_pushrule_enabled, get_pushrules_all, get_pushrules_global_scope,
        set_pusher::{self, v3::PusherAction},
        set_pushrule, set_pushrule_actions, set_pushrule_enabled,
    },
    push::RuleKind,
};

use super::reshaped::{Reshape, Reshaped};
use crate::{
    api::ApiError,
    homeserver::{
        Homeserver, notifications,
        push_rules::{self, PushRuleError},
        pushers,
        sessions::Session,
    },
};

/// `GET /_matrix/client/v3/pushrules/` (client-server API, "Push Rules: API")
pub async fn get_pushrules_all(
    homeserver: &Rc<Homeserver>,
    session: Session,
    _request: get_pushrules_all::v3::Request,
) -> Result<get_pushrules_all::v3::Response, ApiError> {
    Ok(get_pushrules_all::v3::Response::new(push_rules::of_user(homeserver, &session.user_id).await?))
}

/// `GET /_matrix/client/v3/pushrules/global/` (client-server API, "Push Rules: API")
pub async fn get_pushrules_global_scope(
    homeserver: &Rc<Homeserver>,
    session: Session,
    _request: get_pushrules_global_scope::v3::Request,
) -> Result<get_pushrules_global_scope::v3::Response, ApiError> {
    Ok(get_pushrules_global_scope::v3::Response::new(push_rules::of_user(homeserver, &session.user_id).await?))
}

/// `GET /_matrix/client/v3/pushrules/global/{kind}/{ruleId}` (client-server API, "Push Rules: API")
pub async fn get_pushrule(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: get_pushrule::v3::Request,
) -> Result<get_pushrule::v3::Response, ApiError> {
    Ok(get_pushrule::v3::Response::new(rule(homeserver, &session, request.kind, &request.rule_id).await?))
}

/// `PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}` (client-server API, "Push Rules: API")
pub async fn set_pushrule(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: set_pushrule::v3::Request,
) -> Result<set_pushrule::v3::Response, ApiError> {
    let (after, before) = (request.after.as_deref(), request.before.as_deref());
    push_rules::put(homeserver, &session.user_id, request.rule, after, before).await?;
    Ok(set_pushrule::v3::Response::new())
}

/// `DELETE /_matrix/client/v3/pushrules/global/{kind}/{ruleId}` (client-server API, "Push Rules: API")
pub async fn delete_pushrule(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: delete_pushrule::v3::Request,
) -> Result<delete_pushrule::v3::Response, ApiError> {
    push_rules::delete(homeserver, &session.user_id, request.kind, &request.rule_id).await?;
    Ok(delete_pushrule::v3::Response::new())
}

/// `GET /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/enabled` (client-server API, "Push Rules: API")
pub async fn get_pushrule_enabled(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: get_pushrule_enabled::v3::Request,
) -> Result<get_pushrule_enabled::v3::Response, ApiError> {
    let rule = rule(homeserver, &session, request.kind, &request.rule_id).await?;
    Ok(get_pushrule_enabled::v3::Response::new(rule.enabled))
}

/// `PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/enabled` (client-server API, "Push Rules: API")
pub async fn set_pushrule_enabled(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: set_pushrule_enabled::v3::Request,
) -> Result<set_pushrule_enabled::v3::Response, ApiError> {
    push_rules::set_enabled(homeserver, &session.user_id, request.kind, &request.rule_id, request.enabled).await?;
    Ok(set_pushrule_enabled::v3::Response::new())
}

/// `GET /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/actions` (client-server API, "Push Rules: API")
pub async fn get_pushrule_actions(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: get_pushrule_actions::v3::Request,
) -> Result<get_pushrule_actions::v3::Response, ApiError> {
    let rule = rule(homeserver, &session, request.kind, &request.rule_id).await?;
    Ok(get_pushrule_actions::v3::Response::new(rule.actions))
}

/// `PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/actions` (client-server API, "Push Rules: API")
pub async fn set_pushrule_actions(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: set_pushrule_actions::v3::Request,
) -> Result<set_pushrule_actions::v3::Response, ApiError> {
    push_rules::set_actions(homeserver, &session.user_id, request.kind, &request.rule_id, request.actions).await?;
    Ok(set_pushrule_actions::v3::Response::new())
}

/// `GET /_matrix/client/v3/notifications` (client-server API, "Listing Notifications")
pub async fn get_notifications(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: get_notifications::v3::Request,
) -> Result<get_notifications::v3::Response, ApiError> {
    let (from, only) = (request.from.as_deref(), request.only.as_deref());
    let limit = request.limit.map(u64::from);
    let (page, next_token) = notifications::page(homeserver, &session, from, limit, only).await?;
    let mut response = get_notifications::v3::Response::new(page);
    response.next_token = next_token;
    Ok(response)
}

/// `GET /_matrix/client/v3/pushers` (client-server API, "Push Notifications")
pub async fn get_pushers(
    homeserver: &Rc<Homeserver>,
    session: Session,
    _request: get_pushers::v3::Request,
) -> Result<get_pushers::v3::Response, ApiError> {
    Ok(get_pushers::v3::Response::new(pushers::all(homeserver, &session.user_id).await?))
}

/// `POST /_matrix/client/v3/pushers/set` (client-server API, "Push Notifications")
pub async fn set_pusher(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: Reshaped<set_pusher::v3::Request, KindSaid>,
) -> Result<set_pusher::v3::Response, ApiError> {
    match request.request.action {
        PusherAction::Post(post) => pushers::set(homeserver, &session, post.pusher, post.append).await?,
        PusherAction::Delete(ids) => pushers::delete(homeserver, &session.user_id, ids).await?,
        _ => return Err(ApiError::invalid_param("`kind` is neither a kind of pusher nor null.")),
    }
    Ok(set_pusher::v3::Response::new())
}

/// ruma takes a body without `kind` for one whose `kind` is null, which removes the pusher.
pub struct KindSaid;

impl Reshape for KindSaid {
    fn reshape(body: &[u8], _path_args: &[&str]) -> Result<Vec<u8>, serde_json::Error> {
        let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(body)?;
        if fields.contains_key("kind") { Ok(body.to_vec()) } else { Err(serde::de::Error::missing_field("kind")) }
    }
}

async fn rule(homeserver: &Homeserver, session: &Session, kind: RuleKind, rule_id: &str) -> Result<PushRule, ApiError> {
    let rules = push_rules::of_user(homeserver, &session.user_id).await?;
    Ok(rules.get(kind, rule_id).ok_or(PushRuleError::NotFound)?.into())
}
