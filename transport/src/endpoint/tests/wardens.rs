//! Wardens: introduced, strange and unruly ones.

use std::net::{SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::{LOOPBACK, soon};
use crate::addr::{KeyHash, sha256};
use crate::channel::Channel;
use crate::endpoint::{
    CODE_DONE, CODE_UNKNOWN_CHANNEL, Closed, Connection, Distrust, EndpointError, Options, Peer, Profile,
    Tasks, WardenEndpoint, config, dial, tls,
};
use crate::frame::FrameError;
use crate::identity::WardenKey;
use crate::version::{Protocol, Versions};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Ping(u64);

const ANY_PORT: RangeInclusive<u16> = 0..=0;

fn warden() -> WardenEndpoint {
    warden_with(Options::default())
}

fn warden_with(options: Options) -> WardenEndpoint {
    WardenEndpoint::bind_with(&WardenKey::generate().unwrap(), LOOPBACK, ANY_PORT, options).unwrap()
}

/// A connection from the first to the second, and the second's view of it.
async fn join(dialler: &WardenEndpoint, listener: &WardenEndpoint) -> (Connection, Connection) {
    listener.allow(dialler.key_hash());
    let (dialled, accepted) =
        tokio::join!(dialler.connect(listener.local_addr(), listener.key_hash()), soon(listener.accept()));
    (dialled.unwrap(), accepted.unwrap())
}

#[tokio::test]
async fn wardens_that_were_introduced_talk() {
    talk(warden(), warden()).await;
}

#[tokio::test]
async fn they_talk_within_one_set_of_tasks() {
    let local = || warden_with(Options { tasks: Tasks::Local, ..Options::default() });
    tokio::task::LocalSet::new().run_until(async { talk(local(), local()).await }).await;
}

async fn talk(home: WardenEndpoint, guest: WardenEndpoint) {
    let (dialled, accepted) = join(&home, &guest).await;
    assert_eq!(*dialled.peer(), Peer::Warden(guest.key_hash()));
    assert_eq!(*accepted.peer(), Peer::Warden(home.key_hash()));
    assert_eq!((dialled.version(), accepted.version()), (1, 1));

    let (mut sender, mut receiver) = dialled.open(Channel::Calls).await.unwrap();
    sender.send(&Ping(7), b"there").await.unwrap();
    sender.finish();
    let (channel, mut back, mut forth) = soon(accepted.accept()).await.unwrap();
    assert_eq!(channel, Channel::Calls);
    assert_eq!(forth.recv().await.unwrap().unwrap(), (Ping(7), Bytes::from_static(b"there")));
    assert!(forth.recv::<Ping>().await.unwrap().is_none());
    back.send_bytes(&Ping(8), Bytes::from(vec![1; 100_000])).await.unwrap();
    let (pong, tail) = receiver.recv::<Ping>().await.unwrap().unwrap();
    assert_eq!((pong, tail.len()), (Ping(8), 100_000));
    assert!(dialled.bytes_received() > 100_000 && accepted.bytes_sent() > 100_000);

    dialled.close(77, "enough");
    assert_eq!(soon(accepted.closed()).await, Closed::Peer { code: 77, reason: "enough".into() });
    assert_eq!(soon(dialled.closed()).await, Closed::Here);
    assert!(soon(accepted.accept()).await.is_none());
}

#[tokio::test]
async fn who_has_dialled_may_change_its_address() {
    let (guest, home) = (warden(), warden());
    assert!(!guest.follow_address().unwrap(), "it has its address still");
    let (dialled, accepted) = join(&guest, &home).await;
    let (mut sender, _receiver) = dialled.open(Channel::Calls).await.unwrap();
    sender.send(&Ping(1), b"").await.unwrap();
    let (_, mut back, mut forth) = soon(accepted.accept()).await.unwrap();
    assert_eq!(soon(forth.recv::<Ping>()).await.unwrap().unwrap().0, Ping(1));
    let before = accepted.remote_address();
    guest.rebind(guest.local_addr()).unwrap();
    for number in 2..10 {
        sender.send(&Ping(number), b"").await.unwrap();
        assert_eq!(soon(forth.recv::<Ping>()).await.unwrap().unwrap().0, Ping(number));
        back.send(&Ping(number), b"").await.unwrap();
    }
    assert_ne!(accepted.remote_address(), before);
    assert!(dialled.end().is_none() && accepted.end().is_none());
}

#[tokio::test]
async fn a_thousand_ping_pongs() {
    let (home, guest) = (warden(), warden());
    let (dialled, accepted) = join(&home, &guest).await;
    let echo = tokio::spawn(async move {
        let (_, mut sender, mut receiver) = accepted.accept().await.unwrap();
        while let Some((Ping(n), tail)) = receiver.recv::<Ping>().await.unwrap() {
            sender.send(&Ping(n + 1), &tail).await.unwrap();
        }
        sender.finish();
        accepted.closed().await
    });
    let (mut sender, mut receiver) = dialled.open(Channel::Calls).await.unwrap();
    for n in 0..1000 {
        sender.send(&Ping(n), &[3; 64]).await.unwrap();
        let (answer, tail) = soon(receiver.recv::<Ping>()).await.unwrap().unwrap();
        assert_eq!((answer, &tail[..]), (Ping(n + 1), &[3; 64][..]));
    }
    sender.finish();
    assert!(soon(receiver.recv::<Ping>()).await.unwrap().is_none());
    home.close().await;
    assert!(matches!(soon(echo).await.unwrap(), Closed::Peer { code: 0, .. }));
}

#[tokio::test]
async fn a_connection_outlives_its_endpoints() {
    let (home, guest) = (warden(), warden());
    let (dialled, accepted) = join(&home, &guest).await;
    let (home_addr, home_key) = (home.local_addr(), home.key_hash());
    drop((home, guest));
    let (mut sender, _receiver) = dialled.open(Channel::Control).await.unwrap();
    sender.send(&Ping(5), b"").await.unwrap();
    let (_, _sender, mut receiver) = soon(accepted.accept()).await.unwrap();
    assert_eq!(soon(receiver.recv::<Ping>()).await.unwrap().unwrap().0, Ping(5));
    assert!(warden().connect(home_addr, home_key).await.is_err());
}

#[tokio::test]
async fn bulk_arrives_bit_exact() {
    const BATCH_BYTES: usize = 1024 * 1024;
    const BATCHES: u8 = 64;
    let (home, guest) = (warden_with(Options { profile: Profile::Bulk, ..Options::default() }), warden());
    let (dialled, accepted) = join(&home, &guest).await;
    let batch = |n: u8| -> Vec<u8> { (0..251).cycle().take(BATCH_BYTES).map(|byte: u8| n ^ byte).collect() };

    let receiving = tokio::spawn(async move {
        let (_, mut sender, mut receiver) = accepted.accept().await.unwrap();
        let mut bytes = Vec::new();
        while let Some((Ping(_), tail)) = receiver.recv::<Ping>().await.unwrap() {
            bytes.extend_from_slice(&tail);
        }
        sender.send(&Ping(0), &sha256(&bytes)).await.unwrap();
        sender.finish();
        accepted.closed().await;
    });
    let (mut sender, mut receiver) = dialled.open(Channel::Pages).await.unwrap();
    let mut sent = Vec::new();
    for n in 0..BATCHES {
        sent.extend_from_slice(&batch(n));
        soon(sender.send_bytes(&Ping(n.into()), Bytes::from(batch(n)))).await.unwrap();
    }
    sender.finish();
    let (_, hash) = soon(receiver.recv::<Ping>()).await.unwrap().unwrap();
    assert_eq!(&hash[..], sha256(&sent));
    dialled.close(CODE_DONE, "done");
    receiving.await.unwrap();
}

#[tokio::test]
async fn a_key_that_was_not_announced_is_refused_by_either_side() {
    let (home, guest, stranger) = (warden(), warden(), warden());
    guest.allow(home.key_hash());

    let refused = stranger.connect(guest.local_addr(), guest.key_hash()).await;
    assert!(matches!(refused, Err(EndpointError::Refused { why: Distrust::Key, .. })), "{refused:?}");
    let mistaken = home.connect(guest.local_addr(), stranger.key_hash()).await;
    assert!(matches!(mistaken, Err(EndpointError::WrongPeer { why: Distrust::Key, .. })), "{mistaken:?}");

    // Neither of them reached the guest, and the right one still does.
    let (_, accepted) = join(&home, &guest).await;
    assert_eq!(*accepted.peer(), Peer::Warden(home.key_hash()));
    guest.disallow(home.key_hash());
    let late = home.connect(guest.local_addr(), guest.key_hash()).await;
    assert!(matches!(late, Err(EndpointError::Refused { .. })), "{late:?}");
}

#[tokio::test]
async fn without_a_common_version_the_refusal_names_both() {
    let newer = warden_with(Options { versions: Versions::announcing(3), ..Options::default() });
    let guest = warden();
    guest.allow(newer.key_hash());
    let error = newer.connect(guest.local_addr(), guest.key_hash()).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("speaks version 1 of the protocol and this side 3, 2"), "{text}");
}

#[tokio::test]
async fn the_newest_common_version_is_agreed() {
    let newer = warden_with(Options { versions: Versions::announcing(2), ..Options::default() });
    let (dialled, accepted) = join(&newer, &warden()).await;
    assert_eq!((dialled.version(), accepted.version()), (1, 1));
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_named() {
    let silent = UdpSocket::bind((LOOPBACK, 0)).unwrap().local_addr().unwrap();
    let error = warden().connect(silent, KeyHash([0; 32])).await.unwrap_err();
    assert!(matches!(error, EndpointError::Unanswered { addr } if addr == silent), "{error:?}");
}

#[tokio::test]
async fn a_range_without_a_free_port_is_named() {
    let taken = UdpSocket::bind((LOOPBACK, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let key = WardenKey::generate().unwrap();
    let error = WardenEndpoint::bind(&key, LOOPBACK, port..=port).unwrap_err();
    assert!(matches!(error, EndpointError::NoPort { first, last, .. } if (first, last) == (port, port)));
}

#[tokio::test]
async fn garbage_on_the_port_harms_nobody() {
    let (home, guest) = (warden(), warden());
    let vandal = UdpSocket::bind((LOOPBACK, 0)).unwrap();
    let (dialled, accepted) = join(&home, &guest).await;
    for (n, first) in (0..2000).zip((0..=u8::MAX).cycle()) {
        // Every first byte, so long and short QUIC headers too, with a plausible version.
        let mut datagram = vec![first; 8 + n % 1400];
        datagram[1..5].copy_from_slice(&[0, 0, 0, 1]);
        vandal.send_to(&datagram, guest.local_addr()).unwrap();
    }
    let (mut sender, _) = dialled.open(Channel::Control).await.unwrap();
    sender.send(&Ping(1), b"").await.unwrap();
    assert!(soon(accepted.accept()).await.is_some());
    join(&warden(), &guest).await;
}

/// A warden that is allowed and then does as it pleases.
async fn unruly(guest: &WardenEndpoint) -> (quinn::Connection, Connection) {
    let key = WardenKey::generate().unwrap();
    guest.allow(key.hash());
    let credentials = tls::Credentials { chain: vec![key.certificate()], key: key.private_key() };
    let versions = Versions::default();
    let offers = versions.offers(&[Protocol::Warden]);
    let verifier = Arc::new(tls::ExactKeys::new([guest.key_hash()]));
    let client = config::client(
        tls::client(Some(credentials), verifier, offers).unwrap(),
        Profile::Latency,
        config::Limits::WARDEN,
        config::Pulse::default(),
    )
    .unwrap();
    let endpoint = quinn::Endpoint::client(SocketAddr::new(LOOPBACK, 0)).unwrap();
    let (dialled, accepted) =
        tokio::join!(dial::dial(&endpoint, client, guest.local_addr(), &versions), guest.accept());
    (dialled.unwrap().0, accepted.unwrap())
}

#[tokio::test]
async fn an_unknown_channel_costs_only_its_stream() {
    let guest = warden();
    let (unruly, accepted) = unruly(&guest).await;
    let next = Channel::ALL.iter().map(|channel| u8::from(*channel)).max().unwrap() + 1;
    for byte in [0, next, 255] {
        let (mut sender, mut receiver) = unruly.open_bi().await.unwrap();
        sender.write_all(&[byte]).await.unwrap();
        let skipping = tokio::spawn({
            let accepted = accepted.clone();
            async move { accepted.accept().await.map(|(channel, ..)| channel) }
        });
        let reset = soon(receiver.read_chunk(1, true)).await.unwrap_err();
        assert_eq!(reset, quinn::ReadError::Reset(CODE_UNKNOWN_CHANNEL.into()));
        let (mut sender, _receiver) = unruly.open_bi().await.unwrap();
        sender.write_all(&[Channel::Pages.into()]).await.unwrap();
        assert_eq!(soon(skipping).await.unwrap(), Some(Channel::Pages));
    }
}

#[tokio::test]
async fn an_accept_that_is_cancelled_loses_no_stream() {
    let guest = warden();
    let (unruly, accepted) = unruly(&guest).await;
    let (mut silent, _receiver) = unruly.open_bi().await.unwrap();
    // Only a stream on which something was sent is seen by the peer, so this one is announced by the next.
    let (mut second, _receiver) = unruly.open_bi().await.unwrap();
    second.write_all(&[Channel::Calls.into()]).await.unwrap();
    assert!(timeout(Duration::from_millis(50), accepted.accept()).await.is_err());
    silent.write_all(&[Channel::Control.into()]).await.unwrap();
    assert_eq!(soon(accepted.accept()).await.unwrap().0, Channel::Control);
    assert_eq!(soon(accepted.accept()).await.unwrap().0, Channel::Calls);
}

#[tokio::test]
async fn a_frame_beyond_the_limit_ends_the_stream_and_not_the_connection() {
    let guest = warden();
    let (unruly, accepted) = unruly(&guest).await;
    let (mut sender, _receiver) = unruly.open_bi().await.unwrap();
    sender.write_all(&[Channel::Calls.into(), 255, 255, 255, 255, 0, 0, 0, 0]).await.unwrap();
    let (_, _sender, mut receiver) = soon(accepted.accept()).await.unwrap();
    assert!(matches!(soon(receiver.recv::<Ping>()).await, Err(FrameError::HeaderTooLong(_))));
    receiver.stop(9);
    assert_eq!(soon(sender.stopped()).await.unwrap(), Some(quinn::VarInt::from_u32(9)));
    assert!(unruly.close_reason().is_none());
}
