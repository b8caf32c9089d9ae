//! Messages to single devices.
use super::ApiError;
use crate::homeserver::to_device::ToDeviceError;

impl From<ToDeviceError> for ApiError {
    fn from(error: ToDeviceError) -> Self {
        let message = error.to_string();
        match error {
            ToDeviceError::Store(error) => error.into(),
            ToDeviceError::BadKind => Self::invalid_param(message),
            ToDeviceError::TooMany | ToDeviceError::TooLarge => Self::too_large(message),
        }
    }
}
