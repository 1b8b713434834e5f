//! The policy: checked, drafted, published as a whole or not at all, and back again.

use std::fs;

use hyper::StatusCode;

use super::harness::{Browser, House, POLICY, Page};
use crate::Role;

async fn publish(browser: &mut Browser<'_>, text: &str) -> Page {
    let page = browser.post("/policy/check", &[("text", text)]).await;
    let checked = page.between("name=\"checked\" value=\"", "\"").to_owned();
    browser.post("/policy/publish", &[("text", text), ("checked", &checked), ("note", "një provë")]).await
}

async fn numbers(house: &House) -> Vec<i64> {
    house.app().store.generations().await.unwrap().iter().map(|row| row.number).collect()
}

#[tokio::test]
async fn check_tells_every_problem_with_line_and_hint_and_publishes_nothing() {
    let house = House::new();
    let mut ana = house.owner().await;
    let text = "version = 1\nalow = []\n\n[list.adult]\nfile = \"../etc/passwd\"\ncategory = \"adult\"\n";
    let page = ana.post("/policy/check", &[("text", text)]).await;
    assert!(page.text.contains("Line 2") && page.text.contains("alow"), "{}", page.text);
    let page = ana.post("/policy/check", &[("text", &text.replace("alow", "allow"))]).await;
    assert!(page.text.contains("Line 4") && page.text.contains("leads out of the lists folder"), "{}", page.text);
    let both = "version = 1\nalow = []\n[list.adult]\nfile = \"adult.txt\"\ncategory = \"adult\"\n[group.x]\ncategories = [\"nothing\"]\n";
    let page = ana.post("/policy/check", &[("text", both)]).await;
    assert!(page.text.contains("Line 2") && page.text.contains("Line 7"), "{}", page.text);
    let two = "version = 2\n[list.adult]\nfile = \"adult.txt\"\ncategory = 5\n";
    let page = ana.post("/policy/check", &[("text", two)]).await;
    assert!(page.text.contains("Line 1") && page.text.contains("Line 4"), "{}", page.text);
    let fetched = "version = 1\n[list.adult]\nurl = \"https://lists.example/a\"\ncategory = \"adult\"\n";
    let page = ana.post("/policy/check", &[("text", fetched)]).await;
    assert!(page.text.contains("this server does not fetch lists"), "{}", page.text);
    assert!(page.text.contains("https://lists.example/a"), "the text is lost");
    assert!(numbers(&house).await.is_empty());
}

#[tokio::test]
async fn check_shows_what_would_change_and_publish_makes_it_so() {
    let house = House::new();
    let mut ana = house.owner().await;
    let page = ana.post("/policy/check", &[("text", POLICY)]).await;
    assert!(page.text.contains("Publish as generation 1") && page.text.contains("change new"), "{}", page.text);
    assert_eq!(publish(&mut ana, POLICY).await.location(), "/policy/1");
    let page = ana.get("/policy/1").await;
    assert!(page.text.contains("një provë") && page.text.contains("newest"), "{}", page.text);
    fs::write(house.lists().join("adult.txt"), "bad.example\n").unwrap();
    let page = ana.post("/policy/check", &[("text", POLICY)]).await;
    assert!(page.text.contains("change shrunk\">−1<"), "{}", page.text);
    // The same text and lists again are a new generation all the same, if somebody wants it.
    publish(&mut ana, POLICY).await;
    let page = ana.post("/policy/check", &[("text", POLICY)]).await;
    assert!(page.text.contains("are those of the newest generation"), "{}", page.text);
    assert_eq!(publish(&mut ana, POLICY).await.location(), "/policy/3");
    assert_eq!(numbers(&house).await, [3, 2, 1]);
}

#[tokio::test]
async fn text_that_was_not_checked_is_not_published() {
    let house = House::new();
    let mut ana = house.owner().await;
    let page = ana.post("/policy/check", &[("text", POLICY)]).await;
    let checked = page.between("name=\"checked\" value=\"", "\"").to_owned();
    let other = format!("{POLICY}subdomains = false\n");
    let page = ana.post("/policy/publish", &[("text", &other), ("checked", &checked)]).await;
    assert_eq!(page.status, StatusCode::CONFLICT);
    assert!(page.text.contains("was checked again") && page.text.contains("Publish as generation 1"));
    assert_eq!(ana.post("/policy/publish", &[("text", POLICY)]).await.status, StatusCode::CONFLICT);
    assert!(numbers(&house).await.is_empty());
    // Browsers send CR LF.
    let page = ana.post("/policy/publish", &[("text", &POLICY.replace('\n', "\r\n")), ("checked", &checked)]).await;
    assert_eq!(page.location(), "/policy/1");
}

#[tokio::test]
async fn failed_publish_changes_nothing() {
    let house = House::new();
    let mut ana = house.owner().await;
    publish(&mut ana, POLICY).await;
    ana.post("/policy/draft", &[("text", POLICY)]).await;
    let count = async || house.dashboard.check_audit().await.unwrap().0;
    let before = (numbers(&house).await, count().await, files(&house, "policies"));

    // The list has turned into a web page since it was checked.
    let checked = crate::secret::hash(POLICY);
    let form = [("text", POLICY), ("checked", &*hex::encode(checked))];
    fs::write(house.lists().join("adult.txt"), "<!DOCTYPE html><html><body>Not found</body></html>").unwrap();
    let page = ana.post("/policy/publish", &form).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(page.text.contains("Nothing was published") && page.text.contains("web page"), "{}", page.text);
    assert!(!page.text.contains("/work/"), "where it was laid out is nobody's business: {}", page.text);
    // It is gone.
    fs::remove_file(house.lists().join("adult.txt")).unwrap();
    assert_eq!(ana.post("/policy/publish", &form).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    // The disk is in the way.
    fs::write(house.lists().join("adult.txt"), "third.example\n").unwrap();
    let folder = house.folder.path().join("data/policies");
    fs::rename(&folder, house.folder.path().join("data/elsewhere")).unwrap();
    assert_eq!(ana.post("/policy/publish", &form).await.status, StatusCode::INTERNAL_SERVER_ERROR);
    fs::rename(house.folder.path().join("data/elsewhere"), &folder).unwrap();
    // The database is in the way.
    house.app().store.execute("CREATE TRIGGER no BEFORE INSERT ON audit BEGIN SELECT raise(ABORT, 'full'); END");
    assert_eq!(ana.post("/policy/publish", &form).await.status, StatusCode::INTERNAL_SERVER_ERROR);
    house.app().store.execute("DROP TRIGGER no");

    assert_eq!((numbers(&house).await, count().await), (before.0, before.1));
    assert!(house.app().store.draft().await.unwrap().is_some(), "the draft is gone");
    assert!(ana.get("/explain?name=bad.example").await.text.contains("generation 1"));
    assert_eq!(files(&house, "work"), Vec::<String>::new(), "left behind");
    // And when nothing is in the way any more, it works.
    assert_eq!(ana.post("/policy/publish", &form).await.location(), "/policy/2");
    assert!(files(&house, "policies").len() <= before.2.len() + 2);
}

fn files(house: &House, folder: &str) -> Vec<String> {
    let entries = fs::read_dir(house.folder.path().join("data").join(folder)).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn two_publishes_at_once_make_two_generations_or_one_and_a_refusal() {
    let house = House::new();
    let mut ana = house.owner().await;
    let mut ben = house.person(&mut ana, "ben", Role::Policy).await;
    let (first, second) = tokio::join!(publish(&mut ana, POLICY), publish(&mut ben, POLICY));
    for page in [first, second] {
        assert!(matches!(page.status, StatusCode::SEE_OTHER | StatusCode::CONFLICT), "{}", page.status);
    }
    let numbers = numbers(&house).await;
    assert!(numbers == [2, 1] || numbers == [1], "{numbers:?}");
}

#[tokio::test]
async fn one_click_back_publishes_the_old_text_with_the_old_lists_as_a_newer_number() {
    let house = House::new();
    let mut ana = house.owner().await;
    publish(&mut ana, POLICY).await;
    fs::write(house.lists().join("adult.txt"), "other.example\n").unwrap();
    publish(&mut ana, POLICY).await;
    assert!(ana.get("/explain?name=bad.example").await.text.contains("Allowed"));
    ana.post("/policy/draft", &[("text", "version = 1\n# half done\n")]).await;
    fs::remove_file(house.lists().join("adult.txt")).unwrap();

    let page = ana.post("/policy/1/again", &[]).await;
    assert_eq!(page.location(), "/policy/3", "{}", page.text);
    let page = ana.get("/explain?name=www.bad.example").await;
    assert!(page.text.contains("Blocked") && page.text.contains("generation 3"), "{}", page.text);
    assert!(ana.get("/policy/3").await.text.contains("as generation 1"));
    assert!(ana.get("/policy").await.text.contains("# half done"), "the draft was thrown away");
    assert_eq!(ana.post("/policy/9/again", &[]).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn twenty_generations_can_be_gone_back_to_and_the_disk_does_not_fill() {
    let house = House::new();
    let mut ana = house.owner().await;
    for n in 1..=22 {
        fs::write(house.lists().join("adult.txt"), format!("name{n}.example\n")).unwrap();
        assert_eq!(publish(&mut ana, POLICY).await.location(), format!("/policy/{n}"));
    }
    assert_eq!((files(&house, "policies").len(), files(&house, "lists-kept").len()), (20, 20));
    let page = ana.get("/policy").await;
    assert!(page.text.contains("/policy/3/again") && !page.text.contains("/policy/2/again"));
    assert_eq!(ana.post("/policy/2/again", &[]).await.status, StatusCode::NOT_FOUND);
    assert_eq!(ana.get("/policy/2").await.status, StatusCode::OK, "what it said is forgotten");
    assert_eq!(ana.post("/policy/3/again", &[]).await.location(), "/policy/23");
    assert!(ana.get("/explain?name=name3.example").await.text.contains("Blocked"));
    // Checking alone leaves nothing behind.
    fs::write(house.lists().join("adult.txt"), "never-published.example\n").unwrap();
    ana.post("/policy/check", &[("text", POLICY)]).await;
    assert!(files(&house, "lists-kept").len() <= 20);
}

#[tokio::test]
async fn kept_list_that_was_damaged_is_not_compiled() {
    let house = House::new();
    let mut ana = house.owner().await;
    publish(&mut ana, POLICY).await;
    let kept = house.folder.path().join("data/lists-kept");
    let path = fs::read_dir(kept).unwrap().next().unwrap().unwrap().path();
    fs::write(path, "only.example\n").unwrap();
    assert_eq!(ana.post("/policy/1/again", &[]).await.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(numbers(&house).await, [1]);
}

#[tokio::test]
async fn draft_of_somebody_else_is_not_written_over_unseen() {
    let house = House::new();
    let mut ana = house.owner().await;
    let mut ben = house.person(&mut ana, "ben", Role::Policy).await;
    let base = |page: &Page| page.between("name=\"base\" value=\"", "\"").to_owned();
    let (of_ana, of_ben) = (base(&ana.get("/policy").await), base(&ben.get("/policy").await));
    assert_eq!(
        ana.post("/policy/draft", &[("text", "version = 1 # ana\n"), ("base", &of_ana)]).await.status,
        StatusCode::OK
    );
    let page = ben.post("/policy/draft", &[("text", "version = 1 # ben\n"), ("base", &of_ben)]).await;
    assert_eq!(page.status, StatusCode::CONFLICT);
    assert!(page.text.contains("ana has saved another draft") && page.text.contains("# ben"), "{}", page.text);
    assert!(ana.get("/policy").await.text.contains("# ana"));
    // Seen it, and meant it.
    let again = base(&page);
    assert_eq!(
        ben.post("/policy/draft", &[("text", "version = 1 # ben\n"), ("base", &again)]).await.status,
        StatusCode::OK
    );
    assert!(ana.get("/policy").await.text.contains("# ben"));
    ben.post("/policy/discard", &[("text", "")]).await;
    assert!(house.app().store.draft().await.unwrap().is_none());
}

#[tokio::test]
async fn who_only_reads_sees_the_policy_and_no_buttons() {
    let house = House::new();
    let mut ana = house.owner().await;
    publish(&mut ana, POLICY).await;
    let mut vera = house.person(&mut ana, "vera", Role::Viewer).await;
    let page = vera.get("/policy").await;
    assert!(page.text.contains("list.adult") && page.text.contains(" readonly>"));
    assert!(!page.text.contains("formaction") && !page.text.contains("<button type=\"submit\">Check"));
    assert!(!vera.get("/policy/1").await.text.contains("/again"));
}

#[tokio::test]
async fn why_is_answered_on_one_line_for_a_name_a_group_and_a_time() {
    let house = House::new();
    let mut ana = house.owner().await;
    assert!(ana.get("/explain").await.text.contains("No policy has been published yet"));
    let text = format!(
        "{POLICY}\n[category.adult]\nschedule = \"school\"\n\n[schedule.school]\nwindows = [\"mon-fri 08:00-16:00\"]\n\n\
         [group.staff]\ntitle = \"Stafi\"\ncategories = []\n"
    );
    assert_eq!(publish(&mut ana, &text).await.status, StatusCode::SEE_OTHER);
    let monday = "/explain?name=https%3A%2F%2Fwww.bad.example%2Fpage&at=2026-11-23T10%3A00";
    let page = ana.get(monday).await;
    assert!(
        page.text.contains("Blocked") && page.text.contains("list adult") && page.text.contains("line 1"),
        "{}",
        page.text
    );
    let page = ana.get("/explain?name=bad.example&at=2026-11-22T10:00").await;
    assert!(page.text.contains("Allowed"), "{}", page.text);
    let page = ana.get(&format!("{monday}&group=staff")).await;
    assert!(page.text.contains("Allowed") && page.text.contains("Stafi"), "{}", page.text);
    for (query, why) in
        [("name=a..b", "is not a name"), ("name=bad.example&at=soon", "not a time"), ("name=10.0.0.1", "is not a name")]
    {
        let page = ana.get(&format!("/explain?{query}")).await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(page.text.contains(why), "{query}: {}", page.text);
    }
}
