//! The wire between the homeservers of a benchmark: requests arrive at once, and transactions can be kept instead of
//! delivered, so that one server's real, signed transactions can be timed where they arrive.
use std::{
    cell::RefCell,
    collections::BTreeMap,
    rc::{Rc, Weak},
};

use bytes::Bytes;
use futures::{channel::oneshot, future::LocalBoxFuture};
use ruma::{OwnedServerName, ServerName};
use serde_json::json;
use warren::{
    api::{self, Origin},
    domain::identity::PublicKey,
    homeserver::Homeserver,
    ports::{Lane, Transport, TransportError},
};

/// What becomes of transactions.
#[derive(Default)]
pub enum Transactions {
    #[default]
    Delivered,
    /// Not answered until something else becomes of transactions, and then lost: what is sent meanwhile queues up.
    Held(Vec<oneshot::Sender<()>>),
    /// Answered as if taken, and kept here.
    Kept(Vec<api::Request>),
}

#[derive(Default)]
struct State {
    servers: BTreeMap<OwnedServerName, Weak<Homeserver>>,
    transactions: Transactions,
}

#[derive(Clone, Default)]
pub struct Wire(Rc<RefCell<State>>);

impl Wire {
    pub fn attach(&self, homeserver: &Rc<Homeserver>) {
        self.0.borrow_mut().servers.insert(homeserver.server_name().to_owned(), Rc::downgrade(homeserver));
    }

    /// Changes what becomes of transactions from now on; returns what it was.
    pub fn set_transactions(&self, transactions: Transactions) -> Transactions {
        std::mem::replace(&mut self.0.borrow_mut().transactions, transactions)
    }
}

/// One homeserver's end of the wire.
pub struct End {
    pub wire: Wire,
    pub key: PublicKey,
    pub name: OwnedServerName,
}

impl Transport for End {
    fn request(
        &self,
        destination: OwnedServerName,
        lane: Lane,
        request: http::Request<Bytes>,
    ) -> LocalBoxFuture<'static, Result<http::Response<Bytes>, TransportError>> {
        let mut state = self.wire.0.borrow_mut();
        if lane == Lane::Transactions {
            match &mut state.transactions {
                Transactions::Delivered => {}
                Transactions::Held(held) => {
                    let (sender, receiver) = oneshot::channel();
                    held.push(sender);
                    return Box::pin(async move {
                        let _lost = receiver.await;
                        Err(TransportError::TimedOut { server: destination })
                    });
                }
                Transactions::Kept(kept) => {
                    kept.push(request);
                    let taken = http::Response::new(Bytes::from(json!({ "pdus": {} }).to_string()));
                    return Box::pin(async { Ok(taken) });
                }
            }
        }
        let (server, origin) = (state.servers.get(&destination).and_then(Weak::upgrade), Origin::Peer(self.key));
        Box::pin(async move {
            match server {
                Some(server) => Ok(api::handle(&server, request, origin).await),
                None => Err(TransportError::Unreachable { server: destination, reason: "nobody is there".to_owned() }),
            }
        })
    }

    fn connected(&self) -> Vec<OwnedServerName> {
        self.wire.0.borrow().servers.keys().filter(|name| **name != self.name).cloned().collect()
    }

    fn add_address_hints(&self, _server: &ServerName, _addresses: Vec<String>) {}
}
