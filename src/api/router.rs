//! From method and path to handler. ruma's request types say which method, paths and authentication an endpoint has, so
//! that a request type is its own route.
use std::{borrow::Cow, collections::BTreeMap, future::Future, rc::Rc, sync::Arc};

use bytes::{Bytes, BytesMut};
use futures::future::{FutureExt, LocalBoxFuture};
use http::Method;
use percent_encoding::percent_decode_str;
use ruma::{
    ServerName,
    api::{
        IncomingRequest, Metadata, OutgoingResponse, OutgoingResponseExt,
        auth_scheme::AuthScheme,
        error::{DeserializationError, IntoHttpError},
        path_builder::PathBuilder,
    },
};
use serde_json::value::RawValue as RawJsonValue;

use super::{ApiError, ClientAddress, Origin, Request, Response, standing::Access};
use crate::homeserver::{Homeserver, sessions::Session};

/// Where clients of before the first release of the specification ask for what the second prefix has.
const OLDEST_PREFIX: &str = "/_matrix/client/api/v1/";
const OLD_PREFIX: &str = "/_matrix/client/r0/";

/// How an endpoint with this authentication scheme learns who asks.
pub trait Authenticate: AuthScheme {
    /// Who asks: what the handler gets as its second argument.
    type Principal;

    /// Refuses who is not who they say, and whom the endpoint is not open to.
    fn authenticate(
        homeserver: &Rc<Homeserver>,
        request: &Request,
        origin: Origin,
        access: Access,
    ) -> impl Future<Output = Result<Self::Principal, ApiError>>;

    /// The session that the request counts for, if it is somebody's who has logged in.
    fn session(_principal: &Self::Principal) -> Option<&Session> {
        None
    }

    /// The homeserver that signed the request, if one did.
    fn server(_principal: &Self::Principal) -> Option<&ServerName> {
        None
    }
}

/// A request whose path matched a route.
struct Incoming {
    request: Request,
    origin: Origin,
    path_args: Vec<String>,
    toll: Toll,
}

/// What a request takes of how often somebody may ask.
#[derive(Clone, Copy)]
struct Toll {
    /// 1 for what costs a few reads; more for what makes us ask others or read much.
    cost: u32,
    /// Whether it asks to be let in, and counts for that as well.
    entrance: bool,
}

impl Toll {
    /// For a client's request: of a device, or of an address where nobody has logged in.
    fn charge(self, homeserver: &Homeserver, request: &Request, session: Option<&Session>) -> Result<(), ApiError> {
        let (limits, now_ms) = (&homeserver.rate_limits, homeserver.environment.clock.now_ms());
        let Some(session) = session else {
            let address = request.extensions().get::<ClientAddress>().map(|address| address.0);
            limits.address(address, self.cost, now_ms)?;
            return if self.entrance { Ok(limits.entrance(address, now_ms)?) } else { Ok(()) };
        };
        Ok(limits.session(session, self.cost, now_ms)?)
    }
}

type Answering = LocalBoxFuture<'static, Result<Response, ApiError>>;

type Handler = Box<dyn Fn(Rc<Homeserver>, Incoming) -> Answering + Send + Sync>;

/// Reads a request as its own type and begins to answer it: all that is compiled anew for each endpoint.
type Answer<P> =
    dyn Fn(Rc<Homeserver>, P, http::Request<&[u8]>, &[&str]) -> Result<Answering, DeserializationError> + Send + Sync;

/// One endpoint: its method, all its paths, and what answers it.
pub struct Route {
    method: Method,
    paths: Vec<&'static str>,
    handler: Handler,
    handler_name: &'static str,
    may_be_abandoned: bool,
    toll: Toll,
}

/// An endpoint as `docs/spec-coverage.md` lists it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Operation {
    pub method: String,
    /// The newest stable path, or the only unstable one.
    pub path: &'static str,
    /// The handler's path below `warren::api::`.
    pub handler: &'static str,
    /// Every path it is served under, `path` included.
    pub paths: Vec<&'static str>,
}

/// The route of the ruma request type that `handler` takes: its method, every path it ever had, its authentication.
pub fn route<R, P, O, H>(handler: H) -> Route
where
    R: IncomingRequest<OutgoingResponse = O> + Metadata<Authentication: Authenticate<Principal = P>> + 'static,
    O: OutgoingResponse + 'static,
    P: 'static,
    H: AsyncFn(&Rc<Homeserver>, P, R) -> Result<O, ApiError> + Copy + Send + Sync + 'static,
{
    let handler_name = std::any::type_name::<H>();
    let handler_name = handler_name.strip_prefix("warren::api::").unwrap_or(handler_name);
    let access = Access::of(&R::METHOD, handler_name);
    let answer = move |homeserver: Rc<Homeserver>, principal: P, request: http::Request<&[u8]>, path_args: &[&str]| {
        let parsed = R::try_from_http_request_inner(request, path_args)?;
        Ok(async move { into_http(handler(&homeserver, principal, parsed).await?) }.boxed_local())
    };
    Route {
        method: R::METHOD,
        paths: R::PATH_BUILDER.all_paths().collect(),
        handler: admitted::<R::Authentication>(access, Arc::new(answer)),
        handler_name,
        may_be_abandoned: false,
        toll: Toll { cost: 1, entrance: false },
    }
}

impl Route {
    /// Serves a path that ruma's metadata does not know: fewer arguments, where the type allows that.
    pub fn also(mut self, path: &'static str) -> Self {
        self.paths.insert(0, path);
        self
    }

    /// Leaves out of answers what has no value, where ruma's type would say `null` and the specification knows none.
    pub fn omitting_null(mut self) -> Self {
        let handler = self.handler;
        self.handler = Box::new(move |homeserver, incoming| {
            let answered = handler(homeserver, incoming);
            async move { answered.await.map(|response| response.map(without_null)) }.boxed_local()
        });
        self
    }

    /// Says that a request may be dropped at any point once nobody waits for its answer: it changes nothing.
    pub fn abandonable(self) -> Self {
        Self { may_be_abandoned: true, ..self }
    }

    /// Says that a request counts as so many: it makes us ask others, or read much.
    pub fn costing(self, cost: u32) -> Self {
        Self { toll: Toll { cost, ..self.toll }, ..self }
    }

    /// Says that a request asks to be let in, which may be tried less often than others.
    pub fn entrance(self) -> Self {
        Self { toll: Toll { entrance: true, ..self.toll }, ..self }
    }
}

/// Answers those who are let in. Compiled once for all endpoints with the same authentication, as there are some hundreds.
fn admitted<A: Authenticate<Principal: 'static> + 'static>(
    access: Access,
    answer: Arc<Answer<A::Principal>>,
) -> Handler {
    Box::new(move |homeserver, incoming| {
        let answer = answer.clone();
        async move {
            let principal = admit::<A>(&homeserver, &incoming, access).await?;
            incoming.parse(|request, path_args| answer(homeserver, principal, request, path_args))?.await
        }
        .boxed_local()
    })
}

/// Lets a request in: who asks, if the endpoint is open to them, they have not asked too often, and there may be something
/// in the body.
async fn admit<A: Authenticate>(
    homeserver: &Rc<Homeserver>,
    incoming: &Incoming,
    access: Access,
) -> Result<A::Principal, ApiError> {
    let Incoming { request, origin, toll, .. } = incoming;
    let authenticated = A::authenticate(homeserver, request, *origin, access).await;
    if *origin == Origin::Client {
        let session = authenticated.as_ref().ok().and_then(A::session);
        toll.charge(homeserver, request, session)?;
    }
    let principal = authenticated?;
    // A peer has been counted by its connection; what others carry is counted for whoever turns out to have signed it, too.
    if matches!(origin, Origin::Https | Origin::Gateway(_))
        && let Some(server) = A::server(&principal)
    {
        homeserver.rate_limits.server(server, toll.cost, homeserver.environment.clock.now_ms())?;
    }
    check_body(request)?;
    Ok(principal)
}

impl Incoming {
    /// What `parser` makes of the request.
    fn parse<R>(
        self,
        parser: impl FnOnce(http::Request<&[u8]>, &[&str]) -> Result<R, DeserializationError>,
    ) -> Result<R, ApiError> {
        let (parts, body) = self.request.into_parts();
        let path_args: Vec<&str> = self.path_args.iter().map(String::as_str).collect();
        // Widely used clients leave out a body in which there is nothing to say, to join a room for example.
        let content = if body.is_empty() { b"{}" } else { &*body };
        parser(http::Request::from_parts(parts, content), &path_args)
            .map_err(|error| ApiError::malformed(&error, content))
    }
}

/// Every body of every API served here is a JSON object or absent. Some clients send `null` or `[]` where they mean
/// nothing, and a derived parser would take an array for a struct: neither gets as far as that.
fn check_body(request: &Request) -> Result<(), ApiError> {
    let body = request.body();
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    if request.method() == Method::GET || body.is_empty() || first == Some(&b'{') {
        return Ok(());
    }
    Err(ApiError::body_not_object(body))
}

/// An object of JSON without those of its fields that are `null`.
fn without_null(body: Bytes) -> Bytes {
    let Ok(mut object) = serde_json::from_slice::<BTreeMap<&str, &RawJsonValue>>(&body) else { return body };
    object.retain(|_, value| value.get() != "null");
    serde_json::to_vec(&object).map_or_else(|_| body.clone(), Bytes::from)
}

fn into_http(response: impl OutgoingResponse) -> Result<Response, ApiError> {
    written(response.try_into_http_response())
}

/// Apart from the above, which is compiled anew for each type of answer.
fn written(response: Result<http::Response<BytesMut>, IntoHttpError>) -> Result<Response, ApiError> {
    match response {
        Ok(response) => Ok(response.map(BytesMut::freeze)),
        Err(error) => Err(ApiError::internal(&format!("an answer cannot be written: {error}"))),
    }
}

/// A tree of path segments. Where a literal segment and a variable both match, the literal is tried first.
#[derive(Default)]
struct Node {
    literals: BTreeMap<&'static str, Node>,
    variable: Option<Box<Node>>,
    /// Indices into `Router::routes`, one a method.
    routes: Vec<usize>,
}

pub struct Router {
    routes: Vec<Route>,
    root: Node,
}

impl Router {
    /// Panics if two routes share method and path, or a path begins with none of `prefixes`: both are mistakes in a
    /// table that is fixed at compile time.
    pub fn new(prefixes: &[&str], routes: Vec<Route>) -> Self {
        let mut root = Node::default();
        for (index, route) in routes.iter().enumerate() {
            for path in &route.paths {
                assert!(prefixes.iter().any(|prefix| path.starts_with(prefix)), "{path} is not served here");
                let node = root.descend(path);
                let taken = node.routes.iter().any(|&other| routes[other].method == route.method);
                assert!(!taken, "{} {path} is routed twice", route.method);
                node.routes.push(index);
            }
        }
        Self { routes, root }
    }

    pub fn operations(&self) -> Vec<Operation> {
        let operation = |route: &Route| Operation {
            method: route.method.to_string(),
            path: route.paths.last().expect("every endpoint has a path"),
            handler: route.handler_name,
            paths: route.paths.clone(),
        };
        self.routes.iter().map(operation).collect()
    }

    /// Whether the route of this request is [`Route::abandonable`].
    pub fn may_be_abandoned(&self, method: &Method, path: &str) -> bool {
        self.find(method, path).is_ok_and(|(route, _)| route.may_be_abandoned)
    }

    pub async fn dispatch(
        &self,
        homeserver: &Rc<Homeserver>,
        request: Request,
        origin: Origin,
    ) -> Result<Response, ApiError> {
        let (route, path_args) = self.find(request.method(), request.uri().path())?;
        let toll = route.toll;
        // Before anything is verified, which is most of what a small request costs.
        let (limits, now_ms) = (&homeserver.rate_limits, homeserver.environment.clock.now_ms());
        match &origin {
            Origin::Client => {}
            Origin::Peer(peer) => limits.peer(peer, toll.cost, now_ms)?,
            Origin::Gateway(gateway) => limits.gateway(gateway, toll.cost, now_ms)?,
            Origin::Https => {
                let address = request.extensions().get::<ClientAddress>().map(|address| address.0);
                limits.server_address(address, toll.cost, now_ms)?;
            }
        }
        (route.handler)(homeserver.clone(), Incoming { request, origin, path_args, toll }).await
    }

    fn find(&self, method: &Method, path: &str) -> Result<(&Route, Vec<String>), ApiError> {
        let path = match path.strip_prefix(OLDEST_PREFIX) {
            Some(rest) => Cow::Owned(format!("{OLD_PREFIX}{rest}")),
            None => Cow::Borrowed(path),
        };
        let segments: Vec<&str> = path.split('/').collect();
        let mut matches = Vec::new();
        self.root.matches(&segments, &mut Vec::new(), &mut matches);
        if matches.is_empty() {
            return Err(ApiError::unrecognized_path());
        }
        let routes = || matches.iter().flat_map(|(node, args)| node.routes.iter().map(move |&index| (index, args)));
        let Some((index, args)) = routes().find(|(index, _)| self.routes[*index].method == *method) else {
            let allowed: Vec<&str> = routes().map(|(index, _)| self.routes[index].method.as_str()).collect();
            return Err(ApiError::unrecognized_method(&allowed));
        };
        let decoded = args.iter().map(|arg| percent_decode_str(arg).decode_utf8().map(Into::into));
        let args = decoded.collect::<Result<_, _>>().map_err(|_| ApiError::invalid_param("The path is not UTF-8."))?;
        Ok((&self.routes[index], args))
    }
}

impl Node {
    fn descend(&mut self, path: &'static str) -> &mut Self {
        path.split('/').fold(self, |node, segment| {
            if segment.starts_with('{') {
                node.variable.get_or_insert_default()
            } else {
                node.literals.entry(segment).or_default()
            }
        })
    }

    /// Appends every node that `segments` lead to and that has routes, with the segments its variables stand for.
    fn matches<'a, 's>(
        &'a self,
        segments: &[&'s str],
        args: &mut Vec<&'s str>,
        found: &mut Vec<(&'a Self, Vec<&'s str>)>,
    ) {
        let Some((segment, rest)) = segments.split_first() else {
            if !self.routes.is_empty() {
                found.push((self, args.clone()));
            }
            return;
        };
        if let Some(node) = self.literals.get(*segment) {
            node.matches(rest, args, found);
        }
        if let Some(node) = &self.variable {
            args.push(segment);
            node.matches(rest, args, found);
            args.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use ruma::api::client::account::whoami::v3::{Request as Whoami, Response};

    use super::*;

    async fn whoami(_: &Rc<Homeserver>, session: Session, _: Whoami) -> Result<Response, ApiError> {
        Ok(Response::new(session.user_id, false))
    }

    fn router(paths: &[&'static str]) -> Router {
        let routes = paths.iter().map(|path| Route { paths: vec![path], ..route(whoami) });
        Router::new(&["/"], routes.collect())
    }

    fn found(router: &Router, path: &str) -> Option<(&'static str, Vec<String>)> {
        router.find(&Method::GET, path).ok().map(|(route, args)| (route.paths[0], args))
    }

    #[test]
    fn literals_come_before_variables_and_variables_may_be_empty() {
        let router = router(&["/a/{x}/c", "/a/b/{y}", "/a/{x}", "/a/"]);
        let args = |args: &[&str]| args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>();
        assert_eq!(found(&router, "/a/b/c"), Some(("/a/b/{y}", args(&["c"]))));
        assert_eq!(found(&router, "/a/z/c"), Some(("/a/{x}/c", args(&["z"]))));
        assert_eq!(found(&router, "/a/b/"), Some(("/a/b/{y}", args(&[""]))));
        assert_eq!(found(&router, "/a/"), Some(("/a/", args(&[]))));
        assert_eq!(found(&router, "/a/b"), Some(("/a/{x}", args(&["b"]))));
        assert_eq!(found(&router, "/a/%2F%20"), Some(("/a/{x}", args(&["/ "]))));
        for path in ["/a/%ff", "/a", "a/b", "/a/b/c/d", "//a/b", "*", ""] {
            assert_eq!(found(&router, path), None, "{path}");
        }
    }

    #[test]
    #[should_panic(expected = "routed twice")]
    fn a_path_has_one_handler_a_method() {
        router(&["/a/{x}", "/a/{y}"]);
    }
}
