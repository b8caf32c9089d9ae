//! Unread notifications of local users: decided by their push rules when an event arrives.
use std::rc::Rc;

use super::{
    events::StoredEvent,
    rooms::append::{Append, AppendError},
};

/// Notes in the append's batch which local users `event` (at `order` in the timeline) notifies.
pub async fn record(_append: &mut Append<'_>, _event: &Rc<StoredEvent>, _order: i64) -> Result<(), AppendError> {
    Ok(())
}
