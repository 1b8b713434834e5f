//! People: who may do what. A new person gets a one-time code, and chooses a password nobody else knows.

use std::sync::Arc;

use askama::Template;
use axum::{
    Form,
    extract::{Extension, Path, State},
    response::{IntoResponse, Response},
};
use hyper::StatusCode;
use serde::Deserialize;

use super::sign_in::is_name;
use crate::{
    Role,
    app::App,
    audit::Deed,
    guard::Visitor,
    secret,
    store::{Account, CodeUse},
    time::When,
    view::{self, Answer, Fault, Frame},
    words::fill,
};

#[derive(Template)]
#[template(path = "people.html")]
struct PeoplePage {
    frame: Frame,
    people: Vec<Person>,
    roles: Vec<(&'static str, [String; 2])>,
    wrong: Option<String>,
    /// A name and the code that was made for it, shown this once.
    code: Option<(String, String)>,
}

struct Person {
    id: i64,
    name: String,
    role: &'static str,
    enabled: bool,
    /// Whether a password was chosen.
    ready: bool,
    signed_in: Option<When>,
}

#[derive(Deserialize)]
pub(crate) struct Add {
    name: String,
    role: Role,
}

#[derive(Deserialize)]
pub(crate) struct Change {
    role: Role,
    enabled: bool,
}

async fn show(
    app: &App,
    visitor: &Visitor,
    status: StatusCode,
    wrong: Option<&str>,
    code: Option<(String, String)>,
) -> Result<Response, Fault> {
    let words = visitor.words;
    let person = |account: Account| Person {
        id: account.id,
        role: account.role.name(),
        enabled: account.enabled,
        ready: account.password.is_some(),
        signed_in: account.signed_in_at.map(|at| view::when(app, words, at)),
        name: account.name,
    };
    let roles = Role::ALL.map(|role| (role.name(), words.roles.get(role.name()).cloned().unwrap_or_default()));
    let page = PeoplePage {
        frame: Frame::new(visitor, "/people"),
        people: app.store.accounts().await?.into_iter().map(person).collect(),
        roles: roles.into(),
        wrong: wrong.map(str::to_owned),
        code,
    };
    Ok(view::page(status, words, &page))
}

pub(crate) async fn page(State(app): State<Arc<App>>, Extension(visitor): Extension<Visitor>) -> Answer {
    show(&app, &visitor, StatusCode::OK, None, None).await
}

pub(crate) async fn add(
    State(app): State<Arc<App>>,
    Extension(visitor): Extension<Visitor>,
    Form(form): Form<Add>,
) -> Answer {
    let words = &visitor.words.people;
    let name = form.name.trim().to_owned();
    if !is_name(&name) {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        return show(&app, &visitor, status, Some(&visitor.words.join.no_name), None).await;
    }
    match app.store.add_account(name.clone(), form.role, app.now(), visitor.name()).await? {
        None => {
            let wrong = fill(&words.taken, &[("name", &name)]);
            show(&app, &visitor, StatusCode::CONFLICT, Some(&wrong), None).await
        }
        Some(id) => give_code(&app, &visitor, id, name).await,
    }
}

async fn give_code(app: &App, visitor: &Visitor, id: i64, name: String) -> Answer {
    let code = secret::code()?;
    let deed = Deed::new(&visitor.name(), "code-made", &*name);
    app.store.add_code(secret::code_hash(&code), CodeUse::Account(id), app.now(), Some(deed)).await?;
    show(app, visitor, StatusCode::OK, None, Some((name, code))).await
}

pub(crate) async fn code(
    State(app): State<Arc<App>>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<i64>,
) -> Answer {
    match app.store.account(id).await? {
        Some(account) if account.enabled => give_code(&app, &visitor, id, account.name).await,
        _ => Ok(StatusCode::NOT_FOUND.into_response()),
    }
}

pub(crate) async fn change(
    State(app): State<Arc<App>>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<i64>,
    Form(form): Form<Change>,
) -> Answer {
    if app.store.account(id).await?.is_none() {
        return Ok(StatusCode::NOT_FOUND.into_response());
    }
    if app.store.change_account(id, form.role, form.enabled, app.now(), visitor.name()).await? {
        Ok(view::see_other("/people"))
    } else {
        let wrong = &visitor.words.people.last_owner;
        show(&app, &visitor, StatusCode::CONFLICT, Some(wrong), None).await
    }
}
