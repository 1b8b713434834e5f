//! The page of who is signed in: changing one's own password.

use std::sync::Arc;

use askama::Template;
use axum::{
    Form,
    extract::{Extension, State},
    response::{IntoResponse, Response},
};
use hyper::StatusCode;
use serde::Deserialize;

use super::sign_in::{hashed, is_password, password_problem, too_many};
use crate::{
    app::App,
    guard::Visitor,
    secret,
    view::{self, Answer, Frame},
};

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage {
    frame: Frame,
    wrong: Option<String>,
    done: bool,
    role: [String; 2],
    shortest: usize,
}

#[derive(Deserialize)]
pub(crate) struct Change {
    old: String,
    password: String,
    again: String,
}

fn show(visitor: &Visitor, status: StatusCode, wrong: Option<&str>, done: bool) -> Response {
    let role = visitor.session.as_ref().and_then(|session| visitor.words.roles.get(session.role.name()));
    let page = AccountPage {
        frame: Frame::new(visitor, "/account"),
        wrong: wrong.map(str::to_owned),
        done,
        role: role.cloned().unwrap_or_default(),
        shortest: secret::SHORTEST,
    };
    view::page(status, visitor.words, &page)
}

pub(crate) async fn page(Extension(visitor): Extension<Visitor>) -> Answer {
    Ok(show(&visitor, StatusCode::OK, None, false))
}

pub(crate) async fn password(
    State(app): State<Arc<App>>,
    Extension(visitor): Extension<Visitor>,
    Form(form): Form<Change>,
) -> Answer {
    let words = visitor.words;
    let Some(session) = visitor.session.clone() else { return Ok(StatusCode::UNAUTHORIZED.into_response()) };
    let subject = secret::hash(format!("name:{}", session.name.to_lowercase()));
    let Ok(_turn) = app.hashing.acquire().await else { return Ok(StatusCode::SERVICE_UNAVAILABLE.into_response()) };
    if too_many(&app, subject).await? {
        return Ok(show(&visitor, StatusCode::TOO_MANY_REQUESTS, Some(&words.sign_in.too_many), false));
    }
    if !is_password(&app, session.account, form.old).await? {
        app.store.failed(subject, app.now(), None).await?;
        return Ok(show(&visitor, StatusCode::FORBIDDEN, Some(&words.account.wrong_old), false));
    }
    if let Some(wrong) = password_problem(words, &session.name, &form.password, &form.again) {
        return Ok(show(&visitor, StatusCode::UNPROCESSABLE_ENTITY, Some(wrong), false));
    }
    let hashed = hashed(form.password).await?;
    app.store.change_password(session, hashed, app.now()).await?;
    Ok(show(&visitor, StatusCode::OK, None, true))
}
