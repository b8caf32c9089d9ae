//! Opens a database whose journal was torn by power loss: what was synced is whole, but of what was written after that the
//! disk may have any part. fjall takes a journal that ends too early for what it is; one with a hole in it, it refuses.
use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use fjall::{Database, JournalRecoveryError};

/// The journal as it was found, kept while it is being cut.
const KEPT_EXTENSION: &str = "torn";
const JOURNAL_EXTENSION: &str = "jnl";

/// What `open` answers, after cutting off the first damaged batch of the newest journal and all after it, if need be.
pub fn open(directory: &Path, open: impl Fn() -> fjall::Result<Database>) -> fjall::Result<Database> {
    if let Some((_, kept)) = newest(directory, KEPT_EXTENSION)? {
        // The last start ended while it was cutting.
        fs::rename(&kept, kept.with_extension(JOURNAL_EXTENSION))?;
    }
    match open() {
        Err(error) if is_torn(&error) => {
            let Some((_, journal)) = newest(directory, JOURNAL_EXTENSION)? else { return Err(error) };
            cut(&journal, open)
        }
        outcome => outcome,
    }
}

fn is_torn(error: &fjall::Error) -> bool {
    use JournalRecoveryError::{ChecksumMismatch, InsufficientLength, TooManyItems};
    matches!(error, fjall::Error::JournalRecovery(ChecksumMismatch | InsufficientLength | TooManyItems))
}

/// A journal that ends before the damage can be read, and one that ends after it cannot: halving finds the place.
fn cut(journal: &Path, open: impl Fn() -> fjall::Result<Database>) -> fjall::Result<Database> {
    let whole = fs::read(journal)?;
    let copying = journal.with_extension("copying");
    write(&copying, &whole)?;
    fs::rename(&copying, journal.with_extension(KEPT_EXTENSION))?;
    let used = whole.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let (mut readable, mut damaged) = (0, used);
    while readable + 1 < damaged {
        let middle = readable.midpoint(damaged);
        write(journal, &whole[..middle])?;
        match open() {
            Ok(database) => {
                drop(database);
                readable = middle;
            }
            Err(error) if is_torn(&error) => damaged = middle,
            Err(error) => return Err(error),
        }
    }
    tracing::warn!(
        kept_bytes = readable,
        lost_bytes = used - readable,
        "the journal was torn, by a power failure most likely: what was written last is lost"
    );
    write(journal, &whole[..readable])?;
    let database = open()?;
    fs::remove_file(journal.with_extension(KEPT_EXTENSION))?;
    Ok(database)
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// The file with this extension whose name is the highest number.
pub(super) fn newest(directory: &Path, extension: &str) -> io::Result<Option<(u64, PathBuf)>> {
    let mut newest = None;
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_none_or(|found| found != extension) {
            continue;
        }
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        newest = newest.max(number.map(|number| (number, path)));
    }
    Ok(newest)
}
