//! PURE: the query of a stream.
use super::filter::Filter;
use crate::event::Problem;

/// Maximum number of feeds in a stream.
pub const MAX_FEEDS: usize = 100;

/// Events that a listener wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// The feeds, each once; at least one.
    pub feeds: Vec<String>,
    /// Number of the last event that the listener has; `None` begins with the next event.
    pub after: Option<String>,
    /// Selection of events.
    pub filter: Filter,
}

impl Subscription {
    /// Parses query parameters. `feed` is the feed of the path; without it, the query names feeds.
    ///
    /// # Errors
    /// Returns all problems.
    pub fn parse(feed: Option<String>, members: &[(String, String)]) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut note = |field: &str, problem: String| {
            problems.push(Problem {
                field: field.into(),
                problem,
            });
        };
        let is_one = feed.is_some();
        let (mut feeds, mut after, mut filter): (Vec<_>, _, _) = (feed.into_iter().collect(), None, Filter::default());
        for (name, value) in members {
            match name.as_str() {
                "feed" if !is_one && feeds.contains(value) => {}
                "feed" if !is_one => feeds.push(value.clone()),
                "after_seq" if after.is_some() => note(name, "is given twice".into()),
                "after_seq" if value.parse::<u64>().is_err() => note(name, "is not a number".into()),
                "after_seq" => after = Some(value.clone()),
                _ if filter.take(name, value) => {}
                _ if is_one => note(name, "is none of after_seq, type and author".into()),
                _ => note(name, "is none of feed, after_seq, type and author".into()),
            }
        }
        match feeds.len() {
            0 => note("feed", "is missing".into()),
            1..=MAX_FEEDS => {}
            _ => note("feed", format!("is given more than {MAX_FEEDS} times")),
        }
        if problems.is_empty() {
            Ok(Subscription { feeds, after, filter })
        } else {
            Err(problems)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(feed: Option<&str>, members: &[(&str, &str)]) -> Result<Subscription, Vec<String>> {
        let members: Vec<_> = members
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let parsed = Subscription::parse(feed.map(str::to_owned), &members);
        parsed.map_err(|problems| problems.into_iter().map(|problem| problem.field).collect())
    }

    #[test]
    fn a_stream_is_of_one_feed_or_of_several() {
        let of = |feed, members: &[(&str, &str)]| {
            let parsed = parse(feed, members).expect("a subscription");
            (parsed.feeds.join(" "), parsed.after)
        };
        assert_eq!(of(Some("f"), &[]), ("f".into(), None));
        assert_eq!(
            of(None, &[("feed", "a"), ("feed", "b"), ("feed", "a"), ("after_seq", "7")]),
            ("a b".into(), Some("7".into()))
        );
        let many: Vec<_> = (0..=MAX_FEEDS).map(|number| number.to_string()).collect();
        let many: Vec<_> = many.iter().map(|feed| ("feed", feed.as_str())).collect();
        for (feed, members, fields) in [
            (None, &[][..], &["feed"][..]),
            (None, &many, &["feed"]),
            (Some("f"), &[("feed", "a")], &["feed"]),
            (
                Some("f"),
                &[
                    ("after_seq", "x"),
                    ("after_seq", "1"),
                    ("after_seq", "1"),
                    ("limit", "1"),
                ],
                &["after_seq", "after_seq", "limit"],
            ),
        ] {
            let fields: Vec<_> = fields.iter().map(|field| (*field).to_owned()).collect();
            assert_eq!(parse(feed, members), Err(fields), "{members:?}");
        }
    }
}
