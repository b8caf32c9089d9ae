//! Why a host did not start, as the page is told.
use wasm_bindgen::prelude::*;

use warren::{
    homeserver::{StartError, identity::IdentityError},
    ports::StoreError,
};

/// `HostErrorCode` of `www/protocol/messages.ts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    StorageUnavailable,
    StorageFull,
    NewerSchema,
    Fenced,
    Internal,
}

impl Code {
    fn as_str(self) -> &'static str {
        match self {
            Self::StorageUnavailable => "storage_unavailable",
            Self::StorageFull => "storage_full",
            Self::NewerSchema => "newer_schema",
            Self::Fenced => "fenced",
            Self::Internal => "internal",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostError {
    pub code: Code,
    pub message: String,
}

impl HostError {
    pub fn internal(message: impl Into<String>) -> Self {
        Self { code: Code::Internal, message: message.into() }
    }
}

impl From<StoreError> for HostError {
    fn from(error: StoreError) -> Self {
        let code = match error {
            StoreError::QuotaExceeded => Code::StorageFull,
            StoreError::Fenced => Code::Fenced,
            StoreError::NewerSchema => Code::NewerSchema,
            StoreError::Backend(_) => Code::StorageUnavailable,
        };
        Self { code, message: error.to_string() }
    }
}

impl From<IdentityError> for HostError {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::Store(error) => error.into(),
            IdentityError::Suffix(_)
            | IdentityError::AnothersKey(_)
            | IdentityError::Renamed { .. }
            | IdentityError::NoneYet
            | IdentityError::KeyForGood(_)
            | IdentityError::TooManyKeys => Self::internal(error.to_string()),
        }
    }
}

impl From<StartError> for HostError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Store(error) => error.into(),
        }
    }
}

impl From<HostError> for JsValue {
    fn from(error: HostError) -> Self {
        let object = js_sys::Object::new();
        // Setting a property of a plain object does not fail.
        let _ = js_sys::Reflect::set(&object, &"code".into(), &error.code.as_str().into());
        let _ = js_sys::Reflect::set(&object, &"message".into(), &error.message.into());
        object.into()
    }
}
