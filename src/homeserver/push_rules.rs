//! What notifies a user: the specification's predefined rules and the user's own, kept as account data `m.push_rules`.
use std::rc::Rc;

use ruma::{
    UserId,
    push::{Action, InsertPushRuleError, NewPushRule, RemovePushRuleError, RuleKind, RuleNotFoundError, Ruleset},
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
    change(homeserver, user_id, |rules| {
        rules.insert(rule, after, before)?;
        if rules.iter().count() > PUSH_RULES_MAX { Err(PushRuleError::TooMany) } else { Ok(()) }
    })
    .await
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
