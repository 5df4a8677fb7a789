//! What must hold of containers, tried from outside: round trips, ranges, every kind of damage, wrong keys.

use std::sync::Arc;

use bytes::Bytes;
use devicevault_core::body::read_to_vec;
use devicevault_core::{Body, ByteStream, ErrorKind, KeyProvider, Result, SecretString, Timestamp};
use futures::StreamExt as _;
use proptest::prelude::*;

use super::keys::{Kek, Passphrase, PassphraseKek};
use super::*;

fn kek(byte: u8) -> Arc<dyn KeyProvider> {
    Arc::new(Kek::raw(Key::new([byte; 32])))
}

async fn keyring() -> Keyring {
    let ring = Keyring::new(vec![kek(9)]);
    ring.create_epoch(&[kek(9)], Timestamp::UNIX_EPOCH).await.unwrap();
    ring
}

/// A passphrase whose key is made at once.
fn passphrase(text: &str) -> PassphraseKek {
    let quick = Passphrase { memory_kib: 64, passes: 1, ..Passphrase::generate().unwrap() };
    PassphraseKek::new(SecretString::from(text)).with_parameters(quick)
}

fn chunked(data: &[u8], chunk: usize) -> ByteStream<'static> {
    let chunks: Vec<_> = data.chunks(chunk.max(1)).map(|c| Ok(Bytes::copy_from_slice(c))).collect();
    futures::stream::iter(chunks).boxed()
}

async fn sealed(data: &[u8], ring: &Keyring, options: &SealOptions) -> Vec<u8> {
    let (epoch, key) = ring.current().await.unwrap();
    let (_, stream) = seal(chunked(data, 70_001), epoch, &key, options).await.unwrap();
    read_to_vec(stream, u64::MAX).await.unwrap()
}

async fn open(container: &[u8], ring: &Keyring) -> Result<Vec<u8>> {
    let body: Arc<dyn Body> = Arc::new(Bytes::copy_from_slice(container));
    let opened = Sealed::open(body, ring).await?;
    read_to_vec(opened.read(None), u64::MAX).await
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Bytes that compress, or do not.
fn content(len: usize, noise: bool) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..len).map(|i| if noise { next() } else { b"interface GigabitEthernet1/0/"[i % 29] }).collect()
}

#[tokio::test]
async fn every_length_around_the_bounds_survives() {
    let ring = keyring().await;
    let edges = [0, 1, 127, 65_535, 65_536, 65_537, 131_072, 1 << 20, (1 << 20) + 1, 3 << 20];
    for len in edges {
        for noise in [false, true] {
            let data = content(len, noise);
            for options in [SealOptions::default(), SealOptions::default().with_level(None)] {
                let container = sealed(&data, &ring, &options).await;
                assert_eq!(open(&container, &ring).await.unwrap(), data, "{len} {noise} {options:?}");
                if noise || options.level.is_none() {
                    assert_eq!(container.len() as u64, sealed_length(len as u64));
                }
            }
        }
    }
}

#[tokio::test]
async fn what_does_not_compress_is_left_as_it_is() {
    let ring = keyring().await;
    let container = sealed(&content(2 << 20, true), &ring, &SealOptions::default()).await;
    assert_eq!(container[6], 0);
    let container = sealed(&content(2 << 20, false), &ring, &SealOptions::default()).await;
    assert_eq!(container[6], 1);
    assert!(container.len() < 10_000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_range_is_exact(len in 0usize..2_300_000, noise: bool, a in 0u64..2_400_000, b in 0u64..2_400_000) {
        let data = content(len, noise);
        let got = block_on(async {
            let ring = keyring().await;
            let body: Arc<dyn Body> = Arc::new(Bytes::from(sealed(&data, &ring, &SealOptions::default()).await));
            let opened = Sealed::open(body, &ring).await.unwrap();
            assert_eq!(opened.len(), len as u64);
            read_to_vec(opened.read(Some(a..b)), u64::MAX).await.unwrap()
        });
        let (from, to) = ((a as usize).min(len), (b as usize).clamp((a as usize).min(len), len));
        prop_assert!(got == data[from..to]);
    }

    #[test]
    fn hostile_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let opened = block_on(async { open(&bytes, &keyring().await).await });
        prop_assert!(opened.is_err());
    }
}

#[tokio::test]
async fn every_flipped_byte_and_every_cut_is_found() {
    let ring = keyring().await;
    for noise in [false, true] {
        let data = content(3000, noise);
        let container = sealed(&data, &ring, &SealOptions::default()).await;
        for i in 0..container.len() {
            let mut bad = container.clone();
            bad[i] ^= 0x10;
            assert!(open(&bad, &ring).await.is_err(), "byte {i}");
            assert!(open(&container[..i], &ring).await.is_err(), "cut at {i}");
        }
        let mut longer = container.clone();
        longer.push(0);
        assert!(open(&longer, &ring).await.is_err());
    }
}

#[tokio::test]
async fn segments_cannot_be_moved_doubled_or_taken_from_elsewhere() {
    const SEGMENT: usize = 65_552;
    let ring = keyring().await;
    let plain = SealOptions::default().with_level(None);
    let (one, two) = (content(200_000, true), content(200_001, true));
    let (a, b) = (sealed(&one, &ring, &plain).await, sealed(&two, &ring, &plain).await);
    let part = |c: &[u8], i: usize| c[128 + i * SEGMENT..(128 + (i + 1) * SEGMENT).min(c.len())].to_vec();
    let build = |order: [Vec<u8>; 3]| [&a[..128], &order[0], &order[1], &order[2], &part(&a, 3)].concat();
    assert_eq!(open(&build([part(&a, 0), part(&a, 1), part(&a, 2)]), &ring).await.unwrap(), one);
    for order in [
        [part(&a, 1), part(&a, 0), part(&a, 2)],
        [part(&a, 0), part(&a, 0), part(&a, 2)],
        [part(&a, 0), part(&b, 1), part(&a, 2)],
    ] {
        assert_eq!(open(&build(order), &ring).await.unwrap_err().kind(), ErrorKind::Corrupt);
    }
    // Cut at a segment's boundary: the lengths fit, the flag of the last segment does not.
    let cut = &a[..128 + 2 * SEGMENT];
    assert_eq!(open(cut, &ring).await.unwrap_err().kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn nothing_of_a_damaged_segment_is_released() {
    let ring = keyring().await;
    let data = content(300_000, true);
    let mut container = sealed(&data, &ring, &SealOptions::default()).await;
    container[128 + 2 * 65_552 + 100] ^= 1;
    let body: Arc<dyn Body> = Arc::new(Bytes::from(container));
    let mut stream = Sealed::open(body, &ring).await.unwrap().read(None);
    let mut released = Vec::new();
    let end = loop {
        match stream.next().await {
            Some(Ok(chunk)) => released.extend_from_slice(&chunk),
            other => break other,
        }
    };
    assert_eq!(end.unwrap().unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(released == data[..2 * 65_536]);
}

#[tokio::test]
async fn wrong_missing_retired_and_damaged_keys_are_told_apart() {
    let ring = keyring().await;
    let container = sealed(b"hostname a\n", &ring, &SealOptions::default()).await;
    let epoch = ring.current().await.unwrap().0.to_string();
    let ours = ring.objects().remove(0);
    let nine = Kek::raw(Key::new([9; 32])).id().0.clone();
    let with = async |provider: Arc<dyn KeyProvider>, object: &EpochObject| {
        let ring = Keyring::new(vec![provider]);
        ring.add(object.clone());
        open(&container, &ring).await
    };
    let refused = async |provider, object: &EpochObject, kind: ErrorKind, words: &[&str]| {
        let e = with(provider, object).await.unwrap_err();
        assert_eq!(e.kind(), kind, "{e:?}");
        let text = format!("{e:?}");
        words.iter().for_each(|w| assert!(text.contains(w), "{w} in {text}"));
    };

    let missing = open(&container, &Keyring::new(vec![kek(9)])).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::KeyUnavailable);
    assert!(missing.to_string().contains("not here") && missing.to_string().contains(&epoch));

    refused(kek(8), &ours, ErrorKind::KeyUnavailable, &["none of the keys", &nine, &epoch]).await;

    let (_, key) = ring.current().await.unwrap();
    let mut phrased = ours.clone();
    phrased.add(&key, &passphrase("correct horse")).await.unwrap();
    phrased.remove(Kek::raw(Key::new([9; 32])).id()).unwrap();
    let phrase_id = phrased.wraps[0].kek.0.clone();
    refused(kek(9), &phrased, ErrorKind::KeyUnavailable, &["was retired", &nine, &phrase_id, &epoch]).await;
    let right = PassphraseKek::new(SecretString::from("correct horse"));
    assert_eq!(with(Arc::new(right), &phrased).await.unwrap(), b"hostname a\n");
    let wrong = Arc::new(PassphraseKek::new(SecretString::from("battery staple")));
    refused(wrong, &phrased, ErrorKind::KeyUnavailable, &["the passphrase is not", &phrase_id, &epoch]).await;

    let mut damaged = ours.clone();
    damaged.wraps[0].wrapped.replace_range(0..4, "00ff");
    refused(kek(9), &damaged, ErrorKind::Corrupt, &["wrap is damaged", &nine, &epoch]).await;
}

#[tokio::test]
async fn wraps_of_kinds_that_are_not_known_are_kept_and_passed_over() {
    let ring = keyring().await;
    let container = sealed(b"hostname a\n", &ring, &SealOptions::default()).await;
    let mut value: serde_json::Value = serde_json::from_slice(&ring.objects()[0].to_json()).unwrap();
    let stranger =
        serde_json::json!({"kek": "00", "kind": "vault-transit", "wrapped": "vault:v1:x", "mount": {"a": [1]}});
    value["wraps"].as_array_mut().unwrap().insert(0, stranger.clone());
    let object = EpochObject::from_json(value.to_string().as_bytes()).unwrap();
    let again: serde_json::Value = serde_json::from_slice(&object.to_json()).unwrap();
    assert_eq!(again["wraps"][0], stranger);
    let other = Keyring::new(vec![Arc::new(passphrase("x")), kek(9)]);
    other.add(object);
    assert_eq!(open(&container, &other).await.unwrap(), b"hostname a\n");
}

#[tokio::test]
async fn a_rotated_key_opens_what_was_sealed_before() {
    let ring = keyring().await;
    let container = sealed(b"hostname a\n", &ring, &SealOptions::default()).await;
    let (_, epoch_key) = ring.current().await.unwrap();
    let new: Arc<dyn KeyProvider> = Arc::new(passphrase("correct horse"));
    let new_id = new.kek().await.unwrap();

    let mut object = ring.objects().remove(0);
    object.add(&epoch_key, &*new).await.unwrap();
    object.remove(Kek::raw(Key::new([9; 32])).id()).unwrap();
    assert_eq!(object.remove(&new_id).unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(object.revision, 3);
    let object = EpochObject::from_json(&object.to_json()).unwrap();

    let rotated = Keyring::new(vec![new]);
    rotated.add(object);
    assert_eq!(open(&container, &rotated).await.unwrap(), b"hostname a\n");
    // The later revision counts, in whichever order they come.
    rotated.add(ring.objects().remove(0));
    assert_eq!(rotated.objects()[0].revision, 3);
}

#[tokio::test]
async fn what_lies_at_a_destination_opens_and_does_not_seal() {
    let ring = keyring().await;
    let container = sealed(b"hostname a\n", &ring, &SealOptions::default()).await;
    let reader = Keyring::new(vec![kek(9)]);
    reader.add_found(ring.objects().remove(0));
    assert_eq!(open(&container, &reader).await.unwrap(), b"hostname a\n");
    assert_eq!(reader.current().await.unwrap_err().kind(), ErrorKind::KeyUnavailable);
}

#[tokio::test]
async fn small_records_open_and_nothing_else_does() {
    let ring = keyring().await;
    let (epoch, key) = ring.current().await.unwrap();
    for len in [0, 1, 2000, 70_000] {
        let text = content(len, false);
        let container = seal_record(&text, epoch, &key).unwrap();
        assert_eq!(open_record(&container, &ring, 80_000).await.unwrap(), text);
        assert_eq!(open(&container, &ring).await.unwrap(), text, "it is a container as any other");
        if len > 0 {
            let e = open_record(&container, &ring, len as u64 - 1).await.unwrap_err();
            assert_eq!(e.kind(), ErrorKind::TooLarge);
        }
    }
}

#[test]
fn hostile_key_parameters_are_not_computed() {
    let huge = Passphrase { salt: "00".repeat(16), memory_kib: u32::MAX, passes: 1, lanes: 1 };
    assert_eq!(huge.derive(&SecretString::from("x")).unwrap_err().kind(), ErrorKind::Corrupt);
}
