//! Invites to whoever has an address elsewhere (server-server API, "Third-party invites"): once an identity server has said
//! who that is, the server of the invited user asks that of the inviter for the invite proper.
use std::{collections::BTreeMap, rc::Rc};

use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, OwnedRoomId, OwnedServerName, OwnedUserId, RoomId, ServerSignatures,
    api::federation::thirdparty::{bind_callback::v1::ThirdPartyInvite as Bound, exchange_invite::v1 as exchange_v1},
    events::{
        StateEventType,
        room::member::{MembershipState, RoomMemberEventContent, SignedContent},
    },
    serde::{Base64, Raw},
    signatures::verify_json,
};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue as RawJsonValue};
use thiserror::Error;

use super::{
    Room, acl, exchange_invite,
    invite::{self, InviteError},
};
use crate::{
    homeserver::{Homeserver, accounts, peers::PeerError},
    ports::{Lane, StoreError},
    storage::tables::Memberships,
};

/// The most invites one notice of an identity server may tell of.
pub const BOUND_INVITES_MAX: usize = 20;
/// The most bytes the content of an exchanged invite may have.
const EXCHANGED_CONTENT_MAX_BYTES: usize = 16 << 10;
/// How long an invite that another server has agreed to is waited for, and how often it is looked for.
const INVITE_WAIT_MAX_MS: u64 = 5_000;
const INVITE_LOOK_EVERY_MS: u64 = 250;

#[derive(Debug, Error)]
pub enum ThirdPartyInviteError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("this server is not in that room")]
    NotInRoom,
    #[error("{0}")]
    Forbidden(&'static str),
    #[error("not a third-party invite: {0}")]
    Invalid(&'static str),
    #[error("{0} does not exist here")]
    NoSuchUser(OwnedUserId),
    #[error("a notice tells of {BOUND_INVITES_MAX} invites at most")]
    TooMany,
    #[error(transparent)]
    Invite(#[from] InviteError),
    #[error(transparent)]
    Peer(#[from] PeerError),
}

/// What a user shows who joins because of an invite to an address (client-server API, "Joining rooms").
#[derive(Clone, Debug)]
pub struct Shown {
    /// Who invited the address.
    pub sender: OwnedUserId,
    /// Whose it is, as the identity server says.
    pub mxid: OwnedUserId,
    pub token: String,
    /// The identity server's, of all the others.
    pub signatures: ServerSignatures,
}

/// What another server asks to be made an invite of.
#[derive(Debug)]
pub struct Exchange {
    pub room_id: OwnedRoomId,
    /// A user of ours, who invited whoever has the address.
    pub sender: OwnedUserId,
    /// Who that is.
    pub target: OwnedUserId,
    pub content: Box<RawJsonValue>,
}

/// What a content says of the invite it follows from.
#[derive(Deserialize)]
struct Content {
    membership: String,
    third_party_invite: Option<CanonicalJsonObject>,
}

/// Invites the target as a user of ours asked for, if the room knows of that and the identity server signed who it is: the
/// authorization rules of the room check both.
pub async fn exchange(
    server: &Rc<Homeserver>,
    origin: &OwnedServerName,
    exchange: Exchange,
) -> Result<(), ThirdPartyInviteError> {
    let Exchange { room_id, sender, target, content } = exchange;
    if content.get().len() > EXCHANGED_CONTENT_MAX_BYTES {
        return Err(ThirdPartyInviteError::Invalid("its content is too large"));
    }
    let content: Content =
        serde_json::from_str(content.get()).map_err(|_| ThirdPartyInviteError::Invalid("its content is malformed"))?;
    if content.membership != "invite" {
        return Err(ThirdPartyInviteError::Invalid("it is no invite"));
    }
    let mut third_party =
        content.third_party_invite.ok_or(ThirdPartyInviteError::Invalid("`third_party_invite` is missing"))?;
    if target.server_name() != origin {
        return Err(ThirdPartyInviteError::Forbidden("the invited user is not of your server"));
    }
    if sender.server_name() != server.server_name() {
        return Err(ThirdPartyInviteError::Forbidden("the inviter is not of this server"));
    }
    let room = server.rooms.get(&room_id).await?.filter(|room| room.live().resident);
    let room = room.ok_or(ThirdPartyInviteError::NotInRoom)?;
    if acl::denies_origin(server, &room, origin).await? {
        return Err(ThirdPartyInviteError::Forbidden("your server is denied by the room's ACL"));
    }
    // Nothing else of what another server says goes into an event of our user, and the name is what the inviter gave.
    third_party.retain(|field, _| field == "signed");
    let name = given_name(server, &room, &third_party).await?;
    third_party.insert("display_name".to_owned(), name.into());
    let content = [("third_party_invite".to_owned(), CanonicalJsonValue::Object(third_party))].into();
    Ok(invite::invite(server, &room_id, &sender, &target, content).await?)
}

/// How the invite that the token is of calls whom it invites. Whether it is there at all the room's rules check.
async fn given_name(server: &Homeserver, room: &Room, third_party: &CanonicalJsonObject) -> Result<String, StoreError> {
    #[derive(Default, Deserialize)]
    struct Named {
        #[serde(default)]
        display_name: String,
    }
    let signed = third_party.get("signed").and_then(|signed| signed.as_object());
    let token = signed.and_then(|signed| signed.get("token")?.as_str()).unwrap_or_default();
    let event_id = room.live().state.get(&StateEventType::RoomThirdPartyInvite, token).cloned();
    let Some(event_id) = event_id else { return Ok(String::new()) };
    let Some(event) = server.rooms.events.get(&event_id).await? else { return Ok(String::new()) };
    Ok(serde_json::from_str::<Named>(event.pdu.content.get()).unwrap_or_default().display_name)
}

/// An identity server says that a user of ours has an address to which there are invites: each inviter's server is asked
/// for the invite proper. Those that cannot be asked now are lost, as nothing says that they are wanted still.
pub async fn bound(
    server: &Rc<Homeserver>,
    user: &OwnedUserId,
    invites: Vec<Bound>,
) -> Result<(), ThirdPartyInviteError> {
    if invites.len() > BOUND_INVITES_MAX {
        return Err(ThirdPartyInviteError::TooMany);
    }
    if accounts::present(server, vec![user.clone()]).await?.is_empty() {
        return Err(ThirdPartyInviteError::NoSuchUser(user.clone()));
    }
    let of_user = |signed: &Raw<SignedContent>| matches!(signed.get_field::<OwnedUserId>("mxid"), Ok(Some(mxid)) if mxid == *user);
    if invites.iter().any(|invite| invite.mxid != *user || !of_user(&invite.signed)) {
        return Err(ThirdPartyInviteError::Invalid("it invites somebody else"));
    }
    for invite in invites {
        let (room_id, inviter) = (invite.room_id.clone(), invite.sender.clone());
        if let Err(error) = ask_for_invite(server, user, invite).await {
            tracing::info!(room = %room_id, %inviter, %error, "a third-party invite does not become an invite");
        }
    }
    Ok(())
}

/// Has `user` invited by whoever invited the address that `shown` says is theirs. The inviter's server holds that against the
/// room's invite, and its signature against the keys in there; where that is another, it asks the identity server about them.
/// We ask nobody, and take only what a key signed that the room's invite calls good for ever.
pub async fn redeem(
    server: &Rc<Homeserver>,
    room_id: &RoomId,
    user: &OwnedUserId,
    shown: Shown,
) -> Result<(), ThirdPartyInviteError> {
    let Shown { sender, mxid, token, signatures } = shown;
    if mxid != *user {
        return Err(ThirdPartyInviteError::Forbidden("it is signed for somebody else"));
    }
    if has_membership(server, room_id, user, &[MembershipState::Join]).await? {
        return Ok(());
    }
    let signed = json!({ "sender": sender, "mxid": mxid, "token": token, "signatures": signatures });
    let content = json!({ "membership": "invite", "third_party_invite": { "display_name": "", "signed": signed } });
    let content = serde_json::value::to_raw_value(&content).expect("JSON serializes");
    let (room_id, inviters) = (room_id.to_owned(), sender.server_name().to_owned());
    if inviters == server.server_name() {
        if !is_signed_for_good(server, &room_id, &token, &signed).await? {
            return Err(ThirdPartyInviteError::Forbidden("no key signed it that is good without asking who made it"));
        }
        return exchange(server, &inviters, Exchange { room_id, sender, target: mxid, content }).await;
    }
    let request = exchange_v1::Request::new(room_id.clone(), sender, mxid, Raw::from_json(content));
    server.ask(&inviters, Lane::Queries, exchange_invite::Request::new(request)).await?;
    await_invite(server, &room_id, user).await
}

/// A server that we share the room with sends the invite in its own time.
async fn await_invite(
    server: &Rc<Homeserver>,
    room_id: &RoomId,
    user: &OwnedUserId,
) -> Result<(), ThirdPartyInviteError> {
    let awaited = [MembershipState::Invite, MembershipState::Join];
    for _ in 0..INVITE_WAIT_MAX_MS / INVITE_LOOK_EVERY_MS {
        if has_membership(server, room_id, user, &awaited).await? {
            break;
        }
        server.environment.clock.sleep_ms(INVITE_LOOK_EVERY_MS).await;
    }
    Ok(())
}

async fn has_membership(
    server: &Homeserver,
    room_id: &RoomId,
    user: &OwnedUserId,
    wanted: &[MembershipState],
) -> Result<bool, StoreError> {
    let row = server.database.get::<Memberships>(&(user.clone(), room_id.to_owned())).await?;
    Ok(row.is_some_and(|row| wanted.contains(&row.membership)))
}

/// Whether a key signed this that the room's invite of that token names without saying where to ask about it.
async fn is_signed_for_good(
    server: &Homeserver,
    room_id: &RoomId,
    token: &str,
    signed: &Value,
) -> Result<bool, StoreError> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Invite {
        public_keys: Vec<Key>,
    }
    #[derive(Deserialize)]
    struct Key {
        public_key: Base64,
        key_validity_url: Option<Value>,
    }
    let Some(room) = server.rooms.get(room_id).await? else { return Ok(false) };
    let event_id = room.live().state.get(&StateEventType::RoomThirdPartyInvite, token).cloned();
    let Some(event_id) = event_id else { return Ok(false) };
    let Some(event) = server.rooms.events.get(&event_id).await? else { return Ok(false) };
    let invite: Invite = serde_json::from_str(event.pdu.content.get()).unwrap_or_default();
    let lasting = invite.public_keys.into_iter().filter(|key| key.key_validity_url.is_none());
    let lasting: Vec<Base64> = lasting.map(|key| key.public_key).collect();
    let Ok(object) = serde_json::from_value::<CanonicalJsonObject>(signed.clone()) else { return Ok(false) };
    let signers = object.get("signatures").and_then(|signers| signers.as_object()).into_iter().flatten();
    let by: Vec<(&String, &String)> = signers
        .filter_map(|(signer, keys)| Some((signer, keys.as_object()?)))
        .flat_map(|(signer, keys)| keys.keys().map(move |key_id| (signer, key_id)))
        .collect();
    Ok(by.iter().any(|(signer, key_id)| {
        lasting.iter().any(|key| {
            let keys = BTreeMap::from([((*key_id).clone(), key.clone())]);
            verify_json(&BTreeMap::from([((*signer).clone(), keys)]), &object).is_ok()
        })
    }))
}

async fn ask_for_invite(server: &Rc<Homeserver>, user: &OwnedUserId, bound: Bound) -> Result<(), String> {
    let content = json!({
        "membership": "invite",
        "third_party_invite": { "display_name": "", "signed": bound.signed },
    });
    let content = serde_json::value::to_raw_value(&content).expect("JSON serializes");
    let (room_id, sender, destination) = (bound.room_id, bound.sender.clone(), bound.sender.server_name().to_owned());
    if destination == server.server_name() {
        let own = Exchange { room_id, sender, target: user.clone(), content };
        return exchange(server, &destination, own).await.map_err(|error| error.to_string());
    }
    let content: Raw<RoomMemberEventContent> = Raw::from_json(content);
    let request = exchange_v1::Request::new(room_id, sender, user.clone(), content);
    let request = exchange_invite::Request::new(request);
    server.ask(&destination, Lane::Queries, request).await.map(drop).map_err(|error| error.to_string())
}
