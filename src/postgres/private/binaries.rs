//! Finds the PostgreSQL servers installed on this machine and chooses one.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::error::PrivatePostgresError;
use super::version::Version;
use crate::postgres::version::supported;

/// A directory that contains a complete server, and its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Installation {
    pub bin_dir: PathBuf,
    pub version: Version,
}

impl Installation {
    /// The server in a directory; none unless `postgres` and `initdb` both run and report the same version.
    fn look(bin_dir: &Path) -> Option<Self> {
        let version = answer(&bin_dir.join("postgres"))?;
        (answer(&bin_dir.join("initdb"))? == version)
            .then(|| Self { bin_dir: bin_dir.to_path_buf(), version })
    }

    pub fn postgres(&self) -> PathBuf {
        self.bin_dir.join("postgres")
    }

    pub fn initdb(&self) -> PathBuf {
        self.bin_dir.join("initdb")
    }
}

fn answer(program: &Path) -> Option<Version> {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output().ok()?;
    if !output.status.success() {
        return None;
    }
    Version::parse(&String::from_utf8_lossy(&output.stdout))
}

/// The servers found on this machine in order of preference, and the directories searched.
#[derive(Debug)]
pub(super) struct Found {
    pub installations: Vec<Installation>,
    pub searched: Vec<PathBuf>,
}

/// Searches the given directory only, or else the usual places: `PATH`, `pg_config` and package directories.
pub(super) fn find(bin_dir: Option<&Path>) -> Found {
    let searched = bin_dir.map_or_else(usual_places, |named| vec![named.to_path_buf()]);
    let mut seen = BTreeSet::new();
    let installations = searched
        .iter()
        .filter_map(|place| place.canonicalize().ok())
        // Several directories may lead to the same program: `/bin` and `/usr/bin`, or links into a package directory.
        .filter(|place| seen.insert(place.join("postgres").canonicalize().ok()))
        .filter_map(|place| Installation::look(&place))
        .collect();
    Found { installations, searched }
}

fn usual_places() -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> = std::env::var_os("PATH")
        .iter()
        .flat_map(std::env::split_paths)
        // A relative entry would run a program from the current directory.
        .filter(|dir| dir.is_absolute())
        .collect();
    places.extend(pg_config_bindir());
    places.extend(newest_first("/usr/lib/postgresql", ""));
    places.extend(newest_first("/usr", "pgsql-"));
    places.extend(newest_first("/opt/homebrew/opt", "postgresql@"));
    places.extend(newest_first("/usr/local/opt", "postgresql@"));
    places
}

fn pg_config_bindir() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| PathBuf::from(text.trim()))
}

/// The `bin` directories of the packages in `parent` that are named `prefix` plus a major version, newest first.
fn newest_first(parent: &str, prefix: &str) -> Vec<PathBuf> {
    let names = std::fs::read_dir(parent).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let mut majors: Vec<(u32, PathBuf)> = names
        .filter_map(|name| {
            let major = name.to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((major, Path::new(parent).join(&name).join("bin")))
        })
        .collect();
    majors.sort_by(|a, b| b.cmp(a));
    majors.into_iter().map(|(_, bin)| bin).collect()
}

/// Chooses the server for existing files of a major version, or the first supported one for new files.
///
/// # Errors
/// [`PrivatePostgresError::BinariesMissing`], [`PrivatePostgresError::TooOld`] or [`PrivatePostgresError::OtherMajor`].
pub(super) fn choose(found: Found, data: Option<(u32, &Path)>) -> Result<Installation, PrivatePostgresError> {
    let Some(first) = found.installations.first() else {
        return Err(PrivatePostgresError::BinariesMissing { searched: found.searched });
    };
    let mut fit = found.installations.iter().filter(|one| supported(one.version.number()).is_ok());
    let Some((major, path)) = data else {
        return fit.next().cloned().ok_or_else(|| PrivatePostgresError::TooOld {
            found: first.version,
            bin_dir: first.bin_dir.clone(),
        });
    };
    // Only the same major version: PostgreSQL cannot read the files of another one.
    fit.find(|installation| installation.version.major == major).cloned().ok_or_else(|| {
        PrivatePostgresError::OtherMajor {
            path: path.to_path_buf(),
            data: major,
            found: found.installations.iter().map(|one| (one.version, one.bin_dir.clone())).collect(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(versions: &[u32]) -> Found {
        let installations = versions
            .iter()
            .map(|&major| Installation {
                bin_dir: format!("/pg/{major}").into(),
                version: Version { major, minor: 1 },
            })
            .collect();
        Found { installations, searched: vec!["/pg".into()] }
    }

    #[test]
    fn versions_are_read_as_the_programs_print_them() {
        for (text, major, minor) in [
            ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", 15, 18),
            ("initdb (PostgreSQL) 9.6.24", 9, 6),
            ("postgres (PostgreSQL) 19beta2", 19, 0),
            ("postgres (PostgreSQL) 18devel\n", 18, 0),
        ] {
            assert_eq!(Version::parse(text), Some(Version { major, minor }), "{text}");
        }
        assert_eq!(Version::parse("mysqld 8.0"), None);
        assert_eq!(Version { major: 15, minor: 18 }.number(), 150_018);
    }

    #[test]
    fn new_files_get_the_first_server_that_is_new_enough() {
        assert_eq!(choose(found(&[14, 16, 17]), None).unwrap().version.major, 16);
        assert!(matches!(choose(found(&[14]), None), Err(PrivatePostgresError::TooOld { .. })));
        assert!(matches!(choose(found(&[]), None), Err(PrivatePostgresError::BinariesMissing { .. })));
    }

    #[test]
    fn existing_files_get_the_server_of_their_own_major_version() {
        let path = Path::new("/d/postgres");
        assert_eq!(choose(found(&[17, 16, 15]), Some((15, path))).unwrap().version.major, 15);
        let refused = choose(found(&[17, 15]), Some((16, path)));
        assert!(matches!(refused, Err(PrivatePostgresError::OtherMajor { data: 16, .. })));
    }

    #[test]
    fn what_was_searched_is_named_when_nothing_is_there() {
        let error = choose(find(Some(Path::new("/nowhere/bin"))), None).unwrap_err().to_string();
        assert!(error.contains("/nowhere/bin") && error.contains("apt-get install postgresql"), "{error}");
    }
}
