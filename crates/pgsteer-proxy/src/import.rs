//! The command `import`: files of Pgpool-II, PgBouncer or PgCat in, a configuration out, the report on standard error.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use pgsteer_control::import::{FileKind, InputFile, import, references};

use crate::cli::{ImportArgs, complain};

/// Runs the command. Exit codes: 0 written, 1 cannot be written, 2 not understood.
pub(crate) fn run(args: &ImportArgs) -> ExitCode {
    let files = match read(args) {
        Ok(files) => files,
        Err(problems) => {
            complain(&problems.join("\n"));
            return ExitCode::from(2);
        }
    };
    let imported = match import(&files) {
        Ok(imported) => imported,
        Err(mistakes) => {
            complain(&mistakes.to_string());
            complain("nothing was written");
            return ExitCode::from(2);
        }
    };
    complain(&imported.report.to_string());
    match write(args.output.as_deref(), &imported.toml) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            complain(&format!("pgsteer: {problem}"));
            ExitCode::FAILURE
        }
    }
}

/// Reads all files; every one that cannot be used is named.
fn read(args: &ImportArgs) -> Result<Vec<InputFile>, Vec<String>> {
    let mut files = Vec::new();
    let mut problems = Vec::new();
    for (path, kind) in named(args) {
        let Some(kind) = kind else {
            problems.push(format!(
                "{}: cannot tell from its name what it is; say so with --conf, --hba, --passwd, --pcp, \
                 --pgbouncer, --userlist or --pgcat",
                path.display()
            ));
            continue;
        };
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => files.push(InputFile { name, kind, text }),
            Err(error) => problems.push(format!("{name}: cannot be read: {error}")),
        }
    }
    read_named(&mut files, &mut problems);
    let mains = [FileKind::Conf, FileKind::PgbouncerIni, FileKind::Pgcat];
    let of_kind = |kind: &FileKind| files.iter().any(|file| file.kind == *kind);
    match mains.iter().filter(|&kind| of_kind(kind)).count() {
        _ if !problems.is_empty() => {}
        0 => problems.push(
            "name a pgpool.conf, a pgbouncer.ini or a pgcat.toml: everything else belongs to it"
                .to_owned(),
        ),
        1 => {}
        _ => problems.push("name the files of one program: one file comes out".to_owned()),
    }
    if problems.is_empty() {
        Ok(files)
    } else {
        Err(problems)
    }
}

/// Reads the files that those read so far name, right behind the one that names them.
fn read_named(files: &mut Vec<InputFile>, problems: &mut Vec<String>) {
    let mut at = 0;
    while let Some(file) = files.get(at) {
        at += 1;
        let beside = Path::new(&file.name)
            .parent()
            .unwrap_or(Path::new(""))
            .to_owned();
        let mut behind = at;
        let named = references(file);
        for (name, kind) in named {
            let is_read = files.iter().any(|file| file.name.ends_with(&name));
            if is_read || files.len() >= FILES_MAX {
                continue;
            }
            let found = [PathBuf::from(&name), beside.join(&name)];
            let found = found.iter().find(|path| path.exists());
            // One that is not there is reported by the import.
            let Some(path) = found else { continue };
            let name = path.display().to_string();
            match std::fs::read_to_string(path) {
                Ok(text) => {
                    files.insert(behind, InputFile { name, kind, text });
                    behind += 1;
                }
                Err(error) => problems.push(format!("{name}: cannot be read: {error}")),
            }
        }
    }
}

/// Files of one import; an include that includes itself ends here.
const FILES_MAX: usize = 100;

/// Every path with what it is, as far as that is known. Files that are named by an option come
/// later and so count more.
fn named(args: &ImportArgs) -> Vec<(&Path, Option<FileKind>)> {
    let by_name = args.files.iter().map(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        (path.as_path(), FileKind::of_name(&name))
    });
    let by_option = [
        (&args.conf, FileKind::Conf),
        (&args.hba, FileKind::Hba),
        (&args.passwd, FileKind::Passwd),
        (&args.pcp, FileKind::Pcp),
        (&args.pgbouncer, FileKind::PgbouncerIni),
        (&args.userlist, FileKind::Userlist),
        (&args.pgcat, FileKind::Pgcat),
    ];
    let by_option = by_option.into_iter().flat_map(|(paths, kind)| {
        let paths: &[PathBuf] = paths;
        paths.iter().map(move |path| (path.as_path(), Some(kind)))
    });
    by_name.chain(by_option).collect()
}

/// Writes to standard output, or into a new file that only its owner can read.
fn write(output: Option<&Path>, toml: &str) -> Result<(), String> {
    let Some(path) = output else {
        let mut out = io::stdout().lock();
        return out
            .write_all(toml.as_bytes())
            .and_then(|()| out.flush())
            .map_err(|error| format!("cannot write: {error}"));
    };
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let result = options.open(path).and_then(|mut file| {
        file.write_all(toml.as_bytes())?;
        file.sync_all()
    });
    result.map_err(|error| {
        let name = path.display();
        match error.kind() {
            io::ErrorKind::AlreadyExists => {
                format!("{name} exists and is left as it is; name another file with -o")
            }
            _ => format!("{name}: cannot be written: {error}"),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(files: &[&Path], output: Option<&Path>) -> ImportArgs {
        ImportArgs {
            files: files.iter().map(|path| path.to_path_buf()).collect(),
            conf: Vec::new(),
            hba: Vec::new(),
            passwd: Vec::new(),
            pcp: Vec::new(),
            pgbouncer: Vec::new(),
            userlist: Vec::new(),
            pgcat: Vec::new(),
            output: output.map(Path::to_path_buf),
        }
    }

    #[test]
    fn a_file_is_written_once_and_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().expect("a directory");
        let (conf, out) = (dir.path().join("pgpool.conf"), dir.path().join("out.toml"));
        std::fs::write(&conf, "backend_hostname0 = 'a'\n").expect("written");
        let args = args(&[&conf], Some(&out));
        assert_eq!(run(&args), ExitCode::SUCCESS);
        let mode = std::fs::metadata(&out).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(&out, "mine").expect("written");
        assert_eq!(run(&args), ExitCode::FAILURE);
        assert_eq!(std::fs::read_to_string(&out).expect("there"), "mine");
    }

    #[test]
    fn what_a_pgbouncer_ini_names_is_read_too() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).expect("written");
            path
        };
        let main = write(
            "pgbouncer.ini",
            "%include more.ini\n[pgbouncer]\nauth_file = users\n",
        );
        write("more.ini", "[databases]\n* = host=10.0.0.1\n");
        write("users", "\"a\" \"b\"\n");
        let out = dir.path().join("out.toml");
        assert_eq!(run(&args(&[&main], Some(&out))), ExitCode::SUCCESS);
        let toml = std::fs::read_to_string(&out).expect("written");
        assert!(toml.contains("host = \"10.0.0.1\""), "{toml}");
    }

    #[test]
    fn what_cannot_be_understood_is_bad_usage() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).expect("written");
            path
        };
        let odd = path("settings.txt", "port = 1\n");
        let wrong = path("pgpool.conf", "port = \n");
        let users = path("pool_passwd", "a:b\n");
        for files in [
            [odd.as_path()],
            [&wrong],
            [&users],
            [Path::new("/nowhere/pgpool.conf")],
        ] {
            assert_eq!(run(&args(&files, None)), ExitCode::from(2), "{files:?}");
        }
        let mut by_option = args(&[], Some(&dir.path().join("out.toml")));
        by_option.conf.push(odd);
        assert_eq!(run(&by_option), ExitCode::SUCCESS);
    }
}
