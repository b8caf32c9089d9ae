//! Messages to the device that syncs.
use ruma::{events::AnyToDeviceEvent, serde::Raw};
use serde_json::json;

use crate::storage::tables::ToDeviceRow;

pub fn events(messages: &[ToDeviceRow]) -> Vec<Raw<AnyToDeviceEvent>> {
    let event = |row: &ToDeviceRow| json!({ "type": row.kind, "sender": row.sender, "content": row.content });
    let raw = |row| Raw::from_json(serde_json::value::to_raw_value(&event(row)).expect("a JSON value is JSON"));
    messages.iter().map(raw).collect()
}
