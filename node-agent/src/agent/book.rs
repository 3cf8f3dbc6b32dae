//! The book of the node that lets others in: tokens, and the names that were given.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use transport::identity::{AuthorityPin, JoinToken, TokenError, TokenRecord, TokenStore};

use crate::config::{self, ConfigError};

/// The tokens and the names that were given, as they are kept on disk.
#[derive(Debug)]
pub struct Book {
    file: PathBuf,
    pub(super) tokens: TokenStore,
    pub(super) names: BTreeSet<String>,
}

#[derive(Default, Serialize, Deserialize)]
struct BookFile {
    tokens: Vec<TokenRecord>,
    names: BTreeSet<String>,
}

impl Book {
    /// Reads the book; an absent one is empty.
    ///
    /// # Errors
    /// When the file is there but unusable.
    pub fn load(file: PathBuf) -> Result<Book, ConfigError> {
        let BookFile { tokens, names } = config::read_json(&file)?.unwrap_or_default();
        Ok(Book { file, tokens: TokenStore::from_records(tokens), names })
    }

    /// Makes a token and writes the book.
    ///
    /// # Errors
    /// When there are too many, or the book cannot be written.
    pub fn create(&mut self, pin: AuthorityPin, ttl: Duration) -> Result<JoinToken, BookError> {
        let token = self.tokens.create(pin, ttl, SystemTime::now()).map_err(BookError::Token)?;
        self.save().map_err(BookError::Save)?;
        Ok(token)
    }

    /// True if there was such a token.
    pub(super) fn revoke(&mut self, id: &str) -> Result<bool, ConfigError> {
        let before = self.tokens.records().count();
        let kept: Vec<TokenRecord> =
            self.tokens.records().filter(|record| hex(record.id) != id).cloned().collect();
        let found = kept.len() < before;
        self.tokens = TokenStore::from_records(kept);
        self.save()?;
        Ok(found)
    }

    pub(super) fn save(&self) -> Result<(), ConfigError> {
        let tokens = self.tokens.records().cloned().collect();
        config::write_json(&self.file, &BookFile { tokens, names: self.names.clone() })
    }
}

/// Why there is no new token.
#[derive(Debug, thiserror::Error)]
pub enum BookError {
    /// None is to be had.
    #[error(transparent)]
    Token(TokenError),
    /// It could not be kept.
    #[error(transparent)]
    Save(ConfigError),
}

/// The digits of a token's id.
pub(super) fn hex(id: [u8; 4]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}
