//! Every way to log in, to two implementations of SSH.

use std::path::Path;

use crate::devicevault::{Answer, PASSPHRASE, Person};
use crate::dropbear::Dropbear;
use crate::sshd::Sshd;
use crate::user::User;

/// Something of the device is stored in this folder.
#[track_caller]
fn assert_stored(answer: Answer, folder: &Path) {
    let answer = answer.good();
    let all = answer.json();
    let stored = all.as_array().expect("a list").iter().filter(|a| a["status"] == "stored");
    let paths: Vec<_> = stored.map(|a| folder.join(a["path"].as_str().expect("a path"))).collect();
    assert!(!paths.is_empty(), "{all}");
    for path in paths {
        assert!(std::fs::metadata(&path).is_ok_and(|m| m.len() > 0), "{}", path.display());
    }
}

#[test]
#[ignore = "needs sshd and root"]
fn a_password_that_pam_checks() {
    let (user, person) = (User::add(), Person::new());
    let sshd = Sshd::start("PasswordAuthentication yes\nKbdInteractiveAuthentication no\nPubkeyAuthentication no");
    assert_stored(person.back_up(sshd.port, "linux", &user.name, &user.password, &[]), &person.folder());
    assert!(sshd.log().contains("Accepted password for"), "{}", sshd.log());
}

#[test]
#[ignore = "needs sshd and root"]
fn questions_at_the_keyboard() {
    let (user, person) = (User::add(), Person::new());
    let sshd = Sshd::start("PasswordAuthentication no\nKbdInteractiveAuthentication yes\nPubkeyAuthentication no");
    assert_stored(person.back_up(sshd.port, "linux", &user.name, &user.password, &[]), &person.folder());
    assert!(sshd.log().contains("Accepted keyboard-interactive/pam for"), "{}", sshd.log());
}

/// Logs in with a key that is made so, and with this passphrase where it has one.
fn with_key(make: &[&str], passphrase: Option<&str>) {
    let (user, person) = (User::add(), Person::new());
    let sshd = Sshd::start("PasswordAuthentication no\nKbdInteractiveAuthentication no");
    let key = sshd.authorised_key(&[make, &["-N", passphrase.unwrap_or_default()]].concat());
    let mut more = vec!["--key-file", key.to_str().expect("UTF-8")];
    if passphrase.is_some() {
        more.extend(["--key-passphrase-env", PASSPHRASE]);
    }
    let person = person.with_passphrase(passphrase.unwrap_or_default());
    assert_stored(person.back_up(sshd.port, "linux", &user.name, "", &more), &person.folder());
    assert!(sshd.log().contains("Accepted publickey for"), "{}", sshd.log());
}

#[test]
#[ignore = "needs sshd and root"]
fn an_ed25519_key() {
    with_key(&["-t", "ed25519"], None);
}

#[test]
#[ignore = "needs sshd and root"]
fn an_rsa_key() {
    with_key(&["-t", "rsa", "-b", "3072"], None);
}

#[test]
#[ignore = "needs sshd and root"]
fn an_rsa_key_in_pem_format() {
    with_key(&["-t", "rsa", "-b", "2048", "-m", "PEM"], None);
}

#[test]
#[ignore = "needs sshd and root"]
fn an_ecdsa_key() {
    with_key(&["-t", "ecdsa", "-b", "256"], None);
}

#[test]
#[ignore = "needs sshd and root"]
fn an_encrypted_key() {
    with_key(&["-t", "ed25519"], Some("open sesame 42"));
}

#[test]
#[ignore = "needs dropbear and root"]
fn dropbear_with_a_password() {
    let (user, person) = (User::add(), Person::new());
    let dropbear = Dropbear::start();
    assert_stored(person.back_up(dropbear.port, "linux", &user.name, &user.password, &[]), &person.folder());
}
