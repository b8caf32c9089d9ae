//! Who is there (client-server API, "Presence"): state without a clock. Times are milliseconds of any clock, always the same.
use std::collections::{BTreeMap, BTreeSet};

use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, UserId, presence::PresenceState};

/// How long a device is there after it was last heard of.
pub const HERE_AFTER_REQUEST_MS: u64 = 30_000;
/// How long after doing something a user counts as active right now, and no more is said about when that was.
pub const ACTIVE_FOR_MS: u64 = 60_000;
/// How long a user may do nothing before being taken for idle.
pub const IDLE_AFTER_MS: u64 = 5 * 60_000;
/// How long a user of another server stays as that server said, unless it says something again.
pub const REMOTE_LASTS_MS: u64 = 30 * 60_000;
/// How often other servers are told of a user who is there and does nothing new; less than they wait.
pub const REPEATED_EVERY_MS: u64 = 25 * 60_000;
/// The most users of other servers remembered; of further ones nothing is known.
pub const REMOTE_USERS_MAX: usize = 10_000;
/// The most devices of a user taken notice of at a time.
const DEVICES_MAX: usize = 100;

/// A user as others see one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub presence: PresenceState,
    pub status_msg: Option<String>,
    /// When the user last did something, if that is known.
    pub last_active_ms: Option<u64>,
    pub currently_active: bool,
}

impl Default for Status {
    fn default() -> Self {
        Self { presence: PresenceState::Offline, status_msg: None, last_active_ms: None, currently_active: false }
    }
}

impl Status {
    /// Whether others would be told of the difference: not of when somebody active was so.
    fn differs(&self, other: &Self) -> bool {
        (&self.presence, &self.status_msg, self.currently_active)
            != (&other.presence, &other.status_msg, other.currently_active)
    }
}

/// Whether a device that is there has somebody at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attention {
    Attended,
    Idle,
}

#[derive(Debug, Default)]
struct Own {
    devices: BTreeMap<OwnedDeviceId, (Attention, u64)>,
    /// The user said to be away, or not to be there, until doing something or syncing again.
    away: bool,
    hidden: bool,
    status_msg: Option<String>,
    last_active_ms: Option<u64>,
    told: Status,
    /// When others were last told.
    told_ms: u64,
}

impl Own {
    fn status(&self, now_ms: u64) -> Status {
        let here = || self.devices.values().filter(|(_, until_ms)| *until_ms > now_ms);
        let idle_ms = self.last_active_ms.map(|at_ms| now_ms.saturating_sub(at_ms));
        let presence = if self.hidden || here().next().is_none() {
            PresenceState::Offline
        } else if self.away
            || here().all(|(attention, _)| *attention == Attention::Idle)
            || idle_ms.is_none_or(|idle_ms| idle_ms >= IDLE_AFTER_MS)
        {
            PresenceState::Unavailable
        } else {
            PresenceState::Online
        };
        let currently_active =
            presence == PresenceState::Online && idle_ms.is_some_and(|idle_ms| idle_ms < ACTIVE_FOR_MS);
        let (status_msg, last_active_ms) = (self.status_msg.clone(), self.last_active_ms);
        Status { presence, status_msg, last_active_ms, currently_active }
    }

    /// When the status may next be another by itself, or others be told of it again.
    fn deadline_ms(&self, now_ms: u64) -> Option<u64> {
        let repeated_ms = self.told_ms + REPEATED_EVERY_MS;
        if self.told.presence == PresenceState::Offline {
            return None;
        }
        if repeated_ms <= now_ms || self.status(now_ms).differs(&self.told) {
            // Time went on since everybody was last looked at.
            return Some(now_ms);
        }
        let gone = self.devices.values().map(|(_, until_ms)| *until_ms).max();
        let idle = self.last_active_ms.into_iter().flat_map(|at_ms| [at_ms + ACTIVE_FOR_MS, at_ms + IDLE_AFTER_MS]);
        idle.chain(gone).chain([repeated_ms]).filter(|deadline_ms| *deadline_ms > now_ms).min()
    }

    fn hear_of(&mut self, device: &DeviceId, attention: Attention, now_ms: u64, until_ms: u64) {
        self.devices.retain(|_, (_, until_ms)| *until_ms > now_ms);
        if self.devices.contains_key(device) || self.devices.len() < DEVICES_MAX {
            self.devices.insert(device.to_owned(), (attention, until_ms));
        }
    }
}

#[derive(Debug)]
struct Remote {
    status: Status,
    until_ms: u64,
}

/// What has become of everybody's presence.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// Whom everybody is to be told of, and whom other servers are to be told of once more.
    pub changed: BTreeSet<OwnedUserId>,
    pub repeated: BTreeSet<OwnedUserId>,
}

/// Everybody who was there since the start.
#[derive(Debug, Default)]
pub struct Presences {
    own: BTreeMap<OwnedUserId, Own>,
    remote: BTreeMap<OwnedUserId, Remote>,
}

impl Presences {
    /// What is known of a user; `None` if nothing is.
    pub fn status(&self, user: &UserId, now_ms: u64) -> Option<Status> {
        match self.own.get(user) {
            Some(own) => Some(own.status(now_ms)),
            None => self.remote.get(user).map(|remote| remote.status.clone()),
        }
    }

    /// Everybody who is not offline as others were last told.
    pub fn here(&self) -> impl Iterator<Item = &OwnedUserId> {
        let own = self.own.iter().filter(|(_, own)| own.told.presence != PresenceState::Offline);
        let remote = self.remote.iter().filter(|(_, remote)| remote.status.presence != PresenceState::Offline);
        own.map(|(user, _)| user).chain(remote.map(|(user, _)| user))
    }

    /// Takes in what an earlier run knew of a user of ours, unless this one knows better.
    pub fn recall(&mut self, user: &UserId, status_msg: Option<String>, last_active_ms: Option<u64>) {
        let told = Status { status_msg: status_msg.clone(), last_active_ms, ..Status::default() };
        let own = Own { status_msg, last_active_ms, told, ..Own::default() };
        self.own.entry(user.to_owned()).or_insert(own);
    }

    pub fn knows_own(&self, user: &UserId) -> bool {
        self.own.contains_key(user)
    }

    /// A device syncs for up to `wait_ms` from `now_ms` on. Returns whether others are to be told.
    pub fn synced(
        &mut self,
        user: &UserId,
        device: &DeviceId,
        attention: Attention,
        now_ms: u64,
        wait_ms: u64,
    ) -> bool {
        let own = self.own.entry(user.to_owned()).or_default();
        let was_here = own.devices.values().any(|(_, until_ms)| *until_ms > now_ms);
        own.hear_of(device, attention, now_ms, now_ms + wait_ms + HERE_AFTER_REQUEST_MS);
        if attention == Attention::Attended && (!was_here || own.hidden) {
            // Coming is something that a user does.
            own.last_active_ms = Some(now_ms);
            own.away = false;
        }
        own.hidden = false;
        self.settle(user, now_ms)
    }

    /// The user says how to be shown, by a device. Returns whether others are to be told.
    pub fn set(
        &mut self,
        user: &UserId,
        device: &DeviceId,
        presence: &PresenceState,
        status_msg: Option<String>,
        now_ms: u64,
    ) -> bool {
        let own = self.own.entry(user.to_owned()).or_default();
        own.status_msg = status_msg;
        own.hidden = *presence == PresenceState::Offline;
        own.away = *presence == PresenceState::Unavailable;
        if !own.hidden {
            let until_ms = own.devices.get(device).map_or(0, |(_, until_ms)| *until_ms);
            let until_ms = until_ms.max(now_ms + HERE_AFTER_REQUEST_MS);
            own.hear_of(device, Attention::Attended, now_ms, until_ms);
        }
        // Changing what one is shown as is activity, but for saying that there is none.
        if *presence == PresenceState::Online || own.last_active_ms.is_none() {
            own.last_active_ms = Some(now_ms);
        }
        self.settle(user, now_ms)
    }

    /// The user did something, such as saying something. Returns whether others are to be told.
    pub fn active(&mut self, user: &UserId, now_ms: u64) -> bool {
        let Some(own) = self.own.get_mut(user) else { return false };
        own.last_active_ms = Some(now_ms);
        own.away = false;
        for (attention, until_ms) in own.devices.values_mut() {
            if *until_ms > now_ms {
                *attention = Attention::Attended;
            }
        }
        self.settle(user, now_ms)
    }

    /// Another server says how a user of its is. Returns whether clients are to be told.
    pub fn heard(&mut self, user: &UserId, status: Status, now_ms: u64) -> bool {
        if !self.remote.contains_key(user) && self.remote.len() >= REMOTE_USERS_MAX {
            let offline = |(_, remote): &(_, &Remote)| remote.status.presence == PresenceState::Offline;
            let Some(gone) = self.remote.iter().find(offline).map(|(user, _)| user.clone()) else { return false };
            self.remote.remove(&gone);
        }
        let remote = Remote { status, until_ms: now_ms + REMOTE_LASTS_MS };
        let differs = |before: &Status| remote.status.differs(before);
        let changed = differs(self.remote.get(user).map_or(&Status::default(), |before| &before.status));
        self.remote.insert(user.to_owned(), remote);
        changed
    }

    /// What time alone has changed by `now_ms`.
    pub fn expire(&mut self, now_ms: u64) -> Expired {
        let mut expired = Expired::default();
        let own: Vec<OwnedUserId> = self.own.keys().cloned().collect();
        for user in own {
            if self.settle(&user, now_ms) {
                expired.changed.insert(user);
                continue;
            }
            let own = self.own.get_mut(&user).expect("nobody is forgotten");
            if own.told.presence != PresenceState::Offline && now_ms >= own.told_ms + REPEATED_EVERY_MS {
                own.told_ms = now_ms;
                expired.repeated.insert(user);
            }
        }
        for (user, remote) in &mut self.remote {
            if remote.until_ms <= now_ms && remote.status.presence != PresenceState::Offline {
                remote.status.presence = PresenceState::Offline;
                remote.status.currently_active = false;
                expired.changed.insert(user.clone());
            }
        }
        expired
    }

    /// When [`Presences::expire`] may next have something to do.
    pub fn next_deadline_ms(&self, now_ms: u64) -> Option<u64> {
        let own = self.own.values().filter_map(|own| own.deadline_ms(now_ms));
        let remote = self.remote.values().filter(|remote| remote.status.presence != PresenceState::Offline);
        own.chain(remote.map(|remote| remote.until_ms)).min()
    }

    fn settle(&mut self, user: &UserId, now_ms: u64) -> bool {
        let Some(own) = self.own.get_mut(user) else { return false };
        let status = own.status(now_ms);
        let changed = status.differs(&own.told);
        if changed {
            own.told_ms = now_ms;
        }
        own.told = status;
        changed
    }
}

#[cfg(test)]
mod tests {
    use ruma::{device_id, presence::PresenceState::*};

    use super::*;
    use crate::domain::test_room::user;

    const MINUTE_MS: u64 = 60_000;

    fn shown(presences: &Presences, now_ms: u64) -> (PresenceState, bool) {
        let status = presences.status(&user(1), now_ms).unwrap();
        (status.presence, status.currently_active)
    }

    #[test]
    fn whoever_syncs_is_there_and_whoever_stops_is_not() {
        let mut all = Presences::default();
        let phone = device_id!("PHONE");
        assert_eq!(all.status(&user(1), 0), None);
        assert!(all.synced(&user(1), phone, Attention::Attended, 0, 30_000));
        assert_eq!(shown(&all, 0), (Online, true));
        assert!(!all.synced(&user(1), phone, Attention::Attended, 30_000, 30_000), "goes on");
        assert_eq!(all.next_deadline_ms(30_000), Some(MINUTE_MS));
        assert_eq!(all.next_deadline_ms(MINUTE_MS + 1), Some(MINUTE_MS + 1), "what was missed is due at once");
        assert_eq!(all.expire(MINUTE_MS).changed, [user(1)].into(), "no longer active right now");
        assert_eq!(shown(&all, MINUTE_MS), (Online, false));
        assert_eq!(all.expire(89_999), Expired::default());
        assert_eq!(all.expire(90_000).changed, [user(1)].into());
        assert_eq!(shown(&all, 90_000), (Offline, false));
        assert_eq!(all.next_deadline_ms(90_000), None, "nothing more happens by itself");
    }

    #[test]
    fn whoever_does_nothing_is_idle_until_doing_something() {
        let mut all = Presences::default();
        let phone = device_id!("PHONE");
        all.synced(&user(1), phone, Attention::Attended, 0, MINUTE_MS);
        for minute in 1..=5 {
            all.expire(minute * MINUTE_MS);
            all.synced(&user(1), phone, Attention::Attended, minute * MINUTE_MS, MINUTE_MS);
        }
        all.expire(IDLE_AFTER_MS);
        assert_eq!(shown(&all, IDLE_AFTER_MS), (Unavailable, false));
        assert!(all.active(&user(1), IDLE_AFTER_MS + 1));
        assert_eq!(shown(&all, IDLE_AFTER_MS + 1), (Online, true));
        assert!(!all.active(&user(1), IDLE_AFTER_MS + 2), "of those active right now no more is said");
        assert!(!all.active(&user(2), 0), "whoever is not there does nothing here");
    }

    #[test]
    fn what_a_user_says_holds_until_the_user_does_otherwise() {
        let mut all = Presences::default();
        let (phone, desk) = (device_id!("PHONE"), device_id!("DESK"));
        all.synced(&user(1), phone, Attention::Attended, 0, 30_000);
        assert!(all.set(&user(1), phone, &Unavailable, Some("lunch".into()), 1));
        assert!(!all.synced(&user(1), phone, Attention::Attended, 2, 30_000), "syncing is not doing something");
        assert_eq!(shown(&all, 2), (Unavailable, false));
        assert!(all.active(&user(1), 3));
        assert_eq!(all.status(&user(1), 3).unwrap().status_msg.as_deref(), Some("lunch"));
        assert!(all.set(&user(1), phone, &Offline, None, 4));
        assert_eq!(shown(&all, 4), (Offline, false));
        assert!(all.synced(&user(1), phone, Attention::Attended, 5, 0));
        assert_eq!(shown(&all, 5), (Online, true));
        assert!(all.synced(&user(1), phone, Attention::Idle, 6, 0));
        assert_eq!(shown(&all, 6).0, Unavailable);
        assert!(all.synced(&user(1), desk, Attention::Attended, 7, 0), "one device with somebody at it is enough");
        assert_eq!(shown(&all, 7).0, Online);
    }

    #[test]
    fn another_server_is_believed_for_half_an_hour() {
        let mut all = Presences::default();
        let status = Status { presence: Online, currently_active: true, last_active_ms: Some(0), status_msg: None };
        assert!(all.heard(&user(1), status.clone(), 0));
        assert!(!all.heard(&user(1), Status { last_active_ms: Some(5), ..status.clone() }, 5));
        assert_eq!(all.expire(REMOTE_LASTS_MS + 4), Expired::default());
        assert_eq!(all.expire(REMOTE_LASTS_MS + 5).changed, [user(1)].into());
        assert_eq!(shown(&all, REMOTE_LASTS_MS + 5), (Offline, false));
        let nobody: [&OwnedUserId; 0] = [];
        assert_eq!(all.here().collect::<Vec<_>>(), nobody);
    }

    #[test]
    fn others_are_reminded_of_whoever_stays() {
        let mut all = Presences::default();
        all.set(&user(1), device_id!("PHONE"), &Unavailable, None, 0);
        all.synced(&user(1), device_id!("PHONE"), Attention::Idle, 0, 2 * REPEATED_EVERY_MS);
        all.expire(IDLE_AFTER_MS);
        assert_eq!(all.expire(REPEATED_EVERY_MS).repeated, [user(1)].into());
        assert_eq!(all.expire(REPEATED_EVERY_MS), Expired::default());
    }

    #[test]
    fn there_is_an_end_to_whom_it_remembers() {
        let mut all = Presences::default();
        let user = |n: usize| UserId::parse(format!("@u{n}:example.org")).unwrap();
        let online = Status { presence: Online, ..Status::default() };
        for n in 0..REMOTE_USERS_MAX {
            all.heard(&user(n), online.clone(), 0);
        }
        assert!(!all.heard(&user(REMOTE_USERS_MAX), online.clone(), 0));
        all.heard(&user(7), Status::default(), 0);
        assert!(all.heard(&user(REMOTE_USERS_MAX), online, 0), "whoever is gone makes room");
        for n in 0..2 * DEVICES_MAX {
            all.synced(&user(1), &OwnedDeviceId::from(format!("D{n}")), Attention::Attended, 0, 0);
        }
        assert_eq!(all.own[&user(1)].devices.len(), DEVICES_MAX);
    }
}
