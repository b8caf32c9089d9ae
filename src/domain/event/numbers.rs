//! Numbers that events of room versions 1 to 5 may have and canonical JSON does not: fractions, exponents, integers
//! beyond 2^53. They travel through the canonical JSON of everybody else as marked strings, and are written as the
//! servers that made those room versions write them, or no hash or signature over them would hold.
//!
//! The specification does not say how such a number is written canonically. What decides is what made them: Python's
//! `json`, which writes an integer with all its digits and a fraction as the shortest text that reads back the same
//! (`repr`): `1.0`, `1e-05`, `1e+16`. A number that came in another spelling (`1.50`, `1E2`) is normalized likewise.
//! A peer that keeps the spelling as it came (Dendrite) and signs it is understood as long as the spelling is that one.

/// How a JSON text begins a string that stands for a number. A string that begins so by itself gets it twice.
const MARK: &str = "\\u0000";
/// Integers with more digits than this are no numbers: Python reads no longer ones either.
const DIGITS_MAX: usize = 4_300;
/// The largest integer of canonical JSON, and its negative the smallest.
const CANONICAL_MAX: u64 = (1 << 53) - 1;

/// `json` with every number that canonical JSON does not know as a marked string; `None` if it has none such. What is no
/// number at all is left for the parser to refuse.
pub fn mark(json: &str) -> Option<String> {
    let mut marked = String::with_capacity(json.len() + 64);
    let mut found = false;
    for token in Tokens(json) {
        match token.as_bytes()[0] {
            b'"' if token[1..].starts_with(MARK) => marked.extend(["\"", MARK, &token[1..]]),
            b'-' | b'0'..=b'9' if !is_canonical(token) => match written(token) {
                Some(number) => {
                    found = true;
                    // It may be canonical once it is written as it should (`-0`).
                    if is_canonical(&number) {
                        marked.push_str(&number);
                    } else {
                        marked.extend(["\"", MARK, &number, "\""]);
                    }
                }
                None => marked.push_str(token),
            },
            _ => marked.push_str(token),
        }
    }
    found.then_some(marked)
}

/// The JSON that [`mark`] made of it, with numbers where they were: in canonical order, if `marked` is.
pub fn unmark(marked: &str) -> String {
    let mut json = String::with_capacity(marked.len());
    for token in Tokens(marked) {
        match token.strip_prefix('"').and_then(|text| text.strip_prefix(MARK)) {
            Some(text) if text.starts_with(MARK) => json.extend(["\"", text]),
            Some(number) => json.push_str(number.trim_end_matches('"')),
            None => json.push_str(token),
        }
    }
    json
}

/// `json` with integers for all numbers in it that canonical JSON does not know: what is before the point once there is no
/// exponent (room versions 1 to 5, "`m.room.power_levels` events accept values as floats"), and no further from zero than its
/// integers go. `None` if it has none such.
pub fn truncated(json: &str) -> Option<String> {
    let mut truncated = String::with_capacity(json.len());
    let mut found = false;
    for token in Tokens(json) {
        let number = matches!(token.as_bytes()[0], b'-' | b'0'..=b'9') && !is_canonical(token);
        match token.parse::<f64>().ok().filter(|value| number && value.is_finite()) {
            Some(value) => {
                found = true;
                // As an integer, which has no negative zero.
                let limit = CANONICAL_MAX as f64;
                truncated.push_str(&(value.clamp(-limit, limit) as i64).to_string());
            }
            None => truncated.push_str(token),
        }
    }
    found.then_some(truncated)
}

/// The integer that a string from marked JSON stands for, if it stands for one.
pub fn marked_integer(text: &str) -> Option<i64> {
    text.strip_prefix('\0')?.parse().ok()
}

/// The string literals, numbers and everything between, of a text that is JSON.
struct Tokens<'a>(&'a str);

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let bytes = self.0.as_bytes();
        let length = match bytes.first()? {
            b'"' => string_length(bytes),
            b'-' | b'0'..=b'9' => run(bytes, |byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')),
            _ => run(bytes, |byte| !matches!(byte, b'"' | b'-' | b'0'..=b'9')),
        };
        let (token, rest) = self.0.split_at(length);
        self.0 = rest;
        Some(token)
    }
}

fn run(bytes: &[u8], belongs: impl Fn(&u8) -> bool) -> usize {
    bytes.iter().take_while(|byte| belongs(byte)).count()
}

fn string_length(bytes: &[u8]) -> usize {
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn is_canonical(token: &str) -> bool {
    let digits = token.strip_prefix('-').unwrap_or(token);
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    let shortest = if digits == "0" { token == "0" } else { !digits.starts_with('0') };
    plain && shortest && digits.parse::<u64>().is_ok_and(|value| value <= CANONICAL_MAX)
}

/// A number as Python's `json` writes it back; `None` for what it does not read or could not write.
fn written(token: &str) -> Option<String> {
    serde_json::from_str::<serde::de::IgnoredAny>(token).ok()?;
    if token.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
        let digits = token.trim_start_matches('-');
        return (digits.len() <= DIGITS_MAX).then(|| if digits == "0" { "0".to_owned() } else { token.to_owned() });
    }
    token.parse::<f64>().ok().filter(|value| value.is_finite()).map(shortest)
}

/// The shortest text that reads back as `value`: with an exponent where there would be more than four zeros in front or
/// more than sixteen digits before the point.
fn shortest(value: f64) -> String {
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').expect("it was asked for with an exponent");
    let exponent: i32 = exponent.parse().expect("an exponent is a small integer");
    if (-4..16).contains(&exponent) {
        // Never with an exponent, and at least one digit after the point.
        return format!("{value:?}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_written_as_python_writes_them() {
        // Each right side is what `json.dumps(json.loads(left))` gives.
        for (read, write) in [
            ("1.0", "1.0"),
            ("1.50", "1.5"),
            ("1E2", "100.0"),
            ("-0.0", "-0.0"),
            ("-0", "0"),
            ("0.0001", "0.0001"),
            ("0.00001", "1e-05"),
            ("1e15", "1000000000000000.0"),
            ("1e16", "1e+16"),
            ("9999999999999998.0", "9999999999999998.0"),
            ("1.5e300", "1.5e+300"),
            ("5e-324", "5e-324"),
            ("0.1e-6", "1e-07"),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
            ("-9007199254740992", "-9007199254740992"),
            ("2.5e-5", "2.5e-05"),
        ] {
            let marked = mark(read).unwrap();
            assert_eq!(unmark(&marked), write, "{read}");
        }
    }

    #[test]
    fn what_canonical_json_knows_is_not_touched() {
        for json in ["{}", "9007199254740991", "-9007199254740991", "0", r#"{"a":[1,-2,"1.5","\u00001.5","x\"1.5"]}"#] {
            assert_eq!(mark(json), None, "{json}");
        }
    }

    #[test]
    fn what_is_no_number_stays_for_the_parser_to_refuse() {
        for json in ["01.5", "1.", ".5", "1e400", "-", "1.5.5", "+1.5", "1e", "--1", &"9".repeat(DIGITS_MAX + 1)] {
            let read = mark(json).unwrap_or_else(|| json.to_owned());
            assert!(serde_json::from_str::<ruma::CanonicalJsonValue>(&read).is_err(), "{json}");
        }
    }

    #[test]
    fn a_number_is_cut_at_its_point() {
        for (read, cut) in [
            ("50.57", "50"),
            ("-50.57", "-50"),
            ("5.114698E4", "51146"),
            ("-0.9", "0"),
            ("-0", "0"),
            ("1e300", "9007199254740991"),
            ("-9007199254740992", "-9007199254740991"),
            (r#"{"a":[1.5,2],"1.5":"1.5"}"#, r#"{"a":[1,2],"1.5":"1.5"}"#),
        ] {
            assert_eq!(truncated(read).as_deref(), Some(cut), "{read}");
        }
        assert_eq!(truncated(r#"{"a":[1,-2,"1.5"]}"#), None);
    }

    #[test]
    fn a_string_cannot_pass_for_a_number() {
        let json = r#"{"\u0000k":1.5,"a":"\u00001.5","b":"\u0000\u00002.5","c":"\u0000"}"#;
        let marked = mark(json).unwrap();
        let object: ruma::CanonicalJsonObject = serde_json::from_str(&marked).unwrap();
        assert_eq!(unmark(&serde_json::to_string(&object).unwrap()), json);
        assert_eq!(marked_integer("\u{0}5"), Some(5));
        assert_eq!(marked_integer("5"), None);
        assert_eq!(marked_integer("\u{0}\u{0}5"), None);
    }

    proptest! {
        #[test]
        fn any_fraction_reads_back_as_it_was(value in any::<f64>().prop_filter("finite", |value| value.is_finite())) {
            let text = shortest(value);
            prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), value.to_bits());
            prop_assert_eq!(unmark(&mark(&text).unwrap()), text);
        }

        #[test]
        fn any_strings_survive(strings in prop::collection::vec(any::<String>(), 0..6), eighths in any::<i32>()) {
            // Eighths, which serde_json reads exactly however they are spelled.
            let json = serde_json::to_string(&(strings, f64::from(eighths) / 8.0)).unwrap();
            if let Some(marked) = mark(&json) {
                let value: ruma::CanonicalJsonValue = serde_json::from_str(&marked).unwrap();
                let back = unmark(&serde_json::to_string(&value).unwrap());
                let read = |json: &str| serde_json::from_str::<serde_json::Value>(json).unwrap();
                prop_assert_eq!(read(&back), read(&json));
            }
        }
    }
}
