#!/usr/bin/python3
"""Who may include whom: the layers, and the few places of each library.

Prints one line per violation and exits 1 when there is one. Before it looks at the tree it tries its rules on
examples that break them (EXAMPLES), so that a rule which no longer finds anything does not go unseen.
"""
import os
import re
import sys

FOLDERS = ("common", "controlplane", "ctl", "dataplane", "nodepass", "tests")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^">]+)[">]')

# (what is included, files that may, the rule in words); tests/ may include what it tests.
PLACES = [
    (r"event2/|event\.h$", r"dataplane/|controlplane/", "libevent is never used in common/ nor by nodepass and ctl"),
    (r".*\.pb-c\.h$|protobuf-c/", r"common/wire/", "generated protobuf code is used only in common/wire"),
    (r"nng/", r"dataplane/(command|event|edge)\w*\.|controlplane/link\w*\.",
     "nng is used only at the edges: commands and events of the dataplane, link of the controlplane"),
    (r"cjson/", r"common/wire/\w*json\w*\.|controlplane/\w*json\w*\.|ctl/json\.c", "cJSON is used only in the JSON files"),
    (r"openssl/", r"common/core/((proof|digest)\.c|pem\.[ch])|dataplane/(tls|stream|key_cache)\w*\.|controlplane/http_tls\w*\.",
     "OpenSSL is used only in the digest and TLS files"),
    (r"sqlite3\.h$", r"controlplane/store_sqlite\w*\.", "SQLite is used only in its store engine"),
    (r"curl/", r"controlplane/store_etcd\.c|ctl/api\.c", "curl is used only in its store engine and in ctl's api.c"),
]

# Folder -> folders of the project it may include from, itself apart.
LAYERS = {
    "common/tbl": (),
    "common/base": ("common/tbl",),
    "common/core": ("common/base", "common/tbl"),
    "common/wire": ("common/core", "common/base", "common/tbl"),
    "nodepass": ("common/core", "common/base", "common/tbl"),
    "ctl": ("common/core", "common/base", "common/tbl"),
    "dataplane": ("common/wire", "common/core", "common/base", "common/tbl"),
    "controlplane": ("common/wire", "common/core", "common/base", "common/tbl"),
}

# Pure files: base, core and the C library's value headers, nothing that could block, wait or know the time.
PURE = re.compile(r"(_fsm|pool_fill|validate|reconcile)\.[ch]$")
IMPURE_SYSTEM = re.compile(r"^(time|unistd|poll|pthread|signal|fcntl|stdio|sys/(epoll|eventfd|timerfd|ioctl|uio|time))\.h$")


def folder_of(path):
    """The layer that a file belongs to: "common/core", "dataplane", …"""
    parts = path.split("/")
    return "/".join(parts[:2]) if parts[0] == "common" else parts[0]


def target_of(path, name):
    """Where a quoted name leads, as a path from the root."""
    if name.split("/")[0] in ("base", "core", "wire", "tbl"):
        return "common/" + name
    return os.path.normpath(os.path.join(os.path.dirname(path), name))


def check_places(path, names):
    for line, _, name in names:
        for what, where, rule in PLACES:
            if re.match(what, name) and not re.match(where, path):
                yield line, f"{name}: {rule}"


def check_layers(path, names):
    here = folder_of(path)
    for line, kind, name in names:
        if kind == "<" or name.endswith(".pb-c.h"):
            continue
        there = folder_of(target_of(path, name))
        if there != here and there not in LAYERS.get(here, ()):
            yield line, f"{name}: {here} may not include from {there}"


def check_pure(path, names):
    if not PURE.search(path):
        return
    for line, kind, name in names:
        there = folder_of(target_of(path, name))
        if kind == '"' and there not in ("common/core", "common/base", "common/tbl") and \
                os.path.splitext(target_of(path, name))[0] != os.path.splitext(path)[0]:
            yield line, f"{name}: a pure file includes core and base only"
        if kind == "<" and (IMPURE_SYSTEM.match(name) or "/" in name and not name.startswith("netinet/")):
            yield line, f"{name}: a pure file has no clock, descriptors, threads or output"


def check_order(path, names, headers):
    if not path.endswith(".c"):
        return
    own = os.path.splitext(path)[0] + ".h"
    if own in headers and (not names or names[0][1] == "<" or target_of(path, names[0][2]) != own):
        yield names[0][0] if names else 1, f"the first include has to be the file's own header {own}"
    system_seen = False
    for line, kind, name in names:
        late = name.endswith((".def", ".pb-c.h")) or name == "base/banned.h"
        if kind == "<":
            system_seen = True
        elif system_seen and not late:
            yield line, f"{name}: the project's headers come before those of others"
    headers_only = [n for n in names if not n[2].endswith(".def")]
    for line, _, name in headers_only[:-1]:
        if name == "base/banned.h":
            yield line, f"{name} has to be the last include"


def check_file(path, text, headers):
    names = [(i, m.group(1), m.group(2)) for i, l in enumerate(text.splitlines(), 1) if (m := INCLUDE.match(l))]
    found = []
    if not path.startswith("tests/"):
        found += check_places(path, names)
        found += check_layers(path, names)
        found += check_pure(path, names)
        found += check_order(path, names, headers)
    return [f"{path}:{line}: {text}" for line, text in sorted(found)]


# (path, text, words of the one violation; None = clean)
EXAMPLES = [
    ("common/core/x.c", '#include "core/x.h"\n#include <event2/event.h>', "libevent"),
    ("dataplane/x.c", '#include "x.h"\n#include "tunnel.pb-c.h"', "generated"),
    ("dataplane/pool.c", '#include <nng/nng.h>', "edges"),
    ("dataplane/event_out.c", '#include <nng/nng.h>', None),
    ("controlplane/api.c", '#include <cjson/cJSON.h>', "cJSON"),
    ("dataplane/relay.c", '#include <openssl/ssl.h>', "OpenSSL"),
    ("dataplane/tls.c", '#include "tls.h"\n#include <openssl/ssl.h>', None),
    ("nodepass/main.c", '#include <openssl/ssl.h>', "OpenSSL"),
    ("controlplane/model.c", '#include <sqlite3.h>', "SQLite"),
    ("controlplane/model.c", '#include <curl/curl.h>', "curl"),
    ("ctl/main.c", '#include <curl/curl.h>', "curl"),
    ("ctl/api.c", '#include <curl/curl.h>', None),
    ("ctl/pick.c", '#include <cjson/cJSON.h>', "cJSON"),
    ("ctl/json.c", '#include <cjson/cJSON.h>', None),
    ("ctl/x.c", '#include <event2/event.h>', "libevent"),
    ("ctl/x.c", '#include "../controlplane/model.h"', "ctl may not include from controlplane"),
    ("common/base/x.c", '#include "core/addr.h"', "common/base may not include from common/core"),
    ("common/core/y.c", '#include "wire/tunnel_msg.h"', "common/core may not"),
    ("common/core/y.c", '#include "../../dataplane/worker.h"', "may not include from dataplane"),
    ("dataplane/y.c", '#include "../controlplane/model.h"', "may not include from controlplane"),
    ("controlplane/x.c", '#include "../dataplane/worker.h"', "may not include from dataplane"),
    ("dataplane/pool_fill.c", '#include "worker.h"', "core and base only"),
    ("common/core/tunnel_fsm.c", '#include <time.h>', "no clock"),
    ("common/core/x.c", '#include "base/err.h"\n#include "core/x.h"', "own header"),
    ("common/core/x.c", '#include <string.h>\n', "own header"),
    ("dataplane/y.c", '#include <string.h>\n#include "base/err.h"', "before those of others"),
    ("dataplane/y.c", '#include <string.h>\n#include "base/banned.h"', None),
    ("dataplane/y.c", '#include "base/banned.h"\n#include <string.h>', "last include"),
    ("common/core/y.c", '#include "base/err.h"\n\n#include <stdio.h>\n#include "tbl/errors.def"', None),
]


def try_examples():
    for path, text, want in EXAMPLES:
        found = check_file(path, text, {"common/core/x.h", "dataplane/x.h", "dataplane/tls.h"})
        right = not found if want is None else len(found) == 1 and want in found[0]
        if not right:
            yield f"includes.py: the rule for {text!r} in {path} should find {want!r}, it finds {found}"


def main():
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
    files = sorted(os.path.join(d, f) for top in FOLDERS for d, _, fs in os.walk(top) for f in fs
                   if f.endswith((".c", ".h")))
    headers = {f for f in files if f.endswith(".h")}
    found = list(try_examples())
    for path in files:
        with open(path, encoding="utf-8") as f:
            found += check_file(path, f.read(), headers)
    print("\n".join(found) if found else f"{len(files)} files keep the include rules")
    return 1 if found or not files else 0


if __name__ == "__main__":
    sys.exit(main())
