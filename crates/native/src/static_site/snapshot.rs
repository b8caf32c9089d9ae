//! One consistent reading of the page's directory. Paths are looked up, never opened, so no request leaves it.
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use bytes::Bytes;
use http::HeaderValue;
use sha2::{Digest, Sha256};

use super::{INDEX, SiteError, content_type};

const FILES_MAX: usize = 10_000;
const DEPTH_MAX: usize = 8;
const TOTAL_MAX_BYTES: u64 = 256 * 1024 * 1024;

/// How much of a SHA-256, in bytes, names a file's content or a build.
const TAG_BYTES: usize = 12;

/// Where the page's build says its name, `{"id": "..."}`: the same the page's scripts have compiled in.
const BUILD: &str = "/build.json";
const BUILD_ID_MAX_CHARS: usize = 64;

/// A segment of a file name is taken for a content hash from this many hexadecimal digits on.
const HASH_MIN_CHARS: usize = 8;

/// Stored forms beside a file, best first: extension and content coding.
const ENCODINGS: [(&str, &str); 2] = [(".br", "br"), (".gz", "gzip")];

/// The files of the page at one moment.
pub struct Snapshot {
    stamps: Stamps,
    assets: BTreeMap<String, Asset>,
    build: String,
}

/// One path of the page.
pub struct Asset {
    pub content_type: &'static str,
    pub immutable: bool,
    pub plain: Body,
    /// In the order of [`ENCODINGS`].
    pub encoded: [Option<Body>; ENCODINGS.len()],
}

/// One form of a file.
#[derive(Clone)]
pub struct Body {
    pub bytes: Bytes,
    pub etag: HeaderValue,
    pub encoding: Option<&'static str>,
}

/// By URL path: enough to notice that a file changed.
type Stamps = BTreeMap<String, Stamp>;

#[derive(Clone, PartialEq)]
struct Stamp {
    file: PathBuf,
    bytes: u64,
    modified: Option<SystemTime>,
}

impl Snapshot {
    /// Reads all files below `dir`. Names that start with a dot are left out.
    pub fn read(dir: &Path) -> Result<Self, SiteError> {
        let stamps = look(dir)?;
        let mut bodies = BTreeMap::new();
        for (path, stamp) in &stamps {
            let bytes = fs::read(&stamp.file).map_err(|source| read_error(dir, source))?;
            bodies.insert(path.clone(), Bytes::from(bytes));
        }
        Ok(Self::assemble(stamps, &bodies))
    }

    /// A new reading if any file came, went or changed since this one.
    pub fn refreshed(&self, dir: &Path) -> Result<Option<Self>, SiteError> {
        if look(dir)? == self.stamps { Ok(None) } else { Self::read(dir).map(Some) }
    }

    pub fn asset(&self, path: &str) -> Option<&Asset> {
        self.assets.get(path)
    }

    /// Names what is served: as the page names itself, or else by a digest of all files.
    pub fn build(&self) -> &str {
        &self.build
    }

    fn assemble(stamps: Stamps, bodies: &BTreeMap<String, Bytes>) -> Self {
        let mut assets = BTreeMap::new();
        let mut build = Sha256::new();
        for (path, bytes) in bodies {
            if is_encoded_form(path, bodies) {
                continue;
            }
            let digest = Sha256::digest(bytes);
            build.update((path.len() as u64).to_be_bytes());
            build.update(path);
            build.update(digest);
            let tag = hex(&digest[..TAG_BYTES]);
            let encoded = ENCODINGS.map(|(extension, encoding)| {
                let twin = format!("{path}{extension}");
                let bytes = bodies.get(&twin)?.clone();
                // While a build runs, the compressed form of the last one may still lie there.
                (stamps[&twin].modified >= stamps[path].modified).then_some(())?;
                Some(Body { bytes, etag: quoted(&format!("{tag}-{encoding}")), encoding: Some(encoding) })
            });
            let plain = Body { bytes: bytes.clone(), etag: quoted(&tag), encoding: None };
            let (content_type, immutable) = (content_type::of(path), is_hashed(path));
            assets.insert(path.clone(), Asset { content_type, immutable, plain, encoded });
        }
        let build = bodies.get(BUILD).and_then(build_id).unwrap_or_else(|| hex(&build.finalize()[..TAG_BYTES]));
        Self { stamps, assets, build }
    }
}

fn build_id(json: &Bytes) -> Option<String> {
    let parsed: serde_json::Value = serde_json::from_slice(json).ok()?;
    let id = parsed.get("id")?.as_str()?;
    (1..=BUILD_ID_MAX_CHARS).contains(&id.len()).then(|| id.to_owned())
}

fn look(dir: &Path) -> Result<Stamps, SiteError> {
    let mut stamps = Stamps::new();
    match walk(dir, "", 0, &mut stamps) {
        Ok(()) => {}
        Err(WalkError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
            return Err(SiteError::Missing(dir.to_owned()));
        }
        Err(WalkError::Io(source)) => return Err(read_error(dir, source)),
        Err(WalkError::TooLarge(what)) => return Err(SiteError::TooLarge { path: dir.to_owned(), what }),
    }
    if stamps.contains_key(INDEX) { Ok(stamps) } else { Err(SiteError::Missing(dir.to_owned())) }
}

enum WalkError {
    Io(io::Error),
    TooLarge(&'static str),
}

impl From<io::Error> for WalkError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn walk(dir: &Path, prefix: &str, depth: usize, stamps: &mut Stamps) -> Result<(), WalkError> {
    if depth > DEPTH_MAX {
        return Err(WalkError::TooLarge("8 directories deep"));
    }
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let Some(name) = entry.file_name().to_str().filter(|name| !name.starts_with('.')).map(str::to_owned) else {
            continue;
        };
        let (file, path) = (entry.path(), format!("{prefix}/{name}"));
        let metadata = fs::metadata(&file)?;
        if metadata.is_dir() {
            walk(&file, &path, depth + 1, stamps)?;
        } else if metadata.is_file() {
            stamps.insert(path, Stamp { file, bytes: metadata.len(), modified: metadata.modified().ok() });
        }
        if stamps.len() > FILES_MAX {
            return Err(WalkError::TooLarge("10,000 files"));
        }
    }
    if depth == 0 && stamps.values().map(|stamp| stamp.bytes).sum::<u64>() > TOTAL_MAX_BYTES {
        return Err(WalkError::TooLarge("256 MiB"));
    }
    Ok(())
}

fn read_error(dir: &Path, source: io::Error) -> SiteError {
    SiteError::Read { path: dir.to_owned(), source }
}

fn is_encoded_form(path: &str, bodies: &BTreeMap<String, Bytes>) -> bool {
    ENCODINGS.iter().any(|(extension, _)| path.strip_suffix(extension).is_some_and(|plain| bodies.contains_key(plain)))
}

/// Whether the name holds a content hash, as in `app.3f2a9c01.js`: then its content never changes.
fn is_hashed(path: &str) -> bool {
    let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
    name.split(['.', '-', '_']).any(|part| {
        part.len() >= HASH_MIN_CHARS
            && part.bytes().all(|b| b.is_ascii_hexdigit())
            && part.bytes().any(|b| b.is_ascii_digit())
            && part.bytes().any(|b| b.is_ascii_alphabetic())
    })
}

fn quoted(tag: &str) -> HeaderValue {
    HeaderValue::try_from(format!("\"{tag}\"")).expect("hexadecimal digits and hyphens")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let file = dir.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, content).unwrap();
        }
        dir
    }

    #[test]
    fn files_are_found_by_path_with_their_stored_forms() {
        let dir = site(&[
            ("index.html", "<p>"),
            ("assets/app.0a1b2c3d.js", "1"),
            ("assets/app.0a1b2c3d.js.br", "brotli"),
            (".hidden", "secret"),
            ("lonely.gz", "an archive of its own"),
        ]);
        let snapshot = Snapshot::read(dir.path()).unwrap();
        let paths: Vec<_> = snapshot.assets.keys().map(String::as_str).collect();
        assert_eq!(paths, ["/assets/app.0a1b2c3d.js", "/index.html", "/lonely.gz"]);
        let app = snapshot.asset("/assets/app.0a1b2c3d.js").unwrap();
        assert_eq!(app.content_type, "text/javascript; charset=utf-8");
        assert_eq!(app.encoded[0].as_ref().unwrap().bytes, "brotli");
        assert!(app.encoded[1].is_none());
        assert_ne!(app.encoded[0].as_ref().unwrap().etag, app.plain.etag);
        assert!(app.immutable && !snapshot.asset("/index.html").unwrap().immutable);
    }

    #[test]
    fn a_change_gives_a_new_snapshot_and_a_new_build() {
        let dir = site(&[("index.html", "one"), ("service-worker.js", "a")]);
        let first = Snapshot::read(dir.path()).unwrap();
        assert!(first.refreshed(dir.path()).unwrap().is_none());
        fs::write(dir.path().join("service-worker.js"), "ab").unwrap();
        let second = first.refreshed(dir.path()).unwrap().unwrap();
        assert_ne!(first.build(), second.build());
        let copy = site(&[("index.html", "one"), ("service-worker.js", "ab")]);
        assert_eq!(Snapshot::read(copy.path()).unwrap().build(), second.build());
        fs::remove_file(dir.path().join("index.html")).unwrap();
        assert!(matches!(second.refreshed(dir.path()), Err(SiteError::Missing(_))));
    }

    #[test]
    fn the_build_goes_by_the_name_the_page_gives_it() {
        let dir = site(&[("index.html", "one"), ("build.json", r#"{"id":"3f2a","time":1}"#)]);
        assert_eq!(Snapshot::read(dir.path()).unwrap().build(), "3f2a");
        for unusable in ["", "{}", r#"{"id":7}"#, r#"{"id":""}"#] {
            fs::write(dir.path().join("build.json"), unusable).unwrap();
            assert_eq!(Snapshot::read(dir.path()).unwrap().build().len(), 2 * TAG_BYTES, "{unusable}");
        }
    }

    #[test]
    fn a_compressed_form_older_than_its_file_is_not_served() {
        let dir = site(&[("index.html", "new"), ("index.html.br", "old")]);
        let older = SystemTime::now() - std::time::Duration::from_secs(60);
        fs::File::options().write(true).open(dir.path().join("index.html.br")).unwrap().set_modified(older).unwrap();
        let snapshot = Snapshot::read(dir.path()).unwrap();
        assert!(snapshot.asset("/index.html").unwrap().encoded[0].is_none());
        assert!(snapshot.asset("/index.html.br").is_none());
    }

    #[test]
    fn only_names_with_a_content_hash_are_immutable() {
        for hashed in ["/app.3f2a9c01.js", "/static/3f2a9c01d4e5f607.wasm", "/a/vendor-0123456789abcdef0123.css"] {
            assert!(is_hashed(hashed), "{hashed}");
        }
        for plain in ["/index.html", "/service-worker.js", "/facade01/app.js", "/r.20261120.js", "/deadbeef.js"] {
            assert!(!is_hashed(plain), "{plain}");
        }
    }
}
