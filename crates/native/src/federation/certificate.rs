//! The certificate this program shows: read from files, and read again when they change.
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        server::{ClientHello, ResolvesServerCert},
        sign::CertifiedKey,
    },
};

/// Whether the files changed is looked at this often; SIGHUP has them read at once.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// A chain of certificates, or a key.
const FILE_MAX_BYTES: u64 = 256 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is longer than {FILE_MAX_BYTES} bytes, so it is neither a certificate nor a key")]
    TooLong { path: PathBuf },
    #[error("{path} holds no certificate (PEM): {reason}")]
    Certificate { path: PathBuf, reason: String },
    #[error("{path} holds no private key (PEM): {reason}")]
    Key { path: PathBuf, reason: String },
    #[error("the key in {key} is not the one of the certificate in {certificate}: {reason}")]
    Mismatch { key: PathBuf, certificate: PathBuf, reason: String },
}

/// A certificate and its key in two files.
#[derive(Debug)]
pub struct Certificate {
    certificate: PathBuf,
    key: PathBuf,
    shown: RwLock<Arc<CertifiedKey>>,
}

impl Certificate {
    pub fn load(certificate: &Path, key: &Path) -> Result<Arc<Self>, CertificateError> {
        let shown = RwLock::new(Arc::new(read(certificate, key)?));
        Ok(Arc::new(Self { certificate: certificate.to_owned(), key: key.to_owned(), shown }))
    }

    /// Accepts TLS with whatever certificate there is by then.
    pub fn acceptor(self: &Arc<Self>) -> TlsAcceptor {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring speaks the protocol versions")
            .with_no_client_auth()
            .with_cert_resolver(self.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }

    /// Reads the files again whenever they change, or at once when the system says so; never ends. Files that are no
    /// certificate and key change nothing.
    pub async fn follow(self: Arc<Self>) {
        let mut seen = self.changed_at();
        let mut hangup = Hangup::new();
        loop {
            let asked = tokio::select! {
                () = hangup.next() => true,
                () = tokio::time::sleep(LOOK_INTERVAL) => false,
            };
            let changed_at = self.changed_at();
            if asked || changed_at != seen {
                seen = changed_at;
                self.reload();
            }
        }
    }

    fn reload(&self) {
        match read(&self.certificate, &self.key) {
            Ok(new) => {
                *self.shown.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
                tracing::info!(certificate = %self.certificate.display(), "the certificate was read again");
            }
            Err(error) => tracing::warn!(%error, "the certificate stays as it was"),
        }
    }

    fn changed_at(&self) -> [Option<SystemTime>; 2] {
        [&self.certificate, &self.key].map(|path| fs::metadata(path).and_then(|file| file.modified()).ok())
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.shown.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

fn read(certificate: &Path, key: &Path) -> Result<CertifiedKey, CertificateError> {
    let no_certificate = |reason: String| CertificateError::Certificate { path: certificate.to_owned(), reason };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read_file(certificate)?).collect();
    let chain = chain.map_err(|error| no_certificate(error.to_string()))?;
    if chain.is_empty() {
        return Err(no_certificate("there is none in it".to_owned()));
    }
    let secret = PrivateKeyDer::from_pem_slice(&read_file(key)?)
        .map_err(|error| CertificateError::Key { path: key.to_owned(), reason: error.to_string() })?;
    CertifiedKey::from_der(chain, secret, &ring::default_provider()).map_err(|error| CertificateError::Mismatch {
        key: key.to_owned(),
        certificate: certificate.to_owned(),
        reason: error.to_string(),
    })
}

fn read_file(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let failed = |source| CertificateError::Read { path: path.to_owned(), source };
    if fs::metadata(path).map_err(failed)?.len() > FILE_MAX_BYTES {
        return Err(CertificateError::TooLong { path: path.to_owned() });
    }
    fs::read(path).map_err(failed)
}

/// SIGHUP, where there is such a thing.
#[cfg(unix)]
struct Hangup(Option<tokio::signal::unix::Signal>);

#[cfg(unix)]
impl Hangup {
    fn new() -> Self {
        let signal = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup());
        Self(signal.inspect_err(|error| tracing::warn!(%error, "SIGHUP is not heard")).ok())
    }

    async fn next(&mut self) {
        match &mut self.0 {
            Some(signal) => drop(signal.recv().await),
            None => std::future::pending().await,
        }
    }
}

#[cfg(not(unix))]
struct Hangup;

#[cfg(not(unix))]
impl Hangup {
    fn new() -> Self {
        Self
    }

    async fn next(&mut self) {
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_with_its_key_is_refused_and_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let (certificate, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
        let made = || rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
        let (first, second) = (made(), made());
        let error = || Certificate::load(&certificate, &key).err().unwrap().to_string();
        assert!(error().contains("cannot read"), "{}", error());
        fs::write(&certificate, "").unwrap();
        assert!(error().contains("holds no certificate"), "{}", error());
        fs::write(&certificate, first.cert.pem()).unwrap();
        fs::write(&key, first.cert.pem()).unwrap();
        assert!(error().contains("holds no private key"), "{}", error());
        fs::write(&key, second.key_pair.serialize_pem()).unwrap();
        assert!(error().contains("is not the one of"), "{}", error());
        fs::write(&key, first.key_pair.serialize_pem()).unwrap();

        let shown = |of: &Certificate| of.shown.read().unwrap().cert[0].to_vec();
        let loaded = Certificate::load(&certificate, &key).unwrap();
        assert_eq!(shown(&loaded), first.cert.der().to_vec());
        fs::write(&certificate, second.cert.pem()).unwrap();
        loaded.reload();
        assert_eq!(shown(&loaded), first.cert.der().to_vec(), "half a change is none");
        fs::write(&key, second.key_pair.serialize_pem()).unwrap();
        loaded.reload();
        assert_eq!(shown(&loaded), second.cert.der().to_vec());
    }
}
