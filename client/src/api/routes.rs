//! One function for each operation of the API. They check form and bounds and pass on to the core.

use super::types::{
    AcceptRequest, Contact, Event, Invitation, InviteRequest, Message, ProfileRequest, Profiles, Refusal, RefusalCode,
    Safety, Sent, Status, TextRequest, TransportRequest, Transports,
};
use crate::{
    content::{MAX_FILE_NAME, MAX_MEDIA_TYPE},
    handle::{CoreHandle, INBOX_PAGE},
    store::files::MAX_FILE,
};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{
        DefaultBodyLimit, FromRequest as _, Path, Query, Request, State,
        rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection},
    },
    http::{HeaderMap, HeaderValue, header},
    middleware::{self, Next},
    response::{IntoResponse, Response, Sse, sse},
};
use futures::{Stream, StreamExt as _};
use serde::Deserialize;
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_stream::wrappers::{BroadcastStream, errors::BroadcastStreamRecvError};
use utoipa::{OpenApi, openapi};
use utoipa_axum::{router::OpenApiRouter, routes};

/// Requests at a time.
const REQUESTS: usize = 64;
/// Uploads at a time: each holds a file in memory.
const UPLOADS: usize = 2;
/// Event streams at a time.
const LISTENERS: usize = 16;
/// Bytes of a JSON request: 64 KiB of text, each byte written as `\u0000`, and some room.
const JSON_BODY: usize = 512 * 1024;
/// How long a request may take, body included. Above the core's own deadlines.
const REQUEST_DEADLINE: Duration = Duration::from_secs(180);

/// What the handlers share.
#[derive(Clone)]
struct Api {
    core: CoreHandle,
    requests: Arc<Semaphore>,
    uploads: Arc<Semaphore>,
    listeners: Arc<Semaphore>,
}

/// The API over a core.
pub fn router(core: CoreHandle) -> Router {
    let permits = |count| Arc::new(Semaphore::new(count));
    let api = Api { core, requests: permits(REQUESTS), uploads: permits(UPLOADS), listeners: permits(LISTENERS) };
    let (router, _) = described().split_for_parts();
    router.layer(middleware::from_fn_with_state(api.clone(), bounded)).with_state(api)
}

/// The OpenAPI description, as `client/openapi.json` holds it.
pub fn description() -> openapi::OpenApi {
    described().into_openapi()
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Veilpost local API",
        description = "What shells ask of the daemon, over HTTP on the Unix socket `api.sock` in the home folder."
    ),
    components(schemas(Event, Refusal)),
    servers((url = "http://localhost"))
)]
struct Description;

fn described() -> OpenApiRouter<Api> {
    let json = OpenApiRouter::new()
        .routes(routes!(status))
        .routes(routes!(profile, set_profile))
        .routes(routes!(transport, set_transport))
        .routes(routes!(invite))
        .routes(routes!(contacts, accept))
        .routes(routes!(safety))
        .routes(routes!(verify))
        .routes(routes!(send_text))
        .routes(routes!(inbox))
        .routes(routes!(message))
        .routes(routes!(file))
        .routes(routes!(events))
        .routes(routes!(stop))
        .layer(DefaultBodyLimit::max(JSON_BODY));
    // One byte more than the bound, so that the core's own refusal, which says what to do, is the one people see.
    let files = OpenApiRouter::new()
        .routes(routes!(send_file))
        .layer(DefaultBodyLimit::max(usize::try_from(MAX_FILE).unwrap_or(usize::MAX).saturating_add(1)));
    OpenApiRouter::with_openapi(Description::openapi()).merge(json).merge(files)
}

/// Every request: one of [`REQUESTS`], and no longer than [`REQUEST_DEADLINE`].
async fn bounded(State(api): State<Api>, request: Request, next: Next) -> Response {
    let Ok(_permit) = api.requests.try_acquire() else { return busy().into_response() };
    tokio::time::timeout(REQUEST_DEADLINE, next.run(request))
        .await
        .unwrap_or_else(|_| Refusal::new(RefusalCode::TimedOut, "the request took too long").into_response())
}

fn busy() -> Refusal {
    Refusal::new(RefusalCode::Busy, "the daemon is busy with other requests; try again")
}

/// How the daemon is doing.
#[utoipa::path(get, path = "/v1/status", responses((status = 200, body = Status), (status = "default", body = Refusal)))]
async fn status(State(api): State<Api>) -> Result<Json<Status>, Refusal> {
    api.core.status().await.map(Json)
}

/// Makes an invitation.
#[utoipa::path(post, path = "/v1/invitations", request_body = InviteRequest,
    responses((status = 200, body = Invitation), (status = "default", body = Refusal)))]
async fn invite(
    State(api): State<Api>,
    request: Result<Json<InviteRequest>, JsonRejection>,
) -> Result<Json<Invitation>, Refusal> {
    let Json(request) = request?;
    api.core.invite(request.name).await.map(Json)
}

/// All contacts, by name.
#[utoipa::path(get, path = "/v1/contacts",
    responses((status = 200, body = Vec<Contact>), (status = "default", body = Refusal)))]
async fn contacts(State(api): State<Api>) -> Result<Json<Vec<Contact>>, Refusal> {
    api.core.contacts().await.map(Json)
}

/// Answers an invitation; the contact can be written to when the event `contact_added` has come.
#[utoipa::path(post, path = "/v1/contacts", request_body = AcceptRequest,
    responses((status = 200, body = Contact), (status = "default", body = Refusal)))]
async fn accept(
    State(api): State<Api>,
    request: Result<Json<AcceptRequest>, JsonRejection>,
) -> Result<Json<Contact>, Refusal> {
    let Json(request) = request?;
    api.core.accept(request.link, request.name).await.map(Json)
}

/// The profiles, what each costs in this network, and which is in use.
#[utoipa::path(get, path = "/v1/profile",
    responses((status = 200, body = Profiles), (status = "default", body = Refusal)))]
async fn profile(State(api): State<Api>) -> Result<Json<Profiles>, Refusal> {
    api.core.profiles().await.map(Json)
}

/// The ways to the network, who learns what by each, and which is in use.
#[utoipa::path(get, path = "/v1/transport",
    responses((status = 200, body = Transports), (status = "default", body = Refusal)))]
async fn transport(State(api): State<Api>) -> Result<Json<Transports>, Refusal> {
    api.core.transports().await.map(Json)
}

/// Chooses a transport. It is used at once; the connection of another one ends.
#[utoipa::path(post, path = "/v1/transport", request_body = TransportRequest,
    responses((status = 200, body = Transports), (status = "default", body = Refusal)))]
async fn set_transport(
    State(api): State<Api>,
    request: Result<Json<TransportRequest>, JsonRejection>,
) -> Result<Json<Transports>, Refusal> {
    api.core.set_transport(request?.0.transport).await.map(Json)
}

/// Chooses a profile. It is used from the next connection on.
#[utoipa::path(post, path = "/v1/profile", request_body = ProfileRequest,
    responses((status = 200, body = Profiles), (status = "default", body = Refusal)))]
async fn set_profile(
    State(api): State<Api>,
    request: Result<Json<ProfileRequest>, JsonRejection>,
) -> Result<Json<Profiles>, Refusal> {
    api.core.set_profile(request?.0.profile).await.map(Json)
}

/// A contact's safety number.
#[utoipa::path(get, path = "/v1/contacts/{name}/safety", params(("name" = String, Path, description = "The contact")),
    responses((status = 200, body = Safety), (status = "default", body = Refusal)))]
async fn safety(State(api): State<Api>, name: Result<Path<String>, PathRejection>) -> Result<Json<Safety>, Refusal> {
    api.core.safety(name?.0).await.map(Json)
}

/// Says that safety numbers were compared and agree.
#[utoipa::path(post, path = "/v1/contacts/{name}/verified",
    params(("name" = String, Path, description = "The contact")),
    responses((status = 200, body = Contact), (status = "default", body = Refusal)))]
async fn verify(State(api): State<Api>, name: Result<Path<String>, PathRejection>) -> Result<Json<Contact>, Refusal> {
    api.core.verify(name?.0).await.map(Json)
}

/// Sends a text. The answer comes when it is on disk.
#[utoipa::path(post, path = "/v1/contacts/{name}/messages", request_body = TextRequest,
    params(("name" = String, Path, description = "The contact")),
    responses((status = 200, body = Sent), (status = "default", body = Refusal)))]
async fn send_text(
    State(api): State<Api>,
    name: Result<Path<String>, PathRejection>,
    request: Result<Json<TextRequest>, JsonRejection>,
) -> Result<Json<Sent>, Refusal> {
    let Json(request) = request?;
    api.core.send_text(name?.0, request.text).await.map(Json)
}

/// What a file upload says beside its bytes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileQuery {
    name: String,
}

/// Sends a file: the body is its bytes, at most 64 MiB; the header `content-type` its media type.
#[utoipa::path(post, path = "/v1/contacts/{name}/files",
    params(
        ("name" = String, Path, description = "The contact"),
        ("name" = String, Query, description = "The file's name")
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, body = Sent), (status = "default", body = Refusal)))]
async fn send_file(
    State(api): State<Api>,
    contact: Result<Path<String>, PathRejection>,
    query: Result<Query<FileQuery>, QueryRejection>,
    headers: HeaderMap,
    request: Request,
) -> Result<Json<Sent>, Refusal> {
    let (Path(contact), Query(query)) = (contact?, query?);
    if query.name.len() > MAX_FILE_NAME {
        return Err(Refusal::new(RefusalCode::BadRequest, "the file's name is longer than 255 bytes"));
    }
    let media_type = media_type(&headers)?;
    // Before the body is read: the permit is what bounds the memory.
    let _permit = api.uploads.try_acquire().map_err(|_| busy())?;
    let bytes: Result<Bytes, BytesRejection> = Bytes::from_request(request, &()).await;
    api.core.send_file(contact, &query.name, media_type, bytes?.into()).await.map(Json)
}

fn media_type(headers: &HeaderMap) -> Result<String, Refusal> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(OCTETS.to_owned()) };
    match value.to_str() {
        Ok(text) if text.len() <= MAX_MEDIA_TYPE && text.contains('/') && !text.contains(' ') => Ok(text.to_owned()),
        _ => Err(Refusal::new(RefusalCode::BadRequest, "the header content-type is no media type")),
    }
}

const OCTETS: &str = "application/octet-stream";

/// Which part of the history.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InboxQuery {
    after: Option<i64>,
    limit: Option<u32>,
}

/// The history, oldest first.
#[utoipa::path(get, path = "/v1/messages",
    params(
        ("after" = Option<i64>, Query, description = "Only messages with a higher number"),
        ("limit" = Option<u32>, Query, description = "At most so many; 50 are the most")
    ),
    responses((status = 200, body = Vec<Message>), (status = "default", body = Refusal)))]
async fn inbox(
    State(api): State<Api>,
    query: Result<Query<InboxQuery>, QueryRejection>,
) -> Result<Json<Vec<Message>>, Refusal> {
    let Query(query) = query?;
    api.core.inbox(query.after, query.limit.unwrap_or(INBOX_PAGE)).await.map(Json)
}

/// One message.
#[utoipa::path(get, path = "/v1/messages/{id}", params(("id" = i64, Path, description = "The message's number")),
    responses((status = 200, body = Message), (status = "default", body = Refusal)))]
async fn message(State(api): State<Api>, id: Result<Path<i64>, PathRejection>) -> Result<Json<Message>, Refusal> {
    api.core.message(id?.0).await.map(Json)
}

/// The bytes of a received file.
#[utoipa::path(get, path = "/v1/messages/{id}/file", params(("id" = i64, Path, description = "The message's number")),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = "default", body = Refusal)))]
async fn file(State(api): State<Api>, id: Result<Path<i64>, PathRejection>) -> Result<Response, Refusal> {
    let file = api.core.attachment(id?.0).await?;
    let media_type = HeaderValue::from_str(&file.media_type).unwrap_or(HeaderValue::from_static(OCTETS));
    let mut response = file.bytes.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    // A browser or viewer that is pointed here must not guess a type and run it.
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

/// Events from now on, one JSON object (see the schema `Event`) in each `data` field. The stream ends with the daemon.
#[utoipa::path(get, path = "/v1/events",
    responses((status = 200, body = Event, content_type = "text/event-stream"), (status = "default", body = Refusal)))]
async fn events(State(api): State<Api>) -> Result<Sse<impl Stream<Item = Result<sse::Event, Infallible>>>, Refusal> {
    let permit = api.listeners.clone().try_acquire_owned().map_err(|_| busy())?;
    let receiver = api.core.events().ok_or_else(|| {
        Refusal::new(RefusalCode::Stopping, "the daemon is stopping; start it again with `veilpost daemon`")
    })?;
    let stream = BroadcastStream::new(receiver).map(move |event| Ok(line(event, &permit)));
    Ok(Sse::new(stream).keep_alive(sse::KeepAlive::new().interval(Duration::from_secs(15))))
}

/// An event as a line. The permit is held by the stream that calls this.
fn line(event: Result<Event, BroadcastStreamRecvError>, _permit: &OwnedSemaphorePermit) -> sse::Event {
    let event = event.unwrap_or_else(|BroadcastStreamRecvError::Lagged(count)| Event::Missed { count });
    sse::Event::default().data(serde_json::to_string(&event).unwrap_or_default())
}

/// Writes everything down and ends the daemon.
#[utoipa::path(post, path = "/v1/stop", responses((status = 204), (status = "default", body = Refusal)))]
async fn stop(State(api): State<Api>) -> Result<axum::http::StatusCode, Refusal> {
    api.core.stop().await.map(|()| axum::http::StatusCode::NO_CONTENT)
}
