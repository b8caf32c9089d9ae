//! The keys by which users vouch for their devices, between servers: kept of users elsewhere as far as they hold, told of
//! users here.
use std::rc::Rc;

use ruma::{OwnedUserId, ServerName, UserId};
use serde::Deserialize;
use serde_json::{json, value::RawValue as RawJsonValue};
use thiserror::Error;

use super::{Tie, bytes_of_keys, commit, outgoing, tie};
use crate::{
    domain::cross_signing::{BadKey, Object, check_master, check_self_signing},
    homeserver::{
        Homeserver,
        edus::{UNTOLD_USER, may_be_told_of},
        refusals,
    },
    ports::{Batch, StoreError},
    storage::tables::{CrossSigningKeys, CrossSigningRow},
};

#[derive(Debug, Error)]
pub enum SigningKeyError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Bad(#[from] BadKey),
}

/// The content of an `m.signing_key_update`.
#[derive(Deserialize)]
struct Update {
    user_id: OwnedUserId,
    #[serde(default)]
    master_key: Option<Object>,
    #[serde(default)]
    self_signing_key: Option<Object>,
}

/// Takes in what `origin` says of a user's keys. What it may not say is refused, all of it.
pub async fn apply(server: &Rc<Homeserver>, origin: &ServerName, content: &RawJsonValue) -> Result<(), StoreError> {
    let update: Update = match serde_json::from_str(content.get()) {
        Ok(update) => update,
        Err(error) => {
            refusals::note(server, origin, &"an EDU m.signing_key_update", &error);
            return Ok(());
        }
    };
    let user = &update.user_id;
    let refuse = |rule: &dyn std::fmt::Display| refusals::note(server, origin, &format!("the keys of {user}"), rule);
    if user.server_name() != origin {
        refuse(&"the user is another server's");
        return Ok(());
    }
    if !may_be_told_of(user) {
        refuse(&UNTOLD_USER);
        return Ok(());
    }
    let _writing = server.device_lists.writing.lock().await;
    if tie(server, user).await? == Tie::None {
        refuse(&"the user shares no room with users of this server");
        return Ok(());
    }
    let before = server.database.get::<CrossSigningKeys>(user).await?.unwrap_or_default();
    let after = match changed(user, &before, update.master_key, update.self_signing_key) {
        Ok(after) if after == before => return Ok(()),
        Ok(after) => after,
        Err(rule) => {
            refuse(&rule);
            return Ok(());
        }
    };
    let mut row = server.device_lists.row(user).unwrap_or_default();
    let (less, more) = (bytes_of_keys(&before), bytes_of_keys(&after));
    if !server.device_lists.fits(origin, less, more) {
        refuse(&"there is no room for more of what this server says of its users' devices");
        return Ok(());
    }
    let (mut batch, position) = (Batch::default(), server.positions.next().await?);
    batch.put::<CrossSigningKeys>(user, &after);
    row.bytes = row.bytes.saturating_sub(less) + more;
    row.changed_at = position.value();
    commit(server, batch, user, row, Some(position)).await
}

/// Sets the keys of a local user, those that are given, and has whoever shares a room with the user told.
pub async fn set(
    server: &Rc<Homeserver>,
    user: &UserId,
    master: Option<Object>,
    self_signing: Option<Object>,
) -> Result<(), SigningKeyError> {
    let key = user.to_owned();
    let _accounts = server.accounts_lock.lock().await;
    let before = server.database.get::<CrossSigningKeys>(&key).await?.unwrap_or_default();
    let mut content = json!({ "user_id": user });
    if let Some(master) = &master {
        content["master_key"] = json!(master);
    }
    if let Some(self_signing) = &self_signing {
        content["self_signing_key"] = json!(self_signing);
    }
    let after = changed(user, &before, master, self_signing)?;
    if after == before {
        return Ok(());
    }
    let mut batch = Batch::strict();
    batch.put::<CrossSigningKeys>(&key, &after);
    let edu = json!({ "edu_type": "m.signing_key_update", "content": content });
    let told = outgoing::put_edu(server, &mut batch, user, &edu).await?;
    server.database.commit(batch).await?;
    told.tell(server);
    Ok(())
}

/// The keys of a user, as they are told to other servers.
pub async fn of_own(server: &Homeserver, user: &UserId) -> Result<CrossSigningRow, StoreError> {
    Ok(server.database.get::<CrossSigningKeys>(&user.to_owned()).await?.unwrap_or_default())
}

/// The keys once those that are given have taken the place of those before. What another master key signed is void.
fn changed(
    user: &UserId,
    before: &CrossSigningRow,
    master: Option<Object>,
    self_signing: Option<Object>,
) -> Result<CrossSigningRow, BadKey> {
    let mut after = before.clone();
    if let Some(master) = master {
        let known = before.master.as_ref().and_then(|known| check_master(user, known).ok());
        if Some(check_master(user, &master)?) != known {
            after.self_signing = None;
        }
        after.master = Some(master);
    }
    if let Some(self_signing) = self_signing {
        let master = after.master.as_ref().ok_or(BadKey::Unsigned)?;
        check_self_signing(user, &self_signing, &check_master(user, master)?)?;
        after.self_signing = Some(self_signing);
    }
    Ok(after)
}

/// The keys that came with a list, as far as they hold.
pub(super) fn checked(
    server: &Homeserver,
    user: &UserId,
    master: Option<Object>,
    self_signing: Option<Object>,
) -> CrossSigningRow {
    let mut keys = CrossSigningRow::default();
    for (master, self_signing) in [(master, None), (None, self_signing)] {
        match changed(user, &keys, master, self_signing) {
            Ok(more) => keys = more,
            Err(rule) => refusals::note(server, user.server_name(), &format!("the keys of {user}"), &rule),
        }
    }
    keys
}
