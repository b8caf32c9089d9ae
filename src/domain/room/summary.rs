//! The room summary of `/sync` (client-server API, "Syncing"): whom to name a room after, and how many are in it.
use ruma::{OwnedUserId, UserId, events::room::member::MembershipState};

/// How many members a summary names.
pub const HEROES_MAX: usize = 5;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub heroes: Vec<OwnedUserId>,
    pub joined: u64,
    pub invited: u64,
}

/// Summarizes `members`, given in the order their membership events entered the room, for `viewer`, who is counted
/// but is never a hero. Members who left or are banned are heroes only where nobody else is left to name.
pub fn summarize<'a>(members: impl IntoIterator<Item = (&'a UserId, &'a MembershipState)>, viewer: &UserId) -> Summary {
    let mut summary = Summary::default();
    let mut gone = Vec::new();
    for (user, membership) in members {
        let heroes = match membership {
            MembershipState::Join => {
                summary.joined += 1;
                &mut summary.heroes
            }
            MembershipState::Invite => {
                summary.invited += 1;
                &mut summary.heroes
            }
            MembershipState::Leave | MembershipState::Ban => &mut gone,
            _ => continue,
        };
        if user != viewer && heroes.len() < HEROES_MAX {
            heroes.push(user.to_owned());
        }
    }
    if summary.heroes.is_empty() {
        summary.heroes = gone;
    }
    summary
}
