//! Registration by a shared secret, as existing tools do it: `/_synapse/admin/v1/register`, where a nonce is asked for and
//! an account for it, with an HMAC-SHA1 of both under the secret.
use std::{cell::RefCell, collections::VecDeque, rc::Rc, time::Duration};

use bytes::Bytes;
use hmac::{Hmac, Mac};
use http::{HeaderValue, Method, Response, StatusCode, header};
use ruma::{OwnedDeviceId, api::error::ErrorKind};
use serde::Deserialize;
use serde_json::json;
use sha1::Sha1;
use tokio::{task::spawn_local, time::Instant};
use warren::{
    api::{self, ApiError},
    homeserver::{
        Homeserver,
        accounts::{self, AccountKind, NewAccount},
        devices::NewDevice,
        profiles,
    },
};

pub const PATH: &str = "/_synapse/admin/v1/register";

/// A nonce is good for this long, and once.
const NONCE_LIFETIME: Duration = Duration::from_secs(60);

/// Nonces that may be good at once; a further one ends the oldest.
const NONCES_MAX: usize = 1000;

const NONCE_BYTES: usize = 16;

pub struct SharedSecret {
    secret: String,
    /// Oldest first.
    nonces: RefCell<VecDeque<(String, Instant)>>,
}

/// The account that is asked for.
#[derive(Deserialize)]
struct Asked {
    nonce: String,
    username: String,
    password: String,
    mac: String,
    #[serde(default)]
    admin: bool,
    user_type: Option<String>,
    displayname: Option<String>,
    device_id: Option<OwnedDeviceId>,
    initial_device_display_name: Option<String>,
    #[serde(default)]
    inhibit_login: bool,
}

impl SharedSecret {
    pub fn new(secret: String) -> Self {
        Self { secret, nonces: RefCell::default() }
    }

    /// `GET` answers a nonce, `POST` makes an account.
    pub async fn answer(&self, homeserver: &Rc<Homeserver>, request: &api::Request) -> Result<api::Response, ApiError> {
        match *request.method() {
            Method::GET => Ok(json_response(&json!({ "nonce": self.nonce()? }))),
            Method::POST => {
                let asked = self.checked(request.body())?;
                register(homeserver.clone(), asked).await
            }
            _ => {
                let message = "A nonce is asked for by GET, an account by POST.";
                Err(ApiError::new(StatusCode::METHOD_NOT_ALLOWED, ErrorKind::Unrecognized, message))
            }
        }
    }

    fn nonce(&self) -> Result<String, ApiError> {
        let mut bytes = [0; NONCE_BYTES];
        getrandom::fill(&mut bytes).map_err(|error| ApiError::internal(&format!("no random numbers: {error}")))?;
        let nonce: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut nonces = self.nonces.borrow_mut();
        nonces.retain(|(_, made)| made.elapsed() < NONCE_LIFETIME);
        if nonces.len() == NONCES_MAX {
            nonces.pop_front();
        }
        nonces.push_back((nonce.clone(), Instant::now()));
        Ok(nonce)
    }

    /// What `body` asks for, if whoever asks knows the secret. The nonce is used up either way.
    fn checked(&self, body: &[u8]) -> Result<Asked, ApiError> {
        let asked: Asked = serde_json::from_slice(body)
            .map_err(|error| ApiError::bad_json(format!("No such registration: {error}.")))?;
        if !self.take_nonce(&asked.nonce) {
            return Err(ApiError::unsupported("The nonce is not known, or not any more: ask for another."));
        }
        let given = hex(&asked.mac);
        if given.is_none_or(|given| mac(&self.secret, &asked).verify_slice(&given).is_err()) {
            return Err(ApiError::new(StatusCode::FORBIDDEN, ErrorKind::Unknown, "The HMAC is not correct."));
        }
        if asked.user_type.is_some() {
            return Err(ApiError::unsupported("There are users and administrators here, and no other types of users."));
        }
        Ok(asked)
    }

    fn take_nonce(&self, nonce: &str) -> bool {
        let mut nonces = self.nonces.borrow_mut();
        let at = nonces.iter().position(|(known, made)| known == nonce && made.elapsed() < NONCE_LIFETIME);
        at.and_then(|at| nonces.remove(at)).is_some()
    }
}

/// Over the fields with a zero byte between them, so that none can pass for a part of another.
fn mac(secret: &str, asked: &Asked) -> Hmac<Sha1> {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).expect("a key of HMAC has any length");
    let admin = if asked.admin { "admin" } else { "notadmin" };
    let fields = [&asked.nonce, &asked.username, &asked.password, admin].into_iter().chain(asked.user_type.as_deref());
    for (index, field) in fields.enumerate() {
        if index > 0 {
            mac.update(&[0]);
        }
        mac.update(field.as_bytes());
    }
    mac
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some((digit(pair[0])? * 16 + digit(*pair.get(1)?)?) as u8)).collect()
}

/// In a task of its own, so that an account is not left half-made when its asker goes away.
async fn register(homeserver: Rc<Homeserver>, asked: Asked) -> Result<api::Response, ApiError> {
    let registering = spawn_local(async move {
        let device = NewDevice {
            device_id: asked.device_id,
            display_name: asked.initial_device_display_name,
            refreshable: false,
        };
        let new = NewAccount {
            username: Some(asked.username),
            password: Some(asked.password),
            device: (!asked.inhibit_login).then_some(device),
            registration_token: None,
            kind: if asked.admin { AccountKind::Admin } else { AccountKind::User },
        };
        let (user_id, login) = accounts::register(&homeserver, new).await?;
        if let Some(name) = asked.displayname {
            profiles::set_field(&homeserver, &user_id, "displayname", name.into()).await?;
        }
        let mut body = json!({ "user_id": user_id, "home_server": homeserver.server_name() });
        if let Some(login) = login {
            body["access_token"] = login.tokens.access_token.into();
            body["device_id"] = login.device_id.as_str().into();
        }
        Ok(json_response(&body))
    });
    registering.await.unwrap_or_else(|error| Err(ApiError::internal(&format!("registering by secret: {error}"))))
}

fn json_response(body: &serde_json::Value) -> api::Response {
    let mut response = Response::new(Bytes::from(body.to_string()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(secret: &SharedSecret, change: impl FnOnce(&mut serde_json::Value)) -> Result<Asked, ApiError> {
        let mut body = json!({ "nonce": secret.nonce().ok().unwrap(), "username": "ada", "password": "p" });
        change(&mut body);
        secret.checked(body.to_string().as_bytes())
    }

    /// As the tools make it.
    fn signed(body: &mut serde_json::Value, secret: &str) {
        let admin = if body["admin"] == true { "admin" } else { "notadmin" };
        let text = |name: &str| body[name].as_str().unwrap();
        let message = [text("nonce"), text("username"), text("password"), admin].join("\0");
        let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(message.as_bytes());
        let digits: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        body["mac"] = digits.into();
    }

    fn status(outcome: Result<Asked, ApiError>) -> u16 {
        outcome.map_or_else(|error| error.into_response().status().as_u16(), |_| 200)
    }

    #[test]
    fn the_mac_is_that_of_rfc_2202() {
        let mut mac = Hmac::<Sha1>::new_from_slice(b"Jefe").unwrap();
        mac.update(b"what do ya want for nothing?");
        assert!(mac.verify_slice(&hex("effcdf6ae5eb2fa2d27416d5f184df9c259a7c79").unwrap()).is_ok());
        assert!(hex("abc").is_none() && hex("zz").is_none());
    }

    #[test]
    fn only_who_knows_the_secret_registers_and_a_nonce_is_good_once() {
        let secret = SharedSecret::new("a long secret".to_owned());
        assert_eq!(status(asked(&secret, |body| signed(body, "a long secret"))), 200);
        assert_eq!(status(asked(&secret, |body| signed(body, "another secret"))), 403);
        assert_eq!(status(asked(&secret, |body| body["mac"] = "".into())), 403);
        let changed = |body: &mut serde_json::Value| {
            signed(body, "a long secret");
            body["username"] = "eve".into();
        };
        assert_eq!(status(asked(&secret, changed)), 403);
        let foreign = |body: &mut serde_json::Value| {
            body["nonce"] = "0".repeat(32).into();
            signed(body, "a long secret");
        };
        assert_eq!(status(asked(&secret, foreign)), 400);
        let admin = |body: &mut serde_json::Value| {
            body["admin"] = true.into();
            signed(body, "a long secret");
        };
        assert_eq!(status(asked(&secret, admin)), 200);
        let admin_unsaid = |body: &mut serde_json::Value| {
            signed(body, "a long secret");
            body["admin"] = true.into();
        };
        assert_eq!(status(asked(&secret, admin_unsaid)), 403);
        let typed = |body: &mut serde_json::Value| {
            signed(body, "a long secret");
            body["user_type"] = "bot".into();
        };
        assert_eq!(status(asked(&secret, typed)), 403, "what the HMAC does not cover");
        assert_eq!(status(asked(&secret, |body| body["password"] = 7.into())), 400);

        let mut body = json!({ "nonce": secret.nonce().ok().unwrap(), "username": "ada", "password": "p" });
        signed(&mut body, "a long secret");
        assert_eq!(status(secret.checked(body.to_string().as_bytes())), 200);
        assert_eq!(status(secret.checked(body.to_string().as_bytes())), 400);
    }

    #[tokio::test(start_paused = true)]
    async fn nonces_end_and_stay_bounded() {
        let secret = SharedSecret::new("a long secret".to_owned());
        let nonce = secret.nonce().ok().unwrap();
        tokio::time::advance(NONCE_LIFETIME).await;
        assert!(!secret.take_nonce(&nonce));
        let first = secret.nonce().ok().unwrap();
        (0..NONCES_MAX).for_each(|_| drop(secret.nonce()));
        assert_eq!(secret.nonces.borrow().len(), NONCES_MAX);
        assert!(!secret.take_nonce(&first));
    }
}
