//! What is odd about a server's answers. None of it is a failure: it has been seen on servers that work.

use std::{
    fmt,
    io::Write as _,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use flate2::{Compression, write::GzEncoder};
use hyper::{HeaderMap, Method, header};
use jiff::{SignedDuration, Timestamp, tz::Offset};
use serde_json::{Value, json};

use crate::{answer::Answer, fault::Effect, state::Token};

/// What is odd about answers from now on.
#[derive(Clone, Debug, Default)]
pub struct Oddities {
    /// `createdAt` in every row.
    pub created_at: Option<TimeOddity>,
    /// `expiresAt` in every row.
    pub expires_at: Option<TimeOddity>,
    /// `revokedAt` in every row of a token that lives.
    pub revoked_at: Option<TimeOddity>,
    /// How every time is written that is not said above.
    pub times: TimeForm,
    /// The Date header.
    pub date: DateHeader,
    /// Fields of some tokens' rows.
    pub rows: Vec<RowOddity>,
    /// A list leaves out tokens whose description has one of these in it.
    pub hidden: Vec<String>,
    /// Rows of nobody's, in each list.
    pub strangers: Vec<Value>,
    /// Bodies are compressed.
    pub gzip: Option<Gzip>,
    /// The type that every body has.
    pub content_type: Option<String>,
    /// The management API is elsewhere.
    pub redirect: Option<Redirect>,
    /// Every request to the data plane meets this.
    pub data: Option<Effect>,
    /// What becomes of the description that a mint asks for.
    pub description: DescriptionForm,
    /// Errors repeat the Authorization header.
    pub echo: Option<Echo>,
}

/// What a row says in place of a time.
#[derive(Clone, Debug)]
pub enum TimeOddity {
    /// This, whether or not there is such a time.
    Constant(Value),
    /// A time this much later; a token that was never revoked, that much after now.
    Shift(SignedDuration),
}

/// How times are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeForm {
    /// `2026-12-01T04:05:06.789Z`.
    #[default]
    Utc,
    /// The same moment so many minutes east.
    Offset(i16),
    /// `-00:00` for `Z`.
    UnknownOffset,
    /// Small `t` and `z`.
    Lowercase,
    /// Nine digits after the second.
    Nanoseconds,
    /// No fraction.
    Seconds,
    /// No zone.
    NoZone,
    /// A space for the `T`, and no zone.
    SpaceNoZone,
    /// A number of seconds.
    UnixSeconds,
    /// A text of a number of milliseconds.
    UnixMilliseconds,
    /// As in mails.
    Rfc2822,
}

/// What the Date header says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DateHeader {
    /// What the server's clock shows.
    #[default]
    Right,
    /// This much later.
    Shift(SignedDuration),
    /// This.
    Text(String),
    /// There is none.
    Absent,
}

/// Other fields in some rows.
#[derive(Clone, Debug)]
pub struct RowOddity {
    /// Rows of tokens whose description has this in it.
    pub of: String,
    /// In these answers only; in all where there is none.
    pub only: Option<Answers>,
    /// An object: its fields take the place of those of the row.
    pub fields: Value,
    /// Fields that are missing.
    pub missing: Vec<String>,
}

/// Answers with rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// Lists.
    List,
    /// Answers to mints.
    Mint,
    /// Answers about one token.
    One,
}

/// When bodies are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gzip {
    /// Unless `identity` is asked for.
    UnlessRefused,
    /// Whatever is asked for.
    Always,
}

/// A redirect of every request to the management API.
#[derive(Clone, Debug)]
pub struct Redirect {
    /// 301, 302, 307 or 308.
    pub status: u16,
    /// Comes before the path in `Location`.
    pub to: String,
}

/// What becomes of a description.
#[derive(Clone, Debug, Default)]
pub enum DescriptionForm {
    /// It is kept.
    #[default]
    Whole,
    /// So many characters of it.
    Cut(usize),
    /// In capitals.
    Uppercase,
    /// This comes after it.
    Suffix(String),
    /// It is another.
    Constant(String),
}

/// What of the Authorization header an error repeats.
#[derive(Clone, Debug)]
pub struct Echo {
    /// Comes before it.
    pub before: String,
    /// So many characters are left out.
    pub skip: usize,
    /// At most so many follow.
    pub take: usize,
    /// As text, not JSON.
    pub plain: bool,
    /// Queries that are answered with 200 have it as the error of their statement.
    pub in_results: bool,
}

impl Default for Echo {
    fn default() -> Self {
        Self { before: String::new(), skip: 0, take: usize::MAX, plain: false, in_results: false }
    }
}

/// All that one request meets.
#[derive(Clone, Debug, Default)]
pub struct Misbehaviour {
    /// What is odd about the answer.
    pub oddities: Oddities,
    /// What goes wrong.
    pub effects: Vec<Effect>,
}

/// By method and path.
type DrawMisbehaviour = dyn FnMut(&Method, &str) -> Misbehaviour + Send;

/// What each request meets, drawn when it comes.
pub(crate) struct Draw(pub(crate) Box<DrawMisbehaviour>);

impl fmt::Debug for Draw {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Draw")
    }
}

impl Oddities {
    /// What is odd about this kind of request, by name.
    pub(crate) fn names(&self, is_management: bool, method: &Method, path: &str) -> Vec<&'static str> {
        let about_rows = is_management && path.contains("/tokens");
        let is_list = about_rows && *method == Method::GET && path.ends_with("/tokens");
        let is_mint = about_rows && *method == Method::POST;
        [
            (about_rows && self.created_at.is_some(), "createdAt"),
            (about_rows && self.expires_at.is_some(), "expiresAt"),
            (about_rows && self.revoked_at.is_some(), "revokedAt"),
            (about_rows && self.times != TimeForm::Utc, "form of times"),
            (self.date != DateHeader::Right, "Date"),
            (about_rows && !self.rows.is_empty(), "fields of rows"),
            (is_list && !self.hidden.is_empty(), "hidden rows"),
            (is_list && !self.strangers.is_empty(), "strangers' rows"),
            (self.gzip.is_some(), "gzip"),
            (self.content_type.is_some(), "content type"),
            (is_management && self.redirect.is_some(), "redirect"),
            (!is_management && self.data.is_some(), "data plane"),
            (is_mint && !matches!(self.description, DescriptionForm::Whole), "description"),
            (self.echo.is_some(), "echo"),
        ]
        .into_iter()
        .filter_map(|(is_there, name)| is_there.then_some(name))
        .collect()
    }

    /// The description that a token gets.
    pub(crate) fn described(&self, description: String) -> String {
        match &self.description {
            DescriptionForm::Whole => description,
            DescriptionForm::Cut(length) => description.chars().take(*length).collect(),
            DescriptionForm::Uppercase => description.to_uppercase(),
            DescriptionForm::Suffix(suffix) => description + suffix,
            DescriptionForm::Constant(text) => text.clone(),
        }
    }

    pub(crate) fn hides(&self, token: &Token) -> bool {
        self.hidden.iter().any(|part| token.description.contains(part))
    }

    /// The times of a row.
    pub(crate) fn add_times(&self, token: &Token, now: Timestamp, row: &mut Value) {
        let is_live = token.is_live(now);
        let revoked_at = self.revoked_at.as_ref().filter(|_| is_live);
        let revocation = token.revoked_at.or(revoked_at.map(|_| now));
        for (field, at, oddity) in [
            ("createdAt", Some(token.created_at), self.created_at.as_ref()),
            ("expiresAt", token.expires_at, self.expires_at.as_ref()),
            ("revokedAt", revocation, revoked_at),
        ] {
            let shown = match (oddity, at) {
                (Some(TimeOddity::Constant(value)), _) => Some(value.clone()),
                (Some(TimeOddity::Shift(by)), Some(at)) => {
                    Some(self.times.written(at.saturating_add(*by).unwrap_or(at), field == "expiresAt"))
                }
                (None, Some(at)) => Some(self.times.written(at, field == "expiresAt")),
                (_, None) => None,
            };
            if let Some(shown) = shown {
                row[field] = shown;
            }
        }
    }

    /// The fields of a row that are other ones.
    pub(crate) fn change_row(&self, description: &str, answers: Answers, row: &mut Value) {
        let concerns =
            |odd: &&RowOddity| description.contains(&odd.of) && odd.only.is_none_or(|only| only == answers);
        for odd in self.rows.iter().filter(concerns) {
            for (field, value) in odd.fields.as_object().into_iter().flatten() {
                row[field] = value.clone();
            }
            if let Some(row) = row.as_object_mut() {
                row.retain(|field, _| !odd.missing.contains(field));
            }
        }
    }

    /// An answer as it is sent.
    pub(crate) fn dressed(
        &self,
        answer: Answer,
        headers: &HeaderMap,
        path: &str,
        date: SystemTime,
    ) -> Answer {
        let text = |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
        let mut answer = self.with_echo(answer, text(header::AUTHORIZATION).unwrap_or_default(), path);
        if let Some(kind) = self.content_type.as_ref().filter(|_| !answer.body.is_empty()) {
            answer.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("content-type"));
            answer = answer.with("content-type", kind);
        }
        let accepted = text(header::ACCEPT_ENCODING).unwrap_or_default();
        let compresses = match self.gzip {
            None => false,
            Some(Gzip::Always) => true,
            Some(Gzip::UnlessRefused) => !accepted.contains("identity"),
        };
        if compresses && !answer.body.is_empty() {
            answer.body = compressed(&answer.body);
            answer = answer.with("content-encoding", "gzip");
        }
        match self.date.text(date) {
            Some(date) => answer.with("date", &date),
            None => answer,
        }
    }

    fn with_echo(&self, answer: Answer, authorization: &str, path: &str) -> Answer {
        let Some(echo) = &self.echo else { return answer };
        let piece: String = authorization.chars().skip(echo.skip).take(echo.take).collect();
        let text = format!("{}{piece}", echo.before);
        let status = answer.status;
        match (status, echo.plain) {
            (200, _) if path == "/query" && echo.in_results => {
                Answer::json(200, &json!({ "results": [{ "statement_id": 0, "error": text }] }))
            }
            (..400, _) => answer,
            (_, false) => Answer { headers: answer.headers, ..Answer::error(status, &text) },
            (_, true) => Answer { body: text.into_bytes(), ..answer },
        }
    }
}

impl TimeForm {
    /// The API's times have milliseconds; an expiry is shown as it was asked for.
    fn written(self, at: Timestamp, is_expiry: bool) -> Value {
        let utc = if is_expiry { at.to_string() } else { format!("{at:.3}") };
        let bare = utc.trim_end_matches('Z');
        match self {
            Self::Utc => utc.into(),
            Self::Offset(minutes) => {
                let offset = Offset::from_seconds(i32::from(minutes) * 60).unwrap_or(Offset::UTC);
                format!("{:.3}", at.display_with_offset(offset)).into()
            }
            Self::UnknownOffset => format!("{bare}-00:00").into(),
            Self::Lowercase => utc.to_lowercase().into(),
            Self::Nanoseconds => format!("{at:.9}").into(),
            Self::Seconds => format!("{at:.0}").into(),
            Self::NoZone => bare.into(),
            Self::SpaceNoZone => bare.replace('T', " ").into(),
            Self::UnixSeconds => at.as_second().into(),
            Self::UnixMilliseconds => at.as_millisecond().to_string().into(),
            Self::Rfc2822 => {
                let since = Duration::from_secs(at.as_second().unsigned_abs());
                httpdate::fmt_http_date(UNIX_EPOCH + since).into()
            }
        }
    }
}

impl DateHeader {
    fn text(&self, now: SystemTime) -> Option<String> {
        match self {
            Self::Right => Some(httpdate::fmt_http_date(now)),
            Self::Shift(by) => {
                let by_so_much = by.unsigned_abs();
                let shifted =
                    if by.is_negative() { now.checked_sub(by_so_much) } else { now.checked_add(by_so_much) };
                Some(httpdate::fmt_http_date(shifted.unwrap_or(now)))
            }
            Self::Text(text) => Some(text.clone()),
            Self::Absent => None,
        }
    }
}

fn compressed(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let written = encoder.write_all(body).and_then(|()| encoder.finish());
    written.unwrap_or_default()
}
