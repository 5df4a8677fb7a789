#!/usr/bin/env python3
"""Opens DVO1 containers by docs/format.md alone; shares no code with DeviceVault.

    dvo1.py open CONTAINER KEYS-FOLDER {--kek-hex HEX | --kek-file FILE | --passphrase-file FILE} > CONTENT
    dvo1.py vectors docs/vectors

Needs Python 3.9 with `cryptography`, `zstandard` and, for passphrases, `argon2-cffi`.
"""
import argparse
import hashlib
import hmac
import json
import pathlib
import struct
import sys

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
    def find(epoch):
        name = epoch.hex()
        name = "-".join([name[:8], name[8:12], name[12:16], name[16:20], name[20:]])
        key_object = json.loads((pathlib.Path(folder) / f"{name}.json").read_text())
        for wrap in key_object["wraps"]:
            keks = {kek_id(k): k for k in raw_keks}
            if wrap["kind"] == "argon2id" and passphrase is not None:
                from argon2.low_level import Type, hash_secret_raw
                key = hash_secret_raw(passphrase, bytes.fromhex(wrap["salt"]), time_cost=wrap["passes"], memory_cost=wrap["memory_kib"],
                                      parallelism=wrap["lanes"], hash_len=32, type=Type.ID, version=0x13)
                keks[kek_id(key)] = key
            if wrap["kek"] in keks:
                return unseal(keks[wrap["kek"]], bytes.fromhex(wrap["nonce"]), bytes.fromhex(wrap["wrapped"]), b"devicevault epoch v1" + epoch)
        raise SystemExit(f"no key at hand opens epoch {name}")
    return find


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
    print(f"{len(vectors['containers'])} containers and {len(vectors['epochs'])} epoch keys open as they should")


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sub = p.add_subparsers(dest="what", required=True)
    o = sub.add_parser("open")
    o.add_argument("container")
    o.add_argument("keys", help="folder with the epoch key objects")
    o.add_argument("--kek-hex", action="append", default=[])
    o.add_argument("--kek-file", action="append", default=[])
    o.add_argument("--passphrase-file")
    v = sub.add_parser("vectors")
    v.add_argument("folder")
    a = p.parse_args()
    if a.what == "vectors":
        return check_vectors(a.folder)
    texts = a.kek_hex + [pathlib.Path(f).read_text() for f in a.kek_file]
    passphrase = pathlib.Path(a.passphrase_file).read_text().splitlines()[0].encode() if a.passphrase_file else None
    path = pathlib.Path(a.container)
    with path.open("rb") as f:
        c = Container(f, path.stat().st_size, epoch_keys(a.keys, [bytes.fromhex(t.strip()) for t in texts], passphrase))
        for part in c.read():
            sys.stdout.buffer.write(part)


if __name__ == "__main__":
    try:
        main()
    except Damaged as e:
        raise SystemExit(f"damaged: {e}")
