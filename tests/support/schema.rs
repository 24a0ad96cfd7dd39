//! The schemas of `docs/schema/`, made strict: a field that a schema does not name is a fault here, though scripts must let it pass.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;

use jsonschema::Validator;
use serde_json::Value;

/// Returns the folder of the schemas.
fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schema")
}

/// The schemas by the type of event that they describe.
pub fn schemas() -> BTreeMap<String, Value> {
    let entries = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let schema = |path: std::path::PathBuf| {
        let kind = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        (kind, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    };
    entries.map(schema).collect()
}

fn validators() -> &'static BTreeMap<String, Validator> {
    static VALIDATORS: OnceLock<BTreeMap<String, Validator>> = OnceLock::new();
    let strict = |(kind, mut schema)| {
        forbid_additions(&mut schema);
        (kind, jsonschema::validator_for(&schema).unwrap())
    };
    VALIDATORS.get_or_init(|| schemas().into_iter().map(strict).collect())
}

/// Forbids fields that are not named, in the schema and all schemas in it.
fn forbid_additions(schema: &mut Value) {
    if let Value::Object(fields) = schema {
        if fields.contains_key("properties") {
            fields.insert("additionalProperties".to_owned(), false.into());
        }
        fields.values_mut().for_each(forbid_additions);
    }
}

/// What is wrong with a line of `--json`; `None` if it is an event as its schema says.
pub fn fault(line: &str) -> Option<String> {
    let event: Value = match serde_json::from_str(line) {
        Ok(event) => event,
        Err(error) => return Some(format!("no JSON: {error}")),
    };
    let Some(kind) = event["type"].as_str() else { return Some("no type".to_owned()) };
    let Some(validator) = validators().get(kind) else { return Some(format!("docs/schema/{kind}.json is missing")) };
    let faults: Vec<String> = validator.iter_errors(&event).map(|error| error.to_string()).collect();
    (!faults.is_empty()).then(|| faults.join("; "))
}

/// Fails the test if one of the lines is an event, and not as its schema says.
pub fn check_events<'a>(lines: impl IntoIterator<Item = &'a str>) {
    for line in lines.into_iter().filter(|line| line.starts_with("{\"v\":")) {
        if let Some(fault) = fault(line) {
            panic!("an event is not as its schema in docs/schema/ says: {fault}\n{line}");
        }
    }
}
