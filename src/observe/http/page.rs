//! The page for people: one answer with style and script in it, which asks `/status.json` every two seconds. It has no actions.
//!
//! The policy allows only this style and this script, by their hashes, and no markup made of text: a file name that holds markup is shown
//! as it is, and could run nothing if it were not.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::header::{
    CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use hyper::{HeaderMap, StatusCode};
use sha2::{Digest as _, Sha256};

use super::answer::{Answer, response};

const MARKUP: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

static PAGE: LazyLock<Page> = LazyLock::new(Page::new);

struct Page {
    with_names: Bytes,
    without_names: Bytes,
    headers: HeaderMap,
}

/// The page. Without names it says that they are hidden; the names themselves come with the status.
pub(super) fn answer(names: bool) -> Answer {
    let page = &*PAGE;
    let text = if names { &page.with_names } else { &page.without_names };
    let mut answer = response(StatusCode::OK, "text/html; charset=utf-8", text.clone());
    answer.headers_mut().extend(page.headers.clone());
    answer
}

impl Page {
    fn new() -> Self {
        let page = MARKUP.replace("{style}", STYLE).replace("{script}", SCRIPT);
        let policy = format!(
            "default-src 'none'; style-src '{}'; script-src '{}'; connect-src 'self'; img-src data:; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
            hash(STYLE),
            hash(SCRIPT)
        );
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (X_FRAME_OPTIONS, "DENY"),
            (REFERRER_POLICY, "no-referrer"),
            (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
            (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        // The policy is ASCII: letters, digits and the signs of Base64.
        let policy = HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"));
        headers.insert(CONTENT_SECURITY_POLICY, policy);
        let without_names = page.replace("<body>", "<body class=\"nameless\">");
        Self { with_names: page.into(), without_names: without_names.into(), headers }
    }
}

/// The source of a policy that allows what is between the tags.
fn hash(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    async fn text(names: bool) -> String {
        let body = answer(names).into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn the_page_is_one_small_answer_that_fetches_nothing_from_elsewhere() {
        let page = text(true).await;
        assert!(page.len() < 30_000, "{} bytes", page.len());
        for foreign in ["http://", "https://", "//cdn", "@import", "url(", "src=", "innerHTML", "eval("] {
            assert!(!page.contains(foreign), "{foreign}");
        }
    }

    #[tokio::test]
    async fn the_policy_allows_exactly_the_style_and_the_script_of_the_page() {
        let page = text(true).await;
        let policy = answer(true).headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        for tag in ["style", "script"] {
            let (_, rest) = page.split_once(&format!("<{tag}>")).unwrap();
            let (inner, rest) = rest.split_once(&format!("</{tag}>")).unwrap();
            assert!(policy.contains(&format!("{tag}-src '{}'", hash(inner))), "{tag}: {policy}");
            assert!(!rest.contains(&format!("<{tag}")), "only one {tag}");
        }
    }

    #[tokio::test]
    async fn the_page_says_whether_names_are_hidden() {
        assert!(text(false).await.contains("<body class=\"nameless\">") && text(true).await.contains("<body>"));
    }
}
