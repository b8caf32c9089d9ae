//! What survives: reopening, the death of the process at any moment, and the loss of what was not synced.
use std::{
    collections::BTreeMap,
    env,
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use futures::executor::block_on;
use warren::storage::conformance;

use super::*;

/// Names the directory to the process that is to be killed.
const DIRECTORY: &str = "WARREN_TEST_DISK";

/// Every batch puts its number here, and this many rows of its own.
const COUNTER: &[u8] = b"counter";
const ROWS_PER_BATCH: u64 = 5;

const STRICT_EVERY: u64 = 7;

/// The part of a journal that these tests fill, in bytes, and how it is written to the disk.
const JOURNAL_USED_MAX_BYTES: u64 = 4 * 1024 * 1024;
const PAGE_BYTES: usize = 4096;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

/// Splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

fn key(batch: u64, row: u64) -> Vec<u8> {
    [&[b'r'][..], &batch.to_be_bytes(), &[row as u8]].concat()
}

/// Up to 8 KiB without a zero, so that what was not written shows.
fn value(batch: u64, row: u64) -> Vec<u8> {
    let mut random = Random(batch << 8 | row);
    let length = 1 + random.below(8 * 1024);
    (0..length).map(|_| 1 + random.below(255) as u8).collect()
}

fn numbered(batch: u64) -> Batch {
    let mut ops: Vec<Op> =
        (0..ROWS_PER_BATCH).map(|row| Op::Put { key: key(batch, row), value: value(batch, row) }).collect();
    ops.push(Op::Put { key: COUNTER.to_vec(), value: batch.to_be_bytes().to_vec() });
    let durability = if batch.is_multiple_of(STRICT_EVERY) { Durability::Strict } else { Durability::Relaxed };
    Batch { ops, durability }
}

/// How many batches are there: all of them whole, and nothing of a later one.
fn whole_batches(store: &DiskStore) -> u64 {
    let counter = block_on(store.get(COUNTER.to_vec())).unwrap();
    let count = counter.map_or(0, |bytes| u64::from_be_bytes(bytes.try_into().unwrap()) + 1);
    for batch in 0..count {
        for row in 0..ROWS_PER_BATCH {
            assert!(block_on(store.get(key(batch, row))).unwrap() == Some(value(batch, row)), "row {row} of {batch}");
        }
    }
    let later = Scan { start: key(count, 0), end: b"s".to_vec(), reverse: false, limit: 1 };
    assert!(block_on(store.scan(later)).unwrap().is_empty(), "a half of batch {count}");
    count
}

#[test]
fn conforms() {
    let parent = tempfile::tempdir().unwrap();
    let databases: std::cell::RefCell<BTreeMap<String, DiskDatabase>> = Default::default();
    runtime().block_on(conformance::run(|name| {
        let mut databases = databases.borrow_mut();
        let database = databases
            .entry(name.to_owned())
            .or_insert_with(|| DiskDatabase::open(&parent.path().join(name)).expect("opens"));
        let store: Rc<dyn Store> = Rc::new(database.store());
        Box::pin(async move { Ok(store) })
    }));
}

#[test]
fn commits_keep_their_order_and_are_counted() {
    let directory = tempfile::tempdir().unwrap();
    let database = DiskDatabase::open(directory.path()).unwrap();
    let store = database.store();
    runtime().block_on(async {
        let all = (0..50).map(|batch| store.commit(numbered(batch)));
        futures::future::try_join_all(all).await.unwrap();
        let impossible = Batch { ops: vec![Op::Delete { key: vec![0; KEY_MAX_BYTES + 1] }], ..Batch::default() };
        assert!(matches!(store.commit(impossible).await, Err(StoreError::Backend(_))));
        database.sync().await.unwrap();
    });
    assert_eq!(whole_batches(&store), 50, "the counter is the last one's");
    assert_eq!(database.commit_counts(), CommitCounts { relaxed: 42, strict: 8, failed: 1 });
    assert!(database.bytes_on_disk() > 0);
}

#[test]
fn a_strict_commit_that_nobody_waits_for_is_not_overtaken() {
    let directory = tempfile::tempdir().unwrap();
    let store = DiskDatabase::open(directory.path()).unwrap().store();
    runtime().block_on(async {
        let mut abandoned = store.commit(numbered(0));
        assert!(futures::poll!(abandoned.as_mut()).is_pending(), "it is being synced");
        drop(abandoned);
        store.commit(numbered(1)).await.unwrap();
    });
    assert_eq!(whole_batches(&store), 2);
}

#[test]
fn a_directory_has_one_owner() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deep/er");
    let database = DiskDatabase::open(&path).unwrap();
    let refusal = DiskDatabase::open(&path).err().unwrap();
    let expected = format!(
        "the data in {} is in use by another process: stop that one, or choose another --data-dir",
        path.display()
    );
    assert_eq!(refusal.to_string(), expected);
    drop(database);
    assert!(DiskDatabase::open(&path).is_ok());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700, "it holds keys");
    }
}

/// Writes batch after batch and says after each that it is acknowledged.
#[test]
#[ignore = "the process that the next test kills"]
fn writes_until_killed() {
    let Some(directory) = env::var_os(DIRECTORY) else { return };
    let store = DiskDatabase::open(Path::new(&directory)).unwrap().store();
    let first = whole_batches(&store);
    runtime().block_on(async {
        for batch in first.. {
            store.commit(numbered(batch)).await.unwrap();
            writeln!(std::io::stderr(), "{batch}").unwrap();
        }
    });
}

#[test]
fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    const KILLS: u64 = 9;
    let directory = tempfile::tempdir().unwrap();
    let mut random = Random(4);
    let mut acknowledged = 0;
    for kill in 0..KILLS {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "disk_store::tests::writes_until_killed", "--ignored", "--nocapture"])
            .env(DIRECTORY, directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        // Now in the middle of writing, now while it opens.
        let seen = if kill % 3 == 2 { 0 } else { random.below(100) };
        let mut said: Vec<String> = lines.by_ref().take(seen as usize).map(Result::unwrap).collect();
        thread::sleep(Duration::from_micros(random.below(5_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        said.extend(lines.map(Result::unwrap));
        let last: Option<u64> = said.last().map(|line| line.parse().unwrap_or_else(|_| panic!("{said:?}")));
        acknowledged = last.map_or(acknowledged, |last| last + 1);

        let store = DiskDatabase::open(directory.path()).unwrap().store();
        let there = whole_batches(&store);
        assert!(there >= acknowledged, "{acknowledged} were acknowledged and {there} are there");
    }
    assert!(acknowledged > 100, "{acknowledged}");
}

/// The beginning of the only journal.
fn journal(directory: &Path) -> Vec<u8> {
    let (_, path) = torn_journal::newest(directory, "jnl").unwrap().unwrap();
    let mut bytes = Vec::new();
    File::open(path).unwrap().take(JOURNAL_USED_MAX_BYTES).read_to_end(&mut bytes).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    assert!(used < JOURNAL_USED_MAX_BYTES as usize, "longer than this test looks");
    bytes.truncate(used);
    bytes
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else if entry.path().extension().is_none_or(|extension| extension != "jnl") {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The directory as a disk may have it after power loss: the journal up to `synced` bytes, and of every page after that
/// either what was written or nothing.
fn image_after_power_loss(directory: &Path, synced: usize, image: &Path, random: &mut Random) {
    copy(directory, image);
    let mut bytes = journal(directory);
    let pages = (synced / PAGE_BYTES..bytes.len().div_ceil(PAGE_BYTES)).collect::<Vec<_>>();
    let (only, odds) = (random.below(pages.len() as u64 + 1) as usize, 1 + random.below(20));
    let lost: Vec<usize> = match random.below(3) {
        0 => pages.into_iter().skip(only).collect(),
        1 => pages.into_iter().skip(only).take(1).collect(),
        _ => pages.into_iter().filter(|_| random.below(odds) == 0).collect(),
    };
    for page in lost {
        let end = bytes.len().min((page + 1) * PAGE_BYTES);
        bytes[synced.max(page * PAGE_BYTES)..end].fill(0);
    }
    let (_, path) = torn_journal::newest(directory, "jnl").unwrap().unwrap();
    let file = image.join(path.file_name().unwrap());
    fs::write(&file, &bytes).unwrap();
    File::options().write(true).open(file).unwrap().set_len(fs::metadata(path).unwrap().len()).unwrap();
}

#[test]
fn power_loss_costs_nothing_strict_and_leaves_no_half_batch() {
    const IMAGES: u64 = 24;
    let directory = tempfile::tempdir().unwrap();
    let database = DiskDatabase::open(directory.path()).unwrap();
    let store = database.store();
    let runtime = runtime();
    let mut random = Random(7);
    let (mut refused, mut lost, mut kept_relaxed) = (0, 0, 0);
    let (mut next, mut strict, mut synced) = (0, 0, 0);
    for number in 0..IMAGES {
        for _ in 0..1 + random.below(STRICT_EVERY) {
            runtime.block_on(store.commit(numbered(next))).unwrap();
            if numbered(next).durability == Durability::Strict {
                (strict, synced) = (next + 1, journal(directory.path()).len());
            }
            next += 1;
        }
        let image = tempfile::tempdir().unwrap();
        image_after_power_loss(directory.path(), synced, image.path(), &mut random);
        let again = tempfile::tempdir().unwrap();
        copy(image.path(), again.path());
        let (_, path) = torn_journal::newest(image.path(), "jnl").unwrap().unwrap();
        fs::copy(&path, again.path().join(path.file_name().unwrap())).unwrap();
        refused += u64::from(Database::builder(again.path()).open().is_err());

        let there = whole_batches(&DiskDatabase::open(image.path()).unwrap().store());
        assert!((strict..=next).contains(&there), "image {number}: {there} of {next}, {strict} of them strict");
        lost += next - there;
        kept_relaxed += there - strict;
        let reopened = DiskDatabase::open(image.path()).unwrap();
        runtime.block_on(reopened.store().commit(numbered(there))).unwrap();
        drop(reopened);
        assert_eq!(
            whole_batches(&DiskDatabase::open(image.path()).unwrap().store()),
            there + 1,
            "it goes on from there"
        );
    }
    assert!(refused > 0 && lost > 0 && kept_relaxed > 0, "{refused} refused, {lost} lost, {kept_relaxed} kept");
}

#[test]
fn a_start_that_was_cut_short_while_it_repaired_begins_again() {
    let directory = tempfile::tempdir().unwrap();
    let database = DiskDatabase::open(directory.path()).unwrap();
    runtime().block_on(database.store().commit(numbered(0))).unwrap();
    drop(database);
    let (_, path) = torn_journal::newest(directory.path(), "jnl").unwrap().unwrap();
    fs::copy(&path, path.with_extension("torn")).unwrap();
    File::options().write(true).open(&path).unwrap().set_len(100).unwrap();
    assert_eq!(whole_batches(&DiskDatabase::open(directory.path()).unwrap().store()), 1);
    assert!(!path.with_extension("torn").exists());
}
