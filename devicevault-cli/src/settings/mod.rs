//! What a process starts with: options go before the environment, the environment before `devicevault.toml`, that before
//! what holds by itself.

mod file;
mod value;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use devicevault_core::engine::Limits;
use devicevault_core::file_rules::FileRules;
use devicevault_core::{Error, ErrorKind, Result};

use crate::args::Global;
use crate::instance::{alike, no_such};
use crate::logs::{LogFormat, LogLevel};
use crate::wiring::SpoolBounds;
use crate::wiring::keys::GivenKeys;
use file::Written;
use value::{Count, Free, Length, Paths, Place, Size, Text};

/// Name of the file, in a home.
pub(crate) const FILE: &str = "devicevault.toml";
/// What the names of all variables begin with.
const PREFIX: &str = "DEVICEVAULT_";
/// The variable that names another file.
const CONFIG: &str = "DEVICEVAULT_CONFIG";

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// An option of the command line.
    Flag(&'static str),
    /// An environment variable.
    Environment(String),
    /// The configuration file.
    File,
    /// It holds by itself.
    Default,
}

/// A value and where it comes from.
#[derive(Debug, Clone)]
pub(crate) struct Setting<T> {
    name: &'static str,
    pub(crate) value: Option<T>,
    origin: Origin,
}

/// All of them.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The file that was read.
    pub(crate) file: Option<PathBuf>,
    home: Setting<Place>,
    platforms_dir: Setting<Place>,
    kek_files: Setting<Paths>,
    passphrase_file: Setting<Place>,
    pub(crate) log_format: Setting<LogFormat>,
    pub(crate) log_level: Setting<LogLevel>,
    log_file: Setting<Place>,
    sessions: Setting<Count>,
    sessions_per_site: Setting<Count>,
    timeout: Setting<Length>,
    deadline: Setting<Length>,
    retries: Setting<Count>,
    memory: Setting<Size>,
    max_text: Setting<Size>,
    max_binary: Setting<Size>,
    spool_capacity: Setting<Size>,
    spool_parked: Setting<Size>,
    spool_keep: Setting<Length>,
    spool_free: Setting<Free>,
    /// Programs that file rules may name.
    checkers: BTreeMap<String, CheckerSettings>,
    file_rules: Option<FileRules>,
    /// Variables that set nothing, each with what it may be meant for.
    mistyped: Vec<(String, String)>,
}

/// A program that looks at files, as the configuration tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CheckerSettings {
    pub(crate) command: Vec<String>,
    pub(crate) timeout: Duration,
}

/// A checker has so long, unless told otherwise.
const CHECKER_TIMEOUT: Duration = Duration::from_secs(120);

/// One row of what is in force.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Effective {
    pub(crate) setting: &'static str,
    pub(crate) value: Option<String>,
    /// `flag`, `environment`, `file` or `default`.
    pub(crate) origin: &'static str,
    /// Which option, variable or file.
    pub(crate) place: Option<String>,
}

/// Reads the environment: a seam for tests.
type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Settings {
    /// Those of this process.
    ///
    /// # Errors
    /// `Config` that names the file with line and column, or the variable.
    pub(crate) fn load(global: &Global) -> Result<Self> {
        let mut settings = Self::resolve(global, &|name| std::env::var(name).ok().filter(|v| !v.is_empty()))?;
        settings.mistyped = settings.slips(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()));
        Ok(settings)
    }

    /// Of these variables, those that set nothing and are a slip or a section away from one that does. Others are let pass: a
    /// secret may be in a variable of any name.
    fn slips(&self, variables: impl Iterator<Item = String>) -> Vec<(String, String)> {
        let known: Vec<_> = self.effective().iter().map(|e| variable(e.setting)).chain([CONFIG.to_owned()]).collect();
        let bare = |name: &str| name.strip_prefix(PREFIX).map(str::to_ascii_lowercase);
        let meant = |name: &str| {
            let written = bare(name).filter(|_| known.iter().all(|k| k != name))?;
            let all: Vec<_> = known.iter().filter_map(|k| bare(k)).collect();
            let in_section =
                all.iter().find(|k| k.strip_suffix(&written).is_some_and(|section| section.ends_with('_')));
            let meant = in_section
                .map(String::as_str)
                .or_else(|| alike(&written, all.iter().map(String::as_str)).first().copied())?;
            Some(format!("{PREFIX}{}", meant.to_ascii_uppercase()))
        };
        let mut slips: Vec<_> = variables.filter_map(|name| meant(&name).map(|meant| (name, meant))).collect();
        slips.sort_unstable();
        slips
    }

    /// Variables that set nothing, each with the one that it may be meant for.
    pub(crate) fn mistyped(&self) -> &[(String, String)] {
        &self.mistyped
    }

    fn resolve(global: &Global, env: Environment<'_>) -> Result<Self> {
        let place = |p: &PathBuf| Place(p.clone());
        let home = pick("home", ("--home", global.home.as_ref().map(place)), env, None)?;
        let named = match &global.config {
            Some(path) => Some(path.clone()),
            None => env(CONFIG).map(PathBuf::from),
        };
        let in_home = home.value.clone().map(|p| p.0).or_else(|| default_home(env)).map(|h| h.join(FILE));
        let file = match &named {
            Some(path) => Some(path.clone()),
            None => match in_home.filter(|path| path.symlink_metadata().is_ok()) {
                // What it says is believed to be in force: nothing in its place is passed over.
                Some(path) if !path.is_file() => {
                    let why = "what has the name of the home's configuration is no file";
                    let e = Error::new(ErrorKind::Config, "read configuration", why).with("file", path.display());
                    return Err(e.hint("put the file there, or take away what is there"));
                }
                found => found,
            },
        };
        let written = file.as_deref().map(Written::read).transpose()?.unwrap_or_default();
        if let (None, Some(path), Some(other)) = (&named, &file, &written.home)
            && path.parent().is_some_and(|here| absolute(here) != absolute(&other.0))
        {
            return Err(Error::new(ErrorKind::Config, "read configuration", "the file in a home names another home")
                .with("file", path.display())
                .with("home", other.0.display())
                .hint("leave `home` away there, or name the file by --config"));
        }
        let Written { home: file_home, platforms_dir, keys, log, backup, limits, spool, checkers, file_rules } =
            written;
        let in_file = |e: Error| match &file {
            Some(path) => e.with("file", path.display()),
            None => e,
        };
        let file_rules = file_rules.into_iter().map(|(key, value)| (format!("file_rules.{key}"), value)).collect();
        let file_rules = FileRules::from_options("the configuration", &file_rules).map_err(in_file)?;
        let checkers = checkers.into_iter().map(|(name, c)| {
            let timeout = c.timeout.map_or(CHECKER_TIMEOUT, |length| length.0);
            (name, CheckerSettings { command: c.command, timeout })
        });
        let checkers: BTreeMap<_, _> = checkers.collect();
        if let Some(unknown) =
            file_rules.iter().flat_map(FileRules::checkers).find(|name| !checkers.contains_key(*name))
        {
            let e = no_such("checker", unknown, checkers.keys().map(String::as_str));
            return Err(in_file(e).hint("set it up in the same file, as [checkers.NAME]"));
        }
        let limit = Limits::default();
        let bounds = SpoolBounds::default();
        let (no_path, no_count, no_length, no_size) = (None::<Place>, None::<Count>, None::<Length>, None::<Size>);
        Ok(Self {
            home: match (&home.value, file_home) {
                (None, Some(of_file)) => Setting { value: Some(of_file), origin: Origin::File, ..home },
                (None, None) => Setting { value: default_home(env).map(Place), ..home },
                _ => home,
            },
            platforms_dir: pick(
                "platforms_dir",
                ("--platforms-dir", global.platforms_dir.as_ref().map(place)),
                env,
                platforms_dir,
            )?,
            kek_files: pick(
                "keys.kek_files",
                ("--kek-file", Some(Paths(global.kek_files.clone())).filter(|p| !p.0.is_empty())),
                env,
                keys.kek_files,
            )?,
            passphrase_file: pick(
                "keys.passphrase_file",
                ("--kek-passphrase-file", global.kek_passphrase_file.as_ref().map(place)),
                env,
                keys.passphrase_file,
            )?,
            log_format: pick("log.format", ("--log-format", global.log.format()), env, log.format)?,
            log_level: pick("log.level", ("--log-level", global.log.given_level()), env, log.level)?,
            log_file: pick("log.file", ("--log-file", global.log.file().map(place)), env, log.file)?,
            sessions: pick("backup.sessions", ("", no_count), env, backup.sessions)?.or(Count::of(limit.sessions)),
            sessions_per_site: pick("backup.sessions_per_site", ("", no_count), env, backup.sessions_per_site)?,
            timeout: pick("backup.timeout", ("", no_length), env, backup.timeout)?,
            deadline: pick("backup.deadline", ("", no_length), env, backup.deadline)?.or(Length(limit.collect)),
            retries: pick("backup.retries", ("", no_count), env, backup.retries)?.or(Count(2)),
            memory: pick("limits.memory", ("", no_size), env, limits.memory)?.or(Size(limit.memory as u64)),
            max_text: pick("limits.max_text", ("", no_size), env, limits.max_text)?.or(Size(limit.max_text)),
            max_binary: pick("limits.max_binary", ("", no_size), env, limits.max_binary)?.or(Size(limit.max_binary)),
            spool_capacity: pick("spool.capacity", ("", no_size), env, spool.capacity)?.or(Size(bounds.capacity)),
            spool_parked: pick("spool.parked", ("", no_size), env, spool.parked)?.or(Size(bounds.parked)),
            spool_keep: pick("spool.keep", ("", no_length), env, spool.keep)?.or(Length(bounds.keep)),
            spool_free: pick("spool.free", ("", None::<Free>), env, spool.free)?,
            checkers,
            file_rules,
            mistyped: Vec::new(),
            file: no_path.map(|p| p.0).or(file),
        })
    }

    /// The home folder, whether it is there or not.
    pub(crate) fn home(&self) -> Option<&Path> {
        self.home.value.as_ref().map(|p| p.0.as_path())
    }

    pub(crate) fn platforms_dir(&self) -> Option<&Path> {
        self.platforms_dir.value.as_ref().map(|p| p.0.as_path())
    }

    pub(crate) fn log_file(&self) -> Option<&Path> {
        self.log_file.value.as_ref().map(|p| p.0.as_path())
    }

    /// Keys that were named besides those of the home.
    pub(crate) fn given_keys(&self) -> GivenKeys {
        GivenKeys {
            files: self.kek_files.value.clone().unwrap_or_default().0,
            passphrase: self.passphrase_file.value.clone().map(|p| p.0),
            ..GivenKeys::default()
        }
    }

    /// Bounds of the engine.
    pub(crate) fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        let bytes = |s: &Setting<Size>, default: u64| s.value.map_or(default, |v| v.0);
        limits.memory = usize::try_from(bytes(&self.memory, limits.memory as u64)).unwrap_or(usize::MAX);
        limits.max_text = bytes(&self.max_text, limits.max_text);
        limits.max_binary = bytes(&self.max_binary, limits.max_binary);
        limits.sessions = self.sessions.value.map_or(limits.sessions, Count::number);
        limits.sessions_per_site = self.sessions_per_site.value.map(Count::number);
        limits.collect = self.deadline.value.map_or(limits.collect, |d| d.0);
        limits
    }

    /// The longest silence of a device, where one is set.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.timeout.value.map(|t| t.0)
    }

    /// How often a device is tried again.
    pub(crate) fn retries(&self) -> Option<u32> {
        self.retries.value.map(|n| n.0)
    }

    /// Programs that file rules may name.
    pub(crate) fn checkers(&self) -> &BTreeMap<String, CheckerSettings> {
        &self.checkers
    }

    /// Rules for the files of every device.
    pub(crate) fn file_rules(&self) -> Option<&FileRules> {
        self.file_rules.as_ref()
    }

    /// Bounds of the spool.
    pub(crate) fn spool(&self) -> SpoolBounds {
        let default = SpoolBounds::default();
        SpoolBounds {
            capacity: self.spool_capacity.value.map_or(default.capacity, |v| v.0),
            parked: self.spool_parked.value.map_or(default.parked, |v| v.0),
            keep: self.spool_keep.value.map_or(default.keep, |v| v.0),
            free: self.spool_free.value.map(|v| v.0).or(default.free),
        }
    }

    /// The same with another home.
    #[must_use]
    pub(crate) fn at_home_in(&self, home: &Path) -> Self {
        let mut settings = self.clone();
        settings.home.value = Some(Place(home.to_owned()));
        settings
    }

    /// What is in force, and where it comes from.
    pub(crate) fn effective(&self) -> Vec<Effective> {
        vec![
            self.row(&self.home),
            self.row(&self.platforms_dir),
            self.row(&self.kek_files),
            self.row(&self.passphrase_file),
            self.row(&self.log_format),
            self.row(&self.log_level),
            self.row(&self.log_file),
            self.row(&self.sessions),
            self.row(&self.sessions_per_site),
            self.row(&self.timeout),
            self.row(&self.deadline),
            self.row(&self.retries),
            self.row(&self.memory),
            self.row(&self.max_text),
            self.row(&self.max_binary),
            self.row(&self.spool_capacity),
            self.row(&self.spool_parked),
            self.row(&self.spool_keep),
            self.row(&self.spool_free),
        ]
    }

    fn row<T: Text>(&self, s: &Setting<T>) -> Effective {
        let (origin, place) = match &s.origin {
            Origin::Flag(option) => ("flag", Some((*option).to_owned())),
            Origin::Environment(variable) => ("environment", Some(variable.clone())),
            Origin::File => ("file", self.file.as_ref().map(|f| f.display().to_string())),
            Origin::Default => ("default", None),
        };
        Effective { setting: s.name, value: s.value.as_ref().map(Text::show), origin, place }
    }
}

impl<T> Setting<T> {
    /// What holds by itself.
    fn or(mut self, default: T) -> Self {
        self.value.get_or_insert(default);
        self
    }
}

/// The first that says something: the option, the variable `DEVICEVAULT_…`, the file.
fn pick<T: Text>(
    name: &'static str,
    flag: (&'static str, Option<T>),
    env: Environment<'_>,
    file: Option<T>,
) -> Result<Setting<T>> {
    let variable = variable(name);
    let (value, origin) = match (flag, env(&variable), file) {
        ((option, Some(value)), _, _) => (Some(value), Origin::Flag(option)),
        (_, Some(text), _) => {
            let value = T::read(&text)
                .map_err(|why| Error::new(ErrorKind::Config, "read environment", why).with("variable", &variable))?;
            (Some(value), Origin::Environment(variable))
        }
        (_, None, Some(value)) => (Some(value), Origin::File),
        _ => (None, Origin::Default),
    };
    Ok(Setting { name, value, origin })
}

/// The variable of a setting.
fn variable(name: &str) -> String {
    format!("{PREFIX}{}", name.to_ascii_uppercase().replace('.', "_"))
}

fn absolute(path: &Path) -> PathBuf {
    path.canonicalize().or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_owned())
}

/// `$XDG_DATA_HOME/devicevault`, else `~/.local/share/devicevault` (XDG Base Directory Specification: a relative path in
/// the variable does not count).
fn default_home(env: Environment<'_>) -> Option<PathBuf> {
    let data = env("XDG_DATA_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
    let data = data.or_else(|| Some(PathBuf::from(env("HOME")?).join(".local/share")));
    Some(data?.join("devicevault"))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use proptest::prelude::*;

    use super::*;
    use crate::args::Cli;

    fn settings(args: &[&str], env: &[(&str, &str)]) -> Result<Settings> {
        let cli = Cli::try_parse_from([&["devicevault"][..], args, &["demo"]].concat()).unwrap();
        Settings::resolve(&cli.global, &|name| env.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
    }

    fn row(s: &Settings, name: &str) -> (Option<String>, &'static str) {
        s.effective().into_iter().find(|e| e.setting == name).map(|e| (e.value, e.origin)).unwrap()
    }

    #[test]
    fn options_go_before_the_environment_and_that_before_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("dv.toml");
        std::fs::write(&file, "home = \"data\"\n[backup]\nsessions = 7\nretries = 0\n[spool]\nkeep = \"2d\"\n")
            .unwrap();
        let config = file.to_str().unwrap();
        let s = settings(&["--config", config], &[("DEVICEVAULT_BACKUP_SESSIONS", "9")]).unwrap();
        assert_eq!(row(&s, "backup.sessions"), (Some("9".to_owned()), "environment"));
        assert_eq!(row(&s, "backup.retries"), (Some("0".to_owned()), "file"));
        assert_eq!(row(&s, "spool.keep"), (Some("2d".to_owned()), "file"));
        assert_eq!(row(&s, "limits.memory"), (Some("64 MiB".to_owned()), "default"));
        assert_eq!(s.home(), Some(folder.path().join("data").as_path()));
        let s = settings(&["--config", config, "--home", "/h"], &[("DEVICEVAULT_HOME", "/e")]).unwrap();
        assert_eq!((row(&s, "home"), s.limits().sessions), ((Some("/h".to_owned()), "flag"), 7));
        // Named by the environment, found in a home, or not at all.
        let s = settings(&[], &[("DEVICEVAULT_CONFIG", config), ("HOME", "/nobody")]).unwrap();
        assert_eq!(s.file, Some(file.clone()));
        let s = settings(&[], &[("HOME", "/nobody")]).unwrap();
        assert_eq!((s.file.clone(), s.home()), (None, Some(Path::new("/nobody/.local/share/devicevault"))));
        std::fs::write(folder.path().join(FILE), "[backup]\nsessions = 3\n").unwrap();
        let s = settings(&["--home", folder.path().to_str().unwrap()], &[]).unwrap();
        assert_eq!(s.limits().sessions, 3);
        std::fs::write(folder.path().join(FILE), "home = \"/elsewhere\"\n").unwrap();
        let e = settings(&["--home", folder.path().to_str().unwrap()], &[]).unwrap_err();
        assert!(e.to_string().contains("names another home"), "{e}");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("dv.toml");
        for (text, told) in [
            ("[backup]\nsesions = 7\n", &["line: 2, column: 1", "`sesions` is not known", "sessions"][..]),
            ("[backup]\ntimeout = \"soon\"\n", &["line: 2, column: 11", "timeout = \"soon\""]),
            ("[backup]\nsessions = 0\n", &["line: 2, column: 12"]),
            ("[spool]\nparked = \"lots\"\n", &["line: 2, column: 10"]),
            ("[log]\nlevel = \"loud\"\n", &["line: 2, column: 9", "debug"]),
            ("[backup\n", &["line: 1"]),
            ("[server]\n", &["`server` is not known"]),
        ] {
            std::fs::write(&file, text).unwrap();
            let e = settings(&["--config", file.to_str().unwrap()], &[]).unwrap_err();
            let report = format!("{e:?}");
            assert_eq!(e.kind(), ErrorKind::Config);
            assert!(told.iter().all(|t| report.contains(t)) && report.contains("dv.toml"), "{text}: {report}");
        }
        std::fs::write(&file, b"[backup]\nretries = 0\n[log]\nfile = \"\xc3\xa4\xff\"\n").unwrap();
        let e = settings(&["--config", file.to_str().unwrap()], &[]).unwrap_err();
        let report = format!("{e:?}");
        assert!(report.contains("not UTF-8") && report.contains("line: 4, column: 10"), "{report}");
        let e = settings(&["--config", folder.path().to_str().unwrap()], &[]).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Config, "{e}");
        let e = settings(&["--config", "/nowhere/dv.toml"], &[]).unwrap_err();
        assert!(e.to_string().contains("/nowhere/dv.toml"), "{e}");
        let e = settings(&[], &[("DEVICEVAULT_SPOOL_KEEP", "x")]).unwrap_err();
        assert!(e.to_string().contains("DEVICEVAULT_SPOOL_KEEP"), "{e}");
    }

    #[test]
    fn a_variable_that_is_a_slip_away_from_one_is_told() {
        let s = settings(&[], &[("HOME", "/nobody")]).unwrap();
        let slips = |names: &[&str]| s.slips(names.iter().map(|n| (*n).to_owned()));
        for (written, meant) in [
            ("DEVICEVAULT_BACKUP_SESIONS", "DEVICEVAULT_BACKUP_SESSIONS"),
            ("DEVICEVAULT_backup_sessions", "DEVICEVAULT_BACKUP_SESSIONS"),
            ("DEVICEVAULT_RETRIES", "DEVICEVAULT_BACKUP_RETRIES"),
            ("DEVICEVAULT_LOGLEVEL", "DEVICEVAULT_LOG_LEVEL"),
            ("DEVICEVAULT_KEK_FILE", "DEVICEVAULT_KEYS_KEK_FILES"),
            ("DEVICEVAULT_CONFG", "DEVICEVAULT_CONFIG"),
        ] {
            assert_eq!(slips(&[written]), [(written.to_owned(), meant.to_owned())]);
        }
        // What is in force, and what a login may be taken from.
        let good = ["DEVICEVAULT_HOME", "DEVICEVAULT_CONFIG", "DEVICEVAULT_SPOOL_KEEP", "DEVICEVAULT_PW", "HOME"];
        assert_eq!(slips(&good), []);
        assert_eq!(slips(&["DEVICEVAULT_TEST_PASSWORD", "DEVICEVAULT_CORE_SECRET", "DEVICEVAULT_ASKPASS"]), []);
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(bytes in any::<u32>(), seconds in 1u64..10_000_000, count in 1u32..100_000) {
            let size = Size(u64::from(bytes));
            prop_assert_eq!(Size::read(&size.show()), Ok(size));
            let length = Length(Duration::from_secs(seconds));
            prop_assert_eq!(Length::read(&length.show()), Ok(length));
            prop_assert_eq!(Count::read(&Count(count).show()), Ok(Count(count)));
        }
    }
}
