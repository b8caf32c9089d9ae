//! The door of a node: who may register, what is said to whom, limits, and numbers about it.
use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    process::{Command, Stdio},
    time::Instant,
};

use hmac::{Hmac, Mac};
use serde_json::{Value, json};

use crate::{
    node::{Node, User, command},
    warren::{Answer, PATIENCE, wait},
};

const SECRET_PATH: &str = "/_synapse/admin/v1/register";
const REGISTER: &str = "/_matrix/client/v3/register";

fn by_secret(node: &Node, secret: &str, username: &str) -> Answer {
    let nonce = node.request("GET", SECRET_PATH, None, &Value::Null).success()["nonce"].as_str().unwrap().to_owned();
    let mut mac = Hmac::<sha1::Sha1>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update([&nonce, username, "p", "notadmin"].join("\0").as_bytes());
    let mac: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let body = json!({ "nonce": nonce, "username": username, "password": "p", "mac": mac, "admin": false,
                       "displayname": "Ada" });
    node.request("POST", SECRET_PATH, None, &body)
}

fn refusal(mut command: Command) -> (Option<i32>, String) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let status = wait(&mut child);
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    let last = errors.lines().last().unwrap_or_default().to_owned();
    (status.code(), last)
}

#[test]
fn closed_means_closed_but_for_the_secret() {
    let node = Node::start(&["--registration-shared-secret", "open sesame"]);
    let body = json!({ "username": "eve", "auth": { "type": "m.login.dummy" } });
    node.request("POST", REGISTER, None, &body).is_error(403, "M_FORBIDDEN");
    by_secret(&node, "open barley", "eve").is_error(403, "M_UNKNOWN");

    let registered = by_secret(&node, "open sesame", "ada").success();
    let ada = User {
        id: registered["user_id"].as_str().unwrap().to_owned(),
        token: registered["access_token"].as_str().unwrap().to_owned(),
    };
    assert_eq!(ada.id, format!("@ada:{}", registered["home_server"].as_str().unwrap()));
    let profile = node.ok(&ada, "GET", &format!("/_matrix/client/v3/profile/{}", ada.id), &Value::Null);
    assert_eq!(profile["displayname"], "Ada");
    by_secret(&node, "open sesame", "ada").is_error(400, "M_USER_IN_USE");
    by_secret(&node, "open sesame", "Not a name").is_error(400, "M_INVALID_USERNAME");

    let login =
        json!({ "type": "m.login.password", "identifier": { "type": "m.id.user", "user": "ada" }, "password": "p" });
    node.request("POST", "/_matrix/client/v3/login", None, &login).success();

    let nobody = Node::start(&[]);
    nobody.request("GET", SECRET_PATH, None, &Value::Null).is_error(403, "M_FORBIDDEN");
    nobody.request("POST", REGISTER, None, &body).is_error(403, "M_FORBIDDEN");
}

#[test]
fn any_page_may_read_every_answer() {
    let node = Node::start_open(&[]);
    for (method, path, status, errcode) in [
        ("GET", "/_matrix/client/v3/account/whoami", 401, "M_MISSING_TOKEN"),
        ("GET", "/nothing", 404, "M_UNRECOGNIZED"),
        ("PUT", REGISTER, 405, "M_UNRECOGNIZED"),
        ("DELETE", SECRET_PATH, 403, "M_FORBIDDEN"),
    ] {
        node.request(method, path, None, &Value::Null).is_error(status, errcode);
    }
    for path in [REGISTER, SECRET_PATH, "/anything"] {
        let preflight = node.request("OPTIONS", path, None, &Value::Null);
        assert_eq!((preflight.status, preflight.header("access-control-allow-origin")), (200, "*"));
        assert!(preflight.header("access-control-allow-headers").contains("Authorization"));
    }
    // For a proxy that passes on what homeservers ask for.
    let version = node.request("GET", "/_matrix/federation/v1/version", None, &Value::Null);
    assert_eq!((version.status, version.json()["server"]["name"].as_str()), (200, Some("Warren")));
    let versions = node.request("GET", "/_matrix/client/versions", None, &Value::Null);
    assert_eq!((versions.status, versions.header("access-control-allow-origin")), (200, "*"));
    assert_eq!(versions.header("content-type"), "application/json");
}

#[test]
fn too_much_and_garbage_hurt_nobody() {
    let node = Node::start_open(&[]);
    let large = json!({ "username": "x".repeat(2 << 20) });
    node.request("POST", REGISTER, None, &large).is_error(413, "M_TOO_LARGE");
    for garbage in [&[0xff; 4096][..], b"GET\r\n\r\n", b"POST / HTTP/1.1\r\ncontent-length: 99999\r\n\r\n{"] {
        let mut stream = node.connect();
        let _ = stream.write_all(garbage);
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    }
    node.register("ada");
}

/// What `/metrics` says of `name`, labels included.
fn metric(port: u16, name: &str) -> f64 {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
    let answer = Answer::read(stream);
    assert_eq!(answer.status, 200);
    let text = String::from_utf8(answer.body).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn a_long_poll_waits_and_ends_with_its_client() {
    let port = free_port();
    let node = Node::start_open(&["--metrics-listen", &format!("127.0.0.1:{port}")]);
    let ada = node.register("ada");
    let room = node.create_room(&ada);
    let since = node.sync(&ada, None, 0)["next_batch"].as_str().unwrap().to_owned();
    let path = format!("/_matrix/client/v3/sync?timeout=30000&since={since}");
    let until_in_flight = |count: f64| {
        let started = Instant::now();
        while metric(port, "warren_http_requests_in_flight") != count {
            assert!(started.elapsed() < PATIENCE, "never {count} in flight");
        }
    };
    let gone = node.begin("GET", &path, Some(&ada.token), &Value::Null);
    until_in_flight(1.0);
    drop(gone);
    until_in_flight(0.0);

    let waiting = node.begin("GET", &path, Some(&ada.token), &Value::Null);
    until_in_flight(1.0);
    let id = node.send(&ada, &room, "news");
    let news = Answer::read(waiting).success();
    assert_eq!(news["rooms"]["join"][&room]["timeline"]["events"][0]["event_id"], id);

    assert!(metric(port, "warren_http_requests_total{method=\"PUT\",status=\"200\"}") >= 1.0);
    assert!(metric(port, "warren_store_commits_total{kind=\"strict\"}") >= 1.0);
    assert_eq!(metric(port, "warren_store_commits_total{kind=\"failed\"}"), 0.0);
    assert_eq!(metric(port, "warren_relays_ready"), 0.0);
}

#[test]
fn the_file_says_what_no_flag_does() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("node.toml");
    let settings = "server-name = \"localhost:8008\"\nopen-registration = true\ndefault-room-version = \"11\"\n";
    fs::write(&file, settings).unwrap();
    let node = Node::start_in(dir, &["--config", file.to_str().unwrap(), "--default-room-version", "10"]);
    assert_eq!(node.ready, format!("Warren is ready: http://{}\n", node.address));
    let ada = node.register("ada");
    assert_eq!(ada.id, "@ada:localhost:8008");
    let capabilities = node.ok(&ada, "GET", "/_matrix/client/v3/capabilities", &Value::Null);
    assert_eq!(capabilities["capabilities"]["m.room_versions"]["default"], "10");
    let room = node.create_room(&ada);
    let create = format!("/_matrix/client/v3/rooms/{room}/state/m.room.create/");
    assert_eq!(node.ok(&ada, "GET", &create, &Value::Null)["room_version"], "10");
    node.send(&ada, &room, "hello");

    let dir = node.kill();
    let (code, errors) = refusal(command(dir.path(), &["--server-name", "example.org"]));
    assert_eq!(code, Some(1));
    assert!(errors.contains("localhost:8008") && errors.contains("cannot be renamed"), "{errors}");
    let node = Node::start_in(dir, &[]);
    assert_eq!(node.ok(&ada, "GET", "/_matrix/client/v3/account/whoami", &Value::Null)["user_id"], ada.id);
}

#[test]
fn what_stands_in_the_way_is_one_clear_sentence() {
    let node = Node::start(&[]);
    let data = node.dir.path().join("data");
    let (code, errors) = refusal(command(node.dir.path(), &[]));
    assert_eq!(code, Some(1));
    let store = data.join("store");
    assert_eq!(
        errors,
        format!(
            "warren: the data in {} is in use by another process: stop that one, or choose another --data-dir",
            store.display()
        )
    );
    let dir = tempfile::tempdir().unwrap();
    let address = node.address.to_string();
    let (code, errors) = refusal(command(dir.path(), &["--client-listen", &address]));
    let taken = "is taken by another program: stop that one, or choose another port with --client-listen";
    assert_eq!((code, errors), (Some(1), format!("warren: {address} {taken}")));
    let (code, errors) = refusal(command(dir.path(), &["--relay", "/ip4/127.0.0.1/tcp/80"]));
    assert_eq!(code, Some(1));
    assert!(errors.contains("is not the address of a relay"), "{errors}");
}
