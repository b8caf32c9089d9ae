//! Peer connections that a page makes for us: a worker cannot make them, but it can use their channels.
//!
//! The page answers calls and passes on events, as `www/host/rtc-broker.ts` does; every channel but `init` is
//! transferred to us when it is made, so that the page carries no data.
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use futures::{FutureExt, channel::oneshot};
use libp2p_identity::PeerId;
use send_wrapper::SendWrapper;
use wasm_bindgen::prelude::*;
use web_sys::{MessageEvent, MessagePort, RtcDataChannel};

use super::{
    candidate_of, channel,
    events::{Events, state_of},
    refused,
};
use crate::{
    backend::{Call, PeerConnection, RtcBackend, RtcError, RtcEvent, ice::IceConfiguration},
    signaling::candidate::Candidate,
    stream::{Budget, Pipe},
};

/// Has peer connections made by the page at the other end of a port.
pub struct BrokeredBackend(SendWrapper<Rc<Broker>>);

struct Broker {
    port: MessagePort,
    configuration: IceConfiguration,
    connections: Rc<RefCell<BTreeMap<u32, Rc<Remote>>>>,
    last: Cell<u32>,
    _on_message: Closure<dyn Fn(MessageEvent)>,
}

/// One connection, as far as it is here.
#[derive(Default)]
struct Remote {
    events: Events,
    budget: Arc<Budget>,
    calls: RefCell<BTreeMap<u32, oneshot::Sender<Result<Answer, RtcError>>>>,
    last_call: Cell<u32>,
}

/// What the page answers to a call.
enum Answer {
    Channel(Pipe),
    Description(String),
    Done,
}

impl BrokeredBackend {
    /// Nobody else may listen on `port`.
    pub fn new(port: MessagePort, configuration: IceConfiguration) -> Self {
        let connections = Rc::<RefCell<BTreeMap<u32, Rc<Remote>>>>::default();
        let known = connections.clone();
        let on_message = Closure::<dyn Fn(MessageEvent)>::new(move |event: MessageEvent| heard(&known, &event.data()));
        port.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        let broker = Broker { port, configuration, connections, last: Cell::default(), _on_message: on_message };
        Self(SendWrapper::new(Rc::new(broker)))
    }
}

impl RtcBackend for BrokeredBackend {
    fn connect(&mut self, peer: &PeerId) -> Result<Box<dyn PeerConnection>, RtcError> {
        let broker = Rc::clone(&self.0);
        let id = broker.last.get().wrapping_add(1);
        broker.last.set(id);
        let configuration = js_sys::JSON::parse(&broker.configuration.to_json()).unwrap_or_default();
        broker.post("connect", id, &[("configuration", configuration), ("peer", peer.to_string().into())])?;
        let remote = Rc::<Remote>::default();
        broker.connections.borrow_mut().insert(id, remote.clone());
        Ok(Box::new(BrokeredConnection(SendWrapper::new(Inner { broker, id, remote }))))
    }
}

impl Broker {
    fn post(&self, kind: &str, connection: u32, fields: &[(&str, JsValue)]) -> Result<(), RtcError> {
        let message = js_sys::Object::new();
        let own = [("type", JsValue::from(kind)), ("connection", connection.into())];
        own.iter()
            .chain(fields)
            .try_for_each(|(name, value)| js_sys::Reflect::set(&message, &(*name).into(), value).map(drop))
            .and_then(|()| self.port.post_message(&message))
            .map_err(|error| refused(&error))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // The closure goes: the browser must not call it any more.
        self.port.set_onmessage(None);
    }
}

fn field(message: &JsValue, name: &str) -> JsValue {
    js_sys::Reflect::get(message, &name.into()).unwrap_or_default()
}

fn number(message: &JsValue, name: &str) -> Option<u32> {
    field(message, name).as_f64().map(|number| number as u32)
}

/// The page said something.
fn heard(connections: &RefCell<BTreeMap<u32, Rc<Remote>>>, message: &JsValue) {
    let id = number(message, "connection");
    let remote = id.and_then(|id| connections.borrow().get(&id).cloned());
    let channel = field(message, "channel").dyn_into::<RtcDataChannel>();
    let Some(remote) = remote else {
        // It crossed our close.
        return channel.into_iter().for_each(|channel| channel.close());
    };
    match field(message, "type").as_string().as_deref() {
        Some("done") => {
            // A channel has to be listened to in this turn.
            let answer = match channel {
                Ok(channel) => Answer::Channel(channel::pipe(channel, remote.budget.clone())),
                Err(_) => field(message, "sdp").as_string().map_or(Answer::Done, Answer::Description),
            };
            remote.answer(message, Ok(answer));
        }
        Some("failed") => {
            let why = field(message, "message").as_string().unwrap_or_default();
            remote.answer(message, Err(RtcError(why)));
        }
        Some("candidate") => {
            let candidate = candidate_of(&field(message, "candidate"));
            candidate.into_iter().for_each(|candidate| remote.events.push(RtcEvent::Found(candidate)));
        }
        Some("state") => {
            let state = field(message, "state").as_string().and_then(|name| state_of(&name));
            state.into_iter().for_each(|state| remote.events.push(RtcEvent::State(state)));
        }
        Some("channel") => {
            if let Ok(channel) = channel {
                remote.events.push(RtcEvent::Channel(channel::pipe(channel, remote.budget.clone())));
            }
        }
        other => tracing::warn!(?other, "the page says what is not understood"),
    }
}

impl Remote {
    fn answer(&self, message: &JsValue, answer: Result<Answer, RtcError>) {
        let waiting = number(message, "call").and_then(|call| self.calls.borrow_mut().remove(&call));
        // Nobody waits any more: a channel is dropped, and closed.
        let _ = waiting.map(|waiting| waiting.send(answer));
    }
}

struct BrokeredConnection(SendWrapper<Inner>);

struct Inner {
    broker: Rc<Broker>,
    id: u32,
    remote: Rc<Remote>,
}

impl Inner {
    /// Posts a call; what `read` makes of the answer is its result.
    fn call<T: 'static>(
        &self,
        kind: &str,
        field: Option<(&str, JsValue)>,
        read: impl FnOnce(Answer) -> Option<T> + 'static,
    ) -> Call<T> {
        let call = self.remote.last_call.get().wrapping_add(1);
        self.remote.last_call.set(call);
        let (sender, answered) = oneshot::channel();
        self.remote.calls.borrow_mut().insert(call, sender);
        let fields: Vec<_> = [("call", call.into())].into_iter().chain(field).collect();
        let posted = self.broker.post(kind, self.id, &fields);
        SendWrapper::new(async move {
            posted?;
            let answer = answered.await.map_err(|_| RtcError("the connection is closed".to_owned()))??;
            read(answer).ok_or_else(|| RtcError("the page answers something else".to_owned()))
        })
        .boxed()
    }

    fn close(&self) {
        // A page that is gone has nothing to close.
        if self.broker.connections.borrow_mut().remove(&self.id).is_some() {
            let _ = self.broker.post("close", self.id, &[]);
        }
        self.remote.calls.borrow_mut().clear();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

fn description(answer: Answer) -> Option<String> {
    if let Answer::Description(sdp) = answer { Some(sdp) } else { None }
}

impl PeerConnection for BrokeredConnection {
    fn make_offer(&mut self) -> Call<String> {
        self.0.call("makeOffer", None, description)
    }

    fn make_answer(&mut self, offer: String) -> Call<String> {
        self.0.call("makeAnswer", Some(("offer", offer.into())), description)
    }

    fn apply_answer(&mut self, answer: String) -> Call<()> {
        self.0.call("applyAnswer", Some(("answer", answer.into())), |_| Some(()))
    }

    fn add_candidate(&mut self, candidate: Candidate) -> Call<()> {
        let candidate = js_sys::JSON::parse(&candidate.to_json()).unwrap_or_default();
        self.0.call("addCandidate", Some(("candidate", candidate)), |_| Some(()))
    }

    fn open_channel(&mut self) -> Call<Pipe> {
        let channel = |answer| if let Answer::Channel(pipe) = answer { Some(pipe) } else { None };
        self.0.call("openChannel", None, channel)
    }

    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<RtcEvent> {
        self.0.remote.events.poll(context)
    }

    fn budget(&self) -> Arc<Budget> {
        self.0.remote.budget.clone()
    }

    fn close(&mut self) {
        self.0.close();
    }
}
