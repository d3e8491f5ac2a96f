//! Memory of this process, as the kernel counts it.

fn status(field: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = text.lines().find(|line| line.starts_with(field));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.and_then(|n| n.parse().ok()).expect("a number")
}

pub(crate) fn resident_kib() -> u64 {
    status("VmRSS:")
}

pub(crate) fn peak_kib() -> u64 {
    status("VmHWM:")
}

/// The peak is counted from now on.
pub(crate) fn forget_peak() {
    // Where that is not allowed the peak includes the past, which only makes tests stricter.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}
