//! Where each call goes: the configured bases with exactly encoded path segments behind them. Pure.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use crate::vault::{Kind, RemotePath, VaultError};

/// All but RFC 3986's unreserved characters: what stands for itself under every reading of the standard.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The addresses of one realm.
#[derive(Debug, Clone)]
pub(super) struct Addresses {
    api: Url,
    realm: Url,
}

impl Addresses {
    /// From the configured base addresses. A path prefix (a reverse proxy) stays in front.
    pub(super) fn new(api_url: &Url, auth_url: &Url, realm: &str) -> Self {
        Self {
            api: below(api_url, &["api", "v2.1"]),
            realm: below(auth_url, &["auth", "realms", realm, "protocol", "openid-connect"]),
        }
    }

    /// Where tokens are asked for.
    pub(super) fn token(&self) -> Url {
        below(&self.realm, &["token"])
    }

    /// Where the realm describes itself, by the discovery of `OpenID` Connect.
    pub(super) fn discovery(&self) -> Url {
        let mut url = self.realm.clone();
        let path = url.path().trim_end_matches("/protocol/openid-connect").to_owned();
        url.set_path(&format!("{path}/.well-known/openid-configuration"));
        url
    }

    /// Where a session is ended.
    pub(super) fn logout(&self) -> Url {
        below(&self.realm, &["logout"])
    }

    /// The question who is logged in.
    pub(super) fn me(&self) -> Url {
        below(&self.api, &["users", "me"])
    }

    /// The listing of a folder.
    pub(super) fn children(&self, id: &str) -> Result<Url, VaultError> {
        check_segment(id)?;
        Ok(below(&self.api, &["files", id, "children"]))
    }

    /// Where `name` is stored in a folder.
    pub(super) fn upload(&self, id: &str, name: &str) -> Result<Url, VaultError> {
        check_segment(name)?;
        let mut url = self.children(id)?;
        url.set_query(Some(&format!("name={}&isMajor=true", encode(name))));
        Ok(url)
    }

    /// A path in the vault: with `Accept: application/json` the service describes the document, else it sends its content.
    pub(super) fn filesystem(&self, path: &RemotePath) -> Result<Url, VaultError> {
        path.segments().iter().try_for_each(|s| check_segment(s))?;
        let segments: Vec<&str> =
            std::iter::once("filesystem").chain(path.segments().iter().map(String::as_str)).collect();
        let mut url = below(&self.api, &segments);
        url.set_query(Some("children=false"));
        Ok(url)
    }
}

/// An address as it may be shown: without user, query and fragment.
pub(super) fn without_query(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

/// One path segment or query value, so that it can't be taken for anything but itself.
fn encode(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

fn below(base: &Url, segments: &[&str]) -> Url {
    let mut path = base.path().trim_end_matches('/').to_owned();
    for segment in segments {
        path.push('/');
        path.push_str(&encode(segment));
    }
    let mut url = base.clone();
    url.set_query(None);
    url.set_fragment(None);
    // A password in an address would be shown in messages, and be sent beside the token. Setting it fails only for addresses
    // that can't hold one.
    let _none = (url.set_username(""), url.set_password(None));
    url.set_path(&path);
    url
}

/// Refuses a name that can't be sent as one segment: URL libraries resolve `.` and `..`, and many servers decode `%2F` too early,
/// so that the document would be stored in another folder.
fn check_segment(name: &str) -> Result<(), VaultError> {
    let why = match name {
        "" => "is empty",
        "." | ".." => "means a folder, not a document",
        _ if name.contains('/') => "holds a slash",
        _ if name.contains('\0') => "holds a NUL character",
        _ => return Ok(()),
    };
    Err(VaultError::new(Kind::Refused, format!("{name:?} can't be a name in the vault, because it {why}: rename it")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;

    fn addresses(api: &str) -> Addresses {
        Addresses::new(&Url::parse(api).unwrap(), &Url::parse("https://r.auth.example/x/").unwrap(), "my realm")
    }

    #[test]
    fn a_prefix_is_kept() {
        let a = addresses("https://proxy.example/astran/?q=1#f");
        assert_eq!(a.me().as_str(), "https://proxy.example/astran/api/v2.1/users/me");
        assert_eq!(a.token().as_str(), "https://r.auth.example/x/auth/realms/my%20realm/protocol/openid-connect/token");
        assert!(a.logout().path().ends_with("/protocol/openid-connect/logout"));
    }

    #[test]
    fn nothing_secret_stays_in_an_address() {
        let a = addresses("https://user:hidden@a.example");
        assert_eq!(a.me().as_str(), "https://a.example/api/v2.1/users/me");
        assert!(!format!("{a:?}").contains("hidden"));
    }

    #[test]
    fn names_are_encoded_exactly() {
        let a = addresses("https://a.example");
        let url = a.upload("id/../1?", "a+b &=%2e é.pdf");
        assert!(url.is_err(), "an id with a slash would leave its folder");
        let url = a.upload("id?#1", "a+b &=%2e é.pdf").unwrap();
        assert_eq!(url.path(), "/api/v2.1/files/id%3F%231/children");
        assert_eq!(url.query(), Some("name=a%2Bb%20%26%3D%252e%20%C3%A9.pdf&isMajor=true"));
        let url = a.filesystem(&RemotePath::parse("//HR_Backup/20 26").unwrap()).unwrap();
        assert_eq!(url.as_str(), "https://a.example/api/v2.1/filesystem/HR_Backup/20%2026?children=false");
    }

    #[test]
    fn dots_and_slashes_are_refused_before_anything_is_sent() {
        let a = addresses("https://a.example");
        for name in [".", "..", "", "a/b", "nul\0"] {
            assert_eq!(a.upload("1", name).unwrap_err().kind, Kind::Refused, "{name:?}");
            assert_eq!(a.filesystem(&RemotePath::default().join(name)).unwrap_err().kind, Kind::Refused, "{name:?}");
        }
        let url = a.filesystem(&RemotePath::parse("/%2e/%2E%2e").unwrap()).unwrap();
        assert_eq!(url.path(), "/api/v2.1/filesystem/%252e/%252E%252e");
    }

    proptest! {
        #[test]
        fn every_segment_survives(names in prop::collection::vec("[^/\0]{1,12}", 1..5), prefix in "(/[a-z]{1,3}){0,2}") {
            prop_assume!(names.iter().all(|n| n != "." && n != ".."));
            let a = addresses(&format!("https://a.example{prefix}"));
            let path = names.iter().fold(RemotePath::default(), |p, n| p.join(n));
            let url = a.filesystem(&path).unwrap();
            let tail = url.path().strip_prefix(&format!("{prefix}/api/v2.1/filesystem/")).unwrap().to_owned();
            let back: Vec<String> =
                tail.split('/').map(|s| percent_decode_str(s).decode_utf8().unwrap().into_owned()).collect();
            prop_assert_eq!(&back, &names);
            let url = a.upload("1", &names[0]).unwrap();
            let pairs: Vec<_> = url.query_pairs().collect();
            prop_assert_eq!(pairs.len(), 2);
            prop_assert_eq!(&pairs[0].1, names[0].as_str());
        }
    }
}
