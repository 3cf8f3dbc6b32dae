//! Join tokens: what a person carries from a node of the cluster to a new one.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use super::AuthorityPin;
use crate::addr::{from_hex, to_hex};

/// The right to join once: `HM1-<id>-<authority>-<secret>`, all in hexadecimal.
///
/// The id tells the cluster which token it is, the pin tells the joiner which cluster it is, and the secret tells the
/// cluster that the joiner was given the token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    id: [u8; 4],
    pin: AuthorityPin,
    secret: [u8; 16],
}

/// Why a token was not made or not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum TokenError {
    /// Not the text of a token.
    #[error("not a join token: it begins with {PREFIX} and must be copied whole")]
    Malformed,
    /// No such token was made here, or the secret is wrong.
    #[error("this cluster did not make the join token")]
    Unknown,
    /// Its time is over.
    #[error("the join token has expired: make a new one on a node of the cluster")]
    Expired,
    /// Someone has joined with it.
    #[error("the join token was used already: make a new one on a node of the cluster")]
    Used,
    /// Too many tokens wait to be used.
    #[error("{TOKENS_MAX} join tokens wait to be used: let some of them expire")]
    TooMany,
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    NoRandomness,
}

/// One token as its cluster keeps it: without the secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Which token.
    pub id: [u8; 4],
    /// HMAC-SHA-256 of the secret, keyed by the id: useless for joining.
    pub tag: [u8; 32],
    /// When it ends, in seconds since 1970.
    pub expires_s: u64,
    /// Whether someone has joined with it.
    pub used: bool,
}

/// The tokens of a cluster. Save its [records](TokenStore::records) after each change, and before the certificate for
/// a redeemed token is given out, so that a crash does not make a token valid twice.
#[derive(Clone, Debug, Default)]
pub struct TokenStore {
    records: BTreeMap<[u8; 4], TokenRecord>,
}

impl TokenStore {
    /// The store with these records.
    #[must_use]
    pub fn from_records(records: impl IntoIterator<Item = TokenRecord>) -> TokenStore {
        TokenStore { records: records.into_iter().map(|record| (record.id, record)).collect() }
    }

    /// What to save.
    pub fn records(&self) -> impl Iterator<Item = &TokenRecord> {
        self.records.values()
    }

    /// Makes a token that ends after `ttl`.
    ///
    /// # Errors
    /// [`TokenError::TooMany`] and [`TokenError::NoRandomness`].
    pub fn create(
        &mut self,
        pin: AuthorityPin,
        ttl: Duration,
        now: SystemTime,
    ) -> Result<JoinToken, TokenError> {
        let now_s = seconds(now);
        self.records.retain(|_, record| now_s < record.expires_s.saturating_add(KEPT_AFTER_END_S));
        if self.records.len() >= TOKENS_MAX {
            return Err(TokenError::TooMany);
        }
        let mut token = JoinToken { id: random()?, pin, secret: random()? };
        while self.records.contains_key(&token.id) {
            token.id = random()?;
        }
        let mut tag = [0; 32];
        tag.copy_from_slice(hmac::sign(&token.key(), &token.secret).as_ref());
        let expires_s = now_s.saturating_add(ttl.as_secs());
        self.records.insert(token.id, TokenRecord { id: token.id, tag, expires_s, used: false });
        Ok(token)
    }

    /// Whether [`TokenStore::redeem`] would take the token.
    ///
    /// # Errors
    /// As [`TokenStore::redeem`].
    pub fn check(&self, token: &JoinToken, now: SystemTime) -> Result<(), TokenError> {
        let record = self.records.get(&token.id).ok_or(TokenError::Unknown)?;
        // This compares in constant time. Whoever has not the secret learns nothing about the token.
        hmac::verify(&token.key(), &token.secret, &record.tag).map_err(|_| TokenError::Unknown)?;
        if record.used {
            return Err(TokenError::Used);
        }
        if seconds(now) >= record.expires_s {
            return Err(TokenError::Expired);
        }
        Ok(())
    }

    /// Takes a token, once.
    ///
    /// # Errors
    /// [`TokenError::Unknown`] without the right secret, then [`TokenError::Used`] and [`TokenError::Expired`].
    pub fn redeem(&mut self, token: &JoinToken, now: SystemTime) -> Result<(), TokenError> {
        self.check(token, now)?;
        if let Some(record) = self.records.get_mut(&token.id) {
            record.used = true;
        }
        Ok(())
    }
}

impl JoinToken {
    /// The authority that the joiner must meet.
    #[must_use]
    pub fn pin(&self) -> AuthorityPin {
        self.pin
    }

    /// Which token it is; no secret.
    #[must_use]
    pub fn id(&self) -> [u8; 4] {
        self.id
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.id)
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [&self.id[..], &self.pin.0, &self.secret].map(to_hex);
        write!(f, "{PREFIX}-{}", parts.join("-"))
    }
}

/// Without the secret.
impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken({})", to_hex(&self.id))
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<JoinToken, TokenError> {
        let parts: Vec<_> = text.trim().splitn(5, '-').collect();
        let &[PREFIX, id, pin, secret] = parts.as_slice() else {
            return Err(TokenError::Malformed);
        };
        match (from_hex(id), from_hex(pin), from_hex(secret)) {
            (Some(id), Some(pin), Some(secret)) => Ok(JoinToken { id, pin: AuthorityPin(pin), secret }),
            _ => Err(TokenError::Malformed),
        }
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn random<const N: usize>() -> Result<[u8; N], TokenError> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| TokenError::NoRandomness)?;
    Ok(bytes)
}

/// What a token begins with; the number is that of its form.
const PREFIX: &str = "HM1";

/// Tokens that one cluster keeps.
const TOKENS_MAX: usize = 1024;

/// How long an ended token is remembered, so that its user hears "expired" and not "unknown".
const KEPT_AFTER_END_S: u64 = 24 * 3600;
