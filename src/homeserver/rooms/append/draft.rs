//! Events made here: drafted on top of the room, signed, judged and appended.
use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use ruma::{OwnedDeviceId, OwnedEventId};

use super::{Append, AppendError, Audience, Placement};
use crate::domain::{
    event::{
        Pdu,
        draft::{self, Draft},
        reference,
    },
    room::{admit::Verdict, extremities},
};

impl Append<'_> {
    /// Drafts, signs, judges and appends an event of a local user at the end of the room.
    pub async fn draft(
        &mut self,
        draft: Draft,
        client_txn: Option<(OwnedDeviceId, String)>,
    ) -> Result<Rc<Pdu>, AppendError> {
        let pdu = self.seal(draft).await?;
        self.append_local(pdu, client_txn).await
    }

    /// Drafts and signs an event on top of the room as it is, and checks that the rules allow it.
    pub async fn seal(&self, draft: Draft) -> Result<Pdu, AppendError> {
        let position = self.position_for(&draft).await?;
        let pdu = draft::seal(draft, position, &self.server.identity, &self.room.rules)?;
        match self.admit(&pdu, &self.live.state).await? {
            Verdict::Accepted => Ok(pdu),
            Verdict::SoftFailed { rule } | Verdict::Rejected { rule } => Err(AppendError::Forbidden(rule)),
        }
    }

    /// Appends an event that `seal` made in this append, or before others of the room were appended.
    pub async fn append_local(
        &mut self,
        pdu: Pdu,
        client_txn: Option<(OwnedDeviceId, String)>,
    ) -> Result<Rc<Pdu>, AppendError> {
        let heads = &self.live.heads;
        let is_newest = pdu.prev_events.len() == heads.len().min(extremities::PREV_EVENTS_MAX)
            && pdu.prev_events.iter().all(|prev| heads.contains(prev));
        let state_before = if is_newest { self.live.state.clone() } else { self.state_after(&pdu.prev_events).await? };
        if !is_newest {
            match self.admit(&pdu, &state_before).await? {
                Verdict::Accepted => {}
                Verdict::SoftFailed { rule } | Verdict::Rejected { rule } => return Err(AppendError::Forbidden(rule)),
            }
        }
        self.note_new(pdu.event_id.clone());
        self.place(pdu, state_before, Verdict::Accepted, Placement::Live, Audience::Room { except: None }, client_txn)
            .await
    }

    /// What a new event would cite now: `prev_events`, `auth_events`, depth and time.
    pub async fn position_for(&self, draft: &Draft) -> Result<draft::Position, AppendError> {
        let types = draft::auth_types(
            &draft.kind,
            &draft.sender,
            draft.state_key.as_deref(),
            &draft.content,
            &self.room.rules.authorization,
        )
        .map_err(AppendError::Forbidden)?;
        let auth_events =
            types.iter().filter_map(|(kind, key)| self.live.state.get(kind, key)).cloned().collect::<BTreeSet<_>>();
        let heads = self.require(&self.live.heads).await?;
        let heads: Vec<_> = heads.iter().map(|head| (head.pdu.event_id.clone(), head.pdu.depth)).collect();
        let (prev_events, depth) = extremities::cite(&heads);
        let auth_events: Vec<_> = auth_events.into_iter().collect();
        Ok(draft::Position {
            hashes: self.hashes_of(&[&*prev_events, &*auth_events].concat()).await?,
            prev_events,
            auth_events,
            depth,
            origin_server_ts: self.server.event_times.next(self.server.environment.clock.now_ms()),
        })
    }

    /// What room versions 1 and 2 want beside the ids of other events.
    async fn hashes_of(&self, ids: &[OwnedEventId]) -> Result<BTreeMap<OwnedEventId, String>, AppendError> {
        let rules = &self.room.rules;
        if !reference::has_hashes(rules) {
            return Ok(BTreeMap::new());
        }
        let events = self.require(ids).await?;
        Ok(events.iter().map(|event| (event.pdu.event_id.clone(), event.pdu.reference_hash(rules))).collect())
    }
}
