"""What clients were promised, and what is there: the judgement of a crash test. Pure: no sockets, no clock.

A client knows of each of its instances what it must look like; after a request that got no answer, two ways
are right until somebody looks. Instances are told apart by the serial number that their alias begins with.
"""
import collections

FACTS = ("alias", "url", "restart", "desired", "peer", "tags")
GONE = None


def serial_of(alias):
    return alias.split(".", 1)[0]


def facts_of(row):
    """An instance of GET /instances as facts; desired from its status, None when that says neither."""
    return {"alias": row["alias"], "url": row["url"], "restart": row["restart"],
            "desired": row["status"] if row["status"] in ("running", "stopped") else None,
            "peer": row["meta"]["peer"]["sid"], "tags": row["meta"]["tags"]}


def facts_of_blob(blob):
    """A row of the store as facts."""
    return {"alias": blob["alias"], "url": blob["url"], "restart": blob["restart"], "desired": blob["desired"],
            "peer": blob["meta"]["peer"]["sid"], "tags": blob["meta"]["tags"]}


def after_boot(facts):
    """What the boot rule makes of it: restart decides whether it runs."""
    return {**facts, "desired": "running" if facts["restart"] else "stopped"}


class Ledger:
    """Of one client. may: serial -> the states that are right, GONE among them; one when nothing is open."""

    def __init__(self):
        self.may = {}

    def settled(self):
        """serial -> facts of what certainly is there."""
        return {s: m[0] for s, m in self.may.items() if len(m) == 1 and m[0] is not GONE}

    def answered(self, serial, facts):
        self.may[serial] = [facts]

    def unanswered(self, serial, facts):
        """The change to @facts may have happened or not; before the first one there was nothing."""
        self.may[serial] = [*self.may.get(serial, [GONE]), facts]

    def booted(self):
        """Nobody remembers which instances ran: they are as they were, or as the boot rule has them."""
        for serial, may in self.may.items():
            more = [after_boot(f) for f in may if f is not GONE]
            self.may[serial] = may + [f for f in more if f not in may]

    def pin(self, found):
        """What was seen (serial -> facts) settles what was open; what is gone is forgotten."""
        self.may = {s: [found[s]] for s in self.may if s in found}


class Verdict:
    """Violations by kind, each with its text."""
    KINDS = ("lost", "ghost", "duplicate")

    def __init__(self):
        self.of = collections.defaultdict(list)

    def add(self, kind, text):
        self.of[kind].append(text)

    def __bool__(self):
        return not any(self.of.values())

    def __str__(self):
        return "; ".join(f"{k}: {', '.join(v[:4])}{' …' * (len(v) > 4)}" for k, v in self.of.items() if v)


def judge(ledgers, rows, where):
    """Compares @rows, [(id, facts)], with what the clients know. Returns (verdict, serial -> facts)."""
    verdict, found, ids = Verdict(), {}, collections.Counter(id for id, _ in rows)
    may = {s: m for ledger in ledgers for s, m in ledger.may.items()}
    for id, n in ids.items():
        if n > 1:
            verdict.add("duplicate", f"{n} times id {id} in {where}")
    for id, facts in rows:
        serial = serial_of(facts["alias"])
        if serial in found:
            verdict.add("duplicate", f"two instances {serial} in {where}")
        found[serial] = facts
        if all(m is GONE for m in may.get(serial, [GONE])):
            verdict.add("ghost", f"{id} {facts['alias']} {facts['url']} in {where}")
        elif facts not in may[serial]:
            verdict.add("lost", f"{id} in {where} is {difference(facts, may[serial])}")
    for serial, m in may.items():
        if serial not in found and GONE not in m:
            verdict.add("lost", f"{m[0]['alias']} {m[0]['url']} is not in {where}")
    return verdict, found


def difference(facts, may):
    wrong = [k for k in FACTS if all(m is GONE or m[k] != facts[k] for m in may)] or FACTS
    return ", ".join(f"{k} {facts[k]!r} instead of " + " or ".join(repr(m[k]) for m in may if m is not GONE)
                     for k in wrong)


def judge_sets(want, got, kind, where):
    """@want and @got: collections of anything, each once; @kind: of what, for the text."""
    verdict, n = Verdict(), collections.Counter(got)
    for x in sorted(set(n) - set(want)):
        verdict.add("ghost", f"{kind} {x} in {where}")
    for x in sorted(set(want) - set(n)):
        verdict.add("lost", f"{kind} {x} not in {where}")
    for x in sorted(x for x, k in n.items() if k > 1):
        verdict.add("duplicate", f"{kind} {x} {n[x]} times in {where}")
    return verdict
