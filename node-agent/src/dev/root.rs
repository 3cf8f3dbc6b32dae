//! A root file system for a node: this machine's programs, and nothing else of it.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use migration::sys::namespaces::{self, NamespaceError};
use thiserror::Error;

use super::spec::RootSpec;

/// Builds the root that `spec` describes and makes it the root of this mount namespace.
///
/// # Errors
/// [`RootError`]; the mount namespace is then half done and of no use.
pub fn enter(spec: &RootSpec) -> Result<(), RootError> {
    let root = &spec.at;
    namespaces::mount("tmpfs", root, "mode=755")?;
    lay_out(root)?;
    share(Path::new(PROGRAMS), root)?;
    spec.shared.iter().try_for_each(|directory| share(directory, root))?;
    devices(root)?;
    let cgroups = Path::new("/sys/fs/cgroup");
    namespaces::mount("sysfs", &root.join("sys"), "")?;
    if cgroups.exists() {
        namespaces::bind(cgroups, &inside(root, cgroups))?;
    }
    let former = root.join("former");
    make_dir(&former, 0o700)?;
    namespaces::pivot_root(root, &former)?;
    namespaces::mount("proc", Path::new("/proc"), "")?;
    let former = Path::new("/former");
    namespaces::umount(former)?;
    fs::remove_dir(former).map_err(|source| RootError::Write { path: former.to_owned(), source })
}

/// Fills the empty directory `root` with directories, the links into [`PROGRAMS`] and a copy of `/etc`: what a
/// container image needs too.
///
/// # Errors
/// [`RootError`].
pub fn lay_out(root: &Path) -> Result<(), RootError> {
    for (directory, mode) in DIRECTORIES {
        make_dir(&root.join(directory), *mode)?;
    }
    for name in ["bin", "sbin", "lib", "lib32", "lib64", "libx32"] {
        // On merged-/usr systems, which are the supported ones, these are links.
        if let Ok(target) = fs::read_link(Path::new("/").join(name)) {
            link(&target, &root.join(name))?;
        }
    }
    copy_tree(Path::new("/etc"), &root.join("etc"))
}

/// What could not be built.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "each text says it")]
pub enum RootError {
    #[error("cannot mount a part of the node's root")]
    Mount(#[from] NamespaceError),
    #[error("cannot read {path} for the node's root")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {path} in the node's root")]
    Write { path: PathBuf, source: io::Error },
}

/// A read-only view of a directory of this machine at the same path.
fn share(directory: &Path, root: &Path) -> Result<(), RootError> {
    let at = inside(root, directory);
    fs::create_dir_all(&at).map_err(|source| RootError::Write { path: at.clone(), source })?;
    namespaces::bind(directory, &at)?;
    Ok(namespaces::make_read_only(&at)?)
}

/// The devices that any container has, with terminals, shared memory and message queues of the node's own.
fn devices(root: &Path) -> Result<(), RootError> {
    let dev = root.join("dev");
    namespaces::mount("tmpfs", &dev, "mode=755")?;
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        let at = dev.join(name);
        File::create(&at).map_err(|source| RootError::Write { path: at.clone(), source })?;
        namespaces::bind(&Path::new("/dev").join(name), &at)?;
    }
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        link(Path::new(target), &dev.join(name))?;
    }
    for (name, kind, options) in [
        ("pts", "devpts", "newinstance,ptmxmode=0666,mode=0620,gid=5"),
        ("shm", "tmpfs", "mode=1777"),
        ("mqueue", "mqueue", ""),
    ] {
        let at = dev.join(name);
        make_dir(&at, 0o755)?;
        namespaces::mount(kind, &at, options)?;
    }
    Ok(())
}

fn copy_tree(from: &Path, to: &Path) -> Result<(), RootError> {
    let unreadable = |source| RootError::Read { path: from.to_owned(), source };
    for entry in fs::read_dir(from).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let (path, kind) = (entry.path(), entry.file_type().map_err(unreadable)?);
        let at = to.join(entry.file_name());
        if kind.is_dir() {
            let mode = entry.metadata().map_err(unreadable)?.permissions().mode();
            make_dir(&at, mode)?;
            copy_tree(&path, &at)?;
        } else if kind.is_symlink() {
            link(&fs::read_link(&path).map_err(unreadable)?, &at)?;
        } else if kind.is_file() {
            fs::copy(&path, &at).map_err(|source| RootError::Write { path: at, source })?;
        }
    }
    Ok(())
}

fn make_dir(path: &Path, mode: u32) -> Result<(), RootError> {
    let failed = |source| RootError::Write { path: path.to_owned(), source };
    fs::create_dir_all(path).map_err(failed)?;
    // Not by the mode of mkdir, which the umask cuts.
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed)
}

fn link(target: &Path, at: &Path) -> Result<(), RootError> {
    symlink(target, at).map_err(|source| RootError::Write { path: at.to_owned(), source })
}

fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Where this machine's programs and libraries are.
pub const PROGRAMS: &str = "/usr";

const DIRECTORIES: &[(&str, u32)] = &[
    ("usr", 0o755),
    ("etc", 0o755),
    ("dev", 0o755),
    ("proc", 0o555),
    ("sys", 0o555),
    ("root", 0o700),
    ("home", 0o755),
    ("run", 0o755),
    ("tmp", 0o1777),
    ("var/lib", 0o755),
    ("var/log", 0o755),
    ("var/tmp", 0o1777),
];
