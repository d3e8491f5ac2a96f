//! Compiles guests for WebAssembly with a nested cargo and wraps them as components. Shared by the
//! build script, for the plugins that come with pgsteer, and `pgsteer plugin build`, for others.
//!
//! The nested cargo has a target directory of its own: it must not wait for the lock of the outer.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use wit_component::ComponentEncoder;

/// Compiles the package or workspace in a directory. What the nested cargo says goes to `talk`; if
/// that is a pipe, into the error.
pub(crate) fn compile(directory: &Path, target: &Path, talk: Stdio) -> Result<(), String> {
    let toolchain = Toolchain::find()?;
    let mut command = Command::new(&toolchain.cargo);
    for (variable, _) in env::vars_os() {
        if disturbs(&variable.to_string_lossy()) {
            command.env_remove(variable);
        }
    }
    command
        .current_dir(directory)
        .args(["build", "--release", "--lib", "--target", TARGET])
        .env("CARGO_TARGET_DIR", target)
        .env("RUSTC", &toolchain.rustc);
    if toolchain.builds_std {
        // The sources are those of this very compiler; cargo calls that unstable all the same.
        command
            .args(["-Z", "build-std=std,panic_abort"])
            .env("RUSTC_BOOTSTRAP", "1");
    }
    if let Some(linker) = &toolchain.linker {
        command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
    }
    let output = command
        .stderr(talk)
        .output()
        .map_err(|error| at(&toolchain.cargo, &error))?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let (directory, rustc) = (directory.display(), toolchain.rustc.display());
    let failed = format!("{directory} cannot be compiled (with {rustc})\n{stderr}");
    Err(failed.trim_end().to_owned())
}

/// The component of a compiled plugin.
pub(crate) fn wrap(target: &Path, name: &str) -> Result<Vec<u8>, String> {
    let file = format!("{}.wasm", name.replace('-', "_"));
    let path = target.join(TARGET).join("release").join(file);
    let module = fs::read(&path).map_err(|error| at(&path, &error))?;
    ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| format!("{name} does not fit the plugin interface: {error:#}"))
}

/// Writes a file whole or not at all, and leaves it alone if nothing changed.
pub(crate) fn write(path: &Path, content: &[u8]) -> Result<(), String> {
    if fs::read(path).is_ok_and(|old| old == content) {
        return Ok(());
    }
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(|error| at(directory, &error))?;
    }
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    fs::write(&temporary, content).map_err(|error| at(&temporary, &error))?;
    fs::rename(&temporary, path).map_err(|error| at(path, &error))
}

/// Something that compiles for WebAssembly.
struct Toolchain {
    cargo: PathBuf,
    rustc: PathBuf,
    /// The standard library is compiled along; it is not installed.
    builds_std: bool,
    /// Named only if the compiler would not find one.
    linker: Option<PathBuf>,
}

impl Toolchain {
    fn find() -> Result<Self, String> {
        let cargo = PathBuf::from(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        let rustc = PathBuf::from(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        if has_std(&rustc) {
            return Ok(Self {
                cargo,
                rustc,
                builds_std: false,
                linker: None,
            });
        }
        let linker = find_linker(&rustc);
        let (cargo, rustc) = (
            PathBuf::from("/usr/bin/cargo"),
            PathBuf::from("/usr/bin/rustc"),
        );
        if has_std(&rustc) && cargo.exists() {
            return Ok(Self {
                cargo,
                rustc,
                builds_std: false,
                linker,
            });
        }
        if cargo.exists() && has_sources(&rustc) {
            return Ok(Self {
                cargo,
                rustc,
                builds_std: true,
                linker,
            });
        }
        Err(NO_TOOLCHAIN.to_owned())
    }
}

fn has_std(rustc: &Path) -> bool {
    let Some(directory) = print(rustc, &["target-libdir", "--target", TARGET]) else {
        return false;
    };
    let Ok(entries) = fs::read_dir(directory) else {
        return false;
    };
    entries
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"))
}

fn has_sources(rustc: &Path) -> bool {
    print(rustc, &["sysroot"]).is_some_and(|sysroot| {
        Path::new(&sysroot)
            .join("lib/rustlib/src/rust/library/std/Cargo.toml")
            .is_file()
    })
}

/// The linker that came with either compiler, or Debian's.
fn find_linker(rustc: &Path) -> Option<PathBuf> {
    let host = host(rustc)?;
    let of = |rustc: &Path| {
        let sysroot = PathBuf::from(print(rustc, &["sysroot"])?);
        Some(sysroot.join("lib/rustlib").join(&host).join("bin/rust-lld"))
    };
    let debian = ["/usr/lib/llvm-22/bin/wasm-ld", "/usr/bin/wasm-ld"].map(PathBuf::from);
    let candidates = [of(Path::new("/usr/bin/rustc")), of(rustc)]
        .into_iter()
        .flatten();
    candidates.chain(debian).find(|path| path.exists())
}

/// What the compiler runs on. Build scripts are told.
fn host(rustc: &Path) -> Option<String> {
    if let Ok(host) = env::var("HOST") {
        return Some(host);
    }
    let output = Command::new(rustc).arg("-vV").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("host: "))?;
    Some(line.trim().to_owned())
}

fn print(rustc: &Path, what: &[&str]) -> Option<String> {
    let mut command = Command::new(rustc);
    command.arg("--print").args(what);
    if rustc == Path::new("/usr/bin/rustc") {
        command.env_remove("LD_LIBRARY_PATH");
    }
    let output = command
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

/// What the outer cargo, or clippy, sets for itself. How to reach registries stays.
fn disturbs(variable: &str) -> bool {
    let kept = [
        "CARGO_HOME",
        "CARGO_HTTP_",
        "CARGO_NET_",
        "CARGO_REGISTR",
        "CARGO_SOURCE_",
    ];
    let dropped = [
        "CARGO",
        "RUSTC",
        "RUSTDOC",
        "RUSTFLAGS",
        "CLIPPY_",
        "__CARGO",
        "DEP_",
    ];
    let exact = ["MAKEFLAGS", "LD_LIBRARY_PATH", "OUT_DIR", "TARGET", "HOST"];
    exact.contains(&variable)
        || (dropped.iter().any(|prefix| variable.starts_with(prefix))
            && !kept.iter().any(|prefix| variable.starts_with(prefix)))
}

pub(crate) fn at(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

const TARGET: &str = "wasm32-unknown-unknown";

const NO_TOOLCHAIN: &str = "\
plugins need a Rust compiler for WebAssembly, and none was found
run scripts/prerequisites.sh, or do by hand one of these:
  rustup target add wasm32-unknown-unknown
  apt-get install rustc-web cargo-web rust-web-src lld-22   (Debian 12)";
