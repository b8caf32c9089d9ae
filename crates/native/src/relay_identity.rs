//! The relay's key: made once, kept in the data directory, so that the addresses in links outlive a restart.
use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use libp2p::identity::{Keypair, ed25519};

const SEED_FILE: &str = "relay-ed25519-seed";
const SEED_BYTES: usize = 32;

#[derive(Debug, thiserror::Error)]
pub enum RelayIdentityError {
    #[error("cannot make the data directory {path}: {source}")]
    DataDir { path: PathBuf, source: io::Error },
    #[error("cannot read the relay's key {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write the relay's key {path}: {source}")]
    Write { path: PathBuf, source: io::Error },
    #[error("the relay's key {path} is damaged; put a copy back, or delete it and accept that old links stop working")]
    Damaged { path: PathBuf },
    #[error("the system gave no random numbers for the relay's key: {0}")]
    Random(String),
}

/// The key in `data_dir`, made on the first run. Two programs that start at once end up with the same one.
pub fn load_or_create(data_dir: &Path) -> Result<Keypair, RelayIdentityError> {
    fs::create_dir_all(data_dir).map_err(|source| RelayIdentityError::DataDir { path: data_dir.to_owned(), source })?;
    let path = data_dir.join(SEED_FILE);
    if let Some(keypair) = load(&path)? {
        return Ok(keypair);
    }
    let mut seed = [0; SEED_BYTES];
    getrandom::fill(&mut seed).map_err(|error| RelayIdentityError::Random(error.to_string()))?;
    write_once(&path, &seed).map_err(|source| RelayIdentityError::Write { path: path.clone(), source })?;
    load(&path)?.ok_or(RelayIdentityError::Damaged { path })
}

fn load(path: &Path) -> Result<Option<Keypair>, RelayIdentityError> {
    let seed = match fs::read(path) {
        Ok(seed) => seed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(RelayIdentityError::Read { path: path.to_owned(), source }),
    };
    let damaged = || RelayIdentityError::Damaged { path: path.to_owned() };
    let seed: [u8; SEED_BYTES] = seed.try_into().map_err(|_| damaged())?;
    let secret = ed25519::SecretKey::try_from_bytes(seed).map_err(|_| damaged())?;
    Ok(Some(ed25519::Keypair::from(secret).into()))
}

/// Writes beside `path`, makes it durable, then links it into place: `path` is never seen half-written, and whoever
/// comes second keeps what the first one wrote.
fn write_once(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = path.with_extension(format!("{}.new", std::process::id()));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    let linked = match fs::hard_link(&draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        outcome => outcome,
    };
    fs::remove_file(&draft)?;
    linked?;
    #[cfg(unix)]
    if let Some(parent) = path.parent() {
        fs::File::open(parent)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path().join("deep/er");
        let first = load_or_create(&data_dir).unwrap().public();
        assert_eq!(load_or_create(&data_dir).unwrap().public(), first);
        let names: Vec<_> = fs::read_dir(&data_dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [SEED_FILE]);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(data_dir.join(SEED_FILE)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_key_that_came_first_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(SEED_FILE);
        write_once(&path, &[1; SEED_BYTES]).unwrap();
        write_once(&path, &[2; SEED_BYTES]).unwrap();
        assert_eq!(fs::read(&path).unwrap(), [1; SEED_BYTES]);
    }

    #[test]
    fn a_damaged_key_is_reported_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(SEED_FILE);
        fs::write(&path, b"short").unwrap();
        assert!(matches!(load_or_create(dir.path()), Err(RelayIdentityError::Damaged { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"short");
    }
}
