//! How QUIC is set up.

use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    AckFrequencyConfig, ClientConfig, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, ServerConfig,
    TransportConfig, VarInt,
};

use super::EndpointError;
use super::low_delay::LowDelayConfig;
use super::tasks::Tasks;
use crate::version::Versions;

/// What an endpoint's connections are good at. It shapes what this side sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// Calls, signals, control: little queued anywhere.
    #[default]
    Latency,
    /// Memory pages: a full link, with a bounded queue in front of it so that others still get through.
    Bulk,
}

impl Profile {
    /// How long what this side sends may queue on the way.
    fn queue_target(self) -> Duration {
        match self {
            Profile::Latency => LATENCY_QUEUE_TARGET,
            Profile::Bulk => BULK_QUEUE_TARGET,
        }
    }
}

/// How an endpoint differs from the usual.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What its connections are good at.
    pub profile: Profile,
    /// The versions it offers.
    pub versions: Versions,
    /// Where its tasks run.
    pub tasks: Tasks,
    /// How it tells that the other side is still there.
    pub pulse: Pulse,
}

/// How one side of a connection tells that the other one is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pulse {
    /// An idle connection asks for a sign of life this often.
    pub keep_alive: Duration,
    /// Without one for this long it is gone. Of what both sides say, the shorter time holds.
    pub silence_max: Duration,
}

impl Default for Pulse {
    fn default() -> Pulse {
        Pulse { keep_alive: Duration::from_secs(5), silence_max: Duration::from_secs(30) }
    }
}

/// What the peer may have under way. The product of connections and windows is what peers can make us hold.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// Streams open at once.
    streams: VarInt,
    /// Unread bytes on one stream.
    stream_bytes: VarInt,
    /// Unread bytes on a connection. Above `u32::MAX` the pacer would switch itself off.
    connection_bytes: VarInt,
}

impl Limits {
    /// A stream per thread of a family, the largest allowed; 8 MiB are enough for 1 GiB/s at 8 ms.
    pub(super) const WARDEN: Limits = Limits {
        streams: VarInt::from_u32(4_096),
        stream_bytes: VarInt::from_u32(8 * 1024 * 1024),
        connection_bytes: VarInt::from_u32(16 * 1024 * 1024),
    };

    /// Requests of agents, and joiners, who are strangers.
    pub(super) const AGENT: Limits = Limits {
        streams: VarInt::from_u32(1_024),
        stream_bytes: VarInt::from_u32(1024 * 1024),
        connection_bytes: VarInt::from_u32(4 * 1024 * 1024),
    };
}

/// The settings of the UDP side.
pub(super) fn endpoint() -> EndpointConfig {
    let mut config = EndpointConfig::default();
    config.max_udp_payload_size(MTU_BYTES_MAX).expect("the MTU is in the range that QUIC allows");
    config
}

/// The settings for connections that are dialled.
pub(super) fn client(
    tls: rustls::ClientConfig,
    profile: Profile,
    limits: Limits,
    pulse: Pulse,
) -> Result<ClientConfig, EndpointError> {
    let crypto = QuicClientConfig::try_from(tls).map_err(no_initial_suite)?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport(profile, limits, pulse)));
    Ok(config)
}

/// The settings for connections that are accepted.
pub(super) fn server(
    tls: rustls::ServerConfig,
    profile: Profile,
    limits: Limits,
    pulse: Pulse,
) -> Result<ServerConfig, EndpointError> {
    let crypto = QuicServerConfig::try_from(tls).map_err(no_initial_suite)?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(Arc::new(transport(profile, limits, pulse)));
    config.max_incoming(INCOMING_MAX);
    Ok(config)
}

fn transport(profile: Profile, limits: Limits, pulse: Pulse) -> TransportConfig {
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(MTU_BYTES_MAX);
    let mut acks = AckFrequencyConfig::default();
    acks.max_ack_delay(Some(ACK_DELAY_MAX));
    acks.ack_eliciting_threshold(match profile {
        Profile::Latency => VarInt::from_u32(1),
        Profile::Bulk => BULK_ACK_THRESHOLD,
    });
    let idle = IdleTimeout::try_from(pulse.silence_max).unwrap_or(VarInt::MAX.into());

    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(limits.streams)
        .max_concurrent_uni_streams(VarInt::from_u32(1))
        .stream_receive_window(limits.stream_bytes)
        .receive_window(limits.connection_bytes)
        .send_window(limits.connection_bytes.into_inner())
        .initial_rtt(INITIAL_RTT)
        .keep_alive_interval(Some(pulse.keep_alive))
        .max_idle_timeout(Some(idle))
        .mtu_discovery_config(Some(mtu))
        .congestion_controller_factory(Arc::new(LowDelayConfig { target: profile.queue_target() }))
        .ack_frequency_config(Some(acks));
    config
}

fn no_initial_suite(_: quinn::crypto::rustls::NoInitialCipherSuite) -> EndpointError {
    EndpointError::Key(rustls::Error::General("AES-128-GCM, which QUIC begins with, is missing".into()))
}

/// Largest UDP payload that path discovery tries. The kernel takes at most 65,507 bytes in one segmented send, and
/// QUIC hands over ten packets at a time: anything larger would be dropped in silence, batch after batch.
const MTU_BYTES_MAX: u16 = 6_500;
const _: () = assert!(MTU_BYTES_MAX as usize * 10 <= 65_507);

/// Connections that wait to be looked at; more are dropped.
const INCOMING_MAX: usize = 512;

/// Assumed until measured: the first retransmission comes after three of these.
const INITIAL_RTT: Duration = Duration::from_millis(100);

/// Longest that the peer may hold back an acknowledgement: it delays the repair of a lost last packet.
const ACK_DELAY_MAX: Duration = Duration::from_millis(5);

/// Calls rather wait less than fill the last tenth of the link.
const LATENCY_QUEUE_TARGET: Duration = Duration::from_millis(1);

/// Fills 1 Gbit/s with 50 ms of buffer to 99 % and lets others through in 3 to 5 ms; Cubic makes them wait 37 ms.
const BULK_QUEUE_TARGET: Duration = Duration::from_millis(3);

/// Packets that a receiver of pages may let pass without an acknowledgement.
const BULK_ACK_THRESHOLD: VarInt = VarInt::from_u32(10);
