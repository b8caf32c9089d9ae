//! What administrators of a homeserver may do to its accounts, and who is one.
use std::rc::Rc;

use ruma::{OwnedUserId, UserId};
use thiserror::Error;

use super::{
    Homeserver,
    devices::{self, Device},
    sessions::Session,
};
use crate::{
    ports::{Batch, StoreError},
    storage::{
        Direction,
        tables::{UserRow, Users},
    },
};

#[derive(Debug, Error)]
pub enum AdministrationError {
    #[error("only an administrator of this homeserver may do that")]
    NotAdmin,
    #[error("this cannot be done to oneself or to another administrator")]
    Untouchable,
    #[error("the user does not belong to this homeserver")]
    NotLocal,
    #[error("there is no such user here, or not any more")]
    NoUser,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What an administrator does to an account until it is undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restriction {
    /// The user may read, and little else.
    Suspended,
    /// The user may do nothing.
    Locked,
}

impl Restriction {
    fn of(self, row: &UserRow) -> bool {
        match self {
            Self::Suspended => row.suspended,
            Self::Locked => row.locked,
        }
    }
}

/// Whether an account made now is that of the first user of one's own tab, who is the administrator there.
pub async fn makes_first_user_admin(homeserver: &Homeserver) -> Result<bool, StoreError> {
    if !homeserver.options.first_user_is_admin {
        return Ok(false);
    }
    Ok(homeserver.database.scan_prefix::<Users, _>(&(), Direction::Ascending, 1).await?.is_empty())
}

/// Makes the eldest account of a tab its administrator, where there was one before there were administrators.
pub async fn appoint_eldest(homeserver: &Homeserver) -> Result<(), StoreError> {
    if !homeserver.options.first_user_is_admin {
        return Ok(());
    }
    let users = homeserver.database.scan_all::<Users, _>(&()).await?;
    if users.iter().any(|(_, row)| row.admin) {
        return Ok(());
    }
    let eldest =
        users.into_iter().filter(|(_, row)| !row.guest && !row.deactivated).min_by_key(|(_, row)| row.created_ms);
    let Some((user_id, row)) = eldest else { return Ok(()) };
    let mut batch = Batch::strict();
    batch.put::<Users>(&user_id, &UserRow { admin: true, ..row });
    homeserver.database.commit(batch).await
}

pub async fn is_admin(homeserver: &Homeserver, user_id: &UserId) -> Result<bool, StoreError> {
    Ok(homeserver.database.get::<Users>(&user_id.to_owned()).await?.is_some_and(|row| row.admin && !row.deactivated))
}

/// Refuses who is no administrator, before anything is looked up.
pub async fn check_admin(homeserver: &Homeserver, session: &Session) -> Result<(), AdministrationError> {
    if is_admin(homeserver, &session.user_id).await? { Ok(()) } else { Err(AdministrationError::NotAdmin) }
}

/// Whether a user of this homeserver is under a restriction.
pub async fn restriction(
    homeserver: &Homeserver,
    session: &Session,
    user_id: &OwnedUserId,
    restriction: Restriction,
) -> Result<bool, AdministrationError> {
    check_admin(homeserver, session).await?;
    let row = account(homeserver, user_id).await?;
    if row.admin && *user_id != session.user_id {
        return Err(AdministrationError::Untouchable);
    }
    Ok(restriction.of(&row))
}

/// Puts a user of this homeserver under a restriction, or lifts it. Tokens stay as they are.
pub async fn restrict(
    homeserver: &Rc<Homeserver>,
    session: &Session,
    user_id: &OwnedUserId,
    restriction: Restriction,
    on: bool,
) -> Result<(), AdministrationError> {
    check_admin(homeserver, session).await?;
    let _accounts = homeserver.accounts_lock.lock().await;
    let mut row = account(homeserver, user_id).await?;
    if row.admin {
        return Err(AdministrationError::Untouchable);
    }
    if restriction.of(&row) == on {
        return Ok(());
    }
    match restriction {
        Restriction::Suspended => row.suspended = on,
        Restriction::Locked => row.locked = on,
    }
    let mut batch = Batch::strict();
    batch.put::<Users>(user_id, &row);
    homeserver.database.commit(batch).await?;
    Ok(devices::refresh_standing(homeserver, user_id).await?)
}

/// The devices of a user, for an administrator or the user.
pub async fn who_is(
    homeserver: &Homeserver,
    session: &Session,
    user_id: &OwnedUserId,
) -> Result<Vec<Device>, AdministrationError> {
    if *user_id != session.user_id {
        check_admin(homeserver, session).await?;
        account(homeserver, user_id).await?;
    }
    Ok(devices::all(homeserver, user_id).await?)
}

/// The account of a user of this homeserver that has not been deactivated.
pub async fn account(homeserver: &Homeserver, user_id: &OwnedUserId) -> Result<UserRow, AdministrationError> {
    if user_id.server_name() != homeserver.server_name() {
        return Err(AdministrationError::NotLocal);
    }
    let row = homeserver.database.get::<Users>(user_id).await?;
    row.filter(|row| !row.deactivated).ok_or(AdministrationError::NoUser)
}

/// Whether the user of a request that waits was locked meanwhile.
pub async fn is_locked(homeserver: &Homeserver, session: &Session) -> Result<bool, StoreError> {
    Ok(homeserver.database.get::<Users>(&session.user_id).await?.is_some_and(|row| row.locked))
}
