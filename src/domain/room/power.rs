//! Who may do what, where the answer is the server's own and not part of the authorization rules.
use std::rc::Rc;

use ruma::{
    Int, UserId,
    room_version_rules::AuthorizationRules,
    state_res::events::{RoomCreateEvent, RoomPowerLevelsEvent, RoomPowerLevelsIntField},
};

use crate::domain::event::{Pdu, SharedPdu};

/// The power of `user`: a creator's is infinite where the room version says so, else what the power levels give, else
/// 100 for the creator of a room that has none.
pub fn power_of(
    user: &UserId,
    create: &Rc<Pdu>,
    levels: Option<&Rc<Pdu>>,
    rules: &AuthorizationRules,
) -> Result<Int, String> {
    let creators = RoomCreateEvent::new(SharedPdu(create.clone())).creators(rules)?;
    let is_creator = creators.contains(user);
    if is_creator && rules.explicitly_privilege_room_creators {
        return Ok(Int::MAX);
    }
    match levels {
        Some(levels) => RoomPowerLevelsEvent::new(SharedPdu(levels.clone())).user_power_level(user, rules),
        None if is_creator => Ok(100.into()),
        None => Ok(0.into()),
    }
}

/// Whether `user` has the power to redact events of others.
pub fn may_redact(
    user: &UserId,
    create: &Rc<Pdu>,
    levels: Option<&Rc<Pdu>>,
    rules: &AuthorizationRules,
) -> Result<bool, String> {
    let field = RoomPowerLevelsIntField::Redact;
    let needed = match levels {
        Some(levels) => RoomPowerLevelsEvent::new(SharedPdu(levels.clone())).get_as_int_or_default(field, rules)?,
        None => field.default_value(),
    };
    Ok(power_of(user, create, levels, rules)? >= needed)
}
