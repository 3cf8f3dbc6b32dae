//! Shared jobs as bytes: each one whole, as if nobody shared it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serializer};

use super::Job;

pub(super) fn serialize<S: Serializer>(
    jobs: &BTreeMap<u64, Arc<Job>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(jobs.iter().map(|(id, job)| (id, job.as_ref())))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<u64, Arc<Job>>, D::Error> {
    let jobs: BTreeMap<u64, Job> = BTreeMap::deserialize(deserializer)?;
    Ok(jobs.into_iter().map(|(id, job)| (id, Arc::new(job))).collect())
}
