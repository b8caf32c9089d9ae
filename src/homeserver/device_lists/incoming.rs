//! What other servers say of their users' devices, one update after the other; where one is missing the list is asked for.
use std::rc::Rc;

use ruma::ServerName;
use serde_json::value::RawValue as RawJsonValue;

use super::{
    LISTED_DEVICES_MAX, Tie, bytes_of, commit, put_uncopied,
    resync::{self, set_stale},
    tie,
};
use crate::{
    domain::device_list::{Place, Update, note_seen, place},
    homeserver::{
        Homeserver,
        edus::{UNTOLD_USER, may_be_told_of},
        refusals,
    },
    ports::{Batch, StoreError},
    storage::tables::{DeviceListCopy, DeviceListRow, ListedDeviceRow, ListedDevices},
};

/// Takes in an update that `origin` sent. What it may not say is refused; what concerns nobody here leaves nothing behind.
pub async fn apply(server: &Rc<Homeserver>, origin: &ServerName, content: &RawJsonValue) -> Result<(), StoreError> {
    let update = match Update::read(content.get()) {
        Ok(update) => update,
        Err(rule) => {
            refusals::note(server, origin, &"an EDU m.device_list_update", &rule);
            return Ok(());
        }
    };
    let user = &update.user_id;
    let refuse = |rule: &str| refusals::note(server, origin, &format!("an update of the devices of {user}"), &rule);
    if user.server_name() != origin {
        refuse("the user is another server's");
        return Ok(());
    }
    if !may_be_told_of(user) {
        refuse(UNTOLD_USER);
        return Ok(());
    }
    let _writing = server.device_lists.writing.lock().await;
    let tie = tie(server, user).await?;
    if tie == Tie::None {
        refuse("the user shares no room with users of this server");
        return Ok(());
    }
    let mut row = server.device_lists.row(user).unwrap_or_default();
    match place(row.stream_id, &row.seen, &update) {
        Place::Repeated => Ok(()),
        Place::Next if row.copy == DeviceListCopy::Good => put_in(server, origin, row, update).await,
        _ if row.copy == DeviceListCopy::None && tie < Tie::EncryptedRoom => {
            // Nobody needs to know what it is now, only that it is other than before.
            note_seen(&mut row.seen, update.stream_id);
            let position = server.positions.next().await?;
            row.changed_at = position.value();
            commit(server, Batch::default(), user, row, Some(position)).await
        }
        _ => {
            note_seen(&mut row.seen, update.stream_id);
            set_stale(server, user, row).await?;
            resync::wake(server, user);
            Ok(())
        }
    }
}

/// Puts the next update into our copy, if there is room for it.
async fn put_in(
    server: &Rc<Homeserver>,
    origin: &ServerName,
    mut row: DeviceListRow,
    update: Update,
) -> Result<(), StoreError> {
    let user = &update.user_id;
    let devices = server.database.scan_all::<ListedDevices, _>(&(user.clone(),)).await?;
    let before = devices.iter().find(|((_, id), _)| *id == update.device_id);
    let less = before.map_or(0, |((_, id), row)| bytes_of(id.as_str(), row));
    let key = (user.clone(), update.device_id.clone());
    let (mut batch, position) = (Batch::default(), server.positions.next().await?);
    let listed = ListedDeviceRow { display_name: update.device_display_name, keys: update.keys };
    let more = if update.deleted { 0 } else { bytes_of(update.device_id.as_str(), &listed) };
    let too_many = !update.deleted && before.is_none() && devices.len() >= LISTED_DEVICES_MAX;
    note_seen(&mut row.seen, update.stream_id);
    (row.stream_id, row.changed_at) = (update.stream_id, position.value());
    if too_many || !server.device_lists.fits(origin, less, more) {
        let rule = "there are more devices than are kept of one user, or of one server's users";
        refusals::note(server, origin, &format!("an update of the devices of {user}"), &rule);
        put_uncopied(server, &mut batch, user, &mut row).await?;
    } else {
        row.bytes = row.bytes.saturating_sub(less) + more;
        if update.deleted {
            batch.delete::<ListedDevices>(&key);
        } else {
            batch.put::<ListedDevices>(&key, &listed);
        }
    }
    commit(server, batch, user, row, Some(position)).await
}
