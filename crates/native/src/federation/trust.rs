//! Whose certificates are believed: Mozilla's roots and those the settings add.
use std::{fs, io, path::PathBuf, sync::Arc};

use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};

/// A file of roots: all of Mozilla's have a quarter of it.
const CA_FILE_MAX_BYTES: u64 = 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("cannot read the certificates in {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is longer than {CA_FILE_MAX_BYTES} bytes, so it is no file of root certificates")]
    TooLong { path: PathBuf },
    #[error("{path} holds no certificate that can be a root (PEM): {reason}")]
    Malformed { path: PathBuf, reason: String },
}

/// How the other end of a connection shows who it is.
pub struct Trust {
    pub(super) verified: Arc<ClientConfig>,
    /// For loopback addresses alone: any certificate does.
    pub(super) loopback: Option<Arc<ClientConfig>>,
}

impl Trust {
    /// `ca_files` hold certificates (PEM) that are believed as roots beside Mozilla's. With `skips_loopback` whatever
    /// answers on a loopback address is taken for who it should be.
    pub fn new(ca_files: &[PathBuf], skips_loopback: bool) -> Result<Self, TrustError> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        for path in ca_files {
            add_roots(&mut roots, path)?;
        }
        let provider = Arc::new(ring::default_provider());
        let builder = || {
            ClientConfig::builder_with_provider(provider.clone())
                .with_safe_default_protocol_versions()
                .expect("ring speaks the protocol versions")
        };
        let verified = Arc::new(builder().with_root_certificates(roots).with_no_client_auth());
        let loopback = skips_loopback.then(|| {
            let verifier = Arc::new(Anybody(provider.clone()));
            Arc::new(builder().dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
        });
        Ok(Self { verified, loopback })
    }
}

fn add_roots(roots: &mut RootCertStore, path: &PathBuf) -> Result<(), TrustError> {
    let read = |source| TrustError::Read { path: path.clone(), source };
    let malformed = |reason: String| TrustError::Malformed { path: path.clone(), reason };
    if fs::metadata(path).map_err(read)?.len() > CA_FILE_MAX_BYTES {
        return Err(TrustError::TooLong { path: path.clone() });
    }
    let pem = fs::read(path).map_err(read)?;
    let mut found = 0;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| malformed(error.to_string()))?;
        roots.add(certificate).map_err(|error| malformed(error.to_string()))?;
        found += 1;
    }
    if found == 0 { Err(malformed("there is none in it".to_owned())) } else { Ok(()) }
}

/// Believes any certificate, and checks only that the other end has its key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        tokio_rustls::rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        tokio_rustls::rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_root_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        let of = |content: &[u8]| {
            fs::write(&path, content).unwrap();
            Trust::new(std::slice::from_ref(&path), false).err().map(|error| error.to_string())
        };
        assert!(of(b"").unwrap().contains("there is none in it"));
        assert!(of(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").is_some());
        assert!(of(&vec![b'\n'; CA_FILE_MAX_BYTES as usize + 1]).unwrap().contains("longer than"));
        let authority = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
        assert_eq!(of(authority.cert.pem().as_bytes()), None);
        let missing = Trust::new(&[directory.path().join("none")], false).err().unwrap();
        assert!(missing.to_string().contains("cannot read"));
    }
}
