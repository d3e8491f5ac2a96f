//! The `traceparent` that a client puts into a comment of its statement, as sqlcommenter does:
//! `SELECT 1 /*traceparent='00-<trace>-<span>-01'*/`. The format of the value is W3C Trace Context's.

/// Which span of whose trace a statement belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace.
    pub trace_id: [u8; 16],
    /// The span the statement is part of.
    pub span_id: [u8; 8],
    /// Whether the client records it, and wants others to.
    pub is_sampled: bool,
}

/// Looks for it in the comment at the end of a text, where sqlcommenter puts it, then in one at the
/// beginning. Comments in between are not looked at.
#[must_use]
pub fn trace_parent(text: &[u8]) -> Option<TraceParent> {
    last_comment(text)
        .and_then(in_comment)
        .or_else(|| first_comment(text).and_then(in_comment))
}

/// What is between the signs of the comment a text ends with.
fn last_comment(text: &[u8]) -> Option<&[u8]> {
    let is_filler = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b';' | 0);
    let end = text.iter().rposition(|byte| !is_filler(byte))? + 1;
    let inside = text.get(..end)?.strip_suffix(b"*/")?;
    let window = inside.get(inside.len().saturating_sub(COMMENT_BYTES_MAX)..)?;
    let start = window.windows(2).rposition(|two| two == b"/*")?;
    window.get(start + 2..)
}

/// What is between the signs of the comment a text begins with.
fn first_comment(text: &[u8]) -> Option<&[u8]> {
    let inside = text.trim_ascii_start().strip_prefix(b"/*")?;
    let window = inside.get(..inside.len().min(COMMENT_BYTES_MAX))?;
    let end = window.windows(2).position(|two| two == b"*/")?;
    window.get(..end)
}

fn in_comment(comment: &[u8]) -> Option<TraceParent> {
    const KEY: &[u8] = b"traceparent=";
    let at = comment.windows(KEY.len()).position(|part| part == KEY)?;
    let value = comment.get(at + KEY.len()..)?;
    let value = value.strip_prefix(b"'").unwrap_or(value);
    let value = value.get(..VALUE_LEN)?;
    let dashes = [2, 35, 52].iter().all(|at| value.get(*at) == Some(&b'-'));
    if !dashes || value.starts_with(b"ff") {
        return None;
    }
    let mut trace_id = [0; 16];
    let mut span_id = [0; 8];
    let mut flags = [0; 1];
    hex(value.get(3..35)?, &mut trace_id)?;
    hex(value.get(36..52)?, &mut span_id)?;
    hex(value.get(53..55)?, &mut flags)?;
    // Zeros stand for none in the standard.
    if trace_id == [0; 16] || span_id == [0; 8] {
        return None;
    }
    let is_sampled = flags[0] & 1 == 1;
    Some(TraceParent {
        trace_id,
        span_id,
        is_sampled,
    })
}

fn hex(digits: &[u8], bytes: &mut [u8]) -> Option<()> {
    // Upper case is not valid there, and harms nobody.
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(())
}

/// Length of a value of version 00.
const VALUE_LEN: usize = 55;

/// Longest comment that is looked at; ours.
const COMMENT_BYTES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn it_is_found_where_clients_put_it() {
        for text in [
            format!("SELECT 1 /*traceparent='{VALUE}'*/"),
            format!("SELECT 1 /*action='x%27y',traceparent='{VALUE}',tracestate='a'*/ ;\n"),
            format!("/* traceparent={VALUE} */ SELECT 1"),
            format!("SELECT 1 /* other */ /*traceparent='{VALUE}'*/"),
            format!("/*traceparent='{VALUE}'*/ SELECT 1 /* other */"),
        ] {
            let found = trace_parent(text.as_bytes()).expect(&text);
            assert_eq!(found.trace_id[..3], [0x0a, 0xf7, 0x65], "{text}");
            assert_eq!(found.span_id[7], 0x31, "{text}");
            assert!(found.is_sampled, "{text}");
        }
        let unsampled = VALUE.replace("-01", "-00");
        let text = format!("SELECT 1 /*traceparent='{unsampled}'*/");
        assert!(!trace_parent(text.as_bytes()).expect("one").is_sampled);
    }

    #[test]
    fn what_is_none_is_none() {
        let zeros = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
        for text in [
            String::new(),
            "SELECT 1".to_owned(),
            "*/".to_owned(),
            "/*".to_owned(),
            "/*/".to_owned(),
            format!("SELECT 'traceparent={VALUE}'"),
            format!("SELECT 1 -- traceparent='{VALUE}'"),
            format!("SELECT 1 /*traceparent='{}'*/", VALUE.replace('0', "x")),
            format!(
                "SELECT 1 /*traceparent='{}'*/",
                VALUE.replace("00-0", "ff-0")
            ),
            format!("SELECT 1 /*traceparent='{zeros}'*/"),
            "SELECT 1 /*traceparent='00-0a'*/".to_owned(),
            format!(
                "SELECT 1 /*{}traceparent='{VALUE}'*/ /*x*/",
                "y".repeat(5000)
            ),
        ] {
            assert_eq!(trace_parent(text.as_bytes()), None, "{text}");
        }
    }
}
