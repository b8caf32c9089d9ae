//! Peer connections made here: only a page can.
use std::{
    cell::RefCell,
    future::Future,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use futures::FutureExt;
use libp2p_identity::PeerId;
use send_wrapper::SendWrapper;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    Event, RtcDataChannel, RtcDataChannelEvent, RtcIceCandidateInit, RtcPeerConnection, RtcPeerConnectionIceEvent,
    RtcSdpType, RtcSessionDescriptionInit,
};

use super::{
    INIT, candidate_of, channel,
    events::{Events, state_of},
    refused,
};
use crate::{
    backend::{Call, PeerConnection, RtcBackend, RtcError, RtcEvent, ice::IceConfiguration},
    signaling::{candidate::Candidate, session::ConnectionState},
    stream::{Budget, Pipe},
};

/// Makes peer connections in a page.
#[derive(Clone, Debug, Default)]
pub struct WindowBackend {
    configuration: IceConfiguration,
}

impl WindowBackend {
    pub fn new(configuration: IceConfiguration) -> Self {
        Self { configuration }
    }
}

impl RtcBackend for WindowBackend {
    fn connect(&mut self, _: &PeerId) -> Result<Box<dyn PeerConnection>, RtcError> {
        let configuration = js_sys::JSON::parse(&self.configuration.to_json()).map_err(|error| refused(&error))?;
        let peer = RtcPeerConnection::new_with_configuration(configuration.unchecked_ref());
        let peer = peer.map_err(|error| refused(&error))?;
        Ok(Box::new(WindowConnection(SendWrapper::new(Inner::new(peer)))))
    }
}

struct WindowConnection(SendWrapper<Inner>);

struct Inner {
    peer: RtcPeerConnection,
    events: Rc<Events>,
    budget: Arc<Budget>,
    /// The channel `init`, ours or theirs, which is only kept.
    init: Rc<RefCell<Option<RtcDataChannel>>>,
    _candidate: Closure<dyn Fn(RtcPeerConnectionIceEvent)>,
    _channel: Closure<dyn Fn(RtcDataChannelEvent)>,
    state: Closure<dyn Fn(Event)>,
}

impl Inner {
    fn new(peer: RtcPeerConnection) -> Self {
        let (events, budget) = (Rc::<Events>::default(), Arc::<Budget>::default());
        let candidate = Closure::<dyn Fn(RtcPeerConnectionIceEvent)>::new({
            let events = events.clone();
            move |event: RtcPeerConnectionIceEvent| {
                let candidate = event.candidate().and_then(|candidate| candidate_of(&candidate));
                candidate.into_iter().for_each(|candidate| events.push(RtcEvent::Found(candidate)));
            }
        });
        let init = Rc::<RefCell<Option<RtcDataChannel>>>::default();
        let channel = Closure::<dyn Fn(RtcDataChannelEvent)>::new({
            let (events, budget, init) = (events.clone(), budget.clone(), init.clone());
            move |event: RtcDataChannelEvent| {
                let channel = event.channel();
                if channel.label() == INIT {
                    init.borrow_mut().get_or_insert(channel);
                } else {
                    events.push(RtcEvent::Channel(channel::pipe(channel, budget.clone())));
                }
            }
        });
        let state = Closure::<dyn Fn(Event)>::new({
            let events = events.clone();
            move |event: Event| {
                // Of the connection, or of its SCTP: a closed association is all that tells of the other side's end.
                let target = event.target().map(JsValue::from).unwrap_or_default();
                let name = |field: &str| js_sys::Reflect::get(&target, &field.into()).ok()?.as_string();
                let state = match name("connectionState") {
                    Some(state) => state_of(&state),
                    None => name("state").filter(|state| state == "closed").map(|_| ConnectionState::Closed),
                };
                state.into_iter().for_each(|state| events.push(RtcEvent::State(state)));
            }
        });
        peer.set_onicecandidate(Some(candidate.as_ref().unchecked_ref()));
        peer.set_ondatachannel(Some(channel.as_ref().unchecked_ref()));
        peer.set_onconnectionstatechange(Some(state.as_ref().unchecked_ref()));
        Self { peer, events, budget, init, _candidate: candidate, _channel: channel, state }
    }

    /// The SCTP transport is there when both descriptions are.
    fn watch_sctp(&self) -> impl Fn() + use<> {
        let (peer, handler) = (self.peer.clone(), self.state.as_ref().clone());
        move || {
            if let Ok(sctp) = js_sys::Reflect::get(&peer, &"sctp".into())
                && sctp.is_object()
            {
                // A browser without it is content with pings.
                let _ = js_sys::Reflect::set(&sctp, &"onstatechange".into(), &handler);
            }
        }
    }
}

fn call<T: 'static>(work: impl Future<Output = Result<T, JsValue>> + 'static) -> Call<T> {
    SendWrapper::new(async move { work.await.map_err(|error| refused(&error)) }).boxed()
}

fn description(kind: RtcSdpType, sdp: &str) -> RtcSessionDescriptionInit {
    let description = RtcSessionDescriptionInit::new(kind);
    description.set_sdp(sdp);
    description
}

/// Sets what `created` resolves to as the local description, and gives its text.
async fn describe(peer: &RtcPeerConnection, created: js_sys::Promise) -> Result<String, JsValue> {
    let description: RtcSessionDescriptionInit = JsFuture::from(created).await?.unchecked_into();
    let sdp = description.get_sdp().ok_or_else(|| JsValue::from("a description without text"))?;
    JsFuture::from(peer.set_local_description(&description)).await?;
    Ok(sdp)
}

impl PeerConnection for WindowConnection {
    fn make_offer(&mut self) -> Call<String> {
        let peer = self.0.peer.clone();
        self.0.init.replace(Some(peer.create_data_channel(INIT)));
        call(async move { describe(&peer, peer.create_offer()).await })
    }

    fn make_answer(&mut self, offer: String) -> Call<String> {
        let (peer, watch) = (self.0.peer.clone(), self.0.watch_sctp());
        call(async move {
            JsFuture::from(peer.set_remote_description(&description(RtcSdpType::Offer, &offer))).await?;
            let answer = describe(&peer, peer.create_answer()).await?;
            watch();
            Ok(answer)
        })
    }

    fn apply_answer(&mut self, answer: String) -> Call<()> {
        let (peer, watch) = (self.0.peer.clone(), self.0.watch_sctp());
        call(async move {
            JsFuture::from(peer.set_remote_description(&description(RtcSdpType::Answer, &answer))).await?;
            watch();
            Ok(())
        })
    }

    fn add_candidate(&mut self, candidate: Candidate) -> Call<()> {
        let peer = self.0.peer.clone();
        call(async move {
            let init: RtcIceCandidateInit = js_sys::JSON::parse(&candidate.to_json())?.unchecked_into();
            let added = peer.add_ice_candidate_with_opt_rtc_ice_candidate_init(Some(&init));
            JsFuture::from(added).await.map(|_| ())
        })
    }

    fn open_channel(&mut self) -> Call<Pipe> {
        let pipe = channel::pipe(self.0.peer.create_data_channel(""), self.0.budget.clone());
        futures::future::ok(pipe).boxed()
    }

    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<RtcEvent> {
        self.0.events.poll(context)
    }

    fn budget(&self) -> Arc<Budget> {
        self.0.budget.clone()
    }

    fn close(&mut self) {
        self.0.peer.close();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The closures go: the browser must not call them any more.
        self.peer.set_onicecandidate(None);
        self.peer.set_ondatachannel(None);
        self.peer.set_onconnectionstatechange(None);
        if let Ok(sctp) = js_sys::Reflect::get(&self.peer, &"sctp".into())
            && sctp.is_object()
        {
            let _ = js_sys::Reflect::set(&sctp, &"onstatechange".into(), &JsValue::NULL);
        }
        self.peer.close();
    }
}
