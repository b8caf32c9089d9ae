//! The threads of a room, the one with the latest event first (client-server API, "Querying threads in a room").
use std::rc::Rc;

use ruma::{OwnedEventId, RoomId, UserId};

use super::{catch_up, related};
use crate::{
    domain::sync_token::{PageToken, TimelineToken},
    homeserver::{
        Homeserver,
        events::StoredEvent,
        messages::order_of,
        room_view::{ReadError, RoomView},
        user_rows,
        visibility::{Eyes, Seen},
    },
    storage::{Direction, tables::Threads as Table},
};

/// Threads of a page when nothing is said, and at most.
pub const THREADS_PER_PAGE_DEFAULT: usize = 20;
pub const THREADS_PER_PAGE_MAX: usize = 100;
/// Threads looked at for one page, however many of them are hidden or unwanted.
const THREADS_LOOKED_AT_MAX: usize = 1_000;
/// Threads read in one step.
const THREADS_PER_STEP: usize = 100;

pub struct Threads {
    pub roots: Vec<Seen>,
    /// Where to go on; `None` at the end.
    pub next: Option<TimelineToken>,
}

/// One page of the roots of threads; `participated` leaves out those the user wrote nothing in.
///
/// A thread stands where its latest event does, whoever sent that.
pub async fn page(
    server: &Rc<Homeserver>,
    room_id: &RoomId,
    user: &UserId,
    participated: bool,
    from: Option<PageToken>,
    limit: Option<usize>,
) -> Result<Threads, ReadError> {
    let view = RoomView::open(server, room_id, user).await?;
    catch_up::whole(server, &view.room).await?;
    let eyes = Eyes::open(server, &view.room, user).await?;
    let ignored = user_rows::digest(server, user).await?.ignored;
    let limit = limit.unwrap_or(THREADS_PER_PAGE_DEFAULT).clamp(1, THREADS_PER_PAGE_MAX);
    let mut through = from.map_or(i64::MAX, order_of);
    let mut page = Threads { roots: Vec::new(), next: None };
    for _ in 0..THREADS_LOOKED_AT_MAX / THREADS_PER_STEP {
        let (start, end) = ((view.room.num, i64::MIN), (view.room.num, through.saturating_add(1)));
        let scan = server.database.scan_range::<Table>(&start, &end, Direction::Descending, THREADS_PER_STEP);
        let rows = scan.await?;
        let whole = rows.len() < THREADS_PER_STEP;
        let ids: Vec<OwnedEventId> = rows.iter().map(|(_, id)| id.clone()).collect();
        let roots = server.rooms.events.get_many(&ids).await?;
        let tallies = related(server, &view.room, &ids).await?;
        for (((_, order), root), tally) in rows.into_iter().map(|(key, _)| key).zip(roots).zip(tallies) {
            if page.roots.len() == limit {
                page.next = Some(TimelineToken(through));
                return Ok(page);
            }
            through = order - 1;
            let Some(root) = root.filter(|root| root.is_accepted() && root.pdu.relation().is_none()) else { continue };
            let thread = tally.and_then(|row| row.thread).unwrap_or_default();
            if participated && root.pdu.sender != user && !thread.senders.contains_key(user) {
                continue;
            }
            let is_ignored = ignored.contains(&root.pdu.sender);
            if thread.others == 0 && thread.senders.keys().all(|sender| ignored.contains(sender)) {
                continue;
            }
            if let Some(seen) = eyes.look(root).await? {
                page.roots.push(if is_ignored { redacted(&seen, &view) } else { seen });
            }
        }
        if whole {
            return Ok(page);
        }
    }
    page.next = Some(TimelineToken(through));
    Ok(page)
}

/// The root as it is shown of senders the user does not want to hear: without its content.
fn redacted(seen: &Seen, view: &RoomView) -> Seen {
    let StoredEvent { pdu, header } = &*seen.event;
    let event = StoredEvent { pdu: Rc::new(pdu.redacted(&view.room.rules)), header: header.clone() };
    Seen { event: Rc::new(event), membership: seen.membership.clone() }
}
