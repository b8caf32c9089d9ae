//! Signalling messages of anybody, one after the other, to both roles.
#![no_main]
use libfuzzer_sys::fuzz_target;
use libp2p_webrtc_p2p::signaling::{
    candidate::Told,
    message::Message,
    session::{CANDIDATES_MAX, Input, Output, Role, Session},
};

fuzz_target!(|messages: Vec<Vec<u8>>| {
    for role in [Role::Offerer, Role::Answerer] {
        let (mut session, mut added) = (Session::new(role), 0);
        for body in &messages {
            let Ok(message) = Message::decode(body) else { continue };
            // What was read is written the same way, its length in front.
            let written = message.clone().encode();
            assert!(written.len() > body.len().min(1));
            if let Message::Candidate(json) = &message
                && let Told::Candidate(candidate) = Told::parse(json)
            {
                assert_eq!(Told::parse(&candidate.to_json()), Told::Candidate(candidate));
            }
            if session.handle(Input::Received(message)).is_err() {
                break;
            }
            while let Some(output) = session.next_output() {
                let answer = match output {
                    Output::MakeOffer | Output::MakeAnswer(_) => Input::Described("m=application 9".to_owned()),
                    Output::ApplyAnswer(_) => Input::Applied,
                    Output::AddCandidate(_) => {
                        added += 1;
                        continue;
                    }
                    Output::Send(_) | Output::Connected => continue,
                };
                session.handle(answer).expect("the browser breaks no rule");
            }
        }
        assert!(added <= CANDIDATES_MAX);
    }
});
