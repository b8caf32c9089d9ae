//! The gateway of the real program, with homeservers of tabs that this test plays, and the web.
use std::io::{Read, Write};

use bytes::Bytes;
use ruma::{
    CanonicalJsonObject, ServerName,
    api::{
        auth_scheme::AuthScheme,
        federation::authentication::{ServerSignatures, XMatrixSigningInput},
    },
    signatures::{PublicKeyMap, verify_json},
};
use serde_json::json;
use tokio::task::LocalSet;
use warren::domain::identity::Identity;

use crate::{
    tabs::{Gate, KEYS, Tab, VERSION, ZONE, connect, json_of},
    warren::new_dirs,
};

#[tokio::test]
async fn the_web_reaches_tabs_by_their_names_and_learns_why_it_does_not() {
    let test = async {
        let gate = Gate::start();
        let tab = Tab::start(&gate, 1).await;
        let name = tab.name().as_str();
        let found = gate.ask("GET", "/.well-known/matrix/server", name).await;
        assert_eq!((found.status, json_of(&found)["m.server"].clone()), (200, json!(format!("{name}:443"))));
        for host in [name.to_owned(), format!("{name}:8448")] {
            let heard = gate.ask("GET", VERSION, &host).await;
            let expected = json!({ "heard": VERSION, "host": name, "by_gateway": true, "bytes": 0 });
            assert_eq!((heard.status, json_of(&heard)), (200, expected));
        }
        // The target goes as it came, as its sender signed it.
        for target in ["/_matrix/federation/v1/publicRooms?", "/_matrix/federation/v1/publicRooms?limit=1&since=%20"] {
            assert_eq!(json_of(&gate.ask("GET", target, name).await)["heard"], target);
        }
        // Nothing but what servers ask of each other, of nobody but homeservers of the zone.
        for (path, host) in [
            ("/_matrix/client/versions", name),
            ("/", name),
            ("/config.json", name),
            ("/_matrix/federation/../client/versions", name),
            (VERSION, ZONE),
            (VERSION, "example.org"),
            (VERSION, &name.replace(ZONE, "alt")),
            ("/.well-known/matrix/server", "www.tabs.example.org"),
        ] {
            assert_eq!(gate.ask("GET", path, host).await.status, 404, "{path} of {host}");
        }
        let away = Identity::from_seed([9; 32], ZONE).unwrap();
        let missing = gate.ask("GET", VERSION, away.server_name().as_str()).await;
        assert_eq!((missing.status, json_of(&missing)["errcode"].clone()), (502, json!("M_UNKNOWN")));
        assert!(json_of(&missing)["error"].as_str().unwrap().contains("browser tab"));
        assert_eq!(gate.ask("GET", KEYS, away.server_name().as_str()).await.status, 502);

        // While the tab sleeps it can still be known that it said what it said.
        let awake = gate.ask("GET", KEYS, name).await;
        tab.network.stop();
        let asleep = async {
            while gate.ask("GET", VERSION, name).await.status != 502 {}
            gate.ask("GET", KEYS, name).await
        };
        let asleep = tokio::time::timeout(crate::warren::PATIENCE, asleep).await.expect("the gateway notices");
        assert_eq!((asleep.status, json_of(&asleep)), (200, json_of(&awake)));
        assert_eq!(json_of(&asleep)["server_name"], name);
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_tab_is_carried_nowhere_but_to_servers_of_the_web_and_only_in_its_own_name() {
    let test = async {
        let gate = Gate::start();
        let (tab, other) = (Tab::start(&gate, 1).await, Tab::start(&gate, 2).await);
        // Neither this machine nor its network, whatever they are called.
        for inside in
            ["127.0.0.1:1", "[::1]:1", "192.168.1.1", "10.0.0.1:8448", "169.254.169.254:80", "[::ffff:127.0.0.1]:1"]
        {
            let (status, body) = tab.ask(inside, VERSION).await;
            let reason = body["error"].as_str().unwrap();
            assert_eq!(
                (status, reason.contains("no address of the public internet")),
                (502, true),
                "{inside}: {reason}"
            );
        }
        assert_eq!(tab.ask("localhost:1", VERSION).await.0, 502);
        for path in ["/_matrix/client/v3/sync", "/admin", "/_matrix/federation/../../admin", "/_matrix/key/v2/server"] {
            assert_eq!(tab.ask("example.org", path).await.0, 404, "{path}");
        }
        // In the name of another, and with nobody's.
        let web = ServerName::parse("example.org").unwrap();
        let mut forged = http::Request::get(VERSION).body(Bytes::new()).unwrap();
        let signing = XMatrixSigningInput::new(other.name().to_owned(), web.clone(), other.identity.key_pair());
        ServerSignatures::add_authentication(&mut forged, signing).unwrap();
        assert_eq!(tab.send(web.clone(), forged).await.unwrap().0, 401);
        let unsigned = http::Request::get(VERSION).header("authorization", "Bearer x").body(Bytes::new()).unwrap();
        assert_eq!(tab.send(web, unsigned).await.unwrap().0, 401);
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn the_gateway_is_a_notary_of_its_tabs_and_has_nothing_else() {
    let test = async {
        let gate = Gate::start();
        let (tab, other) = (Tab::start(&gate, 1).await, Tab::start(&gate, 2).await);
        let notary = gate.gateway().server_name().unwrap();
        let query = |server: &str| {
            let path = format!("/_matrix/key/v2/query/{server}");
            tab.send(notary.clone(), http::Request::get(path).body(Bytes::new()).unwrap())
        };
        let (status, told) = query(other.name().as_str()).await.unwrap();
        assert_eq!(status, 200);
        let [keys] = told["server_keys"].as_array().unwrap().as_slice() else { panic!("{told}") };
        assert_eq!(keys["server_name"], other.name().as_str());
        let key = warren::domain::identity::PublicKey::of_server_name(&notary).unwrap();
        let mut alone: CanonicalJsonObject = serde_json::from_value(keys.clone()).unwrap();
        let own = keys["signatures"][notary.as_str()].clone();
        alone.insert("signatures".to_owned(), serde_json::from_value(json!({ notary.as_str(): own })).unwrap());
        let known: PublicKeyMap = key.public_key_map(&notary);
        verify_json(&known, &alone).unwrap();
        // Of servers that it cannot reach it says nothing.
        let (status, told) = query("127.0.0.1:1").await.unwrap();
        assert_eq!((status, told["server_keys"].clone()), (200, json!([])));
        for path in ["/_matrix/federation/v1/version", "/_matrix/client/versions", "/_matrix/federation/v1/publicRooms"]
        {
            let request = http::Request::get(path).body(Bytes::new()).unwrap();
            assert_eq!(tab.send(notary.clone(), request).await.unwrap().0, 404, "{path}");
        }
        let found = gate.ask("GET", KEYS, notary.as_str()).await;
        assert_eq!(json_of(&found)["server_name"], notary.as_str());
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_gateway_with_a_certificate_of_its_own_needs_no_proxy() {
    let test = async {
        let gate = Gate::start_with_tls();
        let tab = Tab::start(&gate, 1).await;
        let name = tab.name().as_str();
        let found = gate.ask_by_tls("/.well-known/matrix/server", name, name).await.unwrap();
        assert_eq!((found.status, json_of(&found)["m.server"].clone()), (200, json!(format!("{name}:{}", gate.port))));
        let heard = gate.ask_by_tls(VERSION, name, &format!("{name}:{}", gate.port)).await.unwrap();
        assert_eq!((heard.status, json_of(&heard)["by_gateway"].clone()), (200, json!(true)));
        assert_eq!(json_of(&gate.ask_by_tls(KEYS, name, name).await.unwrap())["server_name"], name);
        // Whom the certificate is for says nothing about whom a request is for, and the other way round.
        let other = Identity::from_seed([2; 32], ZONE).unwrap();
        let asked = gate.ask_by_tls(VERSION, name, other.server_name().as_str()).await.unwrap();
        assert_eq!(asked.status, 502, "a tab that is away");
        assert_eq!(gate.ask_by_tls(VERSION, name, "example.org").await.unwrap().status, 404);
        let elsewhere = gate.ask_by_tls(VERSION, "example.org", name).await.unwrap_err();
        assert!(elsewhere.to_string().contains("certificate"), "{elsewhere}");
        // Who speaks no TLS is not answered.
        let plain = tokio::task::spawn_blocking({
            let port = gate.port;
            move || {
                let mut stream = connect(port);
                stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
                let mut said = Vec::new();
                let _ = stream.read_to_end(&mut said);
                said
            }
        });
        assert!(!plain.await.unwrap().starts_with(b"HTTP"));
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_request_is_for_the_one_host_that_it_names() {
    let test = async {
        let gate = Gate::start();
        let (tab, other) = (Tab::start(&gate, 1).await, Tab::start(&gate, 2).await);
        let (name, others) = (tab.name().as_str(), other.name().as_str());
        let heard = |head: String| {
            let port = gate.port;
            tokio::task::spawn_blocking(move || {
                let mut stream = connect(port);
                stream.write_all(format!("{head}connection: close\r\n\r\n").as_bytes()).unwrap();
                crate::warren::Answer::read(stream)
            })
        };
        let get = |target: &str, headers: &str| heard(format!("GET {target} HTTP/1.1\r\n{headers}"));
        // However it is written, it is the same name; what it is called further on is what the tab calls itself.
        for host in [name.to_uppercase(), format!("{name}:1"), format!("{}:65535", name.to_uppercase())] {
            let answer = get(VERSION, &format!("host: {host}\r\n")).await.unwrap();
            assert_eq!((answer.status, json_of(&answer)["host"].clone()), (200, json!(name)), "{host}");
        }
        let label = name.split('.').next().unwrap();
        for (headers, statuses) in [
            (String::new(), [400, 400]),
            (format!("host: {name}\r\nhost: {others}\r\n"), [400, 400]),
            (format!("host: {name}, {others}\r\n"), [400, 404]),
            (format!("host: {others}@{name}\r\n"), [400, 404]),
            (format!("host: {name}:99999\r\n"), [400, 404]),
            (format!("host: {name}/\r\n"), [400, 404]),
            (format!("host: {name}.\r\n"), [404, 404]),
            (format!("host: .{name}\r\n"), [400, 404]),
            (format!("host: x.{name}\r\n"), [404, 404]),
            (format!("host: {name}.evil.example\r\n"), [404, 404]),
            (format!("host: {label}.alt\r\n"), [404, 404]),
            (format!("host: {label}\r\n"), [404, 404]),
            (format!("host: {ZONE}\r\n"), [404, 404]),
            ("host: \r\n".to_owned(), [400, 404]),
        ] {
            let answer = get(VERSION, &headers).await.unwrap();
            assert!(statuses.contains(&answer.status), "{headers:?}: {}", answer.status);
            assert!(json_of(&answer)["errcode"].is_string(), "{headers:?}");
        }
        // A target with a host of its own that is another's.
        let two = get(&format!("http://{others}{VERSION}"), &format!("host: {name}\r\n")).await.unwrap();
        assert_eq!(two.status, 400, "{:?}", String::from_utf8_lossy(&two.body));
    };
    LocalSet::new().run_until(test).await;
}

#[test]
fn flags_that_make_no_gateway_are_refused() {
    let refused = |flags: &[&str]| {
        let dirs = new_dirs();
        let output = crate::warren::command(dirs.path(), flags).stderr(std::process::Stdio::piped()).output().unwrap();
        assert!(!output.status.success(), "{flags:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refused(&["--gateway-zone", "Not_A.zone"]).contains("not a DNS name"));
    assert!(refused(&["--gateway-zone", ZONE, "--name-suffix", "alt"]).contains("--name-suffix"));
    assert!(refused(&["--gateway-listen", "127.0.0.1:0"]).contains("--gateway-zone"));
    assert!(refused(&["--gateway-zone", ZONE, "--tls-cert", "x.pem"]).contains("--tls-key"));
    assert!(
        refused(&["--gateway-zone", ZONE, "--gateway-listen", "0.0.0.0:0"]).contains("--gateway-listen on 127.0.0.1")
    );
}
