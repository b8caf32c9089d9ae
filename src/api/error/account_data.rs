//! Account data, and what is kept in or beside it: tags, push rules, filters, profiles.
use http::StatusCode;
use ruma::api::error::ErrorKind;

use super::ApiError;
use crate::homeserver::{
    account_data::AccountDataError, filters::FilterError, profiles::ProfileError, push_rules::PushRuleError,
    tags::TagError,
};

impl From<AccountDataError> for ApiError {
    fn from(error: AccountDataError) -> Self {
        let message = error.to_string();
        match error {
            AccountDataError::Managed => Self::new(StatusCode::METHOD_NOT_ALLOWED, ErrorKind::BadJson, message),
            AccountDataError::NotAnObject => Self::bad_json(message),
            AccountDataError::BadType => Self::invalid_param(message),
            AccountDataError::TooLarge | AccountDataError::TooManyTypes => Self::too_large(message),
            AccountDataError::Store(error) => error.into(),
        }
    }
}

impl From<TagError> for ApiError {
    fn from(error: TagError) -> Self {
        let message = error.to_string();
        match error {
            TagError::BadName | TagError::BadOrder => Self::invalid_param(message),
            TagError::TooMany => Self::too_large(message),
            TagError::AccountData(error) => error.into(),
        }
    }
}

impl From<PushRuleError> for ApiError {
    fn from(error: PushRuleError) -> Self {
        let message = error.to_string();
        match error {
            PushRuleError::NotFound => Self::not_found(message),
            PushRuleError::Predefined
            | PushRuleError::Insert(_)
            | PushRuleError::RuleIdTooLong
            | PushRuleError::PatternTooLong => Self::invalid_param(message),
            PushRuleError::TooMany => Self::too_large(message),
            PushRuleError::AccountData(error) => error.into(),
        }
    }
}

impl From<FilterError> for ApiError {
    fn from(error: FilterError) -> Self {
        let message = error.to_string();
        match error {
            FilterError::TooLarge | FilterError::TooMany => Self::too_large(message),
            FilterError::NotFound => Self::not_found(message),
            FilterError::Store(error) => error.into(),
        }
    }
}

impl From<ProfileError> for ApiError {
    fn from(error: ProfileError) -> Self {
        let message = error.to_string();
        match error {
            ProfileError::NoUser | ProfileError::NoField => Self::not_found(message),
            ProfileError::BadFieldName | ProfileError::BadValue(_) => Self::invalid_param(message),
            ProfileError::FieldNameTooLong => Self::new(StatusCode::BAD_REQUEST, ErrorKind::KeyTooLarge, message),
            ProfileError::DisplaynameTooLong => Self::too_large(message),
            ProfileError::TooLarge => Self::new(StatusCode::BAD_REQUEST, ErrorKind::ProfileTooLarge, message),
            ProfileError::Peer(error) => error.into(),
            ProfileError::Store(error) => error.into(),
        }
    }
}
