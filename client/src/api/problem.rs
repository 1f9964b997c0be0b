//! Refusals as HTTP answers.

use super::types::{Refusal, RefusalCode};
use axum::{
    Json,
    extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (status(self.code), Json(self)).into_response()
    }
}

/// The HTTP status of a refusal. Programs should look at the code in the body instead.
fn status(code: RefusalCode) -> StatusCode {
    use RefusalCode as C;
    match code {
        C::BadRequest => StatusCode::BAD_REQUEST,
        C::UnknownContact | C::UnknownMessage | C::NoFile => StatusCode::NOT_FOUND,
        C::ContactNotReady | C::NameTaken | C::LinkUsed | C::OwnLink => StatusCode::CONFLICT,
        C::LinkExpired => StatusCode::GONE,
        C::BadLink | C::NoTransport => StatusCode::UNPROCESSABLE_ENTITY,
        C::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        C::QueueFull | C::Busy => StatusCode::TOO_MANY_REQUESTS,
        C::DiskFull => StatusCode::INSUFFICIENT_STORAGE,
        C::NetworkUnreachable | C::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        C::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        C::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn refused(status: StatusCode, text: String) -> Refusal {
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        Refusal::new(RefusalCode::TooLarge, "the request is larger than the daemon accepts")
    } else {
        Refusal::new(RefusalCode::BadRequest, text)
    }
}

macro_rules! from_rejection {
    ($($rejection:ty),+) => {$(
        impl From<$rejection> for Refusal {
            fn from(rejection: $rejection) -> Self {
                refused(rejection.status(), rejection.body_text())
            }
        }
    )+};
}

from_rejection!(JsonRejection, BytesRejection, PathRejection, QueryRejection);
