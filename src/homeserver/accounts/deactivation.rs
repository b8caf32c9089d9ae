//! Deactivating an account: it ends at once, and leaves its rooms; its name stays taken.
use std::rc::Rc;

use ruma::{OwnedUserId, UserId, events::room::member::MembershipState};

use crate::{
    homeserver::{Homeserver, accounts, devices, erasures, openid, rooms::membership, user_rows},
    ports::{Batch, StoreError},
    storage::tables::{AccountData, CrossSigningKeys, Departures, Filters, UserRow, Users},
};

/// Ends the account. With `erase` what it sent is shown redacted to whoever comes to its rooms later, and its profile,
/// account data and filters go (client-server API, "Account deactivation").
pub async fn deactivate(homeserver: &Rc<Homeserver>, user_id: &UserId, erase: bool) -> Result<(), StoreError> {
    let user_id = user_id.to_owned();
    {
        let _accounts = homeserver.accounts_lock.lock().await;
        let Some(row) = homeserver.database.get::<Users>(&user_id).await?.filter(|row| !row.deactivated) else {
            return Ok(());
        };
        let mut batch = Batch::strict();
        let mut ended = UserRow { deactivated: true, admin: false, ..row };
        accounts::end_login_tokens(homeserver, &mut batch, &user_id).await?;
        openid::end_all(homeserver, &mut batch, &user_id).await?;
        let mut erased = Vec::new();
        if erase {
            ended.password_hash = None;
            ended.profile.clear();
            forget_data(homeserver, &mut batch, &user_id).await?;
            erased = erasures::put(homeserver, &mut batch, &user_id).await?;
        }
        batch.put::<Users>(&user_id, &ended);
        batch.put::<Departures>(&user_id, &());
        batch.delete::<CrossSigningKeys>(&user_id);
        let sessions = devices::end_all_but(homeserver, &mut batch, &user_id, None).await?;
        homeserver.database.commit(batch).await?;
        homeserver.erasures.adopt(user_id.clone(), erased);
        sessions.tell(homeserver);
    }
    depart(homeserver, &user_id).await
}

/// Takes those out of their rooms who were deactivated when the homeserver stopped.
pub async fn resume(homeserver: &Rc<Homeserver>) -> Result<(), StoreError> {
    let departing = homeserver.database.scan_all::<Departures, _>(&()).await?;
    if departing.is_empty() {
        return Ok(());
    }
    let server = homeserver.clone();
    homeserver.environment.tasks.spawn(Box::pin(async move {
        for (user_id, ()) in departing {
            if let Err(error) = depart(&server, &user_id).await {
                tracing::warn!(%user_id, %error, "a deactivated user is not out of all rooms");
            }
        }
    }));
    Ok(())
}

/// Leaves every room, declines every invite and withdraws every knock.
async fn depart(homeserver: &Rc<Homeserver>, user_id: &OwnedUserId) -> Result<(), StoreError> {
    let rooms = user_rows::memberships(homeserver, user_id).await?;
    for (room_id, row) in rooms.iter() {
        if !matches!(row.membership, MembershipState::Join | MembershipState::Invite | MembershipState::Knock) {
            continue;
        }
        if let Err(error) = membership::leave(homeserver, room_id, user_id, None).await {
            tracing::warn!(room = %room_id, %user_id, %error, "a deactivated user could not leave a room");
        }
    }
    let mut batch = Batch::strict();
    batch.delete::<Departures>(user_id);
    homeserver.database.commit(batch).await
}

async fn forget_data(homeserver: &Homeserver, batch: &mut Batch, user_id: &OwnedUserId) -> Result<(), StoreError> {
    for (key, _) in homeserver.database.scan_all::<AccountData, _>(user_id).await? {
        batch.delete::<AccountData>(&key);
    }
    for (key, _) in homeserver.database.scan_all::<Filters, _>(user_id).await? {
        batch.delete::<Filters>(&key);
    }
    Ok(())
}
