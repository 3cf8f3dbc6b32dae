//! Tests that know what they need, for test targets without the built-in harness.

use std::env;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, ExitCode, Stdio};

use libtest_mimic::{Arguments, Trial};

use crate::lab::Ground;

/// The tests of one target.
#[derive(Default)]
pub struct Tests {
    trials: Vec<Trial>,
}

impl std::fmt::Debug for Tests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tests").field("count", &self.trials.len()).finish()
    }
}

impl Tests {
    /// No tests yet.
    #[must_use]
    pub fn new() -> Tests {
        Tests::default()
    }

    /// Adds a test that any user can run.
    #[must_use]
    pub fn plain(self, name: &str, run: impl FnOnce() + Send + 'static) -> Tests {
        self.add(name.to_owned(), true, run)
    }

    /// Adds a test that runs on each ground, as `namespaces::NAME` and `containers::NAME`.
    #[must_use]
    pub fn on_each_ground(self, name: &str, run: impl FnOnce(Ground) + Send + Clone + 'static) -> Tests {
        let (first, second) = (run.clone(), run);
        self.on_namespaces(name, || first(Ground::Namespaces)).on(Ground::Containers, name, second)
    }

    /// Adds a test of what only namespaces can show.
    #[must_use]
    pub fn on_namespaces(self, name: &str, run: impl FnOnce() + Send + 'static) -> Tests {
        self.on(Ground::Namespaces, name, |_| run())
    }

    /// Adds a test that runs on `ground`, as `GROUND::NAME`.
    #[must_use]
    pub fn on(self, ground: Ground, name: &str, run: impl FnOnce(Ground) + Send + 'static) -> Tests {
        self.on_with(&[], ground, name, run)
    }

    /// The same for a test that needs these programs of this machine.
    #[must_use]
    pub fn on_with(
        self,
        programs: &[&str],
        ground: Ground,
        name: &str,
        run: impl FnOnce(Ground) + Send + 'static,
    ) -> Tests {
        if env::var(GROUND_SWITCH).is_ok_and(|only| only != ground.name()) {
            return self;
        }
        let possible = is_possible(ground) && programs.iter().all(|program| is_installed(program));
        self.add(format!("{}::{name}", ground.name()), possible, move || run(ground))
    }

    /// Runs what the command line asks for; to be returned from `main`.
    #[must_use]
    pub fn run(self) -> ExitCode {
        libtest_mimic::run(&Arguments::from_args(), self.trials).exit_code()
    }

    fn add(mut self, name: String, possible: bool, run: impl FnOnce() + Send + 'static) -> Tests {
        let trial = Trial::test(name, move || {
            run();
            Ok(())
        });
        self.trials.push(trial.with_ignored_flag(!possible));
        self
    }
}

fn is_possible(ground: Ground) -> bool {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    is_root
        && match ground {
            Ground::Namespaces => true,
            Ground::Containers => has_container_engine(),
        }
}

fn is_installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let directories = env::split_paths(&path).chain(["/usr/sbin".into()]);
    directories.into_iter().any(|directory| directory.join(program).is_file())
}

fn has_container_engine() -> bool {
    let info = Command::new("docker").arg("info").stdout(Stdio::null()).stderr(Stdio::null()).status();
    info.is_ok_and(|status| status.success())
}

/// Environment variable that keeps to one ground.
pub const GROUND_SWITCH: &str = "HOMING_LAB";
