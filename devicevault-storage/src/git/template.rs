//! Which of several repositories a device's backups go to.

use std::fmt;
use std::str::FromStr;

use devicevault_core::{Error, ErrorKind, Result, Source};

use crate::names::component;

/// What stands in a name for a value that a device has not.
const WITHOUT: &str = "default";

/// Which repository a device's backups go to: a name in which `{site}`, `{group}` and `{platform}` stand for the device's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryTemplate(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Site,
    Group,
    Platform,
}

impl FromStr for RepositoryTemplate {
    type Err = Error;

    /// # Errors
    /// `Config` for a text that names no part of a device, or another one.
    fn from_str(text: &str) -> Result<Self> {
        let wrong = |why: &str| {
            Error::new(ErrorKind::Config, "read repository template", why.to_owned())
                .with("template", text.escape_debug())
                .hint("write {site}, {group} or {platform}, with letters, digits and hyphens around them")
        };
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or_else(|| wrong("a brace is not closed"))?;
            parts.push(Part::Text(before.to_owned()));
            parts.push(match name {
                "site" => Part::Site,
                "group" => Part::Group,
                "platform" => Part::Platform,
                _ => return Err(wrong("devices have no such part")),
            });
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if !parts.iter().all(|p| if let Part::Text(t) = p { t.chars().all(plain) && t.len() <= 64 } else { true }) {
            return Err(wrong("it holds something that is no part of a folder's name"));
        }
        if parts.len() == 1 {
            return Err(wrong("it names no part of a device: all would go to one repository"));
        }
        Ok(Self(parts))
    }
}

impl fmt::Display for RepositoryTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Site => f.write_str("{site}"),
            Part::Group => f.write_str("{group}"),
            Part::Platform => f.write_str("{platform}"),
        })
    }
}

impl RepositoryTemplate {
    /// One for each site.
    pub(super) fn by_site() -> Self {
        Self(vec![Part::Site])
    }

    pub(super) fn name(&self, source: &Source) -> String {
        let value = |v: Option<&str>| v.filter(|v| !v.is_empty()).unwrap_or(WITHOUT).to_owned();
        let name: String = self
            .0
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.clone(),
                Part::Site => value(source.site.as_deref()),
                Part::Group => value(source.group.as_deref()),
                Part::Platform => value(Some(&source.platform)),
            })
            .collect();
        component(&name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_names_a_part_of_the_device() {
        for good in ["{site}", "{group}-{platform}", "noc_{site}"] {
            assert_eq!(good.parse::<RepositoryTemplate>().unwrap().to_string(), good);
        }
        for bad in ["", "all", "{site", "{name}", "../{site}", "{site}/x", "{site}.git", "{}"] {
            assert!(bad.parse::<RepositoryTemplate>().is_err(), "{bad}");
        }
    }

    #[test]
    fn names_stay_in_the_folder() {
        let template: RepositoryTemplate = "x-{site}".parse().unwrap();
        for site in ["../../etc", "a/b", "", "CON", "é", "\0"] {
            let source: Source = serde_json::from_value(serde_json::json!({
                "device": "d", "device_name": "d", "host": "h", "platform": "p", "collector": "c", "site": site
            }))
            .unwrap();
            let name = template.name(&source);
            assert!(!name.contains('/') && !name.starts_with('.') && name.is_ascii(), "{name}");
        }
    }
}
