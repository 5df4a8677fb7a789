//! The bytes of Telnet: what is text, what is a command (RFC 854, RFC 855), and how text is written.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use bytes::BytesMut;

/// Interpret as command: what follows is one.
pub(super) const IAC: u8 = 255;
const SB: u8 = 250;
const SE: u8 = 240;
const CR: u8 = b'\r';
const LF: u8 = b'\n';
const NUL: u8 = 0;

/// Longer option texts are passed over: none that is known here has more than a few bytes.
const LONGEST_OPTION: usize = 512;

/// The four words of option negotiation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Will,
    Wont,
    Do,
    Dont,
}

impl Verb {
    pub(super) const fn byte(self) -> u8 {
        match self {
            Self::Will => 251,
            Self::Wont => 252,
            Self::Do => 253,
            Self::Dont => 254,
        }
    }

    fn of(byte: u8) -> Option<Self> {
        [Self::Will, Self::Wont, Self::Do, Self::Dont].into_iter().find(|v| v.byte() == byte)
    }
}

/// Who is told what was read.
pub(super) trait Heard {
    /// Text of the device.
    fn text(&mut self, byte: u8);
    /// It negotiates an option.
    fn negotiate(&mut self, verb: Verb, option: u8);
    /// It says something of an option.
    fn option(&mut self, option: u8, text: &[u8]);
    /// Whether its text is binary now (RFC 856): then CR NUL is no way to write CR.
    fn is_binary(&self) -> bool;
}

/// Reads; knows where it stands between any two bytes.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    state: State,
    option: Vec<u8>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// A CR was read and handed on.
    Cr,
    Command,
    Negotiation(Verb),
    /// Within `IAC SB … IAC SE`.
    Option,
    OptionCommand,
}

impl Decoder {
    pub(super) fn feed(&mut self, bytes: &[u8], heard: &mut impl Heard) {
        for byte in bytes {
            self.state = self.step(*byte, heard);
        }
    }

    fn step(&mut self, byte: u8, heard: &mut impl Heard) -> State {
        match (self.state, byte) {
            (State::Text | State::Cr, IAC) => State::Command,
            (State::Cr, NUL) if !heard.is_binary() => State::Text,
            (State::Text | State::Cr, byte) => {
                heard.text(byte);
                if byte == CR { State::Cr } else { State::Text }
            }
            (State::Command, IAC) => {
                heard.text(IAC);
                State::Text
            }
            (State::Command, SB) => {
                self.option.clear();
                State::Option
            }
            (State::Command, byte) => Verb::of(byte).map_or(State::Text, State::Negotiation),
            (State::Negotiation(verb), option) => {
                heard.negotiate(verb, option);
                State::Text
            }
            (State::Option, IAC) => State::OptionCommand,
            (State::Option, byte) => {
                self.keep(byte);
                State::Option
            }
            (State::OptionCommand, IAC) => {
                self.keep(IAC);
                State::Option
            }
            (State::OptionCommand, SE) => {
                if let Some((option, text)) = self.option.split_first().filter(|_| self.option.len() <= LONGEST_OPTION)
                {
                    heard.option(*option, text);
                }
                State::Text
            }
            // No option holds a command: its end was lost, and this is one.
            (State::OptionCommand, byte) => {
                self.state = State::Command;
                self.step(byte, heard)
            }
        }
    }

    fn keep(&mut self, byte: u8) {
        // One more than is allowed, so that it is known to be too long.
        if self.option.len() <= LONGEST_OPTION {
            self.option.push(byte);
        }
    }
}

/// How a line's end is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    /// A line at a time (RFC 854): CR LF.
    Lines,
    /// A character at a time, as the return key of a terminal: CR NUL.
    Keys,
    /// Binary: CR.
    Binary,
}

/// Text as it is sent. `\n` and `\r` stand for the return key, `\r\n` for both characters.
pub(super) fn encode(text: &[u8], ends: Ends, out: &mut BytesMut) {
    let mut bytes = text.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match (byte, ends) {
            (IAC, _) => out.extend_from_slice(&[IAC, IAC]),
            (CR, _) if bytes.peek() == Some(&LF) => {
                bytes.next();
                out.extend_from_slice(b"\r\n");
            }
            (CR | LF, Ends::Lines) => out.extend_from_slice(b"\r\n"),
            (CR | LF, Ends::Keys) => out.extend_from_slice(b"\r\0"),
            (CR | LF, Ends::Binary) => out.extend_from_slice(b"\r"),
            (byte, _) => out.extend_from_slice(&[byte]),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Default, PartialEq, Eq, Clone)]
    struct Kept {
        text: Vec<u8>,
        said: Vec<String>,
        binary: bool,
    }

    impl Heard for Kept {
        fn text(&mut self, byte: u8) {
            self.text.push(byte);
        }
        fn negotiate(&mut self, verb: Verb, option: u8) {
            self.said.push(format!("{verb:?} {option} at {}", self.text.len()));
        }
        fn option(&mut self, option: u8, text: &[u8]) {
            self.said.push(format!("{option} {} at {}", text.escape_ascii(), self.text.len()));
        }
        fn is_binary(&self) -> bool {
            self.binary
        }
    }

    fn heard<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, binary: bool) -> Kept {
        let (mut decoder, mut kept) = (Decoder::default(), Kept { binary, ..Kept::default() });
        for piece in pieces {
            decoder.feed(piece, &mut kept);
        }
        assert!(decoder.option.len() <= LONGEST_OPTION + 1);
        kept
    }

    #[test]
    fn commands_are_taken_out_of_the_text() {
        let all = heard([&b"a\xff\xfb\x01b\xff\xff\xff\xf1c\xff\xfa\x18\x01\xff\xff\xff\xf0d\r\0e\r\nf"[..]], false);
        assert_eq!(all.text, b"ab\xffcd\re\r\nf");
        assert_eq!(all.said, ["Will 1 at 1", r"24 \x01\xff at 4"]);
        // An option without an end, and a command within.
        let cut = heard([&b"\xff\xfa\x18abc\xff\xfd\x03x\xff\xfa"[..]], false);
        assert_eq!((cut.text.as_slice(), cut.said.as_slice()), (&b"x"[..], &["Do 3 at 0".to_owned()][..]));
        assert_eq!(heard([&b"a\r\0b"[..]], true).text, b"a\r\0b");
    }

    #[test]
    fn an_option_that_is_too_long_says_nothing() {
        for (length, told) in [(LONGEST_OPTION - 1, true), (LONGEST_OPTION, false), (1 << 20, false)] {
            let mut bytes = vec![IAC, SB, 24];
            bytes.extend(std::iter::repeat_n(b'x', length));
            bytes.extend([IAC, SE, b'y']);
            let kept = heard([bytes.as_slice()], false);
            assert_eq!((kept.said.len() == 1, kept.text.as_slice()), (told, &b"y"[..]), "{length}");
        }
    }

    #[test]
    fn a_line_end_is_what_the_device_expects() {
        let sent = |text: &[u8], ends| {
            let mut out = BytesMut::new();
            encode(text, ends, &mut out);
            out.to_vec()
        };
        assert_eq!(sent(b"show\n", Ends::Lines), b"show\r\n");
        assert_eq!(sent(b"show\n", Ends::Keys), b"show\r\0");
        assert_eq!(sent(b"show\r", Ends::Keys), b"show\r\0");
        assert_eq!(sent(b"show\n", Ends::Binary), b"show\r");
        for ends in [Ends::Lines, Ends::Keys, Ends::Binary] {
            assert_eq!(sent(b"a\r\nb\xff", ends), b"a\r\nb\xff\xff");
        }
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same(
            bytes in proptest::collection::vec(prop_oneof![Just(255u8), Just(250), Just(240), Just(13), Just(0), 250u8..=255, any::<u8>()], 0..300),
            size in 1usize..20,
            binary: bool,
        ) {
            let whole = heard([bytes.as_slice()], binary);
            prop_assert_eq!(&whole, &heard(bytes.chunks(size), binary));
            prop_assert_eq!(&whole, &heard(bytes.chunks(1), binary));
        }

        #[test]
        fn what_is_written_is_read(text in proptest::collection::vec(any::<u8>(), 0..200), size in 1usize..9) {
            // The return key apart, which the device reads as CR or CR LF.
            let text: Vec<u8> = text.into_iter().filter(|b| ![CR, LF].contains(b)).collect();
            for (ends, binary) in [(Ends::Lines, false), (Ends::Keys, false), (Ends::Binary, true)] {
                let mut out = BytesMut::new();
                encode(&text, ends, &mut out);
                let back = heard(out.chunks(size), binary);
                prop_assert_eq!(&back.text, &text);
                prop_assert!(back.said.is_empty());
            }
        }

        #[test]
        fn a_return_key_is_one_line_end(lines in proptest::collection::vec("[a-z]{0,5}", 1..6)) {
            let text = lines.join("\n");
            for (ends, end) in [(Ends::Lines, "\r\n"), (Ends::Keys, "\r")] {
                let mut out = BytesMut::new();
                encode(text.as_bytes(), ends, &mut out);
                prop_assert_eq!(heard([&out[..]], false).text, lines.join(end).into_bytes());
            }
        }
    }
}
