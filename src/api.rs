//! The sole entry for all shells: an HTTP request in, an HTTP response out, whatever carried them.
pub mod client;
mod client_auth;
mod error;
mod federation;
mod limits;
mod router;
mod server_auth;
mod standing;
mod uiaa;

use std::{panic::AssertUnwindSafe, pin::pin, rc::Rc, sync::LazyLock};

use bytes::Bytes;
use futures::{
    FutureExt,
    channel::oneshot,
    future::{Either, select},
};
use http::{HeaderValue, Method, StatusCode, header};
use ruma::api::error::ErrorKind;

use self::router::Router;
pub use self::{
    error::ApiError,
    limits::{CLIENT_BODY_MAX_BYTES, ClientAddress, FEDERATION_BODY_MAX_BYTES},
    router::Operation,
};
use crate::{
    domain::identity::PublicKey,
    homeserver::{Homeserver, refusals},
    p2p::network::Caller,
};

pub type Request = http::Request<Bytes>;
pub type Response = http::Response<Bytes>;

/// Who is at the other end of the wire a request came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A Matrix client of this homeserver; authenticated by its access token.
    Client,
    /// A libp2p peer with this key; the X-Matrix origin must be a name the key certifies.
    Peer(PublicKey),
    /// A homeserver by HTTPS, whose connection says nothing of who it is: the X-Matrix signature alone does.
    Https,
    /// Likewise, as the gateway with this key carried it, which the profile trusts to carry and no further.
    Gateway(PublicKey),
}

impl From<Caller> for Origin {
    fn from(caller: Caller) -> Self {
        match caller {
            Caller::Peer(key) => Self::Peer(key),
            Caller::Gateway(key) => Self::Gateway(key),
        }
    }
}

static CLIENT: LazyLock<Router> = LazyLock::new(|| {
    Router::new(
        &["/_matrix/client/", "/.well-known/", "/_matrix/federation/v1/openid/", "/_synapse/admin/v1/"],
        client::routes(),
    )
});
static FEDERATION: LazyLock<Router> =
    LazyLock::new(|| Router::new(&["/_matrix/federation/", "/_matrix/key/", "/.well-known/"], federation::routes()));

/// Answers one request. Never fails: every error is a response.
///
/// Who asked may go away and drop the future: what was begun is carried out to the end all the same, as a commit that
/// nobody waits for any more would leave the homeserver with another idea of its rooms than its storage has. Only what
/// waits and changes nothing, `/sync`, ends with whoever asked. A panic is answered 500 where the target can unwind.
pub async fn handle(homeserver: &Rc<Homeserver>, request: Request, origin: Origin) -> Response {
    let (mut sender, receiver) = oneshot::channel();
    let task_homeserver = homeserver.clone();
    homeserver.environment.tasks.spawn(Box::pin(async move {
        let may_be_abandoned =
            origin == Origin::Client && CLIENT.may_be_abandoned(request.method(), request.uri().path());
        let responding = AssertUnwindSafe(respond(&task_homeserver, request, origin)).catch_unwind();
        let responded = if may_be_abandoned {
            match select(pin!(responding), sender.cancellation()).await {
                Either::Left((responded, _)) => responded,
                Either::Right(_) => return,
            }
        } else {
            responding.await
        };
        let response = responded.unwrap_or_else(|_| panicked(origin));
        let _nobody_waits = sender.send(response);
    }));
    receiver.await.unwrap_or_else(|_stopped| {
        let message = "The homeserver is stopping; what became of this request is not known.";
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, ErrorKind::Unknown, message).into_response()
    })
}

async fn respond(homeserver: &Rc<Homeserver>, request: Request, origin: Origin) -> Response {
    match origin {
        // A browser asks before it sends; the answer is the same for every path (client-server API, "Web browser clients").
        Origin::Client if request.method() == Method::OPTIONS => with_cors(empty(StatusCode::OK)),
        Origin::Client => with_cors(answer(homeserver, &CLIENT, request, origin, CLIENT_BODY_MAX_BYTES).await),
        Origin::Peer(_) | Origin::Https | Origin::Gateway(_) => {
            answer(homeserver, &FEDERATION, request, origin, FEDERATION_BODY_MAX_BYTES).await
        }
    }
}

/// The panic itself is in the log already, where the shell's panic hook writes it.
fn panicked(origin: Origin) -> Response {
    let response = ApiError::internal("the request's handler panicked").into_response();
    if origin == Origin::Client { with_cors(response) } else { response }
}

/// Every operation that is served, for the table of what the specification asks (`docs/spec-coverage.md`).
pub fn operations() -> Vec<Operation> {
    [CLIENT.operations(), FEDERATION.operations()].concat()
}

async fn answer(
    homeserver: &Rc<Homeserver>,
    router: &Router,
    request: Request,
    origin: Origin,
    body_max_bytes: usize,
) -> Response {
    let asked = format!("{} {}", request.method(), request.uri().path());
    let address = request.extensions().get::<ClientAddress>().map(|address| address.0);
    let answered = if request.body().len() > body_max_bytes {
        Err(ApiError::body_too_large(body_max_bytes))
    } else {
        router.dispatch(homeserver, request, origin).await
    };
    answered.unwrap_or_else(|error| {
        match origin {
            Origin::Client => {}
            Origin::Peer(peer) => refusals::note(homeserver, &peer.label(), &asked, &error),
            Origin::Gateway(gateway) => {
                refusals::note(homeserver, &format!("gateway {}", gateway.label()), &asked, &error);
            }
            // Whose name is in the request is not known to be true.
            Origin::Https => {
                let from = address.map_or_else(|| "HTTPS".to_owned(), |address| address.to_string());
                refusals::note(homeserver, &from, &asked, &error);
            }
        }
        error.into_response()
    })
}

fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response
}

/// What lets the pages of other origins read an answer (client-server API, "Web browser clients"). For answers to clients
/// that a shell makes itself; those of [`handle`] have it.
pub fn with_cors(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, POST, PUT, DELETE, PATCH, HEAD, OPTIONS"),
    );
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("X-Requested-With, Content-Type, Authorization"),
    );
    response
}
