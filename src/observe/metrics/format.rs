//! The two formats of the metrics: `OpenMetrics`, and the older text format of Prometheus, which promtool and many other readers expect. Pure.

use std::collections::HashMap;

/// A format of the metrics as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `OpenMetrics` 1.0.
    OpenMetrics,
    /// Prometheus' text format 0.0.4.
    Plain,
}

impl Format {
    /// The format for a client that sends these `Accept` headers: `OpenMetrics` for those that name it, as Prometheus does.
    pub(crate) fn for_client<'a>(accept: impl IntoIterator<Item = &'a str>) -> Self {
        let is_wanted = |range: &str| {
            let mut parts = range.split(';').map(str::trim);
            let is_it = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("application/openmetrics-text"));
            // With a weight of zero the client says that it can't read the format.
            is_it && !parts.any(|part| part.strip_prefix("q=").is_some_and(|weight| weight.parse() == Ok(0.0)))
        };
        let is_wanted = accept.into_iter().flat_map(|header| header.split(',')).any(is_wanted);
        if is_wanted { Self::OpenMetrics } else { Self::Plain }
    }

    /// The value of `Content-Type` for this format.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Plain => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Turns `OpenMetrics` into Prometheus' text format. The samples are the same. A counter's description has the name of its samples there
/// (`…_total`), an info is a gauge, and there are neither units nor an end.
pub(super) fn plain(open_metrics: &str) -> String {
    let types = open_metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let types: HashMap<&str, &str> = types.collect();
    let mut text = String::with_capacity(open_metrics.len());
    for line in open_metrics.lines() {
        let described = line.strip_prefix("# ").map(|rest| rest.splitn(3, ' ').collect::<Vec<_>>());
        match described.as_deref() {
            None => text.push_str(line),
            Some([keyword @ ("HELP" | "TYPE"), name, rest]) => {
                let (suffix, kind) = match types.get(name) {
                    Some(&"counter") => ("_total", "counter"),
                    Some(&"info") => ("_info", "gauge"),
                    Some(other) => ("", *other),
                    None => ("", "untyped"),
                };
                let rest = if *keyword == "TYPE" { kind } else { rest };
                text.extend(["# ", keyword, " ", name, suffix, " ", rest]);
            }
            Some(_) => continue,
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_gets_the_format_that_it_asks_for() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.2";
        for (accept, format) in [
            (&[prometheus][..], Format::OpenMetrics),
            (&["text/plain", "Application/OpenMetrics-Text"], Format::OpenMetrics),
            (&[], Format::Plain),
            (&["*/*"], Format::Plain),
            (&["text/plain;version=0.0.4, application/openmetrics-text;q=0"], Format::Plain),
            (&["application/openmetrics-text-not"], Format::Plain),
        ] {
            assert_eq!(Format::for_client(accept.iter().copied()), format, "{accept:?}");
        }
    }

    #[test]
    fn the_plain_text_describes_metrics_by_the_names_of_their_samples() {
        let open_metrics = "\
# HELP a_files Files # with a mark.
# TYPE a_files counter
a_files_total{folder=\"/w # HELP\"} 3
# HELP a_took_seconds Time.
# TYPE a_took_seconds histogram
# UNIT a_took_seconds seconds
a_took_seconds_sum 1.5
# HELP a_build Version.
# TYPE a_build info
a_build_info{version=\"1\"} 1
# EOF
";
        let expected = "\
# HELP a_files_total Files # with a mark.
# TYPE a_files_total counter
a_files_total{folder=\"/w # HELP\"} 3
# HELP a_took_seconds Time.
# TYPE a_took_seconds histogram
a_took_seconds_sum 1.5
# HELP a_build_info Version.
# TYPE a_build_info gauge
a_build_info{version=\"1\"} 1
";
        assert_eq!(plain(open_metrics), expected);
    }
}
