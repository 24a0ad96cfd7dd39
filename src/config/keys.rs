//! The list of all keys, each with an example, and which one an unknown key probably means. Pure.
//!
//! Serde knows the same keys (`file.rs`; a test compares the two lists), but its errors name no table, no nearest key and no
//! right value, and they repeat what stands in the file, which may be a password in the wrong place.

/// The table that a key stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Table {
    Service,
    Login,
    Upload,
    Daemon,
    Journal,
    Notify,
    Fleet,
    Folder,
}

use Table::{Daemon, Fleet, Folder, Journal, Login, Notify, Service, Upload};

/// Every table.
pub(super) const TABLES: [Table; 8] = [Service, Login, Upload, Daemon, Journal, Notify, Fleet, Folder];

/// Every key, with an example of its value as TOML. `[[folder]]` also has the keys of `[upload]`.
pub(super) const KEYS: &[(Table, &str, &str)] = &[
    (Service, "realm", r#""my-realm""#),
    (Service, "api_url", r#""https://my-realm.api.s5.astran.io""#),
    (Service, "auth_url", r#""https://my-realm.auth.astran.io""#),
    (Service, "content_type", r#""application/octet-stream""#),
    (Service, "ca_file", r#""/etc/ssl/our-ca.pem""#),
    (Service, "limit_rate", r#""10MiB""#),
    (Login, "client_id", r#""my-client-id""#),
    (Login, "username", r#""me@example.com""#),
    (Login, "password_file", r#""/etc/astran-backup/password""#),
    (Login, "password_command", r#"["pass", "show", "astran"]"#),
    (Login, "client_secret_file", r#""/etc/astran-backup/client-secret""#),
    (Login, "grant", r#""password""#),
    (Upload, "dest", r#""/HR_Backup""#),
    (Upload, "transfers", r#""auto""#),
    (Upload, "max_size", r#""100GiB""#),
    (Upload, "settle", r#""500ms""#),
    (Upload, "verify", r#""answer""#),
    (Upload, "after", r#""delete""#),
    (Upload, "move_to", r#""./Uploaded""#),
    (Upload, "on_conflict", r#""rename""#),
    (Upload, "layout", r#""flat""#),
    (Upload, "failed_dir", r#""./Failed""#),
    (Upload, "ignore", r#"["*.part", "*.tmp"]"#),
    (Upload, "exclude", r#"["logs/", "*.bak"]"#),
    (Upload, "include", r#"["*.pdf"]"#),
    (Upload, "min_age", r#""1h""#),
    (Upload, "prune_empty", "true"),
    (Upload, "rescan", r#""5m""#),
    (Upload, "allow_unleased", "true"),
    (Upload, "store_lag", r#""1m""#),
    (Daemon, "grace", r#""30s""#),
    (Daemon, "listen", r#""127.0.0.1:9464""#),
    (Daemon, "allowed_hosts", r#"["monitor.example"]"#),
    (Daemon, "page_names", "false"),
    (Journal, "keep_receipts", r#""forever""#),
    (Journal, "anchor", r#""dest""#),
    (Notify, "on", r#"["failed", "stuck", "login", "recovered"]"#),
    (Notify, "stuck_after", r#""1h""#),
    (Notify, "every", r#""1h""#),
    (Notify, "command", r#"["/usr/local/bin/tell-admin"]"#),
    (Notify, "url", r#""https://hooks.example/secret""#),
    (Notify, "ping", r#""https://hc-ping.com/your-uuid""#),
    (Notify, "names", "false"),
    (Fleet, "name", r#""scan-01""#),
    (Fleet, "database", r#""postgres://db.example/fleet""#),
    (Fleet, "password_file", r#""/etc/astran-backup/fleet.password""#),
    (Fleet, "ca_file", r#""/etc/ssl/our-ca.pem""#),
    (Fleet, "receipts", r#""async""#),
    (Fleet, "heartbeat", r#""60s""#),
    (Folder, "path", r#""./TemporaryFolder""#),
];

impl Table {
    /// The table's name, without brackets.
    pub(super) fn name(self) -> &'static str {
        match self {
            Service => "service",
            Login => "login",
            Upload => "upload",
            Daemon => "daemon",
            Journal => "journal",
            Notify => "notify",
            Fleet => "fleet",
            Folder => "folder",
        }
    }

    /// The table's heading in the file.
    pub(super) fn heading(self) -> String {
        let name = self.name();
        if self == Folder { format!("[[{name}]]") } else { format!("[{name}]") }
    }

    /// The table that has this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        TABLES.into_iter().find(|table| table.name() == name)
    }

    /// The table's keys.
    pub(super) fn keys(self) -> impl Iterator<Item = &'static str> {
        KEYS.iter().filter(move |(table, ..)| self.takes(*table)).map(|(_, key, _)| *key)
    }

    /// Whether this table may have the keys of the other one.
    fn takes(self, other: Self) -> bool {
        self == other || (self == Folder && other == Upload)
    }

    /// How to write a key of this table: `settle = "500ms"`.
    pub(super) fn example(self, key: &str) -> String {
        let found = KEYS.iter().find(|(table, name, _)| *name == key && self.takes(*table));
        found.map_or_else(|| key.to_owned(), |(_, _, value)| format!("{key} = {value}"))
    }
}

/// The message about an unknown key.
pub(super) fn unknown_key(table: Table, key: &str) -> String {
    let heading = table.heading();
    if let Some((home, ..)) = KEYS.iter().find(|(_, name, _)| *name == key) {
        return format!("`{key}` does not belong in {heading}: it belongs in {}", home.heading());
    }
    if let Some(near) = nearest(key, table.keys()) {
        return format!("unknown key `{key}` in {heading}: did you mean `{near}`?");
    }
    let all: Vec<_> = table.keys().collect();
    format!("unknown key `{key}` in {heading}: there are {}", all.join(", "))
}

/// The message about an unknown table, or about a key outside all tables.
pub(super) fn unknown_table(name: &str) -> String {
    if let Some((home, ..)) = KEYS.iter().find(|(_, key, _)| *key == name) {
        return format!("`{name}` stands outside every table: it belongs in {}", home.heading());
    }
    if let Some(near) = nearest(name, TABLES.iter().map(|t| t.name())).and_then(Table::named) {
        return format!("unknown table or key `{name}`: did you mean {}?", near.heading());
    }
    if let Some((home, key, _)) = nearest(name, KEYS.iter().map(|k| k.1)).and_then(|n| KEYS.iter().find(|k| k.1 == n)) {
        return format!("unknown table or key `{name}`: did you mean `{key}`, which belongs in {}?", home.heading());
    }
    let all: Vec<_> = TABLES.iter().map(|t| t.heading()).collect();
    format!("unknown table or key `{name}`: there are {}", all.join(", "))
}

/// The candidate that was probably meant: it is few typing errors away, or a longer or shorter form of the same word.
pub(super) fn nearest<'a>(written: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let written = written.to_lowercase().replace('-', "_");
    let score = |candidate: &str| {
        let slips = strsim::damerau_levenshtein(&written, candidate);
        let part = written.len() >= 3 && (candidate.contains(&written) || written.contains(candidate));
        (slips <= 1 + candidate.len() / 4 || part).then_some((slips, candidate.len()))
    };
    candidates.filter_map(|c| score(c).map(|s| (s, c))).min().map(|(_, c)| c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::sample::select;

    proptest! {
        #[test]
        fn a_key_with_one_wrong_letter_is_recognized(key in select(Upload.keys().collect::<Vec<_>>()), at in 0usize..32, to in "[a-z]") {
            let mut letters: Vec<char> = key.chars().collect();
            let at = at % letters.len();
            letters[at] = to.chars().next().unwrap();
            let slip: String = letters.into_iter().collect();
            let near = nearest(&slip, Upload.keys()).unwrap();
            prop_assert!(strsim::damerau_levenshtein(&slip, near) <= 1, "{} for {}", near, slip);
        }

        #[test]
        fn the_nearest_is_a_candidate_or_nothing(text in "\\PC{0,40}") {
            prop_assert!(nearest(&text, Login.keys()).is_none_or(|n| Login.keys().any(|k| k == n)));
        }
    }

    #[test]
    fn unknown_keys_and_tables_lead_to_the_right_ones() {
        let message = |table, key| unknown_key(table, key);
        assert!(message(Upload, "setle").contains("`settle`"));
        assert!(message(Upload, "on-conflict").contains("`on_conflict`"));
        assert!(message(Upload, "destination").contains("`dest`"));
        assert!(message(Login, "password").contains("`password_file`"));
        assert!(message(Login, "user").contains("`username`"));
        assert!(message(Upload, "realm").contains("belongs in [service]"));
        assert!(message(Upload, "path").contains("belongs in [[folder]]"));
        assert!(message(Daemon, "listen_on").contains("`listen`"));
        assert!(message(Daemon, "workers").contains("there are grace, listen"));
        assert!(unknown_table("serivce").contains("[service]"));
        assert!(unknown_table("folders").contains("[[folder]]"));
        assert!(unknown_table("realm").contains("belongs in [service]"));
    }
}
