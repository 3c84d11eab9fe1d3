#!/usr/bin/env python3
"""Prints the test vectors of the leaf encoding, independently of the Rust code: docs/leaf-vectors.txt."""
import hashlib
import struct


def field(value):
    return b"\xff\xff\xff\xff" if value is None else struct.pack(">I", len(value)) + value


def leaf(account, sealed):
    number = lambda n: struct.pack(">q", n)
    fields = [
        number(42),
        bytes.fromhex("01920000000070008000000000000001"),
        b"account",
        b"a1",
        number(3),
        b"account.opened",
        b"1",
        account,
        number(1_700_000_000_000_001),
        b'{"actor":"system"}',
        b'{"opened":{}}',
        sealed,
    ]
    return b"\x00" + b"".join(map(field, fields))


print("# leaf, then its SHA-256; a line each: full, without account and sealed, with empty sealed")
for account, sealed in [(b"\x00" * 15 + b"\xa1", b"\x01\x00"), (None, None), (b"\x00" * 15 + b"\xa1", b"")]:
    octets = leaf(account, sealed)
    print(octets.hex(), hashlib.sha256(octets).hexdigest())
