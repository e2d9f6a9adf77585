//! What a server says in its own words, as it may be shown: one short line, nothing in it that a terminal obeys, and not
//! a piece of any secret that the server was sent.

use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, Encoding};
use zeroize::Zeroizing;

use crate::model::Secret;

/// The longest text of a server that is shown, in characters.
const MAX_SHOWN: usize = 200;
/// So much of one is searched: what is shown, and what a secret that begins there may be encoded to.
const MAX_SEARCHED: usize = 4096;
/// So many bytes of a secret in a row are a piece of it; of a shorter one, all.
const PIECE: usize = 16;

/// The text as it may be shown; `None` where nothing is left of it, or where it repeats a secret. Then all of it is left
/// out: what else stands there nobody can tell.
pub(super) fn shown(text: &str, secrets: &[&Secret]) -> Option<String> {
    // Searched as it will be shown, but uncut: to take characters out may join what they parted.
    let visible = visible(text, MAX_SEARCHED);
    if is_token_like(&visible) || secrets.iter().any(|secret| repeats(&visible, secret)) {
        return None;
    }
    Some(clean(&visible)).filter(|text| !text.is_empty())
}

/// One short line. Only for texts of which no secret is a part.
pub(super) fn clean(text: &str) -> String {
    visible(text, MAX_SHOWN).trim_end().to_owned()
}

fn visible(text: &str, most: usize) -> Zeroizing<String> {
    // Sized beforehand, so that growing leaves no copy of a secret behind.
    let mut visible = Zeroizing::new(String::with_capacity(text.len().min(4 * most)));
    visible.extend(text.chars().filter(|c| is_visible(*c)).take(most));
    visible
}

/// Whether a character is no more than itself: neither a control character, nor one that turns the direction of a line,
/// nor one that has no width.
pub(super) fn is_visible(c: char) -> bool {
    !c.is_control()
        && !matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// Whether it has a piece of the secret in it: as it stands, percent-encoded, or in base64, in whatever case.
fn repeats(text: &str, secret: &Secret) -> bool {
    let secret = secret.expose().as_bytes();
    let has_piece = |text: &[u8]| {
        let length = secret.len().min(PIECE);
        length > 0
            && secret
                .windows(length)
                .any(|piece| text.windows(length).any(|at| at.eq_ignore_ascii_case(piece)))
    };
    has_piece(text.as_bytes())
        || text.contains('%') && has_piece(&percent_decoded(text))
        || base64_runs(text)
            .any(|run| (0..4).any(|from| decoded(run, from).is_some_and(|bytes| has_piece(&bytes))))
}

/// A token that is not known here, such as one that was just minted.
fn is_token_like(text: &str) -> bool {
    text.match_indices("apiv").any(|(at, word)| {
        let rest = text[at + word.len()..].trim_start_matches(|c: char| c.is_ascii_digit());
        let is_part = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '+' | '/' | '=');
        rest.strip_prefix('_').is_some_and(|rest| rest.chars().take_while(is_part).count() >= PIECE)
    })
}

fn percent_decoded(text: &str) -> Zeroizing<Vec<u8>> {
    let mut decoded = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        rest = match after {
            [high, low, after @ ..] if *first == b'%' => match hex(*high).zip(hex(*low)) {
                Some((high, low)) => {
                    decoded.push(16 * high + low);
                    after
                }
                None => rest.get(1..).unwrap_or_default(),
            },
            _ => {
                decoded.push(*first);
                after
            }
        };
    }
    decoded
}

/// Runs of the letters of base64 that are long enough for a piece of a secret.
fn base64_runs(text: &str) -> impl Iterator<Item = &str> {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '-' | '_');
    text.split(move |c| !is_letter(c)).filter(|run| run.len() > PIECE)
}

/// A run, from one of the four places where a group of it may begin.
fn decoded(run: &str, from: usize) -> Option<Zeroizing<Vec<u8>>> {
    let run = run.get(from..)?;
    let groups = run.get(..run.len() / 4 * 4)?.as_bytes();
    let decode = |encoding: &Encoding| encoding.decode(groups).ok().map(Zeroizing::new);
    decode(&BASE64_NOPAD).or_else(|| decode(&BASE64URL_NOPAD))
}
