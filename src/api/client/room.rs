//! Creating and upgrading rooms, what a room is called here, and single events of it.
use std::rc::Rc;

use ruma::{
    CanonicalJsonObject, OwnedRoomAliasId, RoomAliasId,
    api::client::room::{aliases, create_room, get_event_by_timestamp, get_room_event, get_summary, upgrade_room},
    events::AnyInitialStateEvent,
    serde::Raw,
};
use serde::Deserialize;

use super::{canonical_content, directory};
use crate::{
    api::ApiError,
    domain::room::preset::{CreateRequest, InitialEvent, preset_for},
    homeserver::{
        Homeserver, aliases as alias_workflow,
        by_time::{self, Sought},
        client_event::{Style, format_with_relations},
        room_view::{ReadError, RoomView},
        rooms::{
            create::{self, RequestId},
            membership::profile_content,
            upgrade,
        },
        sessions::Session,
        summaries,
    },
};

/// `POST /_matrix/client/v3/createRoom` (client-server API, "Creation")
pub async fn create_room(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: create_room::v3::Request,
) -> Result<create_room::v3::Response, ApiError> {
    if !request.invite_3pid.is_empty() {
        return Err(ApiError::forbidden("Inviting by e-mail or phone needs an identity server, and there is none."));
    }
    directory::is_public(&request.visibility)?;
    let optional =
        |raw: Option<&serde_json::value::RawValue>| raw.map_or(Ok(CanonicalJsonObject::new()), canonical_content);
    let alias = request.room_alias_name.as_deref().map(|name| local_alias(homeserver, name)).transpose()?;
    let create = CreateRequest {
        creator_profile: profile_content(homeserver, &session.user_id).await?,
        creator: session.user_id.clone(),
        version: request.room_version.unwrap_or_else(|| homeserver.options.default_room_version.clone()),
        preset: request.preset.unwrap_or_else(|| preset_for(&request.visibility)),
        creation_content: optional(request.creation_content.as_ref().map(Raw::json))?,
        power_level_override: optional(request.power_level_content_override.as_ref().map(Raw::json))?,
        alias,
        initial_state: request.initial_state.iter().map(initial_event).collect::<Result<_, _>>()?,
        name: request.name,
        topic: request.topic,
        invite: request.invite,
    };
    let request_id = session.request_id.map(|id| RequestId { device_id: session.device_id, id });
    let room_id = create::create(homeserver, create, &request.visibility, request.is_direct, request_id).await?;
    Ok(create_room::v3::Response::new(room_id))
}

/// `GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}` (client-server API, "Getting events for a room")
pub async fn get_room_event(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: get_room_event::v3::Request,
) -> Result<get_room_event::v3::Response, ApiError> {
    let view = RoomView::open(homeserver, &request.room_id, &session.user_id).await.map_err(|error| match error {
        // The specification has one answer for what is not there and what may not be seen.
        ReadError::NotInRoom => ReadError::NoSuchEvent,
        other => other,
    })?;
    let seen = view.event(homeserver, &session.user_id, &request.event_id).await?;
    let event = format_with_relations(homeserver, &session, Style::TIMELINE, &[seen]).await?.pop();
    Ok(get_room_event::v3::Response::new(event.ok_or_else(|| ApiError::internal("an event has no format"))?))
}

/// `GET /_matrix/client/v1/rooms/{roomId}/timestamp_to_event` (client-server API, "Room participation")
pub async fn get_event_by_timestamp(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: get_event_by_timestamp::v1::Request,
) -> Result<get_event_by_timestamp::v1::Response, ApiError> {
    let sought = Sought { time: request.ts, direction: request.dir };
    let found = by_time::for_user(homeserver, &request.room_id, &session.user_id, sought).await?;
    Ok(get_event_by_timestamp::v1::Response::new(found.event_id, found.time))
}

/// `GET /_matrix/client/v3/rooms/{roomId}/aliases` (client-server API, "Room aliases")
pub async fn aliases(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: aliases::v3::Request,
) -> Result<aliases::v3::Response, ApiError> {
    let aliases = alias_workflow::of_room(homeserver, &session.user_id, &request.room_id).await?;
    Ok(aliases::v3::Response::new(aliases))
}

/// `GET /_matrix/client/v1/room_summary/{roomIdOrAlias}` (client-server API, "Room summaries")
pub async fn get_summary(
    homeserver: &Rc<Homeserver>,
    session: Option<Session>,
    request: get_summary::v1::Request,
) -> Result<get_summary::v1::Response, ApiError> {
    let get_summary::v1::Request { room_id_or_alias, via, .. } = request;
    let (room_id, servers) = match room_id_or_alias.try_into() {
        Ok(room_id) => (room_id, Vec::new()),
        Err(alias) => alias_workflow::resolve(homeserver, &alias).await?,
    };
    let via: Vec<_> = via.into_iter().chain(servers).collect();
    let user = session.as_ref().map(|session| &*session.user_id);
    let (facts, membership) = summaries::of_room(homeserver, &room_id, &via, user).await?;
    let mut response = get_summary::v1::Response::new((*facts).clone());
    response.membership = membership;
    Ok(response)
}

/// `POST /_matrix/client/v3/rooms/{roomId}/upgrade` (client-server API, "Room Upgrades")
pub async fn upgrade_room(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: upgrade_room::v3::Request,
) -> Result<upgrade_room::v3::Response, ApiError> {
    let upgrade_room::v3::Request { room_id, new_version, additional_creators, .. } = request;
    let replacement =
        upgrade::upgrade(homeserver, &room_id, &session.user_id, &new_version, &additional_creators).await?;
    Ok(upgrade_room::v3::Response::new(replacement))
}

fn local_alias(homeserver: &Homeserver, name: &str) -> Result<OwnedRoomAliasId, ApiError> {
    if name.is_empty() || name.contains([':', '\0']) || name.chars().any(char::is_whitespace) {
        return Err(ApiError::invalid_param("The alias name is empty or has a colon or white space in it."));
    }
    RoomAliasId::parse(format!("#{name}:{}", homeserver.server_name()))
        .map_err(|error| ApiError::invalid_param(format!("Not an alias name: {error}.")))
}

fn initial_event(raw: &Raw<AnyInitialStateEvent>) -> Result<InitialEvent, ApiError> {
    #[derive(Deserialize)]
    struct Event {
        #[serde(rename = "type")]
        kind: ruma::events::StateEventType,
        #[serde(default)]
        state_key: String,
        content: CanonicalJsonObject,
    }
    let event: Event = serde_json::from_str(raw.json().get())
        .map_err(|error| ApiError::bad_json(format!("An event of initial_state is malformed: {error}.")))?;
    Ok(InitialEvent { kind: event.kind, state_key: event.state_key, content: event.content })
}
