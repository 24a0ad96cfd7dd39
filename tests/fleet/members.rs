//! Who may do what: hosts, auditors, and whoever finds a token.

use std::os::unix::fs::PermissionsExt as _;

use crate::fleet::Fleet;

#[test]
fn migrate_can_be_run_again_and_makes_the_tables_once() {
    let Some(fleet) = Fleet::bare() else { return };
    for text in ["from version 0 to version 1", "has version 1 already"] {
        let output = fleet.admin(&["fleet", "migrate"]);
        assert!(output.code == Some(0) && output.stdout.contains(text), "{output:?}");
    }
    assert_eq!(fleet.sql("SELECT count(*) FROM pg_inherits WHERE inhparent = 'fleet.receipt'::regclass"), "26");
}

#[test]
fn a_host_login_may_append_its_own_chain_and_nothing_else() {
    let Some(fleet) = Fleet::new() else { return };
    let member = fleet.member("scan", "");
    member.upload(0..3);
    assert_eq!(fleet.receipts_of(&member.name), 3);
    let (login, password) = (member.login(), member.password());
    let run = |sql: &str| fleet.sql_as(&login, &password, sql);
    for table in
        ["host", "stream", "receipt", "receipt_rest", "beat", "auditor", "migration", "receipts", "host_status"]
    {
        for statement in [
            format!("SELECT * FROM fleet.{table}"),
            format!("DELETE FROM fleet.{table}"),
            format!("INSERT INTO fleet.{table} DEFAULT VALUES"),
            format!("TRUNCATE fleet.{table}"),
        ] {
            let why = run(&statement).unwrap_err();
            // The views can't be written by anybody.
            assert!(
                why.contains("permission denied") || why.contains("view") || why.contains("not a table"),
                "{statement}: {why}"
            );
        }
    }
    for statement in [
        "UPDATE fleet.receipt SET name = 'x'",
        "UPDATE fleet.stream SET head_seq = 0",
        "CREATE TABLE fleet.mine (id int)",
        "SELECT fleet.caller()",
        "SELECT fleet.make_months()",
        "SELECT fleet.first_defect(NULL)",
        "SET ROLE fleet_owner",
        "ALTER FUNCTION fleet.head OWNER TO session_user",
    ] {
        let why = run(statement).unwrap_err();
        assert!(why.contains("denied") || why.contains("must be"), "{statement}: {why}");
    }
    assert_eq!(run("SELECT seq FROM fleet.head()").unwrap(), "3", "its own head");
    assert!(fleet.is_whole());
}

#[test]
fn a_host_that_calls_itself_another_one_reaches_only_its_own_chain() {
    let Some(fleet) = Fleet::new() else { return };
    let (one, other) = (fleet.member("one", ""), fleet.member("other", ""));
    one.upload(0..2);
    other.upload(0..1);
    // A function or table that shadows the fleet's own changes nothing: the functions' search path is pinned.
    let tricks = format!(
        "CREATE TEMP TABLE host AS SELECT 1; SET search_path = pg_temp, fleet; SET SESSION AUTHORIZATION \"{}\"",
        other.login()
    );
    fleet.sql_as(&one.login(), &one.password(), &tricks).unwrap_err();
    let shadowed =
        "CREATE TEMP TABLE stream (id uuid, head_seq bigint); SET search_path = pg_temp; SELECT seq FROM fleet.head()";
    assert_eq!(fleet.sql_as(&one.login(), &one.password(), shadowed).unwrap(), "2");
    let none = "''::text";
    let batch = format!(
        "SELECT fleet.ship(2, '{{1}}', '{{a}}', '{{a}}', '{{1}}', '{{1}}', '{{1}}', '{{1}}', '{{1}}', '{{a}}', '{{a}}', '{{a}}', '{{1}}', \
         '{{a}}', '{{1}}', '{{a}}', ARRAY[{none}], '{{a}}', '{{t}}', '{{1}}', '{{a}}', 'a')"
    );
    let why = fleet.sql_as(&one.login(), &one.password(), &batch).unwrap_err();
    assert!(why.contains("the next one is 3"), "only head + 1, of its own chain: {why}");
    let third = batch.replace("ship(2", "ship(3");
    let why = fleet.sql_as(&one.login(), &one.password(), &third).unwrap_err();
    assert!(why.contains("the hash of receipt 3"), "the hash is computed there: {why}");
    assert_eq!((fleet.receipts_of(&one.name), fleet.receipts_of(&other.name)), (2, 1));
}

#[test]
fn a_token_is_good_for_one_use_and_a_stolen_one_shows() {
    let Some(fleet) = Fleet::new() else { return };
    let (owner, thief) = (fleet.machine("scan", fleet.port(), ""), fleet.machine("scan", fleet.port(), ""));
    let token = fleet.enroll(&owner.name, "HR");
    assert_eq!(thief.join(&token).code, Some(0));
    let refused = owner.join(&token);
    assert!(refused.code == Some(1) && refused.stderr.contains("stolen"), "{refused:?}");
    assert!(!refused.stderr.contains(&token) && !refused.stdout.contains(&token));
    // The owner of a login can't pin a second key either.
    let key = "decode(repeat('00', 32), 'hex')";
    let again = format!("SELECT fleet.join_host({key}, 0, {key})");
    let why = fleet.sql_as(&thief.login(), &thief.password(), &again).unwrap_err();
    assert!(why.contains("has joined already"), "{why}");
    // To join once more with the same key is no second join.
    let same = thief.join(&token);
    assert!(same.code == Some(0) && same.stdout.contains("already"), "{same:?}");
    // The administrator retires it; the owner joins with a new token and a chain of its own.
    assert_eq!(fleet.admin(&["fleet", "retire", &owner.name]).code, Some(0));
    let why = fleet.sql_as(&thief.login(), &thief.password(), "SELECT 1").unwrap_err();
    assert!(why.contains("not permitted") || why.contains("password"), "{why}");
    let token = fleet.enroll(&owner.name, "HR");
    assert_eq!(owner.join(&token).code, Some(0));
    owner.upload(0..2);
    assert_eq!(fleet.receipts_of(&owner.name), 2);
}

#[test]
fn a_name_that_is_enrolled_or_no_name_is_refused() {
    let Some(fleet) = Fleet::new() else { return };
    let name = fleet.name("scan");
    fleet.enroll(&name, "HR");
    for (name, dept) in [
        (name.as_str(), "HR"),
        ("a/b", "HR"),
        ("", "HR"),
        ("x\"; DROP ROLE admin; --", "HR"),
        ("new", "*"),
        ("new", ""),
    ] {
        let refused = fleet.admin(&["fleet", "enroll", name, "--dept", dept]);
        assert_eq!(refused.code, Some(2), "{name} {dept}: {refused:?}");
    }
    let unknown = fleet.admin(&["fleet", "retire", "nobody"]);
    assert!(unknown.code == Some(2) && unknown.stderr.contains("no host nobody"), "{unknown:?}");
}

#[test]
fn auditors_read_their_departments_and_change_nothing() {
    let Some(fleet) = Fleet::new() else { return };
    let (hr, legal) = (fleet.machine("hr", fleet.port(), ""), fleet.machine("legal", fleet.port(), ""));
    assert_eq!(hr.join(&fleet.enroll(&hr.name, "HR")).code, Some(0));
    assert_eq!(legal.join(&fleet.enroll(&legal.name, "Legal")).code, Some(0));
    hr.upload(0..2);
    legal.upload(0..3);
    let auditor = format!("auditor_{}", fleet.database);
    fleet.sql(&format!(
        "CREATE ROLE {auditor} LOGIN PASSWORD 'audit'; GRANT fleet_auditor TO {auditor}; INSERT INTO fleet.auditor VALUES ('{auditor}', 'HR')"
    ));
    let read = |sql: &str| fleet.sql_as(&auditor, "audit", sql);
    assert_eq!(read("SELECT count(*) FROM fleet.receipts").unwrap(), "2");
    assert_eq!(read("SELECT count(*) FROM fleet.receipt").unwrap(), "2");
    assert_eq!(read("SELECT name FROM fleet.host_status").unwrap(), hr.name);
    for statement in [
        "DELETE FROM fleet.receipt",
        "UPDATE fleet.host SET dept = 'HR'",
        "INSERT INTO fleet.auditor VALUES (session_user, '*')",
        "SELECT * FROM fleet.receipt_rest",
        "SELECT fleet.ship(1,'{}','{}','{}','{}','{}','{}','{}','{}','{}','{}','{}','{}','{}','{}','{}','{}','{}','{}','{}','{}','')",
    ] {
        let why = read(statement).unwrap_err();
        assert!(why.contains("permission denied"), "{statement}: {why}");
    }
    let password = hr.world.dir.path().join("audit.password");
    std::fs::write(&password, "audit").unwrap();
    std::fs::set_permissions(&password, std::fs::Permissions::from_mode(0o600)).unwrap();
    let checked = fleet.person(&auditor, &password, &["fleet", "check", "--json"]);
    assert!(checked.code == Some(0) && checked.events("fleet_chain").len() == 1, "{checked:?}");
    fleet.sql(&format!("INSERT INTO fleet.auditor VALUES ('{auditor}', '*')"));
    let searched = fleet.person(&auditor, &password, &["history", "--all-hosts", "--host", "legal-*", "--json"]);
    assert_eq!(searched.events("fleet_receipt").len(), 3, "{searched:?}");
    fleet.sql(&format!("REVOKE fleet_auditor FROM {auditor}; DROP ROLE {auditor}"));
}

#[test]
fn an_administrator_need_be_no_superuser() {
    let Some(fleet) = Fleet::bare() else { return };
    let (login, database) = (format!("dba_{}", fleet.database), &fleet.database);
    fleet.sql(&format!(
        "CREATE ROLE {login} LOGIN CREATEROLE PASSWORD 'admin'; ALTER DATABASE {database} OWNER TO {login}"
    ));
    let password = fleet.admin_password();
    let run = |arguments: &[&str]| {
        let output = fleet.person(&login, &password, arguments);
        assert_eq!(output.code, Some(0), "{output:?}");
        output
    };
    run(&["fleet", "migrate"]);
    let member = fleet.machine("scan", fleet.port(), "");
    let enrolled = run(&["fleet", "enroll", &member.name, "--dept", "HR", "--json"]);
    let token = enrolled.events("fleet_member")[0]["token"].as_str().unwrap().to_owned();
    assert_eq!(member.join(&token).code, Some(0));
    member.upload(0..2);
    run(&["fleet", "check"]);
    run(&["fleet", "retire", &member.name]);
    fleet.sql(&format!("ALTER DATABASE {database} OWNER TO admin; REASSIGN OWNED BY {login} TO admin; DROP OWNED BY {login}; DROP ROLE {login}"));
}
