//! What notifies a user: the specification's predefined rules and the user's own, kept as account data `m.push_rules`.
use std::rc::Rc;

use ruma::{
    UserId,
    push::{
        Action, InsertPushRuleError, NewPushRule, PushCondition, RemovePushRuleError, RuleKind, RuleNotFoundError,
        Ruleset,
    },
};
use serde_json::{Value, json};
use thiserror::Error;

use super::{
    Homeserver,
    account_data::{self, AccountDataError},
};
use crate::{
    ports::{Batch, StoreError},
    storage::tables::{AccountData, AccountDataRow},
};

const TYPE: &str = "m.push_rules";

/// The most bytes the id of a rule may have.
pub const RULE_ID_MAX_BYTES: usize = 255;

/// The most bytes a pattern may have: each is held against the text of each event.
pub const PATTERN_MAX_BYTES: usize = 512;

/// The most rules a user may have, predefined ones included: each event of each room is held against them all.
pub const PUSH_RULES_MAX: usize = 500;

#[derive(Debug, Error)]
pub enum PushRuleError {
    #[error("there is no such push rule")]
    NotFound,
    #[error("predefined push rules cannot be removed")]
    Predefined,
    #[error(transparent)]
    Insert(#[from] InsertPushRuleError),
    #[error("a rule id is longer than {RULE_ID_MAX_BYTES} bytes")]
    RuleIdTooLong,
    #[error("a pattern is longer than {PATTERN_MAX_BYTES} bytes")]
    PatternTooLong,
    #[error("there are {PUSH_RULES_MAX} push rules already")]
    TooMany,
    #[error(transparent)]
    AccountData(#[from] AccountDataError),
}

impl From<RuleNotFoundError> for PushRuleError {
    fn from(_: RuleNotFoundError) -> Self {
        Self::NotFound
    }
}

/// Puts the rules of a new user into `batch`.
pub fn put_defaults(batch: &mut Batch, user_id: &UserId, position: u64) {
    let content = content_of(&Ruleset::server_default(user_id));
    batch.put::<AccountData>(&account_data::key(user_id, None, TYPE), &AccountDataRow { position, content });
}

/// The rules that hold for a user now.
pub async fn of_user(homeserver: &Homeserver, user_id: &UserId) -> Result<Ruleset, StoreError> {
    Ok(rules_in(account_data::get(homeserver, user_id, None, TYPE).await?, user_id))
}

/// Adds a rule, or replaces the one with its id, at the given place among the user's own of its kind.
pub async fn put(
    homeserver: &Rc<Homeserver>,
    user_id: &UserId,
    rule: NewPushRule,
    after: Option<&str>,
    before: Option<&str>,
) -> Result<(), PushRuleError> {
    if rule.rule_id().len() > RULE_ID_MAX_BYTES {
        return Err(PushRuleError::RuleIdTooLong);
    }
    if patterns(&rule).any(|pattern| pattern.len() > PATTERN_MAX_BYTES) {
        return Err(PushRuleError::PatternTooLong);
    }
    change(homeserver, user_id, |rules| {
        if [after, before].into_iter().flatten().any(|id| id.starts_with('.')) {
            return Err(InsertPushRuleError::RelativeToServerDefaultRule.into());
        }
        let (kind, rule_id) = (rule.kind(), rule.rule_id().to_owned());
        // Without a neighbour: ruma puts an existing rule one too far down, or beyond the end.
        rules.insert(rule, None, None)?;
        move_to(rules, kind, &rule_id, after, before)?;
        if rules.iter().count() > PUSH_RULES_MAX { Err(PushRuleError::TooMany) } else { Ok(()) }
    })
    .await
}

fn patterns(rule: &NewPushRule) -> impl Iterator<Item = &str> {
    let (pattern, conditions) = match rule {
        NewPushRule::Content(rule) => (Some(rule.pattern.as_str()), &[][..]),
        NewPushRule::Override(rule) | NewPushRule::Underride(rule) => (None, rule.conditions.as_slice()),
        _ => (None, &[][..]),
    };
    pattern.into_iter().chain(conditions.iter().filter_map(pattern_of))
}

fn pattern_of(condition: &PushCondition) -> Option<&str> {
    match condition {
        PushCondition::EventMatch(data) => Some(&data.pattern),
        _ => None,
    }
}

/// Puts a rule next to others of its kind: right after one, right before one, or both.
fn move_to(
    rules: &mut Ruleset,
    kind: RuleKind,
    rule_id: &str,
    after: Option<&str>,
    before: Option<&str>,
) -> Result<(), InsertPushRuleError> {
    if after.is_none() && before.is_none() {
        return Ok(());
    }
    macro_rules! move_in {
        ($rules:expr) => {{
            let place = |id: &str| $rules.get_index_of(id).ok_or(InsertPushRuleError::UnknownRuleId);
            let from = place(rule_id)?;
            let to = new_place(from, after.map(place).transpose()?, before.map(place).transpose()?)?;
            $rules.move_index(from, to);
        }};
    }
    match kind {
        RuleKind::Override => move_in!(rules.override_),
        RuleKind::Content => move_in!(rules.content),
        RuleKind::Room => move_in!(rules.room),
        RuleKind::Sender => move_in!(rules.sender),
        RuleKind::Underride => move_in!(rules.underride),
        _ => return Err(InsertPushRuleError::InvalidRuleId),
    }
    Ok(())
}

/// Where what is at `from` goes, so that it comes after one and before another as they are now.
fn new_place(from: usize, after: Option<usize>, before: Option<usize>) -> Result<usize, InsertPushRuleError> {
    if [after, before].contains(&Some(from)) {
        // It has no place next to itself.
        return Err(InsertPushRuleError::UnknownRuleId);
    }
    if let (Some(after), Some(before)) = (after, before)
        && before < after
    {
        return Err(InsertPushRuleError::BeforeHigherThanAfter);
    }
    let slot = before.or(after.map(|after| after + 1)).unwrap_or(from);
    // Taking it out first moves up what was below it.
    Ok(if from < slot { slot - 1 } else { slot })
}

pub async fn delete(
    homeserver: &Rc<Homeserver>,
    user_id: &UserId,
    kind: RuleKind,
    rule_id: &str,
) -> Result<(), PushRuleError> {
    change(homeserver, user_id, |rules| match rules.remove(kind, rule_id) {
        Ok(()) => Ok(()),
        Err(RemovePushRuleError::ServerDefault) => Err(PushRuleError::Predefined),
        // Not found; the enum is ruma's and open.
        Err(_) => Err(PushRuleError::NotFound),
    })
    .await
}

pub async fn set_enabled(
    homeserver: &Rc<Homeserver>,
    user_id: &UserId,
    kind: RuleKind,
    rule_id: &str,
    enabled: bool,
) -> Result<(), PushRuleError> {
    change(homeserver, user_id, |rules| Ok(rules.set_enabled(kind, rule_id, enabled)?)).await
}

pub async fn set_actions(
    homeserver: &Rc<Homeserver>,
    user_id: &UserId,
    kind: RuleKind,
    rule_id: &str,
    actions: Vec<Action>,
) -> Result<(), PushRuleError> {
    change(homeserver, user_id, |rules| Ok(rules.set_actions(kind, rule_id, actions)?)).await
}

async fn change(
    homeserver: &Rc<Homeserver>,
    user_id: &UserId,
    change: impl FnOnce(&mut Ruleset) -> Result<(), PushRuleError>,
) -> Result<(), PushRuleError> {
    account_data::update(homeserver, user_id, None, TYPE, |before| {
        let mut rules = rules_in(before, user_id);
        change(&mut rules)?;
        Ok(content_of(&rules))
    })
    .await
}

fn content_of(rules: &Ruleset) -> Value {
    json!({ "global": rules })
}

/// The stored rules brought up to the predefined ones that this version knows.
pub(super) fn rules_in(content: Option<Value>, user_id: &UserId) -> Ruleset {
    let defaults = Ruleset::server_default(user_id);
    let stored = content.and_then(|mut content| serde_json::from_value::<Ruleset>(content["global"].take()).ok());
    match stored {
        Some(mut rules) => {
            rules.update_with_server_default(defaults);
            rules
        }
        None => defaults,
    }
}
