//! An event's JSON as an object to hash, sign, check and strip. With the numbers of old room versions in it this is done
//! here; all else is ruma's.
use ruma::{
    AnyKeyName, CanonicalJsonObject, CanonicalJsonValue, Int, ServerName, SigningKeyId,
    canonical_json::redact_in_place,
    room_version_rules::{EventIdFormatVersion, RoomVersionRules},
    serde::{
        Base64,
        base64::{Standard, UrlSafe},
    },
    signatures::{
        JsonError, KeyPair, PublicKeyMap, VerificationError, Verified, content_hash, hash_and_sign_event,
        reference_hash, required_server_signatures_to_verify_event, sign_event, verify_canonical_json_bytes,
        verify_event,
    },
    state_res::check_pdu_format,
};
use sha2::{Digest, Sha256};

use super::{PDU_MAX_BYTES, canonical_string, numbers};
use crate::domain::identity::Identity;

/// The fields whose presence, type and size the format of events is about.
const FORMAT_FIELDS: [&str; 8] =
    ["type", "sender", "room_id", "event_id", "state_key", "prev_events", "auth_events", "depth"];

/// How many events an event may name that it follows, and that authorize it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Citations {
    /// As many as the format of events says: 20 and 10.
    Few,
    /// Of old there were more, and the past is filled in as it was (server-server API, "Backfilling and retrieving missing
    /// events"). The size of the event bounds them.
    AnyNumber,
}

/// An event as parsed JSON.
#[derive(Clone, Debug)]
pub struct EventObject {
    fields: CanonicalJsonObject,
    /// Some numbers are none of canonical JSON: they are marked strings in `fields` (see `numbers`).
    marked: bool,
}

impl From<CanonicalJsonObject> for EventObject {
    fn from(fields: CanonicalJsonObject) -> Self {
        Self { fields, marked: false }
    }
}

impl EventObject {
    /// Canonical JSON from room version 6 on; before, with any finite number.
    pub fn parse(json: &str, rules: &RoomVersionRules) -> Result<Self, serde_json::Error> {
        let marked = (!rules.authorization.strict_canonical_json).then(|| numbers::mark(json)).flatten();
        let fields = serde_json::from_str(marked.as_deref().unwrap_or(json))?;
        Ok(Self { fields, marked: marked.is_some() })
    }

    /// To look at, not to write: what is no number of canonical JSON is a string here that begins with NUL.
    pub fn fields(&self) -> &CanonicalJsonObject {
        &self.fields
    }

    pub fn remove(&mut self, field: &str) {
        self.fields.remove(field);
    }

    /// Sets a field to a text that does not begin with NUL, such as an identifier.
    pub fn set_text(&mut self, field: &str, text: &str) {
        self.fields.insert(field.to_owned(), text.into());
    }

    /// Sets the depth, up to what the room version can say.
    pub fn set_depth(&mut self, depth: u64, rules: &RoomVersionRules) {
        let canonical = i64::try_from(depth).ok().and_then(|depth| Int::try_from(depth).ok());
        if canonical.is_some() || rules.authorization.strict_canonical_json {
            let depth = canonical.unwrap_or(Int::MAX);
            self.fields.insert("depth".to_owned(), CanonicalJsonValue::Integer(depth));
            return;
        }
        self.remove("depth");
        let (json, depth) = (self.to_json(), depth.min(i64::MAX as u64));
        let begun = json.strip_suffix('}').expect("an object ends with a brace");
        let separator = if self.fields.is_empty() { "" } else { "," };
        let with_depth = format!("{begun}{separator}\"depth\":{depth}}}");
        *self = Self::parse(&with_depth, rules).expect("what was JSON is so with one more field");
    }

    /// As it goes over federation: keys sorted, no spaces.
    pub fn to_json(&self) -> String {
        let json = canonical_string(&self.fields);
        if self.marked { numbers::unmark(&json) } else { json }
    }

    /// Presence, types and sizes of fields (room versions, "Event format"). The size of the whole is the caller's to check.
    pub fn check_format(&self, rules: &RoomVersionRules, citations: Citations) -> Result<(), String> {
        // Of these alone: ruma also measures the whole, against a limit that is one byte too low.
        let of_format = |field: &str| Some((field.to_owned(), self.fields.get(field)?.clone()));
        let mut fields: CanonicalJsonObject = FORMAT_FIELDS.into_iter().filter_map(of_format).collect();
        if citations == Citations::AnyNumber {
            for field in ["prev_events", "auth_events"] {
                if let Some(CanonicalJsonValue::Array(cited)) = fields.get_mut(field) {
                    cited.truncate(1);
                }
            }
        }
        if let Some(CanonicalJsonValue::String(depth)) = fields.get_mut("depth")
            && let Some(depth) = numbers::marked_integer(depth)
        {
            fields.insert("depth".to_owned(), CanonicalJsonValue::Integer(Int::new_saturating(depth)));
        }
        check_pdu_format(&fields, &rules.event_format)
    }

    /// Strips it as its room version redacts.
    pub fn redact(&mut self, rules: &RoomVersionRules) -> Result<(), String> {
        redact_in_place(&mut self.fields, &rules.redaction, None).map_err(|error| error.to_string())
    }

    /// The unpadded base64 of the SHA-256 of the essential fields, in the alphabet of the room version's event ids.
    pub fn reference_hash(&self, rules: &RoomVersionRules) -> Result<String, JsonError> {
        if !self.marked {
            return reference_hash(&self.fields, rules);
        }
        let hash: [u8; 32] = Sha256::digest(self.essentials(rules)?).into();
        Ok(match rules.event_id_format {
            EventIdFormatVersion::V1 | EventIdFormatVersion::V2 => Base64::<Standard, _>::new(hash).encode(),
            _ => Base64::<UrlSafe, _>::new(hash).encode(),
        })
    }

    /// The SHA-256 of all that is hashed of an event, an event id that was not given yet aside.
    pub fn content_hash(&self) -> Result<[u8; 32], JsonError> {
        if !self.marked {
            return Ok(content_hash(&self.fields)?.into_inner());
        }
        let mut hashed = self.clone();
        ["hashes", "signatures", "unsigned"].into_iter().for_each(|field| hashed.remove(field));
        Ok(Sha256::digest(within_limit(hashed.to_json())?).into())
    }

    pub fn hash_and_sign(&mut self, identity: &Identity, rules: &RoomVersionRules) -> Result<(), JsonError> {
        if !self.marked {
            let own = identity.server_name().as_str();
            return hash_and_sign_event(own, identity.key_pair(), &mut self.fields, &rules.redaction);
        }
        let hash = Base64::<Standard, _>::new(self.content_hash()?).encode();
        let hashes = CanonicalJsonObject::from([("sha256".to_owned(), hash.into())]);
        self.fields.insert("hashes".to_owned(), hashes.into());
        self.sign(identity, rules)
    }

    /// Adds this server's signature to those it has.
    pub fn sign(&mut self, identity: &Identity, rules: &RoomVersionRules) -> Result<(), JsonError> {
        let own = identity.server_name().as_str();
        if !self.marked {
            return sign_event(own, identity.key_pair(), &mut self.fields, &rules.redaction);
        }
        let signature = identity.key_pair().sign(self.essentials(rules)?.as_bytes());
        self.add_signature(own, signature.id(), signature.base64());
        Ok(())
    }

    /// Adds a signature of `server` to those it has, whether it holds or not.
    pub fn add_signature(&mut self, server: &str, key_id: String, signature: String) {
        let signatures =
            self.fields.entry("signatures".to_owned()).or_insert_with(|| CanonicalJsonObject::new().into());
        if let CanonicalJsonValue::Object(servers) = signatures
            && let CanonicalJsonValue::Object(keys) =
                servers.entry(server.to_owned()).or_insert_with(|| CanonicalJsonObject::new().into())
        {
            keys.insert(key_id, signature.into());
        }
    }

    /// Whether everybody who must have signed it did, and whether its content is what was hashed.
    pub fn verify(&self, keys: &PublicKeyMap, rules: &RoomVersionRules) -> Result<Verified, VerificationError> {
        if !self.marked {
            return verify_event(keys, &self.fields, rules);
        }
        let signed = self.essentials(rules)?;
        for server in required_server_signatures_to_verify_event(&self.fields, &rules.signatures)? {
            self.verify_signature(server.as_str(), keys, &signed)?;
        }
        let stated = self.fields.get("hashes").and_then(|hashes| hashes.as_object()?.get("sha256")?.as_str());
        let stated = stated.and_then(|hash| Base64::<Standard>::parse(hash).ok());
        let matches = stated.is_some_and(|hash| self.content_hash().is_ok_and(|actual| hash.as_bytes() == actual));
        Ok(if matches { Verified::All } else { Verified::Signatures })
    }

    /// Whether `server` signed it with one of its `keys`, whoever else had to.
    pub fn is_signed_by(&self, server: &ServerName, keys: &PublicKeyMap, rules: &RoomVersionRules) -> bool {
        self.essentials(rules).is_ok_and(|signed| self.verify_signature(server.as_str(), keys, &signed).is_ok())
    }

    fn verify_signature(&self, server: &str, keys: &PublicKeyMap, signed: &str) -> Result<(), VerificationError> {
        let signatures =
            self.fields.get("signatures").and_then(|servers| servers.as_object()?.get(server)?.as_object());
        let signatures = signatures.ok_or_else(|| VerificationError::NoSignaturesForEntity(server.to_owned()))?;
        let unsupported = || VerificationError::NoSupportedSignatureForEntity(server.to_owned());
        let mut checked = false;
        for (key_id, signature) in signatures {
            let Some(key) = keys.get(server).and_then(|keys| keys.get(key_id)) else { continue };
            let Ok(parsed) = <&SigningKeyId<AnyKeyName>>::try_from(key_id.as_str()) else { continue };
            let signature = signature.as_str().and_then(|signature| Base64::<Standard>::parse(signature).ok());
            let signature = signature.ok_or_else(unsupported)?;
            verify_canonical_json_bytes(&parsed.algorithm(), key.as_bytes(), signature.as_bytes(), signed.as_bytes())?;
            checked = true;
        }
        if checked { Ok(()) } else { Err(unsupported()) }
    }

    /// What is signed, and hashed for reference: the event as redacted, without signatures.
    fn essentials(&self, rules: &RoomVersionRules) -> Result<String, JsonError> {
        let mut essential = self.clone();
        redact_in_place(&mut essential.fields, &rules.redaction, None)?;
        ["signatures", "unsigned"].into_iter().for_each(|field| essential.remove(field));
        within_limit(essential.to_json())
    }
}

fn within_limit(json: String) -> Result<String, JsonError> {
    if json.len() > PDU_MAX_BYTES { Err(JsonError::PduTooLarge) } else { Ok(json) }
}
