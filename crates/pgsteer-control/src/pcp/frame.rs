//! The wire format: a byte that says what it is, the length as four bytes in network order, itself
//! included and the first byte not, and strings that end with a zero.

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    /// What it is.
    pub(super) tag: u8,
    /// What follows the length.
    pub(super) body: &'a [u8],
}

/// The length cannot be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Longest body; the tools send less than a hundred bytes.
pub(super) const BODY_BYTES_MAX: usize = 4096;

const HEAD_BYTES: usize = 5;

/// The first message of these bytes and how many it takes; none if it is not complete.
pub(super) fn decode(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, Malformed> {
    let Some((&[tag, a, b, c, d], rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes([a, b, c, d]);
    let length = usize::try_from(length).ok().and_then(|l| l.checked_sub(4));
    let length = length.filter(|length| *length <= BODY_BYTES_MAX);
    let length = length.ok_or(Malformed)?;
    let frame = rest.get(..length).map(|body| Frame { tag, body });
    Ok(frame.map(|frame| (frame, HEAD_BYTES + length)))
}

impl<'a> Frame<'a> {
    /// The strings of the body; what has no end counts as one too.
    pub(super) fn strings(&self) -> impl Iterator<Item = &'a [u8]> {
        let body = self.body.strip_suffix(&[0]).unwrap_or(self.body);
        body.split(|byte| *byte == 0)
    }

    /// The first string as a number.
    pub(super) fn number(&self) -> Option<i64> {
        let first = self.strings().next()?;
        std::str::from_utf8(first).ok()?.trim().parse().ok()
    }
}

/// Appends a message.
pub(super) fn put(out: &mut Vec<u8>, tag: u8, body: &[u8]) {
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    out.push(tag);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(body);
}

/// Appends a message of strings. A zero inside one would begin the next, so it is left out.
pub(super) fn put_strings<S: AsRef<str>>(
    out: &mut Vec<u8>,
    tag: u8,
    strings: impl IntoIterator<Item = S>,
) {
    let mut body = Vec::new();
    for string in strings {
        body.extend(string.as_ref().bytes().filter(|byte| *byte != 0));
        body.push(0);
    }
    put(out, tag, &body);
}

/// Appends an error as the tools print it: `SEVERITY:  message`, `DETAIL:  detail`.
pub(super) fn put_error(out: &mut Vec<u8>, severity: &str, message: &str, detail: &str) {
    let clean = |text: &str| text.replace('\0', "");
    let mut fields = vec![
        format!("S{severity}"),
        "CXX000".to_owned(),
        format!("M{}", clean(message)),
    ];
    if !detail.is_empty() {
        fields.push(format!("D{}", clean(detail)));
    }
    fields.extend(["Fpgsteer".to_owned(), "L0".to_owned(), String::new()]);
    put_strings(out, b'E', fields);
}

/// What every answer of success begins with.
pub(super) const COMPLETE: &str = "CommandComplete";
