//! What a list of platforms shows, read without compiling a platform's rules.

use serde::Deserialize;

use super::Platform;

/// A platform in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlatformOutline {
    /// What devices name it by.
    pub name: String,
    /// For people.
    pub title: String,
    /// Other names for it.
    pub aliases: Vec<String>,
    /// It is part of this program, not a user's file.
    pub built_in: bool,
    /// What a device of it has.
    pub artefacts: Vec<ArtefactOutline>,
}

/// An artefact in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArtefactOutline {
    /// Its name.
    pub name: String,
    /// A backup without it has failed.
    pub mandatory: bool,
    /// Of the file that it is stored in.
    pub extension: String,
    /// What is typed for it, the first spelling of each.
    pub commands: Vec<String>,
}

#[derive(Deserialize)]
struct Head {
    name: String,
    title: String,
    #[serde(default)]
    aliases: Vec<String>,
    artefacts: Vec<Part>,
}

#[derive(Deserialize)]
struct Part {
    name: String,
    #[serde(default)]
    optional: bool,
    extension: Option<String>,
    commands: Vec<Command>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Command {
    Text(String),
    Table { run: String },
}

/// Of a built-in file; nothing where it is no platform file.
pub(super) fn of_text(text: &str) -> Option<PlatformOutline> {
    let head: Head = toml::from_str(text).ok()?;
    let artefacts = head.artefacts.into_iter().map(|part| ArtefactOutline {
        name: part.name,
        mandatory: !part.optional,
        extension: part.extension.unwrap_or_else(super::file::default_extension),
        commands: part
            .commands
            .into_iter()
            .map(|c| match c {
                Command::Text(run) | Command::Table { run } => run,
            })
            .collect(),
    });
    let artefacts = artefacts.collect();
    Some(PlatformOutline { name: head.name, title: head.title, aliases: head.aliases, built_in: true, artefacts })
}

impl From<&Platform> for PlatformOutline {
    fn from(platform: &Platform) -> Self {
        let artefacts = platform.artefacts().map(|a| ArtefactOutline {
            name: a.name.clone(),
            mandatory: a.mandatory,
            extension: a.extension.clone(),
            commands: platform.commands(&a.name).map(str::to_owned).collect(),
        });
        Self {
            name: platform.name().to_owned(),
            title: platform.title().to_owned(),
            aliases: platform.aliases().to_vec(),
            built_in: *platform.source() == super::PlatformSource::BuiltIn,
            artefacts: artefacts.collect(),
        }
    }
}
