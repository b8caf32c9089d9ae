//! A running `warren node` with a directory of its own, and a small Matrix client to ask it things.
use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::warren::{Answer, PATIENCE, wait};

/// Killed when dropped, unless it was stopped.
pub struct Node {
    child: Child,
    pub address: SocketAddr,
    pub ready: String,
    pub dir: TempDir,
}

/// A user with a token.
#[derive(Clone)]
pub struct User {
    pub id: String,
    pub token: String,
}

impl Node {
    pub fn start(flags: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), flags)
    }

    pub fn start_open(flags: &[&str]) -> Self {
        Self::start(&[&["--open-registration"], flags].concat())
    }

    pub fn start_in(dir: TempDir, flags: &[&str]) -> Self {
        let command = command(dir.path(), flags);
        Self::of(command, dir)
    }

    /// What it logs goes into `log`.
    pub fn start_logging(flags: &[&str], log: File) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = command(dir.path(), flags);
        command.stderr(log);
        Self::of(command, dir)
    }

    fn of(mut command: Command, dir: TempDir) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        let address =
            ready.trim_end().strip_prefix("Warren is ready: http://").and_then(|address| address.parse().ok());
        let address = address.unwrap_or_else(|| panic!("no address in {ready:?}"));
        Self { child, address, ready, dir }
    }

    /// Ends it as a power switch would, as far as a process can tell; gives the directory back.
    pub fn kill(mut self) -> TempDir {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.take_dir()
    }

    /// Sends SIGTERM and waits.
    #[cfg(unix)]
    pub fn stop(mut self) -> (ExitStatus, TempDir) {
        self.signal("-TERM");
        let status = wait(&mut self.child);
        (status, self.take_dir())
    }

    #[cfg(unix)]
    pub fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    fn take_dir(&mut self) -> TempDir {
        std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap())
    }

    pub fn request(&self, method: &str, path: &str, token: Option<&str>, body: &Value) -> Answer {
        Answer::read(self.begin(method, path, token, body))
    }

    /// Sends a request; the answer can be read from what this returns.
    pub fn begin(&self, method: &str, path: &str, token: Option<&str>, body: &Value) -> TcpStream {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let authorization = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{authorization}content-length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = self.connect();
        stream.write_all((head + &body).as_bytes()).unwrap();
        stream
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(3 * PATIENCE)).unwrap();
        stream
    }

    /// The body of a success.
    #[track_caller]
    pub fn ok(&self, user: &User, method: &str, path: &str, body: &Value) -> Value {
        self.request(method, path, Some(&user.token), body).success()
    }

    /// Makes an account in one step.
    pub fn register(&self, username: &str) -> User {
        let body = json!({ "username": username, "password": "p", "auth": { "type": "m.login.dummy" } });
        let answer = self.request("POST", "/_matrix/client/v3/register", None, &body).success();
        let text = |field: &str| answer[field].as_str().unwrap().to_owned();
        User { id: text("user_id"), token: text("access_token") }
    }

    pub fn create_room(&self, user: &User) -> String {
        let body = json!({ "preset": "public_chat" });
        let answer = self.ok(user, "POST", "/_matrix/client/v3/createRoom", &body);
        answer["room_id"].as_str().unwrap().to_owned()
    }

    /// The id of the message.
    pub fn send(&self, user: &User, room: &str, text: &str) -> String {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        self.send_as(user, room, &format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed)), text)
    }

    pub fn send_as(&self, user: &User, room: &str, txn_id: &str, text: &str) -> String {
        let path = format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/{txn_id}");
        let answer = self.ok(user, "PUT", &path, &json!({ "msgtype": "m.text", "body": text }));
        answer["event_id"].as_str().unwrap().to_owned()
    }

    pub fn sync(&self, user: &User, since: Option<&str>, timeout_ms: u32) -> Value {
        let since = since.map(|since| format!("&since={since}")).unwrap_or_default();
        self.ok(user, "GET", &format!("/_matrix/client/v3/sync?timeout={timeout_ms}{since}"), &Value::Null)
    }

    /// The messages of a room with their event ids, newest first, at most 100.
    pub fn messages(&self, user: &User, room: &str) -> Vec<(String, String)> {
        let path = format!("/_matrix/client/v3/rooms/{room}/messages?dir=b&limit=100");
        let answer = self.ok(user, "GET", &path, &Value::Null);
        let events = answer["chunk"].as_array().unwrap().iter().filter(|event| event["type"] == "m.room.message");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        events.map(|event| (text(&event["event_id"]), text(&event["content"]["body"]))).collect()
    }

    /// Syncs until the user sees `text` in `room`.
    pub fn until_heard(&self, user: &User, room: &str, text: &str) {
        let started = Instant::now();
        let mut since: Option<String> = None;
        loop {
            let news = self.sync(user, since.as_deref(), 1000);
            let events = news["rooms"]["join"][room]["timeline"]["events"].as_array().cloned().unwrap_or_default();
            if events.iter().any(|event| event["content"]["body"] == text) {
                return;
            }
            assert!(started.elapsed() < 3 * PATIENCE, "{text:?} does not come");
            since = Some(news["next_batch"].as_str().unwrap().to_owned());
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    #[track_caller]
    pub fn success(&self) -> Value {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        self.json()
    }

    /// Panics unless it is this error, readable by any page.
    #[track_caller]
    pub fn is_error(&self, status: u16, errcode: &str) {
        assert_eq!((self.status, self.json()["errcode"].as_str()), (status, Some(errcode)), "{self:?}");
        assert_eq!(self.header("access-control-allow-origin"), "*");
        assert!(self.json()["error"].as_str().is_some_and(|text| !text.is_empty()));
    }
}

/// `warren node` on a free port, unless the flags say another.
pub fn command(dir: &Path, flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_warren"));
    command.arg("node");
    if !flags.contains(&"--data-dir") {
        command.arg("--data-dir").arg(dir.join("data"));
    }
    if !flags.contains(&"--client-listen") {
        command.args(["--client-listen", "127.0.0.1:0"]);
    }
    command.args(flags).env_remove("RUST_LOG").stderr(Stdio::inherit());
    command
}
