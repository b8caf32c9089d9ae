//! A running `warren serve` with directories of its own, and a small HTTP client to ask it things.
use std::{
    collections::HashMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// Longer than anything here takes; what is not done by then has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub const HASHED_SCRIPT: &str = "/app.0a1b2c3d4e5f.js";

/// Killed when dropped, unless it was stopped.
pub struct Warren {
    child: Child,
    pub address: SocketAddr,
    /// What it said once it was ready.
    pub ready: String,
    pub dirs: TempDir,
}

impl Warren {
    pub fn start() -> Self {
        Self::start_with(new_dirs(), &[])
    }

    /// `dirs` holds `site` and `data`; a `--public-url` among `flags` must name the port that `--listen` does.
    pub fn start_with(dirs: TempDir, flags: &[&str]) -> Self {
        let mut child = command(dirs.path(), flags).stdout(Stdio::piped()).spawn().unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        let port = ready.trim_end().rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        let port = port.unwrap_or_else(|| panic!("no port in {ready:?}"));
        Self { child, address: ([127, 0, 0, 1], port).into(), ready, dirs }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[])
    }

    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        let mut stream = self.connect();
        stream.write_all((head + "\r\n").as_bytes()).unwrap();
        Answer::read(stream)
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    pub fn config(&self) -> serde_json::Value {
        serde_json::from_slice(&self.get("/config.json").body).unwrap()
    }

    pub fn health(&self) -> serde_json::Value {
        serde_json::from_slice(&self.get("/health").body).unwrap()
    }

    /// Returns once `/health` has these numbers; the relay counts a moment after the peer knows.
    pub async fn until_health(&self, expected: &[(&str, u64)]) {
        let started = Instant::now();
        while expected.iter().any(|(name, number)| self.health()[*name] != *number) {
            assert!(started.elapsed() < PATIENCE, "{:?} instead of {expected:?}", self.health());
            tokio::task::yield_now().await;
        }
    }

    /// What the program holds in memory.
    #[cfg(target_os = "linux")]
    pub fn memory_kib(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    pub fn write_site(&self, name: &str, content: &[u8]) {
        fs::write(self.dirs.path().join("site").join(name), content).unwrap();
    }

    /// Sends SIGTERM and waits; gives the directories back.
    #[cfg(unix)]
    pub fn stop(mut self) -> (ExitStatus, Duration, TempDir) {
        let started = Instant::now();
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let status = wait(&mut self.child);
        let dirs = std::mem::replace(&mut self.dirs, tempfile::tempdir().unwrap());
        (status, started.elapsed(), dirs)
    }
}

impl Drop for Warren {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A page of two files in `site`, and no `data` yet.
pub fn new_dirs() -> TempDir {
    let dirs = tempfile::tempdir().unwrap();
    let site = dirs.path().join("site");
    fs::create_dir(&site).unwrap();
    fs::write(site.join("index.html"), "<!doctype html><p>page").unwrap();
    fs::write(site.join(&HASHED_SCRIPT[1..]), "export {};").unwrap();
    dirs
}

pub fn command(dirs: &Path, flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_warren"));
    command.arg("serve").arg("--site").arg(dirs.join("site")).arg("--data-dir").arg(dirs.join("data"));
    if !flags.contains(&"--listen") {
        command.args(["--listen", "127.0.0.1:0"]);
    }
    command.args(flags).env_remove("RUST_LOG").stderr(Stdio::inherit());
    command
}

pub fn wait(child: &mut Child) -> ExitStatus {
    let started = Instant::now();
    loop {
        match child.try_wait().unwrap() {
            Some(status) => return status,
            None if started.elapsed() > PATIENCE => panic!("the program still runs"),
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// A whole HTTP answer on a connection that then closed.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn read(mut stream: TcpStream) -> Self {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        Self::of(bytes)
    }

    /// The answer that `bytes` are, all of them.
    pub fn of(bytes: Vec<u8>) -> Self {
        let end = bytes.windows(4).position(|part| part == b"\r\n\r\n").expect("a whole head");
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.map(|line| line.split_once(": ").unwrap()).map(|(name, value)| (name.into(), value.into()));
        Self { status, headers: headers.collect(), body: bytes[end + 4..].to_vec() }
    }

    /// A header's value; empty when it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}
