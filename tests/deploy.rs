//! What lies in `deploy/`. The systemd units: the program takes their command lines, and they say what the program's contracts need. The alert
//! rules and the dashboard, and `docs/monitoring.md`: they name the metrics that there are.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // a failed `unwrap` fails the test; the tests read files

#[path = "support/promtool.rs"]
#[allow(dead_code, unreachable_pub)]
mod promtool;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use astran_backup::cli::{Cli, Command as Subcommand};
use astran_backup::exit::Exit;
use astran_backup::observe::health::{Component, Condition, Health};
use astran_backup::observe::metrics::{FolderLook, Format, Look, Metrics, WaitingLook};
use clap::Parser as _;

const SERVICE: &str = "astran-backup.service";
const TEMPLATE: &str = "astran-backup@.service";
const ONCE: &str = "astran-backup-once.service";
const TIMER: &str = "astran-backup-once.timer";
const DROP_IN: &str = "astran-backup.service.d/folders.conf";

/// The highest exposure that `systemd-analyze security` may give to a unit, in tenths.
const EXPOSURE: &str = "25";

const RULES: &str = "prometheus/astran-backup.rules.yml";
const RULES_TEST: &str = "prometheus/astran-backup.rules.test.yml";
const DASHBOARD: &str = "grafana/astran-backup.json";

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

/// The lines of a unit file, each with its section.
fn settings(file: &str) -> Vec<(String, String, String)> {
    parse(&std::fs::read_to_string(deploy().join(file)).unwrap())
}

fn parse(text: &str) -> Vec<(String, String, String)> {
    let mut section = String::new();
    let mut settings = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[') {
            name.strip_suffix(']').unwrap().clone_into(&mut section);
        } else {
            let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("{line:?} is no setting"));
            settings.push((section.clone(), key.to_owned(), value.to_owned()));
        }
    }
    settings
}

/// The value of a key of `[Service]` that stands there once.
fn value(file: &str, key: &str) -> String {
    let mut values =
        settings(file).into_iter().filter(|(section, name, _)| section == "Service" && name == key).map(|it| it.2);
    let value = values.next().unwrap_or_else(|| panic!("{file} has no {key}"));
    assert_eq!(values.next(), None, "{file} has {key} twice");
    value
}

#[test]
fn the_program_takes_the_command_line_of_each_unit() {
    let system = "/etc/astran-backup/config.toml";
    for (file, config) in [(SERVICE, system), (TEMPLATE, "/etc/astran-backup/instance.toml"), (ONCE, system)] {
        let line = value(file, "ExecStart").replace("%i", "instance");
        assert!(line.starts_with("/usr/bin/astran-backup "), "systemd wants the full path: {line}");
        let cli = Cli::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert_eq!(cli.global.config.as_deref(), Some(Path::new(config)));
        let Subcommand::Watch(watch) = cli.command else { panic!("{file} runs another command: {line}") };
        assert!(watch.once == (file == ONCE) && watch.dir.is_none(), "{line}");
    }
}

#[test]
fn a_unit_is_not_restarted_after_what_no_restart_mends() {
    let never = [Exit::Usage, Exit::LoginRefused].map(|exit| (exit as u8).to_string()).join(" ");
    for file in [SERVICE, TEMPLATE] {
        assert_eq!(value(file, "Restart"), "on-failure");
        assert_eq!(value(file, "RestartPreventExitStatus"), never);
    }
}

/// The program tells systemd when it is ready and that it is alive, and reloads at SIGHUP.
#[test]
fn a_daemon_is_started_watched_and_reloaded_by_its_own_messages() {
    for file in [SERVICE, TEMPLATE] {
        assert_eq!((value(file, "Type").as_str(), value(file, "NotifyAccess").as_str()), ("notify", "main"));
        assert_eq!(value(file, "WatchdogSec"), "3min");
        assert_eq!(value(file, "ExecReload"), "/bin/kill -HUP $MAINPID");
    }
    assert_eq!(value(ONCE, "Type"), "oneshot");
    assert!(settings(TIMER).contains(&("Timer".into(), "OnCalendar".into(), "hourly".into())));
}

/// The program finds the journal by `STATE_DIRECTORY`, and the password by the credential of this name.
#[test]
fn a_unit_gives_a_user_a_state_folder_and_the_password() {
    for file in [SERVICE, TEMPLATE, ONCE] {
        assert_eq!(value(file, "User"), "astran-backup");
        assert!(value(file, "StateDirectory").starts_with("astran-backup"));
        assert_eq!(value(file, "StateDirectoryMode"), "0700", "the journal is private");
        assert!(value(file, "LoadCredential").starts_with("password:/etc/astran-backup/"));
    }
    let user = std::fs::read_to_string(deploy().join("astran-backup.sysusers")).unwrap();
    assert!(user.contains("\nu astran-backup - "), "{user}");
}

#[test]
fn the_template_differs_from_the_service_only_in_what_belongs_to_an_instance() {
    let (service, template) = (settings(SERVICE), settings(TEMPLATE));
    assert_eq!(service.len(), template.len());
    let differing: Vec<_> = service.iter().zip(&template).filter(|(one, other)| one != other).collect();
    let keys: Vec<_> = differing.iter().map(|(_, (_, key, _))| key.as_str()).collect();
    assert_eq!(keys, ["Description", "ExecStart", "StateDirectory", "LoadCredential"]);
    for (_, (_, key, value)) in differing {
        assert!(value.contains("%i"), "{key}={value} is the same for all instances");
    }
}

#[test]
fn a_run_from_time_to_time_has_the_user_and_the_few_rights_of_the_service() {
    let of_the_daemon = [
        "Type",
        "NotifyAccess",
        "ExecReload",
        "WatchdogSec",
        "Restart",
        "RestartSec",
        "RestartPreventExitStatus",
        "WantedBy",
    ];
    let own = ["Type", "ExecStart", "Description"];
    let without = |file: &str, left_out: &[&str]| {
        let mut settings = settings(file);
        settings.retain(|(_, key, _)| !left_out.contains(&key.as_str()));
        settings
    };
    assert_eq!(without(ONCE, &own), without(SERVICE, &[&of_the_daemon[..], &own].concat()));
}

/// The drop-in for files of other users must be right when its lines are taken into use.
fn units_with_the_whole_drop_in() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in [SERVICE, TEMPLATE, ONCE, TIMER] {
        std::fs::copy(deploy().join(file), dir.path().join(file)).unwrap();
    }
    let drop_in = std::fs::read_to_string(deploy().join(DROP_IN)).unwrap();
    let whole = drop_in.replace("#CapabilityBoundingSet=", "CapabilityBoundingSet=");
    let whole = whole.replace("#AmbientCapabilities=", "AmbientCapabilities=");
    assert_eq!(parse(&whole).len(), parse(&drop_in).len() + 2);
    std::fs::create_dir(dir.path().join("astran-backup.service.d")).unwrap();
    std::fs::write(dir.path().join(DROP_IN), whole).unwrap();
    dir
}

/// Runs `systemd-analyze` on unit files, which needs no running systemd. `None` where it is not installed.
fn analyze(arguments: &[&str], unit: &Path) -> Option<Output> {
    let output = Command::new("systemd-analyze").args(arguments).arg(unit).env("SYSTEMD_COLORS", "0").output();
    if output.is_err() {
        eprintln!("skipped: systemd-analyze is not installed");
    }
    output.ok()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn systemd_rates_the_exposure_of_each_unit_as_low() {
    let with_drop_in = units_with_the_whole_drop_in();
    let threshold = format!("--threshold={EXPOSURE}");
    for unit in
        [deploy().join(SERVICE), deploy().join(TEMPLATE), deploy().join(ONCE), with_drop_in.path().join(SERVICE)]
    {
        let Some(output) = analyze(&["security", "--offline=true", "--no-pager", &threshold], &unit) else { return };
        assert!(output.status.success(), "{}", text(&output));
        println!("{}", text(&output).lines().last().unwrap_or_default());
    }
}

#[test]
fn systemd_understands_each_line_of_the_units() {
    let with_drop_in = units_with_the_whole_drop_in();
    // The program and its manual page are perhaps not installed where this runs.
    let not_installed = |line: &&str| line.contains("is not executable") || line.contains("Command 'man ");
    for file in [SERVICE, TEMPLATE, ONCE, TIMER] {
        let Some(output) = analyze(&["verify"], &with_drop_in.path().join(file)) else { return };
        let complaints = text(&output);
        let of_the_unit: Vec<_> = complaints
            .lines()
            .filter(|line| line.contains("astran-backup") || line.contains("folders.conf"))
            .filter(|line| !not_installed(line))
            .collect();
        assert!(of_the_unit.is_empty(), "{of_the_unit:#?}");
    }
}

/// A scrape in which every metric has a value.
fn scrape() -> String {
    let health = Health::default();
    health.add(Component::Service, std::sync::Arc::new(Condition::default()));
    health.add(Component::Folder("/w".into()), std::sync::Arc::new(Condition::default()));
    let metrics = Metrics::new(&health);
    let folder = metrics.folder(Path::new("/w"));
    folder.stored(1);
    let waiting = Some(WaitingLook::default());
    let look = FolderLook { folder: "/w".into(), waiting, failed: Some(0), in_flight: 0 };
    let look = Look { folders: vec![look], journal: Some(1), ..Look::default() };
    metrics.text(Some(look), Format::Plain).unwrap()
}

/// The metrics that there are, each with its type.
fn metrics() -> BTreeSet<(String, String)> {
    let scrape = scrape();
    let types = scrape.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let metrics: BTreeSet<_> = types.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect();
    for (name, _) in &metrics {
        assert!(scrape.lines().any(|line| line.starts_with(name)), "the scrape of the test has no {name}:\n{scrape}");
    }
    metrics
}

/// The names of metrics that a text holds.
fn named_in(text: &str) -> BTreeSet<String> {
    let rests = text.split("astran_backup_").skip(1);
    let is_of_a_name = |letter: &char| letter.is_ascii_alphanumeric() || *letter == '_';
    rests.map(|rest| "astran_backup_".chars().chain(rest.chars().take_while(is_of_a_name)).collect()).collect()
}

#[test]
fn the_alerts_and_the_dashboard_use_only_metrics_that_there_are() {
    let there_are: BTreeSet<String> = metrics()
        .into_iter()
        .flat_map(|(name, kind)| match kind.as_str() {
            "histogram" => ["_bucket", "_sum", "_count"].map(|part| format!("{name}{part}")).to_vec(),
            _ => vec![name],
        })
        .collect();
    for file in [RULES, RULES_TEST, DASHBOARD] {
        let named = named_in(&std::fs::read_to_string(deploy().join(file)).unwrap());
        let unknown: Vec<_> = named.difference(&there_are).collect();
        assert!(named.len() > 8 && unknown.is_empty(), "{file} names {unknown:?}, which the program does not show");
    }
}

/// A row of the table is: name, type, labels, meaning.
#[test]
fn the_table_of_the_metrics_is_complete() {
    let text = std::fs::read_to_string(deploy().join("../docs/monitoring.md")).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| `astran_backup_"));
    let documented: BTreeSet<(String, String)> = rows
        .map(|row| {
            let cells: Vec<_> = row.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect();
            assert!(cells.len() == 6 && cells[4].len() > 10, "{row}");
            (cells[1].clone(), cells[2].clone())
        })
        .collect();
    assert_eq!(documented, metrics());
}

#[test]
fn each_alert_has_a_row_in_the_documentation_and_a_unit_test() {
    let read = |file: &Path| std::fs::read_to_string(file).unwrap();
    let rules = read(&deploy().join(RULES));
    let alerts: BTreeSet<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let (tests, document) = (read(&deploy().join(RULES_TEST)), read(&deploy().join("../docs/monitoring.md")));
    let rows = document.lines().filter(|line| line.starts_with("| `AstranBackup"));
    assert_eq!(alerts, rows.map(|row| row.split('`').nth(1).unwrap()).collect());
    for alert in alerts {
        assert!(tests.contains(alert), "{alert} has no test in {RULES_TEST}");
    }
}

#[test]
fn promtool_finds_no_fault_in_the_metrics_and_the_alerts() {
    assert_eq!(promtool::faults(&scrape()), None);
    for (command, file) in [("check", RULES), ("test", RULES_TEST)] {
        let path = deploy().join(file);
        let (folder, name) = (path.parent().unwrap(), path.file_name().unwrap().to_str().unwrap());
        let Some(output) = promtool::run(&[command, "rules", name], folder, "") else { return };
        assert_eq!(promtool::complaints(&output), None);
    }
}

/// Grafana itself fills the variables in.
#[test]
fn promtool_understands_each_query_of_the_dashboard() {
    let text = std::fs::read_to_string(deploy().join(DASHBOARD)).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let targets = dashboard["panels"].as_array().unwrap().iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let queries = targets.map(|target| target["expr"].as_str().unwrap());
    let rules: Vec<_> = queries
        .enumerate()
        .map(|(at, query)| {
            let query = query.replace("$__rate_interval", "5m").replace(['$'], "");
            serde_json::json!({ "record": format!("query:{at}"), "expr": query })
        })
        .collect();
    assert!(rules.len() > 20);
    let file = serde_json::json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
    let folder = tempfile::tempdir().unwrap();
    // JSON is YAML too.
    std::fs::write(folder.path().join("rules.yml"), file.to_string()).unwrap();
    let Some(output) = promtool::run(&["check", "rules", "rules.yml"], folder.path(), "") else { return };
    assert_eq!(promtool::complaints(&output), None);
}

#[test]
fn the_dashboard_asks_which_data_source_and_its_panels_do_not_overlap() {
    let text = std::fs::read_to_string(deploy().join(DASHBOARD)).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let variables: Vec<_> =
        dashboard["templating"]["list"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(variables, ["datasource", "instance", "folder"]);
    let mut cells = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{panel}");
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(x < 24 && cells.insert((x, y)), "{} lies over another panel", panel["title"]);
            }
        }
    }
}
