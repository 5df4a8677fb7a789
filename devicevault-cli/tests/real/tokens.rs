//! A key-encryption key in a token that does not give it away: SoftHSM.

use std::path::PathBuf;
use std::process::Command;

use devicevault_testkit::sim::{Fleet, SimDevice};

use crate::place::Place;
use crate::process::{program, run};

const MODULES: [&str; 3] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
];
const PIN: &str = "1234";

/// A token with two keys, and a home.
struct Setting {
    place: Place,
    password: String,
}

impl Setting {
    fn new(password: &str) -> Self {
        let place = Place::new();
        std::fs::create_dir(place.join("tokens")).expect("a folder");
        let tokens = place.join("tokens");
        place.write("softhsm2.conf", &format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display()));
        place.write("pin", PIN);
        let this = Self { place, password: password.to_owned() };
        run(this
            .tool("softhsm2-util")
            .args(["--init-token", "--free", "--label", "backup", "--pin", PIN])
            .args(["--so-pin", "5678"]));
        for key in ["kek", "next"] {
            let mut tool = this.tool("pkcs11-tool");
            tool.arg("--module").arg(module()).args(["--login", "--pin", PIN, "--token-label", "backup"]);
            run(tool.args(["--keygen", "--key-type", "AES:32", "--label", key]));
        }
        this
    }

    fn tool(&self, name: &str) -> Command {
        let mut tool = Command::new(program(name));
        tool.env("SOFTHSM2_CONF", self.place.join("softhsm2.conf"));
        tool
    }

    /// How the program ended, and what it printed.
    async fn run(&self, args: &[&str]) -> (i32, String) {
        let mut program = Command::new(env!("CARGO_BIN_EXE_devicevault"));
        program.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", self.place.path());
        program.env("SOFTHSM2_CONF", self.place.join("softhsm2.conf")).env("PW", &self.password);
        program.current_dir(self.place.path()).args(["--home", "home"]).args(args);
        let output =
            tokio::task::spawn_blocking(move || program.output().expect("the program")).await.expect("its end");
        let told = [output.stdout, output.stderr].concat();
        (output.status.code().expect("an exit code"), String::from_utf8(told).expect("UTF-8"))
    }

    async fn good(&self, args: &[&str]) -> String {
        let (code, told) = self.run(args).await;
        assert_eq!(code, 0, "{args:?}: {told}");
        told
    }

    async fn key(&self) -> String {
        let listed = self.good(&["key", "list", "--json"]).await;
        let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
        assert_eq!(listed["keys"].as_array().expect("keys").len(), 1, "{listed}");
        listed["keys"][0]["id"].as_str().expect("an id").to_owned()
    }

    async fn rotate_to(&self, key: &str) {
        let module = module();
        let module = module.to_str().expect("UTF-8");
        let token = ["--token", "backup", "--token-key", key, "--token-module", module, "--pin-file", "pin"];
        self.good(&[&["key", "rotate", "--scope", "kek"][..], &token].concat()).await;
    }

    async fn backup(&self) {
        self.good(&["backup", "core-sw1", "--quiet"]).await;
    }
}

fn module() -> PathBuf {
    MODULES.into_iter().map(PathBuf::from).find(|p| p.exists()).expect("SoftHSM is installed")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs softhsm2 and opensc"]
async fn a_token_opens_everything_is_replaced_and_is_told_when_it_is_away() {
    let fleet = Fleet::builder().device(SimDevice::cisco_ios("core-sw1")).start().await.expect("a device");
    let device = &fleet.devices()[0];
    let setting = Setting::new(&device.password());
    setting.good(&["init", "--quiet"]).await;
    let port = device.addr().port().to_string();
    let add = ["device", "add", "core-sw1", "--host", "127.0.0.1", "--port", &port, "--platform", "cisco_ios"];
    setting.good(&[&add[..], &["--user", device.username(), "--password-env", "PW"]].concat()).await;

    setting.rotate_to("kek").await;
    assert!(!setting.place.join("home/kek.key").exists(), "the key of a file is gone");
    let first = setting.key().await;
    setting.backup().await;
    setting.rotate_to("next").await;
    let second = setting.key().await;
    assert_ne!(first, second);
    device.change_something();
    setting.backup().await;
    setting.good(&["verify", "--quiet"]).await;
    setting.good(&["download", "core-sw1:running-config", "--backup", "latest~1", "--to", "old.cfg"]).await;
    setting.good(&["key", "rotate", "--scope", "data"]).await;
    setting.good(&["download", "core-sw1:running-config", "--to", "new.cfg"]).await;
    assert_ne!(std::fs::read(setting.place.join("old.cfg")).ok(), std::fs::read(setting.place.join("new.cfg")).ok());

    // No kit can be written: the key stays where it is.
    let (code, told) = setting.run(&["key", "export"]).await;
    assert!(code != 0 && told.contains("stays in its token"), "{told}");

    let read = ["download", "core-sw1:running-config", "--to", "none.cfg"];
    setting.place.write("pin", "9999");
    let (code, wrong_pin) = setting.run(&read).await;
    assert!(code == 1 && wrong_pin.contains(&second), "{wrong_pin}");
    setting.place.write("pin", PIN);
    std::fs::rename(setting.place.join("tokens"), setting.place.join("away")).expect("it is taken away");
    std::fs::create_dir(setting.place.join("tokens")).expect("a folder");
    let (code, absent) = setting.run(&read).await;
    assert!(code == 1 && absent.contains(&second) && absent != wrong_pin, "{absent}");
    assert!(!setting.place.join("none.cfg").exists());
    std::fs::remove_dir_all(setting.place.join("tokens")).expect("what SoftHSM made");
    std::fs::rename(setting.place.join("away"), setting.place.join("tokens")).expect("it is back");
    setting.good(&read).await;
}
