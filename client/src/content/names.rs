//! Names that come from others, made safe to show and to write to disk.

use super::MAX_FILE_NAME;
use crate::store::contacts::MAX_NAME;

/// Bytes of a person's name that are looked at; [`person_name`] cuts it further.
pub(super) const MAX_RAW_NAME: usize = 256;

/// A file name that is one path component, without control characters and direction overrides (which make `exe.txt` of
/// `txt.exe`), not hidden, at most [`MAX_FILE_NAME`] bytes. What is left of nothing is `file`. Sanitizing twice changes
/// nothing.
pub fn file_name(raw: &str) -> String {
    // The last component: `../../etc/passwd` is a file called `passwd`.
    let last = raw.rsplit(['/', '\\']).next().unwrap_or_default();
    let clean: String = last.chars().filter(|&c| !is_unsafe(c) && !":*?\"<>|".contains(c)).collect();
    let clean = cut(clean.trim_start_matches([' ', '.']), MAX_FILE_NAME);
    let clean = clean.trim_end_matches([' ', '.']);
    if clean.is_empty() { "file".to_owned() } else { clean.to_owned() }
}

/// A person's name: one line, no control characters, no direction overrides, single spaces, at most
/// [`crate::store::contacts::MAX_NAME`] bytes. May be empty: the caller then chooses one. Sanitizing twice changes nothing.
pub fn person_name(raw: &str) -> String {
    let clean: String =
        raw.chars().map(|c| if c.is_whitespace() { ' ' } else { c }).filter(|&c| !is_unsafe(c)).collect();
    let single = clean.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    cut(&single, MAX_NAME).trim_end().to_owned()
}

/// Control characters, and the invisible ones that change how the rest is read.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn cut(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_never_leaves_its_folder() {
        for (raw, clean) in [
            ("../../etc/passwd", "passwd"),
            ("C:\\temp\\a.txt", "a.txt"),
            ("..", "file"),
            ("", "file"),
            ("a/", "file"),
            (".bashrc", "bashrc"),
            ("a\u{202e}txt.exe", "atxt.exe"),
            ("a\nb\0c", "abc"),
            ("notes. . ", "notes"),
            ("Übersicht 1.pdf", "Übersicht 1.pdf"),
        ] {
            assert_eq!(file_name(raw), clean, "{raw:?}");
        }
        assert_eq!(file_name(&"ä".repeat(300)).len(), 254);
    }

    #[test]
    fn a_person_name_is_one_clean_line() {
        assert_eq!(person_name("  Bob\n\tthe \u{202e} builder "), "Bob the builder");
        assert_eq!(person_name("\u{7}"), "");
        assert!(person_name(&"x".repeat(1_000)).len() <= MAX_NAME);
    }
}
