//! Hostile bytes for everything here that decodes: frames, the messages of joining, tokens, certificates, addresses.

use std::fmt::Debug;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fuzzing::{Decoder, Outcome, choice, chosen, codec, target, text};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, ReadBuf};

use crate::channel::Channel;
use crate::frame::{FrameError, HEADER_BYTES_MAX, Reader, TAIL_BYTES_MAX, Writer};
use crate::identity::{
    Authority, AuthorityPin, JoinToken, NodeCertificate, NodeIdentity, TokenError, TokenStore,
};
use crate::join::{JoinGrant, JoinRefusal, JoinReply, JoinRequest};
use crate::version::{Protocol, Versions};
use crate::wire::{self, MESSAGE_BYTES_MAX, WireError};
use crate::{KeyHash, NodeId};

fn encoded<T: Serialize>(message: &T) -> Result<Vec<u8>, WireError> {
    let mut bytes = Vec::new();
    wire::encode(message, &mut bytes).map(|()| bytes)
}

fn messages<T: Serialize + DeserializeOwned + Debug + 'static>() -> Decoder {
    codec(wire::decode::<T>, encoded)
}

fn token() -> JoinToken {
    let pin = AuthorityPin([7; 16]);
    TokenStore::default().create(pin, Duration::from_secs(60), SystemTime::now()).unwrap()
}

fn authority() -> Authority {
    Authority::create("lab", SystemTime::now()).unwrap()
}

/// Brings at most so many bytes at a time.
struct Pieces<'a> {
    rest: &'a [u8],
    bytes: usize,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (piece, rest) = self.rest.split_at(self.rest.len().min(self.bytes).min(to.remaining()));
        to.put_slice(piece);
        self.rest = rest;
        Poll::Ready(Ok(()))
    }
}

type Heard = (Vec<(JoinRefusal, Bytes)>, Result<(), String>);

/// Every frame up to the end of the stream or the first error.
fn frames(stream: &[u8], bytes: usize) -> Heard {
    let reading = async {
        let mut reader = Reader::new(Pieces { rest: stream, bytes });
        let mut heard = Vec::new();
        loop {
            match reader.recv::<JoinRefusal>().await {
                Ok(Some((message, tail))) => {
                    assert!(tail.len() <= TAIL_BYTES_MAX);
                    heard.push((message, tail));
                }
                Ok(None) => return (heard, Ok(())),
                Err(FrameError::Truncated(read)) => {
                    assert!(read <= 8 + HEADER_BYTES_MAX + TAIL_BYTES_MAX);
                    return (heard, Err("truncated".into()));
                }
                Err(error) => return (heard, Err(format!("{error:?}"))),
            }
        }
    };
    match pin!(reading).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(heard) => heard,
        Poll::Pending => panic!("the stream never lets its reader wait"),
    }
}

#[test]
fn frames_in_any_pieces() {
    let valid = || {
        let refusals = [
            JoinRefusal::NameTaken("bravo".into()),
            JoinRefusal::Token(TokenError::Used),
            JoinRefusal::Signing(String::new()),
        ];
        let mut stream = Vec::new();
        let mut writer = Writer::new(&mut stream);
        let written = async {
            for (refusal, tail) in refusals.iter().zip([&b"tail"[..], b"", &[9; 300]]) {
                writer.send(refusal, tail).await.unwrap();
            }
        };
        assert!(pin!(written).poll(&mut Context::from_waker(Waker::noop())).is_ready());
        vec![("three", chosen(200, &stream)), ("byte-by-byte", chosen(0, &stream))]
    };
    let target = target!("frames").valid(valid).length_max(64 * 1024);
    target.run(|input| {
        let (piece, stream) = input.split_first().unwrap_or((&0, &[]));
        let heard = frames(stream, usize::from(*piece) + 1);
        assert_eq!(heard, frames(stream, usize::MAX));
        let (messages, end) = &heard;
        match end {
            Ok(()) => Outcome::accepted(&messages),
            Err(error) => Outcome::refused(&(messages.len().min(3), error)),
        }
    });
}

#[test]
fn messages_of_joining() {
    let valid = || {
        let request = JoinRequest { token: token(), name: "bravo".into(), request_der: vec![0x30; 40] };
        let grant = JoinGrant {
            certificate_pem: "-----BEGIN".into(),
            authority_pem: "-----BEGIN".into(),
            peers: vec!["10.0.0.1:7749".into(), "[fd00::1]:7749".into()],
        };
        let refused = JoinReply::Refused(JoinRefusal::Token(TokenError::Expired));
        vec![
            ("request", chosen(0, &encoded(&request).unwrap())),
            ("granted", chosen(1, &encoded(&JoinReply::Granted(grant)).unwrap())),
            ("refused", chosen(1, &encoded(&refused).unwrap())),
        ]
    };
    let target = target!("join").valid(valid).length_max(MESSAGE_BYTES_MAX);
    target.run(choice([messages::<JoinRequest>(), messages::<JoinReply>()]));
}

#[test]
fn texts_of_tokens_and_addresses() {
    let valid = || {
        let id = NodeId([0x5a; 32]).to_hex().into_bytes();
        vec![
            ("token", chosen(0, token().to_string().as_bytes())),
            ("node", chosen(1, &id)),
            ("key", chosen(2, &id)),
            ("offer", chosen(3, b"homing-join/1")),
            ("channel", chosen(4, &[4])),
        ]
    };
    let offer: Decoder = Box::new(|input| {
        let agreed = Versions::announcing(2).agreed(input);
        if let Some((protocol, _)) = agreed {
            assert!(Versions::announcing(2).offers(&[protocol]).iter().any(|offer| offer == input));
        }
        Outcome::of(&agreed.ok_or("not offered"))
    });
    let channel: Decoder = Box::new(|input| Outcome::of(&Channel::try_from(*input.first().unwrap_or(&0))));
    target!("texts").valid(valid).words(&[b"HM1-", b"-", b"homing/2", b"homing-warden/1"]).run(choice([
        text(str::parse::<JoinToken>, JoinToken::to_string),
        text(str::parse::<NodeId>, |id| id.to_hex()),
        text(str::parse::<KeyHash>, KeyHash::to_string),
        offer,
        channel,
    ]));
    assert_eq!(Versions::announcing(2).agreed(b"homing/2"), Some((Protocol::Agent, 2)));
}

#[test]
fn certificates_of_strangers() {
    let valid = || {
        let dir = tempfile::tempdir().unwrap();
        authority().issue("bravo", SystemTime::now()).unwrap().save(dir.path()).unwrap();
        let pem = std::fs::read(dir.path().join("node.crt")).unwrap();
        let der = CertificateDer::from_pem_slice(&pem).unwrap().to_vec();
        vec![("der", chosen(0, &der)), ("pem", chosen(1, &pem))]
    };
    let der: Decoder = Box::new(|input| Outcome::of(&NodeCertificate::parse(&input.into())));
    let pem: Decoder = Box::new(|input| {
        let read = CertificateDer::from_pem_slice(input).map_err(|error| format!("{error:?}"));
        Outcome::of(&read.and_then(|der| NodeCertificate::parse(&der).map_err(|error| error.to_string())))
    });
    target!("certificates").valid(valid).run(choice([der, pem]));
}

#[test]
fn signing_requests_of_joiners() {
    let valid = || vec![("request", NodeIdentity::for_joiner().unwrap().1)];
    let authority = authority();
    let now = SystemTime::now();
    target!("signing-requests").valid(valid).run(|request| {
        let signed = authority.sign(request, "bravo", now).map(|pem| {
            let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
            let node = NodeCertificate::parse(&certificate).unwrap();
            assert_eq!(node.name, "bravo", "whatever the request asks for");
        });
        Outcome::of(&signed)
    });
}
