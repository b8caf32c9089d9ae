//! Errors of the room workflows as HTTP says them.
use http::StatusCode;
use ruma::api::error::{ErrorKind, IncompatibleRoomVersionErrorData, LimitExceededErrorData};

use super::ApiError;
use crate::{
    domain::{event::draft::DraftError, room_version::UnsupportedRoomVersion},
    homeserver::{
        peers::{Busy, PeerError},
        relations::rules::RelationError,
        reports::ReportError,
        rooms::{
            append::AppendError,
            create::CreateError,
            handshake::HandshakeError,
            history::HistoryError,
            invite::{InviteError, ReceiveInviteError},
            join::JoinError,
            membership::MembershipError,
            policy::PolicyError,
            restricted::RestrictedError,
            send::SendError,
            upgrade::UpgradeError,
        },
        transactions::TransactionError,
    },
    ports::TransportError,
};

/// What a peer says that does not know a room's version.
const INCOMPATIBLE_ROOM_VERSION: &str = "M_INCOMPATIBLE_ROOM_VERSION";

/// What a peer says whose user wants no invites.
const INVITE_BLOCKED: &str = "M_INVITE_BLOCKED";

/// What peers say who cannot tell whether a restricted room lets somebody in, and who can and may not let them in.
const UNABLE_TO_AUTHORISE_JOIN: &str = "M_UNABLE_TO_AUTHORISE_JOIN";
const UNABLE_TO_GRANT_JOIN: &str = "M_UNABLE_TO_GRANT_JOIN";

impl From<AppendError> for ApiError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Store(error) => error.into(),
            AppendError::Draft(error) => error.into(),
            AppendError::Forbidden(rule) => Self::forbidden(rule),
            AppendError::Missing(missing) => Self::internal(&format!("events are missing: {missing:?}")),
            AppendError::Unresolvable(reason) => Self::internal(&reason),
            AppendError::Policy(error) => error.into(),
        }
    }
}

impl From<DraftError> for ApiError {
    fn from(error: DraftError) -> Self {
        match error {
            DraftError::TooLarge => Self::too_large(error.to_string()),
            DraftError::Format(reason) => Self::bad_json(reason),
            DraftError::Pdu(error) => Self::bad_json(error.to_string()),
        }
    }
}

impl From<SendError> for ApiError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Store(error) => error.into(),
            SendError::NotInRoom => Self::forbidden(error.to_string()),
            SendError::Append(error) => error.into(),
            SendError::Relation(error) => error.into(),
        }
    }
}

impl From<RelationError> for ApiError {
    fn from(error: RelationError) -> Self {
        let message = error.to_string();
        match error {
            RelationError::Store(error) => error.into(),
            RelationError::Duplicate => Self::new(StatusCode::BAD_REQUEST, ErrorKind::DuplicateAnnotation, message),
            RelationError::ThreadOfChild => Self::unsupported(message),
        }
    }
}

impl From<UnsupportedRoomVersion> for ApiError {
    fn from(error: UnsupportedRoomVersion) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorKind::UnsupportedRoomVersion, error.to_string())
    }
}

impl From<CreateError> for ApiError {
    fn from(error: CreateError) -> Self {
        let message = error.to_string();
        match error {
            CreateError::Store(error) => error.into(),
            CreateError::Version(error) => error.into(),
            CreateError::Directory(error) => error.into(),
            CreateError::Apart(_) => Self::apart(message),
            CreateError::AliasTaken(_) => Self::new(StatusCode::BAD_REQUEST, ErrorKind::RoomInUse, message),
            CreateError::Preset(_) | CreateError::TooManyInvites | CreateError::TooMuchState => {
                Self::new(StatusCode::BAD_REQUEST, ErrorKind::InvalidParam, message)
            }
            CreateError::Refused(AppendError::Store(error)) => error.into(),
            CreateError::Refused(AppendError::Draft(DraftError::TooLarge)) => Self::too_large(message),
            CreateError::Refused(
                AppendError::Draft(_)
                | AppendError::Forbidden(_)
                | AppendError::Missing(_)
                | AppendError::Unresolvable(_)
                | AppendError::Policy(_),
            ) => Self::new(StatusCode::BAD_REQUEST, ErrorKind::InvalidRoomState, message),
        }
    }
}

impl From<UpgradeError> for ApiError {
    fn from(error: UpgradeError) -> Self {
        match error {
            UpgradeError::Store(error) => error.into(),
            UpgradeError::Version(error) => error.into(),
            UpgradeError::Send(error) => error.into(),
            UpgradeError::TooManyCreators => Self::invalid_param(error.to_string()),
            UpgradeError::Create(error) => error.into(),
        }
    }
}

impl From<MembershipError> for ApiError {
    fn from(error: MembershipError) -> Self {
        match error {
            MembershipError::Store(error) => error.into(),
            MembershipError::Send(error) => error.into(),
            MembershipError::Forbidden(reason) => Self::forbidden(reason),
            MembershipError::NotFound => Self::not_found(error.to_string()),
            MembershipError::StillIn => Self::unsupported(error.to_string()),
        }
    }
}

impl From<InviteError> for ApiError {
    fn from(error: InviteError) -> Self {
        match error {
            InviteError::Store(error) => error.into(),
            InviteError::Send(error) => error.into(),
            InviteError::AlreadyJoined(_) => Self::forbidden(error.to_string()),
            InviteError::NoSuchUser(_) => Self::not_found(error.to_string()),
            InviteError::Blocked(_) => Self::invite_blocked(error.to_string()),
            InviteError::Apart(_) => Self::apart(error.to_string()),
            InviteError::Refused(error) => error.into(),
        }
    }
}

impl From<JoinError> for ApiError {
    fn from(error: JoinError) -> Self {
        match error {
            JoinError::Store(error) => error.into(),
            JoinError::Append(error) => error.into(),
            JoinError::Restricted(error) => error.into(),
            JoinError::NoServer => Self::not_found(error.to_string()),
            JoinError::Apart(_) => Self::apart(error.to_string()),
            JoinError::Peer(error) => error.into(),
            JoinError::Version(version) => Self::new(
                StatusCode::BAD_REQUEST,
                ErrorKind::IncompatibleRoomVersion(IncompatibleRoomVersionErrorData::new(version.clone())),
                format!("The room has version {version}, which this server does not support."),
            ),
            JoinError::Dishonest { .. } => bad_gateway(error.to_string()),
        }
    }
}

impl From<RestrictedError> for ApiError {
    fn from(error: RestrictedError) -> Self {
        let message = error.to_string();
        match error {
            RestrictedError::Store(error) => error.into(),
            RestrictedError::NotEntitled => Self::forbidden(message),
            RestrictedError::Unverifiable => {
                Self::new(StatusCode::BAD_REQUEST, ErrorKind::UnableToAuthorizeJoin, message)
            }
            RestrictedError::NobodyToGrant => Self::new(StatusCode::BAD_REQUEST, ErrorKind::UnableToGrantJoin, message),
        }
    }
}

/// What a peer said, where its client-facing meaning is the same; a gateway error otherwise.
impl From<PeerError> for ApiError {
    fn from(error: PeerError) -> Self {
        let message = error.to_string();
        match error {
            PeerError::Refused { errcode, .. } if errcode == INVITE_BLOCKED => Self::invite_blocked(message),
            PeerError::Refused { status: 403, apart: true, message, .. } => Self::apart(message),
            PeerError::Refused { status: 403, .. } => Self::forbidden(message),
            PeerError::Refused { status: 404, .. } => Self::not_found(message),
            PeerError::Refused { errcode, .. } if errcode == INCOMPATIBLE_ROOM_VERSION => {
                Self::new(StatusCode::BAD_REQUEST, ErrorKind::UnsupportedRoomVersion, message)
            }
            PeerError::Refused { errcode, .. } if errcode == UNABLE_TO_AUTHORISE_JOIN => {
                Self::new(StatusCode::BAD_REQUEST, ErrorKind::UnableToAuthorizeJoin, message)
            }
            PeerError::Refused { errcode, .. } if errcode == UNABLE_TO_GRANT_JOIN => {
                Self::new(StatusCode::BAD_REQUEST, ErrorKind::UnableToGrantJoin, message)
            }
            PeerError::Transport(TransportError::NeverReachable { .. }) => Self::apart(message),
            // Who else might do it is for us to ask, not for the client.
            PeerError::Refused { busy: Some(Busy { retry_after_ms, .. }), .. } => {
                Self::busy(&Busy { retry_after_ms, others: Vec::new() }, message)
            }
            PeerError::Refused { .. } | PeerError::Transport(_) | PeerError::Malformed { .. } => bad_gateway(message),
            PeerError::Unsendable(reason) => Self::internal(&reason),
        }
    }
}

/// What a policy server says of an event is for whoever sends it, in its words, as far as it says what policy servers may.
impl From<PolicyError> for ApiError {
    fn from(error: PolicyError) -> Self {
        let kind = |status: u16, errcode: &str| match (status, errcode) {
            (400 | 403, "M_FORBIDDEN") => Some(ErrorKind::Forbidden),
            (400, "M_BAD_JSON") => Some(ErrorKind::BadJson),
            (400, "M_NOT_JSON") => Some(ErrorKind::NotJson),
            (404, "M_NOT_FOUND") => Some(ErrorKind::NotFound),
            (429, "M_LIMIT_EXCEEDED") => Some(ErrorKind::LimitExceeded(LimitExceededErrorData::default())),
            _ => None,
        };
        match error {
            PolicyError::Refused(error) => {
                if let PeerError::Refused { status, errcode, message, .. } = &error
                    && let (Some(kind), Ok(status)) = (kind(*status, errcode), StatusCode::from_u16(*status))
                {
                    return Self::new(status, kind, message);
                }
                error.into()
            }
            PolicyError::Silent | PolicyError::Changing => bad_gateway(error.to_string()),
        }
    }
}

impl From<HandshakeError> for ApiError {
    fn from(error: HandshakeError) -> Self {
        let message = error.to_string();
        match error {
            HandshakeError::Store(error) => error.into(),
            HandshakeError::NotInRoom => Self::not_found(message),
            HandshakeError::IncompatibleVersion(version) => Self::new(
                StatusCode::BAD_REQUEST,
                ErrorKind::IncompatibleRoomVersion(IncompatibleRoomVersionErrorData::new(version)),
                message,
            ),
            HandshakeError::Forbidden(_) => Self::forbidden(message),
            HandshakeError::Apart(_) => Self::apart(message),
            HandshakeError::Restricted(error) => error.into(),
            HandshakeError::Dropped(_) | HandshakeError::Invalid(_) => Self::invalid_param(message),
            HandshakeError::Unknown => Self::unsupported(message),
            HandshakeError::Busy(busy) => Self::busy(&busy, message),
        }
    }
}

impl From<HistoryError> for ApiError {
    fn from(error: HistoryError) -> Self {
        match error {
            HistoryError::Store(error) => error.into(),
            HistoryError::NotFound => Self::not_found(error.to_string()),
            HistoryError::Forbidden(_) => Self::forbidden(error.to_string()),
        }
    }
}

impl From<ReceiveInviteError> for ApiError {
    fn from(error: ReceiveInviteError) -> Self {
        let message = error.to_string();
        match error {
            ReceiveInviteError::Store(error) => error.into(),
            ReceiveInviteError::Version(UnsupportedRoomVersion(version)) => Self::new(
                StatusCode::BAD_REQUEST,
                ErrorKind::IncompatibleRoomVersion(IncompatibleRoomVersionErrorData::new(version)),
                message,
            ),
            ReceiveInviteError::TooMany(_) => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                ErrorKind::LimitExceeded(LimitExceededErrorData::default()),
                message,
            ),
            ReceiveInviteError::Dropped(_) | ReceiveInviteError::Stripped(_) | ReceiveInviteError::Invalid(_) => {
                Self::invalid_param(message)
            }
            ReceiveInviteError::Blocked(_) => Self::invite_blocked(message),
            ReceiveInviteError::NoSuchUser(_) | ReceiveInviteError::Forbidden(_) => Self::forbidden(message),
        }
    }
}

impl From<ReportError> for ApiError {
    fn from(error: ReportError) -> Self {
        let message = error.to_string();
        match error {
            ReportError::Store(error) => error.into(),
            ReportError::NoSuchRoom
            | ReportError::NoSuchEvent
            | ReportError::NoSuchUser
            | ReportError::NoSuchReport => Self::not_found(message),
            ReportError::ReasonTooLong => Self::too_large(message),
            ReportError::TooMany => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                ErrorKind::LimitExceeded(LimitExceededErrorData::default()),
                message,
            ),
        }
    }
}

impl From<TransactionError> for ApiError {
    fn from(error: TransactionError) -> Self {
        match error {
            TransactionError::Store(error) => error.into(),
            TransactionError::TooLarge => Self::too_large(error.to_string()),
        }
    }
}

fn bad_gateway(message: String) -> ApiError {
    ApiError::new(StatusCode::BAD_GATEWAY, ErrorKind::Unknown, message)
}
