//! Events and ephemeral data that other servers push.
use std::rc::Rc;

use ruma::{OwnedServerName, api::federation::transactions::send_transaction_message::v1};

use crate::{
    api::ApiError,
    homeserver::{Homeserver, transactions},
};

/// `PUT /_matrix/federation/v1/send/{txnId}` (server-server API, "Transactions")
pub async fn send_transaction_message(
    homeserver: &Rc<Homeserver>,
    origin: OwnedServerName,
    request: v1::Request,
) -> Result<v1::Response, ApiError> {
    if request.origin != origin {
        return Err(ApiError::forbidden("The transaction names another origin than the one that signed it."));
    }
    let edus: Vec<_> = request.edus.into_iter().map(|edu| edu.into_json()).collect();
    let txn_id = request.transaction_id.as_str();
    let pdus = transactions::receive(homeserver, &origin, txn_id, request.pdus, &edus).await?;
    Ok(v1::Response::new(pdus))
}
