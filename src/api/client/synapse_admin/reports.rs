//! What users reported, for whoever runs this homeserver: reports of events and of users as Synapse's admin API has them, and
//! those of rooms, of which it has none, likewise at a path of our own.
use std::{marker::PhantomData, rc::Rc};

use http::Method;
use serde_json::{Value, json};

use super::{
    super::{
        json_answer::JsonAnswer,
        own_endpoint::{Endpoint, OwnRequest},
        query::Query,
    },
    Nothing,
};
use crate::{
    api::ApiError,
    homeserver::{
        Homeserver, administration,
        client_event::{Style, format_state},
        reports::{self, REPORTS_MAX, ReportError},
        room_facts,
        sessions::Session,
    },
    ports::StoreError,
    storage::tables::{ReportRow, Reported},
};

/// Reports of a page if nothing is said of it.
const PAGE_DEFAULT: u64 = 100;

/// What is reported.
pub trait Kind {
    const LIST: &'static str;
    const ONE: &'static str;
    /// What the list is called in an answer.
    const NAME: &'static str;
    fn is_of(about: &Reported) -> bool;
}

pub struct OfEvents;

impl Kind for OfEvents {
    const LIST: &'static str = "/_synapse/admin/v1/event_reports";
    const ONE: &'static str = "/_synapse/admin/v1/event_reports/{report_id}";
    const NAME: &'static str = "event_reports";

    fn is_of(about: &Reported) -> bool {
        matches!(about, Reported::Event { .. })
    }
}

pub struct OfUsers;

impl Kind for OfUsers {
    const LIST: &'static str = "/_synapse/admin/v1/user_reports";
    const ONE: &'static str = "/_synapse/admin/v1/user_reports/{report_id}";
    const NAME: &'static str = "user_reports";

    fn is_of(about: &Reported) -> bool {
        matches!(about, Reported::User { .. })
    }
}

pub struct OfRooms;

impl Kind for OfRooms {
    const LIST: &'static str = "/_matrix/client/unstable/warren/room_reports";
    const ONE: &'static str = "/_matrix/client/unstable/warren/room_reports/{report_id}";
    const NAME: &'static str = "room_reports";

    fn is_of(about: &Reported) -> bool {
        matches!(about, Reported::Room { .. })
    }
}

pub struct List<K>(PhantomData<K>);

impl<K: Kind> Endpoint for List<K> {
    const METHOD: Method = Method::GET;
    const PATH: &'static str = K::LIST;
    type Body = Nothing;
}

pub struct Get<K>(PhantomData<K>);

impl<K: Kind> Endpoint for Get<K> {
    const METHOD: Method = Method::GET;
    const PATH: &'static str = K::ONE;
    type Body = Nothing;
}

pub struct Delete<K>(PhantomData<K>);

impl<K: Kind> Endpoint for Delete<K> {
    const METHOD: Method = Method::DELETE;
    const PATH: &'static str = K::ONE;
    type Body = Nothing;
}

/// `GET /_synapse/admin/v1/event_reports`
pub async fn list_event_reports(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: OwnRequest<List<OfEvents>>,
) -> Result<JsonAnswer, ApiError> {
    list(homeserver, &session, request).await
}

/// `GET /_synapse/admin/v1/event_reports/{report_id}`
pub async fn get_event_report(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: OwnRequest<Get<OfEvents>>,
) -> Result<JsonAnswer, ApiError> {
    get(homeserver, &session, request).await
}

/// `DELETE /_synapse/admin/v1/event_reports/{report_id}`
pub async fn delete_event_report(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: OwnRequest<Delete<OfEvents>>,
) -> Result<JsonAnswer, ApiError> {
    delete(homeserver, &session, request).await
}

/// `GET /_synapse/admin/v1/user_reports`
pub async fn list_user_reports(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: OwnRequest<List<OfUsers>>,
) -> Result<JsonAnswer, ApiError> {
    list(homeserver, &session, request).await
}

/// `GET /_synapse/admin/v1/user_reports/{report_id}`
pub async fn get_user_report(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: OwnRequest<Get<OfUsers>>,
) -> Result<JsonAnswer, ApiError> {
    get(homeserver, &session, request).await
}

/// `DELETE /_synapse/admin/v1/user_reports/{report_id}`
pub async fn delete_user_report(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: OwnRequest<Delete<OfUsers>>,
) -> Result<JsonAnswer, ApiError> {
    delete(homeserver, &session, request).await
}

/// `GET /_matrix/client/unstable/warren/room_reports`
pub async fn list_room_reports(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: OwnRequest<List<OfRooms>>,
) -> Result<JsonAnswer, ApiError> {
    list(homeserver, &session, request).await
}

/// `DELETE /_matrix/client/unstable/warren/room_reports/{report_id}`
pub async fn delete_room_report(
    homeserver: &Rc<Homeserver>,
    session: Session,
    request: OwnRequest<Delete<OfRooms>>,
) -> Result<JsonAnswer, ApiError> {
    delete(homeserver, &session, request).await
}

/// A page of reports, and where the next begins. What the query's `user_id`, `target_user_id`, `room_id` and
/// `event_sender_user_id` name need only occur in them, but for the last.
async fn list<K: Kind>(
    homeserver: &Rc<Homeserver>,
    session: &Session,
    request: OwnRequest<List<K>>,
) -> Result<JsonAnswer, ApiError> {
    administration::check_admin(homeserver, session).await?;
    let query = Query(request.query);
    let number =
        |name, default| Ok::<_, ApiError>(query.number(name)?.map_or(default, |number| number.min(REPORTS_MAX as u64)));
    let (from, limit) = (number("from", 0)?, number("limit", PAGE_DEFAULT)?);
    let newest_first = match query.get("dir").as_deref() {
        None | Some("b") => true,
        Some("f") => false,
        Some(_) => return Err(ApiError::invalid_param("`dir` is neither `f` nor `b`.")),
    };
    let parts = ["user_id", "target_user_id", "room_id"].map(|field| (field, query.get(field)));
    let sender = query.get("event_sender_user_id");
    let mut found = Vec::new();
    for (id, row) in of_kind::<K>(homeserver).await? {
        let report = described(homeserver, id, &row).await?;
        let has = |field: &str, part: &str| report[field].as_str().is_some_and(|whole| whole.contains(part));
        let fits = parts.iter().all(|(field, part)| part.as_ref().is_none_or(|part| has(field, part)));
        if fits && sender.as_ref().is_none_or(|sender| report["sender"] == **sender) {
            found.push(report);
        }
    }
    if !newest_first {
        found.reverse();
    }
    let total = found.len() as u64;
    let page: Vec<Value> = found.into_iter().skip(from as usize).take(limit as usize).collect();
    let end = from + page.len() as u64;
    let mut answer = json!({ K::NAME: page, "total": total });
    if end < total {
        answer["next_token"] = end.into();
    }
    Ok(JsonAnswer(answer))
}

async fn get<K: Kind>(
    homeserver: &Rc<Homeserver>,
    session: &Session,
    request: OwnRequest<Get<K>>,
) -> Result<JsonAnswer, ApiError> {
    administration::check_admin(homeserver, session).await?;
    let (id, row) = one::<K>(homeserver, &request.path_args).await?;
    let mut report = described(homeserver, id, &row).await?;
    if let Reported::Event { event_id, .. } = &row.about
        && let Some(event) = homeserver.rooms.events.get(event_id).await?
    {
        let formatted = format_state::<Value>(homeserver, session, Style::TIMELINE, &[event]).await?;
        report["event_json"] = json!(formatted.into_iter().next());
    }
    Ok(JsonAnswer(report))
}

async fn delete<K: Kind>(
    homeserver: &Rc<Homeserver>,
    session: &Session,
    request: OwnRequest<Delete<K>>,
) -> Result<JsonAnswer, ApiError> {
    administration::check_admin(homeserver, session).await?;
    let (id, _) = one::<K>(homeserver, &request.path_args).await?;
    reports::delete(homeserver, id).await?;
    Ok(JsonAnswer(json!({})))
}

/// The newest first.
async fn of_kind<K: Kind>(homeserver: &Homeserver) -> Result<Vec<(u64, ReportRow)>, StoreError> {
    let all = reports::all(homeserver).await?;
    Ok(all.into_iter().filter(|(_, row)| K::is_of(&row.about)).collect())
}

async fn one<K: Kind>(homeserver: &Homeserver, path_args: &[String]) -> Result<(u64, ReportRow), ApiError> {
    let named = path_args.first().and_then(|arg| arg.parse::<u64>().ok());
    let id = named.ok_or_else(|| ApiError::invalid_param("A report is named by a number."))?;
    let found = of_kind::<K>(homeserver).await?.into_iter().find(|(number, _)| *number == id);
    Ok(found.ok_or(ReportError::NoSuchReport)?)
}

/// A report with Synapse's names of its fields. The score is one that clients could give once.
async fn described(homeserver: &Homeserver, id: u64, row: &ReportRow) -> Result<Value, StoreError> {
    let mut report = json!({ "id": id, "received_ts": row.at_ms, "user_id": row.reporter, "reason": row.reason });
    let room_id = match &row.about {
        Reported::User { user_id } => {
            report["target_user_id"] = json!(user_id);
            return Ok(report);
        }
        Reported::Room { room_id } => room_id,
        Reported::Event { room_id, event_id } => {
            let event = homeserver.rooms.events.get(event_id).await?;
            report["event_id"] = json!(event_id);
            report["sender"] = json!(event.map(|event| event.pdu.sender.clone()));
            report["score"] = Value::Null;
            room_id
        }
    };
    let facts = match homeserver.rooms.get(room_id).await? {
        Some(room) => Some(room_facts::of_room(homeserver, &room).await?),
        None => None,
    };
    report["room_id"] = json!(room_id);
    report["name"] = json!(facts.as_ref().and_then(|facts| facts.name.clone()));
    report["canonical_alias"] = json!(facts.as_ref().and_then(|facts| facts.canonical_alias.clone()));
    Ok(report)
}
