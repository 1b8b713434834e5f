//! The audit log: what is entered, and that a change from outside shows.

use hyper::StatusCode;

use super::harness::{House, PASSWORD};
use crate::Role;

#[tokio::test]
async fn every_deed_is_entered_with_who_before_and_after() {
    let house = House::new();
    let mut ana = house.owner().await;
    drop(house.person(&mut ana, "ben", Role::Viewer).await);
    let id = house.app().store.account_named("ben").await.unwrap().unwrap().id;
    ana.post(&format!("/people/{id}/change"), &[("role", "policy"), ("enabled", "true")]).await;
    let entries = house.app().store.audit_all().await.unwrap();
    let actions: Vec<_> = entries.iter().map(|entry| (&*entry.who, &*entry.action)).collect();
    assert_eq!(
        actions,
        [
            ("console", "owner-made"),
            ("ana", "signed-in"),
            ("ana", "person-added"),
            ("ana", "code-made"),
            ("ben", "password-set"),
            ("ben", "signed-in"),
            ("ana", "role-changed")
        ]
    );
    let last = entries.last().unwrap();
    assert_eq!((last.before.as_deref(), last.after.as_deref()), (Some("viewer"), Some("policy")));
    let page = ana.get("/audit").await;
    assert!(page.text.contains("The chain holds: 7 entries"), "{}", page.text);
    let export = ana.post("/audit/export", &[]).await;
    assert_eq!(export.text.lines().count(), 8, "the export is itself a deed");
    assert!(!export.text.contains(PASSWORD) && !export.text.contains("argon2"));
}

#[tokio::test]
async fn change_of_the_database_from_outside_shows_on_the_page() {
    for (sql, first) in [
        ("UPDATE audit SET who = 'eve' WHERE number = 2", 2),
        ("UPDATE audit SET after = NULL WHERE number = 1", 1),
        ("UPDATE audit SET at = at + 1 WHERE number = 3", 3),
        ("DELETE FROM audit WHERE number = 2", 2),
        ("DELETE FROM audit WHERE number = 1", 1),
        ("DELETE FROM audit WHERE number = 4", 4),
        ("UPDATE audit SET hash = zeroblob(32) WHERE number = 4", 4),
        ("INSERT INTO audit SELECT 9, at, who, action, subject, before, after, hash FROM audit WHERE number = 4", 5),
    ] {
        let house = House::new();
        let mut ana = house.owner().await;
        ana.post("/people", &[("name", "ben"), ("role", "viewer")]).await;
        assert!(house.dashboard.check_audit().await.is_ok());
        house.app().store.execute(sql);
        let page = ana.get("/audit").await;
        assert_eq!(page.status, StatusCode::OK);
        assert!(page.text.contains(&format!("The chain is broken at entry {first}.")), "{sql}");
        let error = house.dashboard.check_audit().await.unwrap_err().to_string();
        assert!(error.contains(&format!("entry {first} ")), "{sql}: {error}");
    }
}
