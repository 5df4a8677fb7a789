//! Devices as lines of a CSV file (RFC 4180).
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

use csv::{ReaderBuilder, StringRecord, Trim};
use devicevault_core::{Device, Error, ErrorKind, Result};

use super::{fields, jump};
use crate::login_args::secret_ref;
use crate::wiring;

/// What the columns may be, for help texts.
pub(super) const COLUMNS: &str = "\
Columns, in any order, named in the first line:
  name, host, platform                      must be there
  port, user, site, group, collector,
  credential                                as the options of `device add`
  tags                                      several parted by ; or blanks
  enabled                                   yes or no
  password_env, password_file, password_command, key_file,
  key_passphrase_env, key_passphrase_file, key_passphrase_command,
  enable_env, enable_file, enable_command   where a secret is found; never the secret itself
  ssh_profile, host_key, transport,
  proxy_command, source_address, enable_user,
  certificate_file                          as the options of `device add`
  jump                                      as the option, several parted by ;
  agent                                     yes or no
  agent_key                                 as the option, several parted by ;
  option.NAME                               a setting of the collector
An empty field says nothing.";

const NAMES: [&str; 31] = [
    "name",
    "host",
    "platform",
    "port",
    "user",
    "credential",
    "site",
    "group",
    "collector",
    "tags",
    "enabled",
    "password_env",
    "password_file",
    "password_command",
    "key_file",
    "key_passphrase_env",
    "key_passphrase_file",
    "key_passphrase_command",
    "enable_env",
    "enable_file",
    "enable_command",
    "ssh_profile",
    "host_key",
    "transport",
    "proxy_command",
    "source_address",
    "enable_user",
    "certificate_file",
    "jump",
    "agent",
    "agent_key",
];

/// A device and the line that it stands in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) number: u64,
    pub(super) device: Device,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) line: u64,
    pub(super) why: String,
}

/// Reads devices; every faulty line is told, and the good ones all the same.
///
/// # Errors
/// The first line is not a header that makes sense, or the file cannot be read at all.
pub(super) fn read(from: impl Read) -> Result<(Vec<Line>, Vec<Fault>)> {
    let from = Bounded { from, left: MOST_BYTES };
    let mut reader = ReaderBuilder::new().trim(Trim::All).flexible(true).from_reader(from);
    let columns = columns(reader.headers().map_err(unreadable)?)?;
    let (mut lines, mut faults) = (Vec::new(), Vec::new());
    let mut record = StringRecord::new();
    loop {
        match reader.read_record(&mut record) {
            Ok(false) => return Ok((lines, faults)),
            Ok(true) => {
                let number = record.position().map_or(0, csv::Position::line);
                match device(&columns, &record) {
                    Ok(device) => lines.push(Line { number, device }),
                    Err(why) => faults.push(Fault { line: number, why }),
                }
            }
            Err(e) if !e.is_io_error() => {
                let line = e.position().map_or(0, csv::Position::line);
                faults.push(Fault { line, why: "it is not UTF-8".to_owned() });
            }
            Err(e) => return Err(unreadable(e)),
        }
    }
}

/// More than the longest lines of all devices that one instance is made for.
const MOST_BYTES: usize = 64 << 20;

/// Fails where there is more than `left`.
struct Bounded<R> {
    from: R,
    left: usize,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let read = self.from.read(out)?;
        let Some(left) = self.left.checked_sub(read) else {
            return Err(std::io::Error::other(format!("it is longer than {} MiB", MOST_BYTES >> 20)));
        };
        self.left = left;
        Ok(read)
    }
}

fn unreadable(e: csv::Error) -> Error {
    Error::new(ErrorKind::Config, "read device file", "the file cannot be read as CSV").because(e)
}

/// The columns by name.
fn columns(header: &StringRecord) -> Result<HashMap<String, usize>> {
    let refuse = |why: &str, name: &str| {
        Err(Error::new(ErrorKind::Config, "read device file", why).with("column", name.escape_debug()).with("line", 1))
    };
    let mut columns = HashMap::new();
    for (i, name) in header.iter().enumerate() {
        // A byte order mark, as spreadsheets write it.
        let name = name.trim_start_matches('\u{feff}').to_ascii_lowercase();
        if ["password", "passphrase", "secret", "enable", "enable_password"].contains(&name.as_str()) {
            return refuse("secrets do not belong in this file", &name)
                .map_err(|e| e.hint("refer to them by password_env, password_file or password_command"));
        }
        let option = name.strip_prefix("option.").is_some_and(|o| !o.is_empty());
        if !option && !NAMES.contains(&name.as_str()) {
            return refuse("there is no such column", &name)
                .map_err(|e| e.hint(format!("the columns are {}, option.NAME", NAMES.join(", "))));
        }
        if columns.insert(name.clone(), i).is_some() {
            return refuse("a column stands there twice", &name);
        }
    }
    for name in ["name", "host", "platform"] {
        if !columns.contains_key(name) {
            return refuse("a column is missing", name)
                .map_err(|e| e.hint("the first line names the columns: name,host,platform,…"));
        }
    }
    Ok(columns)
}

fn device(columns: &HashMap<String, usize>, record: &StringRecord) -> Result<Device, String> {
    if record.len() != columns.len() {
        return Err(format!("it has {} fields where the first line has {}", record.len(), columns.len()));
    }
    let field = |name: &str| columns.get(name).and_then(|i| record.get(*i)).filter(|f| !f.is_empty());
    let needed = |name: &str| field(name).ok_or_else(|| format!("{name} is empty"));
    let mut device = fields::new_device(needed("name")?, needed("host")?, needed("platform")?);
    let owned = |name: &str| field(name).map(str::to_owned);
    if let Some(port) = field("port") {
        let port: u16 = port.parse().ok().filter(|p| *p > 0).ok_or("port is not a number from 1 to 65535")?;
        device.port = Some(port);
    }
    device.site = owned("site");
    device.group = owned("group");
    device.collector = owned("collector").unwrap_or(device.collector);
    if let Some(tags) = field("tags") {
        device.tags = tags.split([';', ' ']).filter(|t| !t.is_empty()).map(str::to_owned).collect();
    }
    let flag = |name: &str| match field(name).map(str::to_ascii_lowercase).as_deref() {
        None => Ok(None),
        Some("yes" | "true" | "1") => Ok(Some(true)),
        Some("no" | "false" | "0") => Ok(Some(false)),
        Some(_) => Err(format!("{name} is neither yes nor no")),
    };
    device.enabled = flag("enabled")?.unwrap_or(true);
    let told = |e: Error| e.to_string();
    if let Some(profile) = field("ssh_profile") {
        wiring::set_ssh_profile(&mut device.options, profile).map_err(told)?;
    }
    if let Some(trust) = field("host_key") {
        wiring::set_host_key(&mut device.options, trust).map_err(told)?;
    }
    if let Some(transport) = field("transport") {
        wiring::set_transport(&mut device.options, transport).map_err(told)?;
    }
    if let Some(command) = field("proxy_command") {
        wiring::set_proxy_command(&mut device.options, command);
    }
    if let Some(address) = field("source_address") {
        let address = address.parse().map_err(|_| "source_address is no IP address")?;
        wiring::set_source_address(&mut device.options, address);
    }
    let list = |name: &str| field(name).into_iter().flat_map(|f| f.split(';')).map(str::trim).filter(|f| !f.is_empty());
    device.jump = list("jump").map(jump::parse).collect::<Result<_>>().map_err(told)?;
    for name in columns.keys() {
        if let (Some(option), Some(value)) = (name.strip_prefix("option."), field(name)) {
            device.options.insert(option.to_owned(), value.to_owned());
        }
    }
    let secret = |prefix: &str| {
        let parts = ["env", "file", "command"].map(|kind| field(&format!("{prefix}_{kind}")));
        if parts.iter().flatten().count() > 1 {
            return Err(format!("only one of {prefix}_env, {prefix}_file and {prefix}_command can be set"));
        }
        let [env, file, command] = parts;
        secret_ref(env, file.map(Path::new), command).map_err(told)
    };
    device.login.username = owned("user");
    device.login.credential = owned("credential");
    device.login.password = secret("password")?;
    device.login.private_key = secret("key")?;
    device.login.passphrase = secret("key_passphrase")?;
    device.login.enable = secret("enable")?;
    device.login.enable_username = owned("enable_user");
    device.login.certificate = secret_ref(None, field("certificate_file").map(Path::new), None).map_err(told)?;
    device.login.agent_keys = list("agent_key").map(str::to_owned).collect();
    device.login.agent = flag("agent")?.unwrap_or(!device.login.agent_keys.is_empty());
    wiring::check_options(&device).map_err(told)?;
    fields::check_texts(&device).map_err(told)?;
    Ok(device)
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a test may panic")]
mod tests {
    use super::*;
    use devicevault_core::SecretRef;
    use proptest::prelude::*;

    fn read_str(s: &str) -> Result<(Vec<Line>, Vec<Fault>)> {
        read(s.as_bytes())
    }

    #[test]
    fn a_line_is_a_device() {
        let csv = "\u{feff}name,host,platform,port,user,tags,enabled,password_env,key_file,ssh_profile,option.ssh.keepalive\n\
                   core-rtr1,192.0.2.1,cisco_ios,2222,backup,core; lab,no,PW,,legacy,5\n";
        let (lines, faults) = read_str(csv).unwrap();
        assert_eq!(faults, []);
        let d = &lines[0].device;
        assert_eq!((d.name.as_str(), d.port, d.enabled, lines[0].number), ("core-rtr1", Some(2222), false, 2));
        assert_eq!(d.tags.iter().collect::<Vec<_>>(), ["core", "lab"]);
        assert_eq!(d.login.password, Some(SecretRef::Env("PW".to_owned())));
        assert_eq!(d.login.private_key, None);
        assert_eq!(
            d.options.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>(),
            ["ssh.keepalive=5", "ssh.profile=legacy"]
        );
    }

    #[test]
    fn a_way_is_read() {
        let csv = "name,host,platform,transport,jump,agent_key,enable_user,credential\n\
                   a,h,frr,telnet,\"u@b1:2222,key-file=/k; b2,ssh-profile=legacy\",SHA256:x;me,boss,branch\n\
                   b,h,frr,carrier-pigeon,,,,\n\
                   c,h,frr,,u@:99,,,\n";
        let (lines, faults) = read_str(csv).unwrap();
        let d = &lines[0].device;
        assert_eq!(d.options.get("cli.transport").map(String::as_str), Some("telnet"));
        let hops: Vec<_> = d.jump.iter().map(|h| (h.host.as_str(), h.port, h.login.username.as_deref())).collect();
        assert_eq!(hops, [("b1", Some(2222), Some("u")), ("b2", None, None)]);
        assert!(d.login.agent && d.login.agent_keys.len() == 2);
        assert_eq!(d.login.enable_username.as_deref(), Some("boss"));
        assert_eq!(d.login.credential.as_deref(), Some("branch"));
        assert_eq!(faults.iter().map(|f| f.line).collect::<Vec<_>>(), [3, 4]);
    }

    #[test]
    fn every_faulty_line_is_told_by_its_number() {
        let csv = "name,host,platform,port,enabled,password_env,password_file\n\
                   a,h,p,,,,\n\
                   \"quoted\nname\",h,p,,,,\n\
                   ../../etc/x,h,p,,,,\n\
                   b,h\n\
                   c,h,p,0,,,\n\
                   d,h,p,,maybe,,\n\
                   e,,p,,,,\n\
                   f,h,p,,,A,B\n\
                   g,h,p,,,,\n";
        let (lines, faults) = read_str(csv).unwrap();
        assert_eq!(lines.iter().map(|l| l.device.name.as_str()).collect::<Vec<_>>(), ["a", "g"]);
        assert_eq!(faults.iter().map(|f| f.line).collect::<Vec<_>>(), [3, 5, 6, 7, 8, 9, 10]);
        assert!(faults[1].why.contains("path separator"), "{}", faults[1].why);
        assert!(faults[6].why.contains("only one of password_env"), "{}", faults[6].why);
    }

    #[test]
    fn a_header_that_makes_no_sense_is_refused() {
        for (header, says) in [
            ("name,host\n", "missing"),
            ("name,host,platform,colour\n", "no such column"),
            ("name,host,platform,name\n", "twice"),
            ("name,host,platform,password\n", "secrets do not belong"),
            ("", "missing"),
        ] {
            let e = read_str(header).unwrap_err();
            assert!(e.to_string().contains(says), "{e}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_devices_faults_or_an_error(bytes: Vec<u8>) {
            let mut file = b"name,host,platform\n".to_vec();
            file.extend(bytes);
            let _ = read(file.as_slice());
        }

        #[test]
        fn no_header_makes_it_panic(bytes: Vec<u8>) {
            let _ = read(bytes.as_slice());
        }
    }
}
