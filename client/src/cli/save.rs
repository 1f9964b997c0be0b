//! Received files, written where a person wants them.

use crate::content::file_name;
use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// Tries at most so many names.
const NAMES: u32 = 10_000;

/// Writes a file into `dir`, which is made if it is missing, and says where it is. Nothing is overwritten: the name gets a
/// number, ` (2)`, instead; a file that is there already with these very bytes is left and named. The sender's name is
/// taken as one path component, whatever it holds.
pub(super) fn save(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<PathBuf> {
    fs::create_dir_all(dir)?;
    let name = file_name(name);
    for number in 1..=NAMES {
        let path = dir.join(numbered(&name, number));
        // `create_new` fails on anything that is there, also on a link to elsewhere.
        match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(mut file) => {
                let written = file.write_all(bytes).and_then(|()| file.sync_all());
                if written.is_err() {
                    let _ = fs::remove_file(&path);
                }
                return written.map(|()| path);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if is_same(&path, bytes) {
                    return Ok(path);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "too many files of this name"))
}

fn numbered(name: &str, number: u32) -> String {
    match (number, name.rsplit_once('.')) {
        (1, _) => name.to_owned(),
        (_, Some((stem, ending))) if !stem.is_empty() => format!("{stem} ({number}).{ending}"),
        _ => format!("{name} ({number})"),
    }
}

fn is_same(path: &Path, bytes: &[u8]) -> bool {
    let regular = fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.len() == bytes.len() as u64);
    regular && fs::read(path).is_ok_and(|found| found == bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_overwritten_and_the_same_file_is_not_written_twice() {
        let dir = tempfile::tempdir().unwrap();
        let save = |name: &str, bytes: &[u8]| {
            let path = save(dir.path(), name, bytes).unwrap();
            path.strip_prefix(dir.path()).unwrap().to_str().unwrap().to_owned()
        };
        assert_eq!(save("a.txt", b"1"), "a.txt");
        assert_eq!(save("a.txt", b"2"), "a (2).txt");
        assert_eq!(save("a.txt", b"3"), "a (3).txt");
        assert_eq!(save("a.txt", b"2"), "a (2).txt");
        assert_eq!(save("b", b"1"), "b");
        assert_eq!(save("b", b"2"), "b (2)");
        assert_eq!(fs::read(dir.path().join("a.txt")).unwrap(), b"1");
    }

    #[test]
    fn a_file_never_leaves_its_folder_nor_follows_a_link() {
        let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let target = elsewhere.path().join("target");
        std::os::unix::fs::symlink(&target, dir.path().join("link")).unwrap();
        for name in ["../../x", "/etc/passwd", "..", "link"] {
            let path = save(dir.path(), name, b"1").unwrap();
            assert_eq!(path.parent().unwrap(), dir.path());
        }
        assert!(!target.exists());
    }
}
