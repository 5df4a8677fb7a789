//! Values of settings: how they are written, and read back.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum as _;
use devicevault_storage::space::Keep;
use serde::de::{self, Deserialize, Deserializer, Visitor};

use crate::logs::{LogFormat, LogLevel};
use crate::ui::human;

/// What can be written as a text.
pub(super) trait Text: Sized {
    /// Reads it; else says why not.
    fn read(text: &str) -> Result<Self, String>;
    /// Writes it so that it reads back.
    fn show(&self) -> String;
}

/// A file or folder.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub(super) struct Place(pub(super) PathBuf);

/// Files.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
pub(super) struct Paths(pub(super) Vec<PathBuf>);

/// How many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
pub(super) struct Count(pub(super) u32);

/// A length of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Length(pub(super) Duration);

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size(pub(super) u64);

/// What stays free of a file system.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Free(pub(super) Keep);

impl Count {
    pub(super) fn of(n: usize) -> Self {
        Self(u32::try_from(n).unwrap_or(u32::MAX))
    }

    pub(super) fn number(self) -> usize {
        self.0 as usize
    }
}

impl Text for Place {
    fn read(text: &str) -> Result<Self, String> {
        Ok(Self(PathBuf::from(text)))
    }

    fn show(&self) -> String {
        self.0.display().to_string()
    }
}

impl Text for Paths {
    /// As `PATH` is written.
    fn read(text: &str) -> Result<Self, String> {
        Ok(Self(text.split(':').filter(|p| !p.is_empty()).map(PathBuf::from).collect()))
    }

    fn show(&self) -> String {
        self.0.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(":")
    }
}

impl Text for Count {
    fn read(text: &str) -> Result<Self, String> {
        text.trim().parse().map(Self).map_err(|_| "it is no whole number".to_owned())
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}

const DAY: u64 = 24 * 3600;

impl Text for Length {
    fn read(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let days = text.strip_suffix('d').and_then(|n| n.trim().parse::<u64>().ok());
        let length = match days {
            Some(days) => Duration::from_secs(days.saturating_mul(DAY)),
            None => human::parse_duration(text)
                .map_err(|_| "it is no length of time: write 30s, 5m, 1h or 7d".to_owned())?,
        };
        if length.is_zero() { Err("it has to be longer than nothing".to_owned()) } else { Ok(Self(length)) }
    }

    fn show(&self) -> String {
        let (seconds, millis) = (self.0.as_secs(), self.0.subsec_millis());
        match seconds {
            s if millis == 0 && s > 0 && s % DAY == 0 => format!("{}d", s / DAY),
            s if millis == 0 && s > 0 && s % 3600 == 0 => format!("{}h", s / 3600),
            s if millis == 0 && s > 0 && s % 60 == 0 => format!("{}m", s / 60),
            s if millis == 0 => format!("{s}s"),
            _ => format!("{}ms", self.0.as_millis()),
        }
    }
}

impl Text for Size {
    fn read(text: &str) -> Result<Self, String> {
        let wrong = || "it is no size: write a number of bytes, or 512 MiB, 16 GiB".to_owned();
        devicevault_core::parse_size(text).map(Self).ok_or_else(wrong)
    }

    fn show(&self) -> String {
        let unit = human::SIZE_UNITS.iter().find(|(_, factor)| self.0 > 0 && self.0.is_multiple_of(*factor));
        unit.map_or_else(|| self.0.to_string(), |(name, factor)| format!("{} {name}", self.0 / factor))
    }
}

impl Text for Free {
    fn read(text: &str) -> Result<Self, String> {
        text.parse()
            .map(Self)
            .map_err(|_| "it says of no space how much is to stay free: write 5% or 10 GiB".to_owned())
    }

    fn show(&self) -> String {
        match self.0 {
            Keep::Bytes(bytes) => Size(bytes).show(),
            part @ Keep::Percent(_) => part.to_string(),
        }
    }
}

impl Text for LogFormat {
    fn read(text: &str) -> Result<Self, String> {
        Self::from_str(text, true)
    }

    fn show(&self) -> String {
        named(self)
    }
}

impl Text for LogLevel {
    fn read(text: &str) -> Result<Self, String> {
        Self::from_str(text, true)
    }

    fn show(&self) -> String {
        named(self)
    }
}

fn named(value: &impl clap::ValueEnum) -> String {
    value.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default()
}

/// Reads a text, or a number of bytes.
struct OfText<T>(std::marker::PhantomData<T>, &'static str);

impl<T: Text> Visitor<'_> for OfText<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.1)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        T::read(text).map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_str(OfText::<Self>(std::marker::PhantomData, "a length of time such as \"30s\""))
    }
}

impl<'de> Deserialize<'de> for Free {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_str(OfText::<Self>(std::marker::PhantomData, "a part or a size such as \"5%\" or \"10 GiB\""))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_str(OfText::<Self>(std::marker::PhantomData, "a size such as \"512 MiB\""))
    }
}
