//! Flags, the ready line, the key that outlives a restart, clean ends and clear refusals.
use std::{
    fs,
    io::Read,
    net::{TcpListener, UdpSocket},
    process::{Command, Stdio},
    time::Duration,
};

use crate::warren::{Warren, command, new_dirs, wait};

/// What the program says when it refuses to start: its exit code and its words on standard error.
fn refusal(mut command: Command) -> (Option<i32>, String) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let status = wait(&mut child);
    let (mut output, mut errors) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!(output, "", "nothing is ready");
    (status.code(), errors)
}

#[test]
fn the_ready_line_names_the_public_address() {
    let warren = Warren::start();
    assert_eq!(warren.ready, format!("Warren is ready: http://localhost:{}\n", warren.address.port()));
    assert_eq!(warren.health()["status"], "ok");
}

#[cfg(unix)]
#[test]
fn the_relays_key_outlives_a_restart() {
    let first = Warren::start();
    let peer_id = first.health()["peerId"].clone();
    let (_, _, dirs) = first.stop();
    let second = Warren::start_with(dirs, &[]);
    assert_eq!(second.health()["peerId"], peer_id);
    assert_ne!(Warren::start().health()["peerId"], peer_id);
}

#[cfg(unix)]
#[test]
fn sigterm_stops_it_within_a_second_whatever_clients_do() {
    let warren = Warren::start();
    let _idle = warren.connect();
    let (status, took, _) = warren.stop();
    assert!(status.success(), "{status}");
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn a_taken_port_is_one_clear_sentence() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let dirs = new_dirs();
    let (code, errors) = refusal(command(dirs.path(), &["--listen", &address]));
    assert_eq!(code, Some(1));
    assert_eq!(
        errors,
        format!("warren: {address} is taken by another program: stop that one, or choose another port with --listen\n")
    );
}

#[test]
fn a_taken_udp_port_matters_only_to_who_asked_for_it() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, errors) = refusal(command(new_dirs().path(), &["--stun", &address]));
    assert_eq!(code, Some(1));
    assert!(errors.starts_with(&format!("warren: cannot answer STUN on UDP {address}: ")), "{errors}");

    let warren = Warren::start_with(new_dirs(), &["--listen", &address]);
    assert_eq!(warren.config()["iceServers"], serde_json::json!([]));
}

#[test]
fn ice_servers_that_no_browser_would_take_are_one_clear_sentence() {
    let dirs = new_dirs();
    let file = dirs.path().join("ice.json");
    fs::write(&file, r#"[{"urls":"turn:a"}]"#).unwrap();
    let (code, errors) = refusal(command(dirs.path(), &["--ice-servers", file.to_str().unwrap()]));
    assert_eq!(code, Some(1));
    assert_eq!(errors, format!("warren: {}: \"turn:a\" needs a username and a credential\n", file.display()));
}

#[test]
fn a_missing_page_is_one_clear_sentence() {
    let dirs = new_dirs();
    fs::remove_file(dirs.path().join("site/index.html")).unwrap();
    let expected = format!(
        "warren: there is no page in {}: build it with `npm run build`, or name its directory with --site\n",
        dirs.path().join("site").display()
    );
    assert_eq!(refusal(command(dirs.path(), &[])), (Some(1), expected.clone()));
    fs::remove_dir_all(dirs.path().join("site")).unwrap();
    assert_eq!(refusal(command(dirs.path(), &[])), (Some(1), expected));
}

#[test]
fn a_damaged_key_is_not_replaced() {
    let dirs = new_dirs();
    let key = dirs.path().join("data/relay-ed25519-seed");
    fs::create_dir(dirs.path().join("data")).unwrap();
    fs::write(&key, "short").unwrap();
    let (code, errors) = refusal(command(dirs.path(), &[]));
    assert_eq!(code, Some(1));
    assert!(errors.contains("is damaged"), "{errors}");
    assert_eq!(fs::read(&key).unwrap(), b"short");
}

#[test]
fn wrong_flags_are_explained() {
    let dirs = new_dirs();
    for (flags, words) in [
        (&["--public-url", "ftp://a"][..], "neither http:// nor https://"),
        (&["--public-url", "http://a/b"], "may not have a path"),
        (&["--name-suffix", "Not a name"], "not a DNS name"),
        (&["--listen", "nowhere"], "--listen"),
        (&["--stun", "on"], "\"off\""),
    ] {
        let (code, errors) = refusal(command(dirs.path(), flags));
        assert_eq!(code, Some(2));
        assert!(errors.contains(words), "{errors}");
    }
}
