//! Key-encryption keys in a token, with SoftHSM: `apt-get install softhsm2 opensc`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use devicevault_core::storage::VerifyDepth;
use devicevault_core::{ErrorKind, KeyProvider, SecretString, StorageBackend as _, StorageBackendExt as _, Timestamp};
use devicevault_storage::local::LocalStore;
use devicevault_storage::plain::{PlainBackend, PlainOptions};
use devicevault_storage::seal::Keyring;
use devicevault_storage::seal::keys::{Kek, TokenKek, TokenOptions};
use devicevault_testkit::samples;
use tempfile::TempDir;

const MODULES: [&str; 4] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
];
const ROLE: &str = "DEVICEVAULT_TEST_TOKENS";

fn module() -> PathBuf {
    let found = MODULES.into_iter().map(PathBuf::from).find(|p| p.exists());
    found.expect("SoftHSM is not installed: apt-get install softhsm2 opensc")
}

/// A folder for tokens of one test, told to SoftHSM by its configuration.
fn tokens() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("tokens");
    std::fs::create_dir(&store).unwrap();
    let text = format!("directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n", store.display());
    std::fs::write(folder.path().join("softhsm2.conf"), text).unwrap();
    folder
}

fn run(folder: &Path, program: &str, args: &[&str]) {
    let out = Command::new(program).args(args).env("SOFTHSM2_CONF", folder.join("softhsm2.conf")).output().unwrap();
    assert!(out.status.success(), "{program}: {}", String::from_utf8_lossy(&out.stderr));
}

fn make_token(folder: &Path, label: &str) {
    run(folder, "softhsm2-util", &["--init-token", "--free", "--label", label, "--pin", "1234", "--so-pin", "5678"]);
}

fn make_key(folder: &Path, token: &str, label: &str, more: &[&str]) {
    let module = module();
    let mut args = vec!["--module", module.to_str().unwrap(), "--login", "--pin", "1234", "--token-label", token];
    args.extend(["--keygen", "--key-type", "AES:32", "--label", label]);
    args.extend(more);
    run(folder, "pkcs11-tool", &args);
}

fn kek(token: &str, key: &str, pin: &str) -> TokenKek {
    TokenKek::new(TokenOptions::new(module(), token, key, SecretString::from(pin)))
}

/// SoftHSM reads its configuration from the environment when it is loaded, so each test is a process of its own.
#[test]
#[ignore = "needs softhsm2 and opensc"]
fn a_token_holds_the_key_and_every_way_it_can_fail_is_told() {
    let folder = tokens();
    make_token(folder.path(), "backup");
    make_key(folder.path(), "backup", "kek", &[]);
    make_key(folder.path(), "backup", "next", &[]);
    make_key(folder.path(), "backup", "loose", &["--extractable"]);
    make_token(folder.path(), "twin");
    make_key(folder.path(), "twin", "kek", &[]);
    for part in ["seal", "damage", "faults"] {
        let out = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tokens::as_a_child", "--nocapture"])
            .env(ROLE, format!("{part} {}", folder.path().display()))
            .env("SOFTHSM2_CONF", folder.path().join("softhsm2.conf"))
            .output()
            .unwrap();
        let told = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert!(out.status.success() && told.contains("1 passed"), "{part}: {told}");
    }
}

/// What a child does; started without a part to play, there is nothing to do.
#[tokio::test]
async fn as_a_child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let (part, folder) = role.split_once(' ').unwrap();
    match part {
        "seal" => seal_rotate_restore(Path::new(folder)).await,
        "damage" => damage().await,
        _ => faults().await,
    }
}

async fn open(folder: &Path, keyring: &Keyring) -> PlainBackend {
    let store = LocalStore::init(folder, &"main".into()).await.unwrap();
    PlainBackend::in_folder(store, PlainOptions::default().with_sealing(keyring.clone()))
}

async fn seal_rotate_restore(home: &Path) {
    let store = home.join("store");
    let first = kek("backup", "kek", "1234");
    let canary = first.canary().await.unwrap();
    let first: Arc<dyn KeyProvider> = Arc::new(first);
    let ring = Keyring::new(vec![first.clone()]);
    let object = ring.create_epoch(std::slice::from_ref(&first), Timestamp::UNIX_EPOCH).await.unwrap();
    assert!(object.wraps[0].kind == "pkcs11" && object.is_wrapped_by(&first.kek().await.unwrap()));
    let (entry, body) = samples::entry("sw1", samples::text(1, 100_000));
    let at = open(&store, &ring).await.store_one(entry, body).await.unwrap();

    // Another process: the same key has the same id by its canary.
    let again = kek("backup", "kek", "1234").with_canary(canary);
    assert_eq!(again.kek().await.unwrap(), first.kek().await.unwrap());
    let reader = open(&store, &Keyring::new(vec![Arc::new(again)])).await;
    assert_eq!(reader.read_all(&at, 1 << 20).await.unwrap(), samples::text(1, 100_000));

    // Rotation to another key of the token.
    let next: Arc<dyn KeyProvider> = Arc::new(kek("backup", "next", "1234"));
    let (_, key) = ring.current().await.unwrap();
    let mut object = object;
    object.add(&key, &*next).await.unwrap();
    object.remove(&first.kek().await.unwrap()).unwrap();
    ring.add(object);
    let (entry, body) = samples::entry("sw1", samples::text(2, 1000));
    open(&store, &ring).await.store_one(entry, body).await.unwrap();
    let rotated = open(&store, &Keyring::new(vec![next])).await;
    assert!(rotated.verify(&at, None, VerifyDepth::Content).await.unwrap().is_good());
    let retired = open(&store, &Keyring::new(vec![first])).await.read_all(&at, 1 << 20).await.unwrap_err();
    assert_eq!(retired.kind(), ErrorKind::KeyUnavailable, "{retired:?}");
}

async fn damage() {
    let provider = kek("backup", "kek", "1234");
    let secret = devicevault_core::key::SecretKey::new(Box::new([7; 32]));
    let good = provider.wrap(&secret, b"this").await.unwrap();
    let kind = async |wrapped: &devicevault_core::key::WrappedKey, bound: &[u8]| {
        provider.unwrap(wrapped, bound).await.map_err(|e| e.kind()).map(|k| k.is_some())
    };
    assert_eq!(kind(&good, b"this").await, Ok(true));
    assert_eq!(kind(&good, b"that").await, Err(ErrorKind::Corrupt), "what is bound is part of it");
    for i in 0..good.wrapped.len() / 2 {
        let mut bytes = hex::decode(&good.wrapped).unwrap();
        bytes[i] ^= 1;
        let mut bad = good.clone();
        bad.wrapped = hex::encode(bytes);
        assert_eq!(kind(&bad, b"this").await, Err(ErrorKind::Corrupt), "byte {i}");
    }
    for cut in [0, 2, 30, good.wrapped.len() - 2] {
        let mut bad = good.clone();
        bad.wrapped.truncate(cut);
        assert_eq!(kind(&bad, b"this").await, Err(ErrorKind::Corrupt), "cut at {cut}");
    }
    for (name, value) in [("canary", "00"), ("canary", "zz"), ("nonce", "00"), ("nonce", "")] {
        let mut bad = good.clone();
        bad.parameters.insert(name.to_owned(), value.into());
        assert_eq!(kind(&bad, b"this").await, Err(ErrorKind::Corrupt), "{name} {value}");
    }
    // Another key of the same label, in another token that calls itself so; and one of another name.
    let mut theirs = kek("twin", "kek", "1234").wrap(&secret, b"this").await.unwrap();
    assert_eq!(kind(&theirs, b"this").await, Ok(false), "it is somebody else's");
    theirs.parameters.insert("token".to_owned(), "backup".into());
    let e = provider.unwrap(&theirs, b"this").await.unwrap_err();
    assert!(e.kind() == ErrorKind::KeyUnavailable && e.to_string().contains("another key"), "{e:?}");
    assert!(e.to_string().contains(&theirs.kek.0));
    // What is not of a token is none of its business.
    let raw = Kek::generate().unwrap().wrap(&secret, b"this").await.unwrap();
    assert_eq!(kind(&raw, b"this").await, Ok(false));
}

async fn faults() {
    let told = async |provider: TokenKek, words: &str| {
        let e = provider.kek().await.unwrap_err();
        let text = format!("{e:?}");
        assert!(text.contains(words) && !text.contains("4321"), "{text}");
        e.kind()
    };
    let unavailable = ErrorKind::KeyUnavailable;
    assert_eq!(told(kek("backup", "kek", "4321"), "PIN is another one").await, unavailable);
    assert_eq!(told(kek("nowhere", "kek", "1234"), "no token of this label").await, unavailable);
    assert_eq!(told(kek("backup", "none", "1234"), "no AES key of this label").await, unavailable);
    assert_eq!(told(kek("backup", "loose", "1234"), "may leave its token").await, ErrorKind::Config);
    let pin = || SecretString::from("1234");
    let absent = TokenKek::new(TokenOptions::new("/nowhere/libtoken.so", "backup", "kek", pin()));
    assert_eq!(told(absent, "not there").await, unavailable);
    let no_module = TokenKek::new(TokenOptions::new(std::env::current_exe().unwrap(), "backup", "kek", pin()));
    assert_eq!(told(no_module, "no PKCS#11 module").await, unavailable);
}
