//! What the tools want.

use super::frame::Frame;

/// A request after the login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// `pcp_node_count`
    NodeCount,
    /// `pcp_node_info`; without a number all nodes.
    NodeInfo(Option<i64>),
    /// `pcp_health_check_stats`
    HealthCheckStats(i64),
    /// `pcp_proc_count`
    ProcessCount,
    /// `pcp_proc_info`; without a number all processes.
    ProcessInfo(Option<i64>),
    /// `pcp_attach_node`
    Attach(i64),
    /// `pcp_detach_node`, with or without `-g`: sessions always finish what they are at.
    Detach(i64),
    /// `pcp_promote_node`
    Promote(i64),
    /// `pcp_promote_node -s`
    Switchover(i64),
    /// `pcp_reload_config`
    Reload,
    /// `pcp_stop_pgpool`
    Stop {
        /// `-m immediate`
        now: bool,
    },
    /// `pcp_watchdog_info`
    Watchdog,
    /// The tool is done.
    Disconnect,
}

impl Request {
    /// Reads a message; the error is for the operator.
    pub(super) fn read(frame: &Frame<'_>) -> Result<Self, &'static str> {
        let node = || frame.number().ok_or("the number of a node is missing");
        let one = |number: i64, all: i64| (number != all).then_some(number);
        Ok(match frame.tag {
            b'L' => Self::NodeCount,
            b'I' => Self::NodeInfo(one(node()?, -1)),
            b'H' => Self::HealthCheckStats(node()?),
            b'N' => Self::ProcessCount,
            b'P' => {
                let process = frame.number().ok_or("the number of a process is missing")?;
                Self::ProcessInfo(one(process, 0))
            }
            b'C' => Self::Attach(node()?),
            b'D' | b'd' => Self::Detach(node()?),
            b'J' | b'j' if frame.strings().nth(1) == Some(b"s") => Self::Switchover(node()?),
            b'J' | b'j' => Self::Promote(node()?),
            b'Z' => Self::Reload,
            b'T' | b't' => Self::Stop {
                now: frame.body.first() == Some(&b'i'),
            },
            b'W' => Self::Watchdog,
            b'X' => Self::Disconnect,
            b'O' => return Err("there is no online recovery; rebuild a node with pg_basebackup"),
            b'B' => {
                return Err("there is no pool status here; ask SHOW pool_status in the console");
            }
            b'A' => return Err("settings of a session are set in the console"),
            _ => return Err("there is no such request here"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_debians_tools_send_is_understood() {
        // Bodies as the tools of 4.3.5 send them.
        let cases: &[(u8, &[u8], Request)] = &[
            (b'L', b"", Request::NodeCount),
            (b'I', b"0\0", Request::NodeInfo(Some(0))),
            (b'I', b"-1\0", Request::NodeInfo(None)),
            (b'H', b"1\0", Request::HealthCheckStats(1)),
            (b'N', b"", Request::ProcessCount),
            (b'P', b"0\0", Request::ProcessInfo(None)),
            (b'P', b"99999\0", Request::ProcessInfo(Some(99_999))),
            (b'C', b"1\0", Request::Attach(1)),
            (b'D', b"7\0", Request::Detach(7)),
            (b'd', b"1\0", Request::Detach(1)),
            (b'J', b"1 \0n", Request::Promote(1)),
            (b'j', b"1 \0n", Request::Promote(1)),
            (b'J', b"1 \0s", Request::Switchover(1)),
            (b'Z', b"l", Request::Reload),
            (b'T', b"s", Request::Stop { now: false }),
            (b'T', b"f", Request::Stop { now: false }),
            (b'T', b"i", Request::Stop { now: true }),
            (b'W', b"-1\0", Request::Watchdog),
            (b'X', b"", Request::Disconnect),
        ];
        for (tag, body, expected) in cases {
            let frame = Frame { tag: *tag, body };
            assert_eq!(Request::read(&frame), Ok(*expected), "{}", *tag as char);
        }
        for (tag, body) in [
            (b'C', b"".as_slice()),
            (b'C', b"x\0"),
            (b'O', b"1\0"),
            (0, b""),
        ] {
            assert!(Request::read(&Frame { tag, body }).is_err());
        }
    }
}
