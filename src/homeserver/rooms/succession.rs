//! What follows a user from a room to the one that replaced it: push rules, tags, being direct; and, with the first user
//! of ours in the new room, its aliases and place in the directory.
use std::rc::Rc;

use ruma::{
    OwnedRoomId, OwnedUserId, RoomId, UserId,
    events::StateEventType,
    push::{NewConditionalPushRule, NewPushRule, NewSimplePushRule, PushCondition, RuleKind, Ruleset},
};
use serde::Deserialize;
use serde_json::{Value, json};
use thiserror::Error;

use super::{Room, upgrade::aliases_of};
use crate::{
    homeserver::{
        Homeserver,
        account_data::{self, AccountDataError},
        push_rules::{self, PushRuleError},
    },
    ports::{Batch, StoreError},
    storage::tables::{AliasRow, Aliases, PublishedRooms},
};

const TAGS: &str = "m.tag";
const DIRECT: &str = "m.direct";
/// The condition by which clients mute a room.
const ROOM_ID_KEY: &str = "room_id";

#[derive(Debug, Error)]
enum CarryError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    AccountData(#[from] AccountDataError),
    #[error(transparent)]
    PushRule(#[from] PushRuleError),
}

/// Has what the user set for the replaced room hold for the one that the user is in now. It is a comfort: where it fails,
/// the user is in the room all the same.
pub async fn carry_over(server: &Rc<Homeserver>, new_id: &RoomId, user: &OwnedUserId) {
    if let Err(error) = try_carry_over(server, new_id, user).await {
        tracing::warn!(room = %new_id, %user, %error, "not everything was carried over from the room before");
    }
}

async fn try_carry_over(server: &Rc<Homeserver>, new_id: &RoomId, user: &OwnedUserId) -> Result<(), CarryError> {
    let Some(new) = server.rooms.get(new_id).await? else { return Ok(()) };
    let Some(old) = predecessor(server, &new).await? else { return Ok(()) };
    move_names(server, &old.id, new_id).await?;
    copy_tags(server, user, &old.id, new_id).await?;
    copy_direct(server, user, &old.id, new_id).await?;
    copy_push_rules(server, user, &old.id, new_id).await
}

/// The room that `new` replaced, if that room says so too: a create event alone could claim any room.
async fn predecessor(server: &Homeserver, new: &Room) -> Result<Option<Rc<Room>>, StoreError> {
    #[derive(Deserialize)]
    struct Create {
        predecessor: Predecessor,
    }
    #[derive(Deserialize)]
    struct Predecessor {
        room_id: OwnedRoomId,
    }
    #[derive(Deserialize)]
    struct Tombstone {
        replacement_room: OwnedRoomId,
    }
    let Some(create) = server.rooms.events.get(&new.create_event).await? else { return Ok(None) };
    let Ok(create) = serde_json::from_str::<Create>(create.pdu.content.get()) else { return Ok(None) };
    let Some(old) = server.rooms.get(&create.predecessor.room_id).await? else { return Ok(None) };
    let tombstone = old.live().state.get(&StateEventType::RoomTombstone, "").cloned();
    let Some(tombstone) = tombstone else { return Ok(None) };
    let Some(tombstone) = server.rooms.events.get(&tombstone).await? else { return Ok(None) };
    let tombstone = serde_json::from_str::<Tombstone>(tombstone.pdu.content.get());
    Ok(tombstone.is_ok_and(|tombstone| tombstone.replacement_room == new.id).then_some(old))
}

async fn move_names(server: &Rc<Homeserver>, old_id: &OwnedRoomId, new_id: &RoomId) -> Result<(), StoreError> {
    let _creating = server.creating.lock().await;
    let aliases = aliases_of(server, old_id).await?;
    let published = server.database.get::<PublishedRooms>(old_id).await?.is_some();
    if aliases.is_empty() && !published {
        return Ok(());
    }
    let mut batch = Batch::strict();
    for (alias, row) in aliases {
        batch.put::<Aliases>(&alias, &AliasRow { room_id: new_id.to_owned(), ..row });
    }
    if published {
        batch.delete::<PublishedRooms>(old_id);
        batch.put::<PublishedRooms>(&new_id.to_owned(), &());
    }
    server.database.commit(batch).await
}

async fn copy_tags(server: &Rc<Homeserver>, user: &UserId, old_id: &RoomId, new_id: &RoomId) -> Result<(), CarryError> {
    let Some(tags) = account_data::get(server, user, Some(old_id), TAGS).await? else { return Ok(()) };
    if account_data::get(server, user, Some(new_id), TAGS).await?.is_some() {
        return Ok(());
    }
    Ok(account_data::update(server, user, Some(new_id), TAGS, |_| Ok::<_, AccountDataError>(tags)).await?)
}

/// Names the new room wherever the old one is said to be a direct one.
async fn copy_direct(
    server: &Rc<Homeserver>,
    user: &UserId,
    old_id: &RoomId,
    new_id: &RoomId,
) -> Result<(), CarryError> {
    let with_new = |content: &Value| {
        let mut content = content.clone();
        for rooms in content.as_object_mut()?.values_mut().filter_map(Value::as_array_mut) {
            if rooms.contains(&json!(old_id)) && !rooms.contains(&json!(new_id)) {
                rooms.push(json!(new_id));
            }
        }
        Some(content)
    };
    let Some(direct) = account_data::get(server, user, None, DIRECT).await? else { return Ok(()) };
    if with_new(&direct).is_none_or(|changed| changed == direct) {
        return Ok(());
    }
    let change = |before: Option<Value>| {
        let before = before.unwrap_or_else(|| json!({}));
        Ok::<_, AccountDataError>(with_new(&before).unwrap_or(before))
    };
    Ok(account_data::update(server, user, None, DIRECT, change).await?)
}

async fn copy_push_rules(
    server: &Rc<Homeserver>,
    user: &UserId,
    old_id: &RoomId,
    new_id: &RoomId,
) -> Result<(), CarryError> {
    let rules = push_rules::of_user(server, user).await?;
    for (kind, rule, enabled) in rules_for(&rules, old_id, new_id) {
        let rule_id = rule.rule_id().to_owned();
        if rules.get(kind.clone(), &rule_id).is_some() {
            continue;
        }
        push_rules::put(server, user, rule, None, None).await?;
        if !enabled {
            push_rules::set_enabled(server, user, kind, &rule_id, false).await?;
        }
    }
    Ok(())
}

/// The user's rules about the old room, as they would be about the new one, and whether they are on.
fn rules_for(rules: &Ruleset, old_id: &RoomId, new_id: &RoomId) -> Vec<(RuleKind, NewPushRule, bool)> {
    let mut copies = Vec::new();
    if let Some(rule) = rules.room.iter().find(|rule| rule.rule_id == old_id) {
        let copy = NewSimplePushRule::new(new_id.to_owned(), rule.actions.clone());
        copies.push((RuleKind::Room, NewPushRule::Room(copy), rule.enabled));
    }
    for (kind, set) in [(RuleKind::Override, &rules.override_), (RuleKind::Underride, &rules.underride)] {
        for rule in set.iter().filter(|rule| !rule.default && rule.rule_id == old_id.as_str()) {
            let mut conditions = rule.conditions.clone();
            for condition in &mut conditions {
                if let PushCondition::EventMatch(data) = condition
                    && data.key == ROOM_ID_KEY
                    && data.pattern == old_id.as_str()
                {
                    data.pattern = new_id.to_string();
                }
            }
            let copy = NewConditionalPushRule::new(new_id.to_string(), conditions, rule.actions.clone());
            let copy = match kind {
                RuleKind::Override => NewPushRule::Override(copy),
                _ => NewPushRule::Underride(copy),
            };
            copies.push((kind.clone(), copy, rule.enabled));
        }
    }
    copies
}
