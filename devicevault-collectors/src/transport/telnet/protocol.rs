//! One side of a Telnet connection: text out of bytes, and what is answered to negotiation.
//!
//! Options are answered as RFC 1143 has it, for a side that asks for nothing by itself: a request for the state that is
//! there already is never answered. A pair of requests that switch an option on and off would still go to and fro between
//! two sides that both take them for requests; so that each option is answered a few times only. Accepted are: echo and binary by
//! the device, suppress-go-ahead and binary both ways, our terminal's type and size. Nothing else is told, least of all
//! the environment.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use bytes::{Bytes, BytesMut};

use super::codec::{Decoder, Ends, Heard, IAC, Verb, encode};

/// RFC 856.
const BINARY: u8 = 0;
/// RFC 857.
const ECHO: u8 = 1;
/// RFC 858.
const SUPPRESS_GO_AHEAD: u8 = 3;
/// RFC 1091.
const TERMINAL_TYPE: u8 = 24;
/// Window size, RFC 1073.
const NAWS: u8 = 31;

/// Of a terminal's type: the request, and the answer.
const SEND: u8 = 1;
const IS: u8 = 0;
const TYPE: &[u8] = b"VT100";

/// So often an option is answered: who goes on asks for the sake of it, or answers answers.
const MOST_ANSWERS: u8 = 16;

/// The state of a connection.
#[derive(Debug)]
pub(super) struct Telnet {
    decoder: Decoder,
    options: Options,
}

#[derive(Debug)]
struct Options {
    /// What the device does, by option.
    theirs: Set,
    /// What we do.
    ours: Set,
    columns: u16,
    rows: u16,
    /// How often each option was answered.
    answers: [u8; 256],
    text: BytesMut,
    reply: BytesMut,
}

/// Options that are in force, of the few that are known here.
#[derive(Debug, Default)]
struct Set(u32);

impl Set {
    fn has(&self, option: u8) -> bool {
        option < 32 && self.0 & (1 << option) != 0
    }

    /// `true`: it was otherwise.
    fn put(&mut self, option: u8, on: bool) -> bool {
        if option >= 32 || self.has(option) == on {
            return false;
        }
        self.0 ^= 1 << option;
        true
    }
}

impl Telnet {
    /// A connection of a terminal of this size.
    pub(super) fn new(columns: u32, rows: u32) -> Self {
        let size = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
        let options = Options {
            theirs: Set::default(),
            ours: Set::default(),
            columns: size(columns),
            rows: size(rows),
            answers: [0; 256],
            text: BytesMut::new(),
            reply: BytesMut::new(),
        };
        Self { decoder: Decoder::default(), options }
    }

    /// Bytes of the device: gives its text, and adds what is answered to what is to be sent.
    pub(super) fn receive(&mut self, bytes: &[u8], out: &mut BytesMut) -> Bytes {
        self.decoder.feed(bytes, &mut self.options);
        out.extend_from_slice(&self.options.reply.split());
        self.options.text.split().freeze()
    }

    /// Text as it is sent now.
    pub(super) fn send(&self, text: &[u8], out: &mut BytesMut) {
        let ends = if self.options.ours.has(BINARY) {
            Ends::Binary
        } else if self.options.theirs.has(ECHO) || self.options.theirs.has(SUPPRESS_GO_AHEAD) {
            Ends::Keys
        } else {
            Ends::Lines
        };
        encode(text, ends, out);
    }
}

impl Options {
    fn answer(&mut self, option: u8, bytes: &[u8]) {
        if let Some(times) = self.answers.get_mut(usize::from(option)).filter(|t| **t < MOST_ANSWERS) {
            *times += 1;
            self.reply.extend_from_slice(bytes);
        }
    }

    fn size(&mut self) {
        let mut text = vec![IAC, 250, NAWS];
        for byte in self.columns.to_be_bytes().into_iter().chain(self.rows.to_be_bytes()) {
            text.push(byte);
            if byte == IAC {
                text.push(IAC);
            }
        }
        text.extend([IAC, 240]);
        self.answer(NAWS, &text);
    }
}

impl Heard for Options {
    fn text(&mut self, byte: u8) {
        self.text.extend_from_slice(&[byte]);
    }

    fn negotiate(&mut self, verb: Verb, option: u8) {
        let accept_theirs = [BINARY, ECHO, SUPPRESS_GO_AHEAD].contains(&option);
        let accept_ours = [BINARY, SUPPRESS_GO_AHEAD, TERMINAL_TYPE, NAWS].contains(&option);
        let answer = match verb {
            Verb::Will if !accept_theirs => Some(Verb::Dont),
            Verb::Will => self.theirs.put(option, true).then_some(Verb::Do),
            Verb::Wont => self.theirs.put(option, false).then_some(Verb::Dont),
            Verb::Do if !accept_ours => Some(Verb::Wont),
            Verb::Do => self.ours.put(option, true).then_some(Verb::Will),
            Verb::Dont => self.ours.put(option, false).then_some(Verb::Wont),
        };
        if let Some(verb) = answer {
            self.answer(option, &[IAC, verb.byte(), option]);
            if verb == Verb::Will && option == NAWS {
                self.size();
            }
        }
    }

    fn option(&mut self, option: u8, text: &[u8]) {
        if option == TERMINAL_TYPE && text == [SEND] && self.ours.has(TERMINAL_TYPE) {
            let answer = [&[IAC, 250, TERMINAL_TYPE, IS], TYPE, &[IAC, 240]].concat();
            self.answer(TERMINAL_TYPE, &answer);
        }
    }

    fn is_binary(&self) -> bool {
        self.theirs.has(BINARY)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn talk(telnet: &mut Telnet, bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let mut out = BytesMut::new();
        let text = telnet.receive(bytes, &mut out);
        (text.to_vec(), out.to_vec())
    }

    #[test]
    fn what_is_known_is_accepted_and_the_rest_refused() {
        let mut t = Telnet::new(512, 1000);
        // DO TERMINAL-TYPE, TERMINAL-SPEED, X-DISPLAY, NEW-ENVIRON as telnetd begins.
        let (_, answer) = talk(&mut t, b"\xff\xfd\x18\xff\xfd\x20\xff\xfd\x23\xff\xfd\x27");
        assert_eq!(answer, b"\xff\xfb\x18\xff\xfc\x20\xff\xfc\x23\xff\xfc\x27");
        assert_eq!(talk(&mut t, b"\xff\xfa\x18\x01\xff\xf0").1, b"\xff\xfa\x18\x00VT100\xff\xf0");
        // WILL ECHO, WILL SGA, DO NAWS; WILL STATUS, DO ECHO.
        let (_, answer) = talk(&mut t, b"\xff\xfb\x01\xff\xfb\x03\xff\xfd\x1f\xff\xfb\x05\xff\xfd\x01");
        let size = b"\xff\xfa\x1f\x02\x00\x03\xe8\xff\xf0";
        let expected = [&b"\xff\xfd\x01\xff\xfd\x03\xff\xfb\x1f"[..], size, b"\xff\xfe\x05\xff\xfc\x01"].concat();
        assert_eq!(answer, expected);
        let mut out = BytesMut::new();
        t.send(b"show\n", &mut out);
        assert_eq!(&out[..], b"show\r\0");
        // An environment that was not agreed on is not told, and a type only while it is in force.
        assert_eq!(talk(&mut t, b"\xff\xfa\x27\x01\xff\xf0").1, b"");
        assert_eq!(talk(&mut t, b"\xff\xfe\x18\xff\xfa\x18\x01\xff\xf0").1, b"\xff\xfc\x18");
    }

    #[test]
    fn sizes_hold_the_byte_that_begins_commands() {
        let mut t = Telnet::new(255, 70_000);
        let (_, answer) = talk(&mut t, b"\xff\xfd\x1f");
        assert_eq!(answer, b"\xff\xfb\x1f\xff\xfa\x1f\x00\xff\xff\xff\xff\xff\xff\xff\xf0");
    }

    #[test]
    fn what_is_in_force_is_not_answered_again() {
        let mut t = Telnet::new(80, 24);
        assert_eq!(talk(&mut t, b"\xff\xfb\x01").1, b"\xff\xfd\x01");
        assert_eq!(talk(&mut t, b"\xff\xfb\x01\xff\xfb\x01").1, b"");
        assert_eq!(talk(&mut t, b"\xff\xfc\x01\xff\xfc\x01").1, b"\xff\xfe\x01");
        assert_eq!(talk(&mut t, b"\xff\xfe\x03\xff\xfc\x05").1, b"");
    }

    #[test]
    fn line_ends_follow_the_options() {
        let sent = |t: &Telnet| {
            let mut out = BytesMut::new();
            t.send(b"x\n", &mut out);
            out.to_vec()
        };
        let mut t = Telnet::new(80, 24);
        assert_eq!(sent(&t), b"x\r\n");
        talk(&mut t, b"\xff\xfb\x03");
        assert_eq!(sent(&t), b"x\r\0");
        talk(&mut t, b"\xff\xfd\x00\xff\xfb\x00");
        assert_eq!(sent(&t), b"x\r");
        assert_eq!(talk(&mut t, b"a\r\0b").0, b"a\r\0b");
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same(
            bytes in proptest::collection::vec(prop_oneof![Just(255u8), 240u8..=255, 0u8..40, any::<u8>()], 0..400),
            size in 1usize..30,
        ) {
            let whole = talk(&mut Telnet::new(80, 24), &bytes);
            let mut t = Telnet::new(80, 24);
            let parts = bytes.chunks(size).map(|c| talk(&mut t, c));
            let (text, reply) = parts.fold((Vec::new(), Vec::new()), |(mut text, mut reply), (a, b)| {
                text.extend(a);
                reply.extend(b);
                (text, reply)
            });
            prop_assert_eq!(whole, (text, reply));
        }

        /// Two sides of this kind fall silent, whatever a third one told them.
        #[test]
        fn no_two_sides_negotiate_for_ever(start in proptest::collection::vec((251u8..=254, 0u8..40), 0..40)) {
            let (mut a, mut b) = (Telnet::new(80, 24), Telnet::new(132, 50));
            let mut said: Vec<u8> = start.iter().flat_map(|(verb, option)| [IAC, *verb, *option]).collect();
            let mut rounds = 0;
            while !said.is_empty() {
                rounds += 1;
                prop_assert!(rounds < 20, "{}", said.escape_ascii());
                said = talk(&mut a, &said).1;
                said = talk(&mut b, &said).1;
            }
        }

        #[test]
        fn answers_are_bounded(verbs in proptest::collection::vec((251u8..=254, any::<u8>()), 100..600)) {
            let bytes: Vec<u8> = verbs.iter().flat_map(|(verb, option)| [IAC, *verb, *option]).collect();
            let mut t = Telnet::new(80, 24);
            let all: usize = (0..20).map(|_| talk(&mut t, &bytes).1.len()).sum();
            prop_assert!(all <= 256 * usize::from(MOST_ANSWERS) * 10);
        }
    }
}
