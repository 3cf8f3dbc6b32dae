//! Keys and certificates on disk, in PEM.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rcgen::KeyPair;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::IdentityError;

/// Who may read a file.
#[derive(Clone, Copy)]
pub(super) enum Access {
    /// Its owner: a private key.
    Owner = 0o600,
    /// Everyone: a certificate.
    Everyone = 0o644,
}

/// Writes `dir/name`, and makes `dir` if it is missing. A crash leaves the old file or the new one, never a part.
pub(super) fn write(dir: &Path, name: &str, text: &str, access: Access) -> Result<(), IdentityError> {
    let path = dir.join(name);
    replace(&path, text, access).map_err(|source| IdentityError::Write { path, source })
}

fn replace(path: &Path, text: &str, access: Access) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    let draft = path.with_extension("new");
    // A draft that a crash left behind may have other permissions.
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(access as u32).open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, path)
}

/// Reads a certificate.
pub(super) fn read_certificate(
    dir: &Path,
    name: &str,
) -> Result<(String, CertificateDer<'static>), IdentityError> {
    let path = dir.join(name);
    let text = File::open(&path)
        .and_then(|file| read(&file))
        .map_err(|source| IdentityError::Read { path: path.clone(), source })?;
    let der = CertificateDer::from_pem_slice(text.as_bytes())
        .map_err(|_| IdentityError::NoCertificate(path.clone()))?;
    Ok((text, der))
}

/// Reads a private key that only its owner can read.
pub(super) fn read_key(dir: &Path, name: &str) -> Result<KeyPair, IdentityError> {
    let path = dir.join(name);
    let unreadable = |source| IdentityError::Read { path: path.clone(), source };
    let file = File::open(&path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(IdentityError::Exposed { path, mode });
    }
    let text = read(&file).map_err(unreadable)?;
    KeyPair::from_pem(&text).map_err(|source| IdentityError::NoKey { path, source })
}

fn read(file: &File) -> io::Result<String> {
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// Longest key or certificate file that is read.
const FILE_BYTES_MAX: u64 = 64 * 1024;
