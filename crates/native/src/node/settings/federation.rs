//! What a node is told about HTTPS between homeservers.
use std::{net::SocketAddr, path::PathBuf};

use ruma::OwnedServerName;

use super::{NodeFlags, SettingsError};
use crate::federation::Reach;

/// Files of further roots.
const CA_FILES_MAX: usize = 16;
/// As many as are asked for one server.
const NOTARIES_MAX: usize = 3;

#[derive(Debug)]
pub struct FederationSettings {
    pub listen: Option<SecureListen>,
    /// Files of certificates that are believed as roots beside Mozilla's.
    pub ca_files: Vec<PathBuf>,
    pub reach: Reach,
    /// Whether whatever answers on this machine is taken for who it should be.
    pub skips_tls_verify: bool,
    /// Who is believed about the keys of servers that do not answer.
    pub notaries: Vec<OwnedServerName>,
    /// What `/.well-known/matrix/server` says.
    pub reached_by: Option<OwnedServerName>,
}

/// Where other homeservers connect by TLS.
#[derive(Debug)]
pub struct SecureListen {
    pub address: SocketAddr,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl FederationSettings {
    pub fn resolve(flags: &NodeFlags, file: &NodeFlags) -> Result<Self, SettingsError> {
        let path = |of: fn(&NodeFlags) -> &Option<PathBuf>| of(flags).clone().or_else(|| of(file).clone());
        let files = (path(|flags| &flags.tls_cert), path(|flags| &flags.tls_key));
        let listen = match (flags.federation_listen.or(file.federation_listen), files) {
            (None, (None, None)) => None,
            (Some(address), (Some(certificate), Some(key))) => Some(SecureListen { address, certificate, key }),
            _ => return Err(SettingsError::HalfAListener),
        };
        let ca_files = if flags.ca.is_empty() { file.ca.clone() } else { flags.ca.clone() };
        if ca_files.len() > CA_FILES_MAX {
            return Err(SettingsError::CaFiles(ca_files.len(), CA_FILES_MAX));
        }
        let notaries = if flags.notary.is_empty() { file.notary.clone() } else { flags.notary.clone() };
        if notaries.len() > NOTARIES_MAX {
            return Err(SettingsError::Notaries(notaries.len(), NOTARIES_MAX));
        }
        let allows_private = flags.allow_private_ips.or(file.allow_private_ips).unwrap_or(false);
        Ok(Self {
            listen,
            ca_files,
            notaries,
            reach: if allows_private { Reach::Everywhere } else { Reach::Public },
            skips_tls_verify: flags.insecure_skip_tls_verify.or(file.insecure_skip_tls_verify).unwrap_or(false),
            reached_by: flags.well_known_server.clone().or_else(|| file.well_known_server.clone()),
        })
    }
}
