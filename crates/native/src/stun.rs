//! Tells browsers the address their packets come from: the binding requests of STUN (RFC 8489) over UDP, and nothing else
//! of it. Two people behind different routers find each other by it.
use std::{io, net::SocketAddr, time::Duration};

use stun_types::{
    attribute::{Fingerprint, XorMappedAddress},
    message::{BINDING, Message, MessageClass, MessageHeader, MessageWrite, MessageWriteExt, MessageWriteVec},
};
use tokio::net::UdpSocket;

/// Longer than a browser's request, and shorter than what would be worth having reflected.
const REQUEST_MAX_BYTES: usize = 548;

/// After receiving failed, the next try comes after this.
const PAUSE: Duration = Duration::from_millis(50);

/// Answers until the runtime ends. `socket` is bound already; what cannot be sent is lost, as UDP may lose it anyway.
pub async fn answer(socket: UdpSocket) {
    let mut datagram = [0; REQUEST_MAX_BYTES + 1];
    loop {
        match socket.recv_from(&mut datagram).await {
            Ok((bytes, from)) => {
                if let Some(answer) = answer_to(&datagram[..bytes], from) {
                    let _ = socket.send_to(&answer, from).await;
                }
            }
            Err(error) => pause_after(&error).await,
        }
    }
}

/// Some systems report here that an earlier answer found nobody; others mean that they have run out of something.
async fn pause_after(error: &io::Error) {
    if !matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused) {
        tracing::debug!(%error, "cannot receive on the STUN port");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Only whole binding requests are answered: an answer to an answer could go back and forth between two servers forever.
/// An attribute that we would have to understand and do not is an error 420 (RFC 8489, section 6.3.1).
fn answer_to(datagram: &[u8], from: SocketAddr) -> Option<Vec<u8>> {
    let header = MessageHeader::from_bytes(datagram).ok()?;
    let declared = MessageHeader::LENGTH + usize::from(header.data_length());
    if datagram.len() > REQUEST_MAX_BYTES || datagram.len() != declared {
        return None;
    }
    let request = Message::from_bytes(datagram).ok()?;
    if !request.has_class(MessageClass::Request) || !request.has_method(BINDING) {
        return None;
    }
    // IPv4 that arrives on an IPv6 socket is told as what it is.
    let from = SocketAddr::new(from.ip().to_canonical(), from.port());
    let refusal = Message::check_attribute_types(&request, &[], &[], MessageWriteVec::new());
    let mut answer = refusal.unwrap_or_else(|| {
        let mut success = Message::builder_success(&request, MessageWriteVec::new());
        let address = XorMappedAddress::new(from, request.transaction_id());
        success.add_attribute(&address).expect("a first attribute fits");
        success
    });
    if request.attribute::<Fingerprint>().is_ok() {
        answer.add_fingerprint().expect("a fingerprint goes last");
    }
    Some(answer.finish())
}

#[cfg(test)]
mod tests {
    use stun_types::{
        attribute::{ErrorCode, Username},
        message::Method,
    };

    use super::*;

    const FROM: &str = "203.0.113.7:4711";

    fn request(method: Method, build: impl FnOnce(&mut MessageWriteVec)) -> Vec<u8> {
        let mut message = Message::builder_request(method, MessageWriteVec::new());
        build(&mut message);
        message.finish()
    }

    fn answered(datagram: &[u8], from: &str) -> Option<Vec<u8>> {
        answer_to(datagram, from.parse().unwrap())
    }

    #[test]
    fn a_browser_learns_its_address() {
        for (from, seen) in
            [(FROM, FROM), ("[2001:db8::7]:4711", "[2001:db8::7]:4711"), ("[::ffff:203.0.113.7]:4711", FROM)]
        {
            let asked = request(BINDING, |_| ());
            let answer = answered(&asked, from).unwrap();
            let answer = Message::from_bytes(&answer).unwrap();
            let id = Message::from_bytes(&asked).unwrap().transaction_id();
            assert!(answer.has_class(MessageClass::Success));
            assert_eq!(answer.transaction_id(), id);
            assert_eq!(answer.attribute::<XorMappedAddress>().unwrap().addr(id), seen.parse().unwrap());
            assert!(!answer.has_attribute(<Fingerprint as stun_types::attribute::AttributeStaticType>::TYPE));
        }
    }

    #[test]
    fn a_fingerprint_is_answered_with_one() {
        let asked = request(BINDING, |message| message.add_fingerprint().unwrap());
        let answer = answered(&asked, FROM).unwrap();
        assert!(Message::from_bytes(&answer).unwrap().attribute::<Fingerprint>().is_ok());
    }

    #[test]
    fn what_must_be_understood_and_is_not_is_refused() {
        let asked = request(BINDING, |message| message.add_attribute(&Username::new("a").unwrap()).unwrap());
        let answer = answered(&asked, FROM).unwrap();
        let answer = Message::from_bytes(&answer).unwrap();
        assert!(answer.has_class(MessageClass::Error));
        assert_eq!(answer.attribute::<ErrorCode>().unwrap().code(), 420);
    }

    #[test]
    fn anything_else_is_met_with_silence() {
        let whole = request(BINDING, |_| ());
        for datagram in [
            Vec::new(),
            vec![0; 20],
            whole[..19].to_vec(),
            [&whole[..], &[0; 4]].concat(),
            request(Method::new(3), |_| ()),
            Message::builder_indication(BINDING, MessageWriteVec::new()).finish(),
            answered(&whole, FROM).unwrap(),
            vec![0xff; REQUEST_MAX_BYTES + 1],
        ] {
            assert_eq!(answered(&datagram, FROM), None, "{datagram:?}");
        }
    }

    #[test]
    fn an_answer_is_hardly_larger_than_what_asked_for_it() {
        let many = request(BINDING, |message| {
            for _ in 0..60 {
                message.add_attribute(&Username::new("abcd").unwrap()).ok();
            }
        });
        for asked in [request(BINDING, |_| ()), many] {
            let answer = answered(&asked, "[2001:db8::7]:4711").unwrap();
            assert!(answer.len() <= asked.len() + 64, "{} to {}", answer.len(), asked.len());
        }
    }
}
