//! What a local user may not relate an event to.
use thiserror::Error;

use super::children_in;
use crate::{
    domain::event::relation::{ANNOTATION, Relation, THREAD, relation_in},
    homeserver::rooms::{append::Append, send::Message},
    ports::StoreError,
    storage::Direction,
};

/// Annotations of an event looked through for one that says the same.
const ANNOTATIONS_LOOKED_AT_MAX: usize = 2_000;

#[derive(Debug, Error)]
pub enum RelationError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Client-server API, "Avoiding duplicate annotations".
    #[error("you have annotated this event with this already")]
    Duplicate,
    /// Client-server API, "Validation of m.thread relationships".
    #[error("a thread cannot start at an event that relates to another")]
    ThreadOfChild,
}

/// Checks what `message` relates to.
pub async fn check(append: &Append<'_>, message: &Message) -> Result<(), RelationError> {
    if !message.content.contains_key("m.relates_to") {
        return Ok(());
    }
    let content = serde_json::to_string(&message.content).expect("canonical JSON always serializes");
    let Some(Relation { rel_type, parent, key }) = relation_in(&content) else { return Ok(()) };
    if rel_type == THREAD {
        let root = append.event(&parent).await?;
        if root.is_some_and(|root| root.pdu.relation().is_some()) {
            return Err(RelationError::ThreadOfChild);
        }
    }
    if rel_type == ANNOTATION {
        let all = (i64::MIN, i64::MAX);
        let of = (&parent, ANNOTATION);
        let rows =
            children_in(append.server, &append.room, of, all, Direction::Descending, ANNOTATIONS_LOOKED_AT_MAX).await?;
        let kind = message.kind.to_string();
        if rows.iter().any(|(_, row)| row.sender == message.sender && row.kind == kind && row.key == key) {
            return Err(RelationError::Duplicate);
        }
    }
    Ok(())
}
