#!/usr/bin/env python3
"""Golden bytes of the tunnel protocol, computed without a line of the project's C code.

    golden.py                 print every value as "name hex"
    golden.py --c             print them as the C arrays of tests/unit/test_golden.c
    golden.py --check FILE    compare with the arrays in that C file; exit status 1 and the names on a difference

Only hashlib, hmac and struct are used: HKDF is RFC 5869 by hand, protobuf is encoded by hand. The inputs are the
ones that test_golden.c uses; docs/PROTOCOL.md shows the same bytes.
"""
import hashlib
import hmac
import re
import struct
import sys

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


# Inputs -----------------------------------------------------------------------------------------------------------

def run(first, n):
    """n bytes counting up from first: easy to recognise in a dump."""
    return bytes((first + i) & 0xff for i in range(n))


RAW_KEY = run(0x00, 32)
SALT = run(0x10, 16)
EXPORTER = run(0x40, 32)        # E of the control connection
EXPORTER_DATA = run(0x80, 32)   # D
EXPORTER_X = run(0xa0, 32)      # X of a data connection
SESSION = run(0xc0, 8)
OLD_SESSION = run(0xd0, 8)
INSTANCE = run(0x20, 16)
BOOT = run(0x30, 16)
SERVER_BOOT = run(0xb0, 16)
CONN_ID = 0x0102030405060708


# Cryptography -----------------------------------------------------------------------------------------------------

def mac(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def hkdf(ikm, info):
    """RFC 5869 without salt, one block of output."""
    return mac(mac(bytes(32), ikm), info + b"\x01")


def base64url(data):
    bits = "".join(format(b, "08b") for b in data)
    bits += "0" * (-len(bits) % 6)
    return "".join(ALPHABET[int(bits[i:i + 6], 2)] for i in range(0, len(bits), 6))


def proof(side, k, transcript):
    return mac(k, b"nodepass " + side + b"\x00" + EXPORTER + hashlib.sha256(transcript).digest())


def preamble(kind, x):
    fields = b"NPD2" + bytes([kind, 0, 0, 0]) + SESSION + struct.pack(">Q", CONN_ID)
    return fields + mac(EXPORTER_DATA, fields + x)[:16]


# Protobuf ---------------------------------------------------------------------------------------------------------

def varint(v):
    out = b""
    while v > 0x7f:
        out += bytes([v & 0x7f | 0x80])
        v >>= 7
    return out + bytes([v])


def number(field, v, keep_zero=False):
    return varint(field << 3) + varint(v) if v or keep_zero else b""


def chunk(field, data, keep_empty=False):
    return varint(field << 3 | 2) + varint(len(data)) + data if data or keep_empty else b""


def frame(kind, body):
    data = chunk(kind, body, keep_empty=True)
    return struct.pack(">I", len(data)) + data


def hello():
    return frame(1, number(1, 2) + number(2, 3) + chunk(3, SALT) + chunk(4, "nodepass/2 \u00e9".encode()))


def auth(takeover=b""):
    body = number(1, 1) + number(2, 2) + number(3, 0x8000000000000001) + chunk(4, b"edge-1")
    body += chunk(5, INSTANCE) + chunk(6, BOOT) + number(7, 15000)
    if takeover:
        body += chunk(8, OLD_SESSION) + chunk(9, takeover)
    return frame(2, body)


def welcome():
    body = chunk(1, SESSION) + number(2, 2) + number(3, 1024) + number(4, 1)
    body += chunk(5, run(0xe0, 32)) + chunk(5, run(0x60, 32))
    body += number(6, 5) + number(7, 5000) + number(8, 256) + chunk(9, SERVER_BOOT) + number(10, 10000)
    return frame(4, body)


def header(kind, turn, length):
    return struct.pack(">BBHI", kind, 0, turn, length)


# All of it --------------------------------------------------------------------------------------------------------

def golden():
    g = {}
    g["key_random"] = b"np1_" + base64url(RAW_KEY).encode()
    g["k_random"] = hkdf(RAW_KEY, b"nodepass key v2")
    g["k_port"] = hkdf(b"2775", b"nodepass port key v2")
    g["k_word"] = hashlib.scrypt("correct horse \u00fc".encode(), salt=SALT, n=16384, r=8, p=1,
                                 maxmem=64 << 20, dklen=32)
    g["takeover"] = mac(EXPORTER_DATA, b"nodepass takeover\x00" + OLD_SESSION + EXPORTER)

    g["hello"] = hello()
    g["auth"] = auth()
    g["auth_takeover"] = auth(g["takeover"])
    g["welcome"] = welcome()
    g["client_proof"] = proof(b"client", g["k_random"], g["hello"] + g["auth"])
    g["server_proof"] = proof(b"server", g["k_random"], g["hello"] + g["auth"] + g["welcome"])
    g["proof"] = frame(3, chunk(1, g["client_proof"]))
    g["reject"] = frame(5, number(1, 1) + chunk(2, b"wrong key"))
    g["ping"] = frame(6, number(1, 0xfedcba9876543210))
    g["ping_zero"] = frame(6, b"")
    g["pong"] = frame(7, number(1, 1000000))
    g["pool_demand"] = frame(8, number(1, 300))
    g["pool_target"] = frame(9, number(1, 64))
    g["update"] = frame(10, number(1, 1000) + number(2, 65536) + number(3, 600000) + number(4, 64) + number(5, 1024))
    g["update_zero_min"] = frame(10, number(4, 0, keep_zero=True))
    g["update_empty"] = frame(10, b"")
    g["certificate"] = frame(11, chunk(1, run(0xe0, 32)))
    g["drain"] = frame(12, number(1, 5000))
    g["bye"] = frame(13, number(1, 9) + chunk(2, b"stopped"))

    g["preamble_plain"] = preamble(1, b"")
    g["preamble_tls"] = preamble(2, EXPORTER_X)

    g["frame_open"] = header(1, 1, 32)
    g["frame_status"] = header(2, 1, 1)
    g["frame_data"] = header(3, 65535, 1048576)
    g["frame_fin"] = header(4, 258, 0)
    g["frame_reset"] = header(5, 2, 1)
    g["frame_done"] = header(6, 2, 0)
    g["frame_ping"] = header(7, 0, 8)
    g["frame_pong"] = header(8, 0, 8)
    g["frame_retire"] = header(9, 0, 0)
    g["frame_dopen"] = header(10, 0, 540)
    g["frame_dgram"] = header(11, 0, 65511)
    g["frame_dclose"] = header(12, 0, 4)
    return g


def as_c(values):
    lines = []
    for name, data in values.items():
        text = data.hex()
        rows = [text[i:i + 80] for i in range(0, len(text), 80)]
        lines.append("static const char G_%s[] =" % name)
        lines += ['    "%s"' % row for row in rows]
        lines[-1] += ";"
    return "\n".join(lines)


def check(path):
    with open(path, encoding="utf-8") as f:
        source = f.read()
    found = {}
    for m in re.finditer(r'G_(\w+)\[\]\s*=\s*((?:"[^"]*"\s*)+);', source):
        found[m.group(1)] = "".join(re.findall(r'"([^"]*)"', m.group(2)))
    values = golden()
    bad = [n for n, data in values.items() if found.get(n) != data.hex()]
    bad += [n for n in found if n not in values]
    # An array that no assertion reads would let ours drift while this check stays green.
    bad += [n for n in found if len(re.findall(r"\bG_%s\b" % n, source)) < 2]
    for name in bad:
        print("golden bytes differ or are not used: %s" % name, file=sys.stderr)
    if not bad:
        print("%d golden values agree" % len(values))
    return 1 if bad else 0


def main(argv):
    if len(argv) == 3 and argv[1] == "--check":
        return check(argv[2])
    if argv[1:] == ["--c"]:
        print(as_c(golden()))
        return 0
    if argv[1:]:
        print(__doc__, file=sys.stderr)
        return 2
    for name, data in golden().items():
        print(name, data.hex())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
