//! Certificates, files and tokens.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn authority() -> Authority {
    Authority::create("lab", SystemTime::now()).unwrap()
}

fn store_with_token() -> (TokenStore, JoinToken, SystemTime) {
    let (mut store, now) = (TokenStore::default(), SystemTime::now());
    let token = store.create(authority().pin(), HOUR, now).unwrap();
    (store, token, now)
}

#[test]
fn a_joiner_becomes_a_node_under_the_name_that_was_signed() {
    let authority = authority();
    let (key, request) = NodeIdentity::for_joiner().unwrap();
    let certificate = authority.sign(&request, "n2", SystemTime::now()).unwrap();
    let node = key.complete(certificate, authority.certificate_pem().to_owned()).unwrap();
    assert_eq!((node.name(), node.authority()), ("n2", authority.pin()));
    assert_ne!(node.id(), authority.issue("n2", SystemTime::now()).unwrap().id());
}

#[test]
fn a_certificate_for_another_key_is_refused() {
    let authority = authority();
    let (_, request) = NodeIdentity::for_joiner().unwrap();
    let (other, _) = NodeIdentity::for_joiner().unwrap();
    let certificate = authority.sign(&request, "n2", SystemTime::now()).unwrap();
    let mixed = other.complete(certificate, authority.certificate_pem().to_owned());
    assert!(matches!(mixed, Err(IdentityError::Mismatch)));
}

#[test]
fn a_damaged_request_is_refused() {
    let (_, mut request) = NodeIdentity::for_joiner().unwrap();
    // The last byte belongs to the signature, which proves that the joiner owns the key.
    *request.last_mut().unwrap() ^= 1;
    assert!(matches!(authority().sign(&request, "n2", SystemTime::now()), Err(IdentityError::Request(_))));
    assert!(matches!(authority().sign(b"", "n2", SystemTime::now()), Err(IdentityError::Request(_))));
}

#[test]
fn a_bad_name_is_refused() {
    let (_, request) = NodeIdentity::for_joiner().unwrap();
    for name in ["", "-n", ".", "a b", "n\u{1b}[2J", "ü", &"n".repeat(64)] {
        let refused = authority().sign(&request, name, SystemTime::now());
        assert!(matches!(refused, Err(IdentityError::Name(_))), "{name:?}");
    }
    for name in ["n1", "Node_7", "a.b-c", &"n".repeat(63)] {
        authority().sign(&request, name, SystemTime::now()).unwrap();
    }
}

#[test]
fn identities_are_read_back_and_keys_are_private() {
    let dir = tempfile::tempdir().unwrap();
    let authority = authority();
    let node = authority.issue("n1", SystemTime::now()).unwrap();
    authority.save(dir.path()).unwrap();
    node.save(dir.path()).unwrap();
    node.save(dir.path()).unwrap();

    assert_eq!(Authority::load(dir.path()).unwrap().pin(), authority.pin());
    let read = NodeIdentity::load(dir.path()).unwrap();
    assert_eq!((read.id(), read.name(), read.authority()), (node.id(), "n1", authority.pin()));

    let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["ca.crt", "ca.key", "node.crt", "node.key"]);
    for key in ["ca.key", "node.key"] {
        assert_eq!(fs::metadata(dir.path().join(key)).unwrap().permissions().mode() & 0o777, 0o600);
    }
    fs::set_permissions(dir.path().join("node.key"), fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(NodeIdentity::load(dir.path()), Err(IdentityError::Exposed { mode: 0o640, .. })));
}

#[test]
fn a_missing_or_damaged_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let error = Authority::load(dir.path()).unwrap_err();
    assert!(error.to_string().contains("ca.crt"), "{error}");
    authority().save(dir.path()).unwrap();
    fs::write(dir.path().join("ca.key"), "nonsense").unwrap();
    assert!(matches!(Authority::load(dir.path()), Err(IdentityError::NoKey { .. })));
}

#[test]
fn a_token_is_read_back_from_its_text() {
    let (_, token, _) = store_with_token();
    let text = token.to_string();
    assert!(text.starts_with("HM1-") && text.len() == 78, "{text}");
    assert_eq!(text.parse(), Ok(token.clone()));
    assert_eq!(format!(" {text}\n").parse(), Ok(token.clone()));
    let secret = text.rsplit('-').next().unwrap();
    assert!(!format!("{token:?}").contains(secret));
}

#[test]
fn a_token_is_good_once() {
    let (mut store, token, now) = store_with_token();
    assert_eq!(store.redeem(&token, now), Ok(()));
    assert_eq!(store.redeem(&token, now), Err(TokenError::Used));
    let mut reloaded = TokenStore::from_records(store.records().cloned());
    assert_eq!(reloaded.redeem(&token, now), Err(TokenError::Used));
}

#[test]
fn a_token_ends() {
    let (mut store, token, now) = store_with_token();
    assert_eq!(store.clone().redeem(&token, now + HOUR - Duration::from_secs(1)), Ok(()));
    assert_eq!(store.redeem(&token, now + HOUR), Err(TokenError::Expired));
}

#[test]
fn a_token_with_another_secret_is_unknown_even_after_use() {
    let (mut store, token, now) = store_with_token();
    let text = token.to_string();
    let (rest, secret) = text.rsplit_once('-').unwrap();
    let forged: JoinToken = format!("{rest}-{}", secret.chars().rev().collect::<String>()).parse().unwrap();
    assert_eq!(store.redeem(&forged, now), Err(TokenError::Unknown));
    store.redeem(&token, now).unwrap();
    assert_eq!(store.redeem(&forged, now), Err(TokenError::Unknown));
    assert_eq!(TokenStore::default().redeem(&token, now), Err(TokenError::Unknown));
}

#[test]
fn what_is_kept_of_a_token_does_not_tell_its_secret() {
    let (store, token, _) = store_with_token();
    let kept = format!("{:?}", store.records().collect::<Vec<_>>());
    assert!(!kept.contains(&format!("{:?}", token_secret(&token))), "{kept}");
}

fn token_secret(token: &JoinToken) -> [u8; 16] {
    crate::addr::from_hex(token.to_string().rsplit('-').next().unwrap()).unwrap()
}

#[test]
fn tokens_are_bounded_and_ended_ones_make_room() {
    let (mut store, now, pin) = (TokenStore::default(), SystemTime::now(), authority().pin());
    while store.create(pin, HOUR, now).is_ok() {}
    assert_eq!(store.records().count(), 1024);
    assert_eq!(store.create(pin, HOUR, now), Err(TokenError::TooMany));
    assert!(store.create(pin, HOUR, now + 26 * HOUR).is_ok());
    assert_eq!(store.records().count(), 1);
}

proptest! {
    #[test]
    fn any_text_is_a_token_or_malformed(text in "(HM1)?-?[0-9a-fA-F-]{0,90}|\\PC*") {
        if let Ok(token) = text.parse::<JoinToken>() {
            prop_assert_eq!(token.to_string().parse(), Ok(token));
        }
    }

    #[test]
    fn any_bytes_are_a_request_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(authority().sign(&bytes, "n", SystemTime::now()).is_err());
    }
}
