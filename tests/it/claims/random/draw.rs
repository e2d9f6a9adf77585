//! What is drawn for each request: what is odd about its answer, and what goes wrong with it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use fastrand::Rng;
use hyper::Method;
use influx_sandbox::{
    Answers, DateHeader, DescriptionForm, Echo, Effect, Gzip, Misbehaviour, Oddities, Redirect, RowOddity,
    TimeForm, TimeOddity,
};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::super::strangers;

/// So many of a hundred requests meet nothing odd.
const USUAL: u32 = 45;

/// What is drawn from.
pub(super) struct Chance {
    random: Rng,
    strangers: Vec<Value>,
    /// Descriptions are altered, and nothing else is odd about anything: what is found again by nobody has to be revoked at
    /// once, and nothing may be in the way.
    alters_descriptions: Arc<AtomicBool>,
}

impl Chance {
    pub(super) fn new(random: Rng, alters_descriptions: Arc<AtomicBool>) -> Self {
        Self { random, strangers: strangers::odd_rows(), alters_descriptions }
    }

    pub(super) fn draw(&mut self, method: &Method, path: &str) -> Misbehaviour {
        let mut oddities = Oddities::default();
        if self.alters_descriptions.load(Ordering::Relaxed) {
            oddities.description = self.description();
            return Misbehaviour { oddities, effects: vec![] };
        }
        if self.random.u32(..100) < USUAL {
            return Misbehaviour { oddities, effects: vec![] };
        }
        for _ in 0..self.random.usize(1..=3) {
            self.add(&mut oddities, path.starts_with("/api/v0/"));
        }
        let effects = if self.random.u32(..100) < 35 { vec![self.effect(method)] } else { vec![] };
        Misbehaviour { oddities, effects }
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.random.usize(..from.len())].clone()
    }

    fn description(&mut self) -> DescriptionForm {
        match self.random.u32(..4) {
            0 => DescriptionForm::Cut(self.random.usize(..100)),
            1 => DescriptionForm::Uppercase,
            2 => DescriptionForm::Suffix(" (by the API)".to_owned()),
            _ => DescriptionForm::Constant("token".to_owned()),
        }
    }

    /// One more thing that is odd.
    fn add(&mut self, oddities: &mut Oddities, is_management: bool) {
        if !is_management {
            match self.random.u32(..4) {
                0 => oddities.data = Some(self.data()),
                1 => oddities.echo = Some(self.echo()),
                2 => oddities.content_type = Some(self.content_type()),
                _ => oddities.date = self.date(),
            }
            return;
        }
        match self.random.u32(..12) {
            0 => oddities.created_at = Some(self.time()),
            1 => oddities.expires_at = Some(self.time()),
            2 => oddities.revoked_at = Some(self.time()),
            3 => {
                oddities.times = self.pick(&[
                    TimeForm::Offset(330),
                    TimeForm::UnknownOffset,
                    TimeForm::Lowercase,
                    TimeForm::Nanoseconds,
                    TimeForm::NoZone,
                    TimeForm::SpaceNoZone,
                    TimeForm::UnixSeconds,
                    TimeForm::UnixMilliseconds,
                    TimeForm::Rfc2822,
                ]);
            }
            4 => oddities.date = self.date(),
            5 => oddities.rows.push(self.row()),
            6 => oddities.hidden.push(format!("/t{}/", self.random.u32(..10))),
            7 => {
                let count = self.random.usize(1..=self.strangers.len());
                oddities.strangers = (0..count).map(|_| self.pick(&self.strangers.clone())).collect();
            }
            8 => oddities.gzip = Some(self.pick(&[Gzip::Always, Gzip::UnlessRefused])),
            9 => oddities.content_type = Some(self.content_type()),
            10 => {
                let to = "https://new.example.com".to_owned();
                oddities.redirect = Some(Redirect { status: self.pick(&[301, 302, 307, 308]), to });
            }
            _ => oddities.echo = Some(self.echo()),
        }
    }

    fn time(&mut self) -> TimeOddity {
        let constants = [
            json!("0001-01-01T00:00:00Z"),
            json!("1970-01-01T00:00:00Z"),
            json!("2020-01-01T00:00:00Z"),
            json!("9999-12-31T23:59:59Z"),
            json!("+292278994-08-17T07:12:55.807Z"),
            json!("yesterday"),
            json!(""),
            json!(5),
            json!({ "seconds": 5 }),
            json!([]),
            Value::Null,
        ];
        match self.random.bool() {
            true => TimeOddity::Constant(self.pick(&constants)),
            false => TimeOddity::Shift(SignedDuration::from_mins(self.random.i64(-600..600))),
        }
    }

    /// A clock that is wrong by more is one to be believed, where there is no better one.
    fn date(&mut self) -> DateHeader {
        match self.random.u32(..3) {
            0 => DateHeader::Shift(SignedDuration::from_secs(self.random.i64(-500..500))),
            1 => DateHeader::Absent,
            _ => DateHeader::Text(self.pick(&["yesterday", "", "2026-12-01T04:05:06Z"]).to_owned()),
        }
    }

    /// Something about the row of one name, or of all.
    fn row(&mut self) -> RowOddity {
        let name = self.random.u32(..10);
        let fields = [
            json!({ "permissions": null }),
            json!({ "permissions": "all" }),
            json!({ "permissions": [{ "action": "manage", "resource": 5 }] }),
            json!({ "permissions": [] }),
            json!({ "description": null }),
            json!({ "description": "a dashboard" }),
            json!({ "id": 5 }),
            json!({ "id": null }),
            json!({ "id": "00000000-0000-4000-8000-000000000000" }),
            json!({ "accessToken": null }),
            json!({ "createdAt": "yesterday" }),
        ];
        RowOddity {
            of: if self.random.bool() { format!("/t{name}/") } else { String::new() },
            only: Some(self.pick(&[Answers::List, Answers::List, Answers::Mint, Answers::One])),
            fields: self.pick(&fields),
            missing: vec![],
        }
    }

    fn content_type(&mut self) -> String {
        self.pick(&["text/html", "text/plain", "application/octet-stream"]).to_owned()
    }

    fn echo(&mut self) -> Echo {
        Echo {
            before: "x".repeat(self.random.usize(..200)),
            skip: self.random.usize(..60),
            take: self.random.usize(16..120),
            plain: self.random.bool(),
            in_results: self.random.bool(),
        }
    }

    fn status(&mut self) -> (u16, Vec<(String, String)>, String) {
        let status = self.pick(&[400, 401, 403, 404, 405, 408, 409, 413, 422, 429, 500, 502, 503, 504]);
        let wish = self.pick(&["1", "86400", "18446744073709551616", "Fri, 31 Dec 9999 23:59:59 GMT"]);
        let kind = self.pick(&["application/json", "text/html"]);
        let headers = [("retry-after", wish), ("content-type", kind)];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        (status, headers, self.pick(&["{\"message\":\"401 zebras\"}", "<html></html>", ""]).to_owned())
    }

    fn data(&mut self) -> Effect {
        let (status, headers, body) = self.status();
        let status = if self.random.bool() { status } else { self.pick(&[200, 204, 301, 308]) };
        match self.random.u32(..5) {
            0 => Effect::CutBefore,
            _ => Effect::Status { status, headers, body },
        }
    }

    fn effect(&mut self, method: &Method) -> Effect {
        let (status, headers, body) = self.status();
        match self.random.u32(..11) {
            0..3 => Effect::Status { status, headers, body },
            3 | 4 => Effect::StatusAfter { status, headers, body },
            5 => Effect::CutBefore,
            6 => Effect::CutAfter,
            7 => Effect::HalfBody,
            8 => Effect::Delay(Duration::from_millis(self.random.u64(..300))),
            9 if *method == Method::GET => Effect::Lag(Duration::from_secs(self.random.u64(..300))),
            _ => self.pick(&[Effect::SilenceAfter, Effect::Silence]),
        }
    }
}
