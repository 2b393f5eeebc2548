//! What a small HTTP service answers.

/// What is answered.
pub struct Site<T, P> {
    /// The path of the text.
    pub path: &'static str,
    /// What kind of text it is, as a header says it.
    pub content_type: &'static str,
    /// The text as it is now.
    pub text: T,
    /// The paths of what is done by POST.
    pub posts: &'static [&'static str],
    /// What a POST of these bytes to one of those paths, with its query, comes to.
    pub post: P,
}

/// The answer to a POST: a status with its words, and a text of lines or JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// As `202 Accepted`.
    pub status: &'static str,
    /// What it says.
    pub text: String,
}

impl Answer {
    /// Why it is refused, as JSON.
    #[must_use]
    pub fn refused(status: &'static str, why: &str) -> Answer {
        Answer { status, text: serde_json::json!({ "error": why }).to_string() + "\n" }
    }
}
