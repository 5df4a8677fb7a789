#!/usr/bin/env python3
"""Opens DVO1 containers and sealed stores by docs/format.md alone; shares no code with DeviceVault.

    dvo1.py open CONTAINER KEYS-FOLDER KEY > CONTENT
    dvo1.py store STORE KEY --to FOLDER
    dvo1.py vectors docs/vectors

KEY is --kek-file FILE (64 hexadecimal digits, or a recovery kit) or --passphrase-file FILE.
Needs Python 3.9 with `cryptography`, `zstandard` and, for passphrases, `argon2-cffi`.
"""
import argparse
import hashlib
import hmac
import io
import json
import pathlib
import re
import struct
import sys
import time

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

HEADER, SEGMENT, TAG, BLOCK = 128, 1 << 16, 16, 1 << 20


class Damaged(Exception):
    """The container is not what was written."""


def mac(key, *parts):
    return hmac.new(key, b"".join(parts), hashlib.sha256).digest()


def unseal(key, nonce, text, aad):
    try:
        return AESGCM(key).decrypt(nonce, text, aad)
    except InvalidTag:
        raise Damaged("a tag does not fit") from None


class Container:
    """A container in memory or a file, opened with the epoch key."""

    def __init__(self, file, length, epoch_keys):
        self.file = file
        body = length - HEADER
        self.segments = max(1, -(-body // (SEGMENT + TAG)))
        self.payload = body - TAG * self.segments
        if body < TAG or max(1, -(-self.payload // SEGMENT)) != self.segments:
            raise Damaged("the length is not that of a container")
        h = self.header = self.at(0, HEADER)
        if h[:4] != b"DVO1" or h[4] != 1 or h[5] != 1 or h[6] > 1 or h[7] != 16 or h[95]:
            raise Damaged("not a container that this page describes")
        self.codec, self.epoch = h[6], h[8:24]
        epoch_key = epoch_keys(self.epoch)
        data_key = unseal(mac(epoch_key, b"devicevault dvo1 wrap", h[:40]), bytes(12), h[40:88], h[:40])
        if not hmac.compare_digest(mac(data_key, b"devicevault dvo1 commit", h[:96]), h[96:128]):
            raise Damaged("the commitment does not fit")
        self.key = mac(data_key, b"devicevault dvo1 segments")
        self.aad = hashlib.sha256(h).digest()
        self.table = self.read_table() if self.codec == 1 else None

    def at(self, offset, length):
        self.file.seek(offset)
        data = self.file.read(length)
        if len(data) != length:
            raise Damaged("cut off")
        return data

    def segment(self, i):
        last = i == self.segments - 1
        length = self.payload - i * SEGMENT if last else SEGMENT
        sealed = self.at(HEADER + i * (SEGMENT + TAG), length + TAG)
        nonce = self.header[88:95] + struct.pack(">IB", i, last)
        return unseal(self.key, nonce, sealed, self.aad)

    def payload_range(self, start, end):
        """Bytes of the payload, segment by segment."""
        if start >= end:
            return
        for i in range(start // SEGMENT, (end - 1) // SEGMENT + 1):
            begin = i * SEGMENT
            yield self.segment(i)[max(0, start - begin):end - begin]

    def read_table(self):
        total = self.payload
        if total < 9:
            raise Damaged("too short for a seek table")
        count, descriptor, magic = struct.unpack("<IBI", b"".join(self.payload_range(total - 9, total)))
        length = 17 + 8 * count
        if magic != 0x8F92EAB1 or descriptor or length > total:
            raise Damaged("no seek table")
        table = b"".join(self.payload_range(total - length, total))
        if struct.unpack("<II", table[:8]) != (0x184D2A5E, length - 8):
            raise Damaged("no seek table")
        frames = [struct.unpack_from("<II", table, 8 + 8 * i) for i in range(count)]
        if sum(c for c, _ in frames) + length != total or any(d > BLOCK for _, d in frames):
            raise Damaged("the seek table does not fit")
        return frames

    def length(self):
        return self.payload if self.table is None else sum(d for _, d in self.table)

    def read(self, start=0, end=None):
        """The content, or a range of it."""
        end = self.length() if end is None else min(end, self.length())
        if self.table is None:
            if self.payload == 0:
                self.segment(0)
            yield from self.payload_range(start, end)
            return
        import zstandard
        at, content = 0, 0
        for compressed, size in self.table:
            if content < end and content + size > start:
                frame = b"".join(self.payload_range(at, at + compressed))
                block = zstandard.ZstdDecompressor().decompress(frame, max_output_size=size)
                if len(block) != size:
                    raise Damaged("a frame has another length than the table says")
                yield block[max(0, start - content):end - content]
            at += compressed
            content += size


def kek_id(key):
    return mac(key, b"devicevault kek id v1").hex()[:16]


def epoch_keys(folder, raw_keks, passphrase):
    """A function from the 16 bytes of an epoch id to its key."""
    known = {}

    def find(epoch):
        name = epoch.hex()
        name = "-".join([name[:8], name[8:12], name[12:16], name[16:20], name[20:]])
        if name in known:
            return known[name]
        key_object = json.loads((pathlib.Path(folder) / f"{name}.json").read_text())
        for wrap in key_object["wraps"]:
            keks = {kek_id(k): k for k in raw_keks}
            if wrap["kind"] == "argon2id" and passphrase is not None:
                if wrap["memory_kib"] > 1 << 20 or wrap["passes"] > 16 or wrap["lanes"] > 16:
                    continue
                from argon2.low_level import Type, hash_secret_raw
                key = hash_secret_raw(passphrase, bytes.fromhex(wrap["salt"]), time_cost=wrap["passes"], memory_cost=wrap["memory_kib"],
                                      parallelism=wrap["lanes"], hash_len=32, type=Type.ID, version=0x13)
                keks[kek_id(key)] = key
            if wrap["kek"] in keks:
                known[name] = unseal(keks[wrap["kek"]], bytes.fromhex(wrap["nonce"]), bytes.fromhex(wrap["wrapped"]),
                                     b"devicevault epoch v1" + epoch)
                return known[name]
        raise SystemExit(f"no key at hand opens epoch {name}")
    return find


def key_of_text(text):
    """64 hexadecimal digits, or the four lines of a recovery kit."""
    if re.fullmatch(r"[0-9a-fA-F]{64}", text.strip()):
        return bytes.fromhex(text)
    parts = {}
    for line in text.upper().splitlines():
        found = re.search(r"KEY ([1-4])([ 0-9A-F]*)CHECK([ 0-9A-F]*)", line)
        if not found:
            continue
        number, part = int(found[1]), bytes.fromhex(found[2].replace(" ", ""))
        digest = hashlib.sha256(b"devicevault recovery kit v1" + bytes([number]) + part).digest()
        if len(part) != 8 or digest[:2].hex().upper() != found[3].replace(" ", ""):
            raise SystemExit(f"line KEY {number} was mistyped")
        parts[number] = part
    if len(parts) != 4:
        raise SystemExit("a key is 64 hexadecimal digits, or the four KEY lines of a recovery kit")
    return b"".join(parts[i] for i in (1, 2, 3, 4))


def canonical_hash(document):
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def checked(text):
    """A manifest document whose own hash fits."""
    document = json.loads(text)
    own = document.pop("manifest_sha256", None)
    if own != canonical_hash(document):
        raise Damaged("a manifest was changed after it was written")
    return document


def family(name):
    """The name of sealed content without its suffix and mark."""
    return re.sub(r"(\.r[0-9a-f]{8})?\.dvo$", "", name)


def stamp(manifest):
    """Time and identity of a backup, which its files are named by."""
    digest = hashlib.sha256()
    run = bytes.fromhex(manifest["run"].replace("-", ""))
    for part in run, manifest["view"].encode(), manifest["artefact"].encode(), manifest["source"]["device"].encode():
        digest.update(struct.pack("<Q", len(part)) + part)
    return f"{manifest['taken_at'][:19].replace(':', '-')}Z-{digest.hexdigest()[:8]}"


def without_manifest(store):
    """Content that no manifest names and that is too old to be on its way."""
    for path in sorted(pathlib.Path(store).rglob("*.dvo")):
        named = path.with_name(family(path.name) + ".manifest.json").exists()
        is_ours = re.search(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ-[0-9a-f]{8}", path.name)
        if is_ours and not named and time.time() - path.stat().st_mtime > 600:
            yield path


def open_backup(path, keys):
    """The manifest and the container of a sealed backup, from its manifest file."""
    envelope = checked(path.read_text())
    sealed = bytes.fromhex(envelope["sealed"])
    manifest = checked(b"".join(Container(io.BytesIO(sealed), len(sealed), keys).read()).decode())
    stored = manifest["stored"]
    if stored != envelope["stored"]:
        raise Damaged("what the envelope says of the stored bytes was changed")
    name = path.name[:-len(".manifest.json")]
    if family(stored["object"]) != name or stamp(manifest) not in name:
        raise Damaged("it is the manifest of another backup: the one that was here may be lost")
    at = path.parent / stored["object"]
    if at.stat().st_size != stored["size"]:
        raise Damaged("the stored bytes have another length")
    file = at.open("rb")
    container = Container(file, stored["size"], keys)
    if hashlib.sha256(container.header).hexdigest() != stored["header"]:
        raise Damaged("it is the container of another backup")
    return manifest, container


def open_store(store, keys, to):
    """Writes every backup of a sealed store into a folder; how many, and how many could not be."""
    good = bad = 0
    for path in sorted(pathlib.Path(store).rglob("*.manifest.json")):
        try:
            manifest, container = open_backup(path, keys)
            parts = [manifest["source"].get("site") or "", manifest["source"]["device_name"], manifest["artefact"]]
            safe = [re.sub(r"[^\w.-]", "_", p).lstrip(".") or "_" for p in parts if p]
            name = re.sub(r"[^\w.-]", "_", f"{manifest['taken_at']}-{manifest['backup']}-{manifest['view']}.{manifest['extension']}")
            target = pathlib.Path(to, *safe, name)
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft, digest = target.with_name("." + target.name), hashlib.sha256()
            with draft.open("xb") as out:
                draft.chmod(0o600)
                for part in container.read():
                    digest.update(part)
                    out.write(part)
            if digest.hexdigest() != manifest["sha256"]:
                draft.unlink()
                raise Damaged("the content is not what the manifest says")
            draft.rename(target)
            good += 1
        except (Damaged, OSError, KeyError, ValueError) as e:
            bad += 1
            print(f"{path}: {e}", file=sys.stderr)
    for path in without_manifest(store):
        bad += 1
        print(f"{path}: its content is there, its manifest is not", file=sys.stderr)
    return good, bad


def check_store(folder):
    """The frozen store: every backup opens to what is listed, with the kit alone."""
    keys = epoch_keys(folder / "keys", [key_of_text((folder.parent / "store-kit.txt").read_text())], None)
    expected = json.loads((folder.parent / "store.json").read_text())
    for manifest_file, digest in expected.items():
        _, container = open_backup(folder / manifest_file, keys)
        assert hashlib.sha256(b"".join(container.read())).hexdigest() == digest, manifest_file
    return len(expected)


def check_vectors(folder):
    folder = pathlib.Path(folder)
    vectors = json.loads((folder / "vectors.json").read_text())
    for v in vectors["containers"]:
        path = folder / v["file"]
        with path.open("rb") as f:
            c = Container(f, path.stat().st_size, lambda _: bytes.fromhex(v["epoch_key"]))
            content = b"".join(c.read())
            assert len(content) == v["length"] and hashlib.sha256(content).hexdigest() == v["sha256"], v["file"]
            for start, end, digest in v["ranges"]:
                assert hashlib.sha256(b"".join(c.read(start, end))).hexdigest() == digest, (v["file"], start, end)
    for v in vectors["epochs"]:
        opened = epoch_keys(folder, [bytes.fromhex(k) for k in v["keks"]], v["passphrase"].encode() if v["passphrase"] else None)
        assert opened(bytes.fromhex(v["id"].replace("-", ""))).hex() == v["key"], v["id"]
    backups = check_store(folder / "store") if (folder / "store").is_dir() else 0
    print(f"{len(vectors['containers'])} containers, {len(vectors['epochs'])} epoch keys and {backups} backups open as they should")


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sub = p.add_subparsers(dest="what", required=True)
    o = sub.add_parser("open")
    o.add_argument("container")
    o.add_argument("keys", help="folder with the epoch key objects")
    t = sub.add_parser("store")
    t.add_argument("store")
    t.add_argument("--to", required=True, help="folder for what is opened")
    for command in (o, t):
        command.add_argument("--kek-file", action="append", default=[])
        command.add_argument("--passphrase-file")
    v = sub.add_parser("vectors")
    v.add_argument("folder")
    a = p.parse_args()
    if a.what == "vectors":
        return check_vectors(a.folder)
    keks = [key_of_text(pathlib.Path(f).read_text()) for f in a.kek_file]
    passphrase = pathlib.Path(a.passphrase_file).read_text().splitlines()[0].encode() if a.passphrase_file else None
    if a.what == "store":
        good, bad = open_store(a.store, epoch_keys(pathlib.Path(a.store) / "keys", keks, passphrase), a.to)
        print(f"{good} backups opened, {bad} not")
        return sys.exit(1 if bad else 0)
    path = pathlib.Path(a.container)
    with path.open("rb") as f:
        c = Container(f, path.stat().st_size, epoch_keys(a.keys, keks, passphrase))
        for part in c.read():
            sys.stdout.buffer.write(part)


if __name__ == "__main__":
    try:
        main()
    except Damaged as e:
        raise SystemExit(f"damaged: {e}")
