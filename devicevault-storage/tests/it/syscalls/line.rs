//! A line of `strace -f -y -xx`: the process, the call, its arguments and what came back.

use std::collections::HashMap;

/// A call that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) thread: String,
    pub(super) name: String,
    pub(super) args: Vec<Arg>,
    pub(super) result: Arg,
}

impl Call {
    /// Whether a path that it names, or a descriptor's, lies there.
    pub(super) fn touches(&self, folder: &str) -> bool {
        let below = |path: &str| path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        self.args.iter().chain([&self.result]).any(|arg| {
            arg.path.as_deref().is_some_and(below)
                || arg.text.as_deref().and_then(|t| std::str::from_utf8(t).ok()).is_some_and(below)
        })
    }
}

/// A number, word or descriptor, the path that a descriptor stands for, and a text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Arg {
    pub(super) word: String,
    pub(super) path: Option<String>,
    pub(super) text: Option<Vec<u8>>,
}

impl Arg {
    pub(super) fn number(&self) -> Option<usize> {
        self.word.trim().parse().ok()
    }

    fn parse(part: &str) -> Self {
        let part = part.trim();
        if let Some(quoted) = part.strip_prefix('"') {
            let (hex, rest) = quoted.split_once('"').unwrap_or((quoted, ""));
            assert!(!rest.starts_with("..."), "a text was cut off");
            return Self { text: Some(decoded(hex)), ..Self::default() };
        }
        let (word, path) = match part.split_once('<') {
            Some((word, path)) => (word, path.split_once('>').map(|(path, _)| path)),
            None => (part, None),
        };
        let path = path.map(|p| String::from_utf8_lossy(&decoded(p)).into_owned());
        Self { word: word.to_owned(), path, text: None }
    }
}

/// `\x61\x62`, and whatever else stands there as it is.
fn decoded(text: &str) -> Vec<u8> {
    let (bytes, mut out, mut at) = (text.as_bytes(), Vec::new(), 0);
    while at < bytes.len() {
        let hex = text.get(at..at + 4).and_then(|s| s.strip_prefix("\\x"));
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 4;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    out
}

/// The calls of a log, in the order in which they ended: one that another thread's stood between is put together again.
pub(super) fn calls(log: &str) -> Vec<Call> {
    let mut begun: HashMap<&str, String> = HashMap::new();
    let mut all = Vec::new();
    for line in log.lines() {
        let Some((process, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if let Some(head) = rest.strip_suffix("<unfinished ...>") {
            begun.insert(process, head.to_owned());
            continue;
        }
        let resumed = rest.strip_prefix("<... ").and_then(|r| r.split_once(" resumed>")).map(|(_, tail)| tail);
        let whole = match resumed {
            Some(tail) => begun.remove(process).unwrap_or_default() + tail,
            None => rest.to_owned(),
        };
        let Some((name, rest)) = whole.split_once('(') else { continue };
        let Some((args, result)) = rest
            .rsplit_once(") = ")
            .or_else(|| rest.rsplit_once(')').and_then(|(args, r)| Some((args, r.split_once("= ")?.1))))
        else {
            continue;
        };
        // Braces are of structures that nothing is read from but the flags in them.
        let args = args.split(", ").map(Arg::parse).collect();
        all.push(Call { thread: process.to_owned(), name: name.to_owned(), args, result: Arg::parse(result) });
    }
    all
}

#[test]
fn lines_are_read() {
    let log = "7 openat(3<\\x2f\\x74>, \"\\x61\", O_RDWR|O_CREAT, 0600) = 5<\\x2f\\x74\\x2f\\x61>\n\
               7 write(5<\\x2f\\x74\\x2f\\x61>, \"\\x01\\x02\", 2 <unfinished ...>\n8 fsync(6<\\x2f\\x62>) = 0\n\
               7 <... write resumed>)              = 2\n7 +++ exited with 0 +++\n";
    let all = calls(log);
    assert_eq!(all.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["openat", "fsync", "write"]);
    assert_eq!((all[0].args[1].text.as_deref(), all[0].result.path.as_deref()), (Some(&b"a"[..]), Some("/t/a")));
    assert_eq!((all[2].args[0].path.as_deref(), all[2].result.number()), (Some("/t/a"), Some(2)));
    assert_eq!(all[2].args[1].text.as_deref(), Some(&[1, 2][..]));
}
