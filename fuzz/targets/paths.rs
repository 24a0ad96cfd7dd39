//! Names and paths in addresses: each travels as itself and as nothing else, and nothing leaves the base.

use astran_backup::fuzzing::service;
use astran_backup::vault::RemotePath;
use percent_encoding::percent_decode_str;
use url::Url;

use crate::input::Input;

const BASES: [&str; 3] =
    ["https://realm.api.example", "http://127.0.0.1:8080/behind/a%20proxy/", "https://user:secret@h.example/?q#f"];

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let base = Url::parse(BASES[usize::from(input.byte()) % BASES.len()]).unwrap();
    let (realm, id, name) = (input.text(), input.text(), input.text());
    let text = String::from_utf8_lossy(input.rest());
    let Ok(path) = RemotePath::parse(&text) else {
        assert!(text.contains('\0') || text.split('/').any(|part| part == "." || part == ".."), "{text:?} is a path");
        return;
    };
    assert_eq!(RemotePath::parse(&path.to_string()).as_ref(), Ok(&path), "a path is told as it is read");
    let places = service::addresses(&base, &realm, &id, &name, &path);

    let start = base.path().trim_end_matches('/');
    let segments: Vec<&str> = path.segments().iter().map(String::as_str).collect();
    let at = places.path.unwrap();
    assert_address(&base, &at, &[&[start, "api", "v2.1", "filesystem"][..], &segments].concat());
    assert_address(&base, &places.token, &[start, "auth", "realms", &realm, "protocol", "openid-connect", "token"]);
    assert_eq!(places.children.is_ok(), can_travel(&id), "{id:?}");
    if let Ok(children) = places.children {
        assert_address(&base, &children, &[start, "api", "v2.1", "files", &id, "children"]);
    }
    assert_eq!(places.upload.is_ok(), can_travel(&id) && can_travel(&name), "{id:?} {name:?}");
    if let Ok(upload) = places.upload {
        assert_address(&base, &upload, &[start, "api", "v2.1", "files", &id, "children"]);
        let pairs: Vec<(String, String)> = upload.query_pairs().into_owned().collect();
        assert_eq!(pairs, [("name".to_owned(), name.into_owned()), ("isMajor".to_owned(), "true".to_owned())]);
    }
}

fn can_travel(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\0'])
}

/// At the base's host, with just these segments behind its own path, and without its password.
#[track_caller]
fn assert_address(base: &Url, url: &Url, segments: &[&str]) {
    assert_eq!((base.scheme(), base.host(), base.port()), (url.scheme(), url.host(), url.port()));
    assert_eq!((url.username(), url.password(), url.fragment()), ("", None, None));
    let (start, segments) = segments.split_first().unwrap();
    let path = url.path().strip_prefix(start).unwrap_or_else(|| panic!("{url} leaves {base}"));
    // A realm's name is the administrator's; it is checked where it is configured.
    if segments.iter().any(|segment| !can_travel(segment)) {
        return;
    }
    let told: Vec<String> =
        path.split('/').skip(1).map(|part| percent_decode_str(part).decode_utf8().unwrap().into_owned()).collect();
    assert_eq!(told, segments, "{url}");
}
