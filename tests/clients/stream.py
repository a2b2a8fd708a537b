"""schemathesis and the one operation whose answer does not end: its head and its first blocks are checked.

Usage: stream.py ADDRESS-OF-DOCUMENT KEY EXAMPLES. Prints how many answers were checked.
"""
import sys

import hypothesis
import requests
import schemathesis
from schemathesis.specs.openapi.checks import (content_type_conformance, response_schema_conformance,
                                               status_code_conformance)

ENOUGH = 2000  # bytes


def main():
    where, key, examples = sys.argv[1], sys.argv[2], int(sys.argv[3])
    schema, statuses = schemathesis.openapi.from_url(where), {}
    checks = [schemathesis.checks.not_a_server_error, status_code_conformance, content_type_conformance,
              response_schema_conformance]

    @hypothesis.settings(max_examples=examples, deadline=None, database=None,
                         suppress_health_check=list(hypothesis.HealthCheck))
    @hypothesis.given(case=schema["/events"]["GET"].as_strategy())
    def one(case):
        for header in ({"X-API-Key": key}, {}):
            kw = case.as_transport_kwargs(headers=header)
            kw["headers"] = {**kw.get("headers", {}), **header} if header else {
                k: v for k, v in kw["headers"].items() if k.lower() != "x-api-key"}
            with requests.request(**kw, stream=True, timeout=20) as r:
                got = b""
                for piece in r.iter_content(512):
                    got += piece
                    if len(got) > ENOUGH:
                        break
                r._content = got[:got.rfind(b"\n\n") + 2] if r.ok else got  # whole blocks
                case.validate_response(schemathesis.Response.from_requests(r, verify=True), checks=checks)
                statuses[r.status_code] = statuses.get(r.status_code, 0) + 1

    one()
    assert statuses.get(200), statuses
    print(sum(statuses.values()), statuses)


if __name__ == "__main__":
    main()
