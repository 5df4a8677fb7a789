//! The few things that a token is asked for. Everything here blocks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error as TokenError, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use devicevault_core::{Error, ErrorKind, Result, Retry};

use super::TokenOptions;
use super::refused::{self, Failed};

/// Length of a GCM tag in bits.
const TAG_BITS: u64 = 128;

/// Modules that were loaded, for the whole process. They are not unloaded again: modules take down with them what other
/// libraries of the process, or other threads of their own, still use.
static LOADED: Mutex<BTreeMap<PathBuf, Arc<Mutex<Loaded>>>> = Mutex::new(BTreeMap::new());

/// A module, from its first use on.
#[derive(Debug, Default)]
struct Loaded {
    module: Option<Pkcs11>,
    is_started: bool,
}

/// Loads and starts a module, unless that was done before. One that does not answer keeps nobody from another.
pub(super) fn load(module: &Path) -> Result<Pkcs11> {
    let loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner).entry(module.to_owned()).or_default().clone();
    let mut loaded = loaded.lock().unwrap_or_else(PoisonError::into_inner);
    loaded.start(module)
}

impl Loaded {
    fn start(&mut self, module: &Path) -> Result<Pkcs11> {
        let told = |e: TokenError, why: &str| {
            Error::new(ErrorKind::KeyUnavailable, "load token module", why.to_owned())
                .with("module", module.display())
                .because(e)
        };
        let loaded = match &self.module {
            Some(loaded) => loaded.clone(),
            None => {
                let loaded = Pkcs11::new(module).map_err(|e| {
                    let hint = "name the shared library that came with the token";
                    told(e, "it is not there, or no PKCS#11 module").hint(hint)
                })?;
                self.module.insert(loaded).clone()
            }
        };
        if !self.is_started {
            match loaded.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
                // Somebody else in this process may have started it.
                Ok(()) | Err(TokenError::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => self.is_started = true,
                Err(e) => return Err(told(e, "it does not start")),
            }
        }
        Ok(loaded)
    }
}

/// A session with a token, logged in, and the key in it.
#[derive(Debug)]
pub(super) struct TokenKey {
    session: Session,
    key: ObjectHandle,
}

impl TokenKey {
    /// Finds the token and the key by their labels.
    pub(super) fn open(module: &Pkcs11, options: &TokenOptions) -> Result<Self> {
        let (token, label) = (options.token.as_str(), options.key.as_str());
        let unavailable = |why: &str| {
            Error::new(ErrorKind::KeyUnavailable, "open token", why.to_owned()).with("token", token.escape_debug())
        };
        let failed = |e: TokenError| unavailable("it does not answer as a token should").because(e);
        let slots = module.get_slots_with_token().map_err(failed)?;
        let slot = slots.into_iter().find(|s| module.get_token_info(*s).is_ok_and(|info| info.label() == token));
        let slot = slot.ok_or_else(|| unavailable("no token of this label is there").hint("is it plugged in?"))?;
        let session = module.open_ro_session(slot).map_err(failed)?;
        refused::login(&options.module, token, &options.pin, || {
            match session.login(UserType::User, Some(&options.pin)) {
                Ok(()) | Err(TokenError::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
                Err(e) => Err(refused_login(e, unavailable)),
            }
        })?;
        let template = [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::AES),
            Attribute::Label(label.as_bytes().to_vec()),
        ];
        let found = session.find_objects(&template).map_err(failed)?;
        let key = match found.as_slice() {
            [key] => *key,
            [] => return Err(unavailable("it holds no AES key of this label").with("label", label.escape_debug())),
            _ => return Err(unavailable("it holds several keys of this label").with("label", label.escape_debug())),
        };
        Ok(Self { session, key })
    }

    /// Whether the key may leave the token, as far as the token tells.
    pub(super) fn is_extractable(&self) -> bool {
        let asked = self.session.get_attributes(self.key, &[AttributeType::Extractable]);
        asked.is_ok_and(|all| all.contains(&Attribute::Extractable(true)))
    }

    pub(super) fn encrypt(&self, mut nonce: [u8; 12], aad: &[u8], text: &[u8]) -> Result<Vec<u8>> {
        let refused = |e| {
            Error::new(ErrorKind::KeyUnavailable, "wrap key", "the token refused to encrypt")
                .hint("the key has to be an AES key of 32 bytes that may encrypt and decrypt with AES-GCM")
                .because(e)
        };
        let params = GcmParams::new(&mut nonce, aad, TAG_BITS.into()).map_err(refused)?;
        self.session.encrypt(&Mechanism::AesGcm(params), self.key, text).map_err(refused)
    }

    /// `None`: the token says that the tag is wrong, in whichever of the ways that tokens have.
    pub(super) fn decrypt(&self, mut nonce: [u8; 12], aad: &[u8], text: &[u8]) -> Result<Option<Vec<u8>>> {
        let refused = |e| Error::new(ErrorKind::KeyUnavailable, "unwrap key", "the token failed").because(e);
        let params = GcmParams::new(&mut nonce, aad, TAG_BITS.into()).map_err(refused)?;
        match self.session.decrypt(&Mechanism::AesGcm(params), self.key, text) {
            Ok(plain) => Ok(Some(plain)),
            // PKCS#11 2.40 names the first for a wrong tag; tokens answer the others too.
            Err(TokenError::Pkcs11(
                RvError::EncryptedDataInvalid
                | RvError::EncryptedDataLenRange
                | RvError::GeneralError
                | RvError::FunctionFailed,
                _,
            )) => Ok(None),
            Err(e) => Err(refused(e)),
        }
    }
}

fn refused_login(e: TokenError, unavailable: impl Fn(&str) -> Error) -> Failed {
    let (failed, why): (fn(Error) -> Failed, _) = match &e {
        TokenError::Pkcs11(RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange, _) => {
            let why = unavailable("its PIN is another one");
            (Failed::Pin, why.hint("it was tried once: after a few wrong ones a token locks itself"))
        }
        TokenError::Pkcs11(RvError::PinLocked, _) => {
            (Failed::Locked, unavailable("it is locked after too many wrong PINs"))
        }
        _ => (Failed::Otherwise, unavailable("it refused the login")),
    };
    failed(why.retry_advice(Retry::Never).because(e))
}
