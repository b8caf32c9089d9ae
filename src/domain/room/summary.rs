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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::test_room::user;

    fn summary(members: &[(u8, &str)], viewer: u8) -> (Vec<u8>, u64, u64) {
        let members: Vec<_> =
            members.iter().map(|(n, membership)| (user(*n), MembershipState::from(*membership))).collect();
        let Summary { heroes, joined, invited } =
            summarize(members.iter().map(|(user, membership)| (&**user, membership)), &user(viewer));
        let number = |hero: &OwnedUserId| (0..=u8::MAX).find(|n| user(*n) == *hero).unwrap();
        (heroes.iter().map(number).collect(), joined, invited)
    }

    #[test]
    fn heroes_are_the_first_five_others() {
        let members =
            [(9, "join"), (3, "join"), (0, "join"), (7, "invite"), (1, "leave"), (2, "join"), (4, "join"), (5, "join")];
        assert_eq!(summary(&members, 0), (vec![9, 3, 7, 2, 4], 6, 1));
        assert_eq!(summary(&members, 9), (vec![3, 0, 7, 2, 4], 6, 1));
    }

    #[test]
    fn those_who_left_are_named_when_nobody_else_is_there() {
        assert_eq!(summary(&[(0, "join"), (1, "leave"), (2, "ban"), (3, "knock")], 0), (vec![1, 2], 1, 0));
        assert_eq!(summary(&[(0, "join"), (1, "leave"), (2, "invite")], 0), (vec![2], 1, 1));
        assert_eq!(summary(&[(0, "join")], 0), (vec![], 1, 0));
        assert_eq!(summary(&[], 0), (vec![], 0, 0));
        let all_left: Vec<_> = (0..9).map(|n| (n, "leave")).collect();
        assert_eq!(summary(&all_left, 0), (vec![1, 2, 3, 4, 5], 0, 0));
    }
}
