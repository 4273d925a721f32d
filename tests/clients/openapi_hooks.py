"""What tests/clients/openapi knows of its fleet beyond the document: ids that exist, tokens of writes, attributes that rankers read.

As a program: says which operations were asked, how often with which answer, and fails where one never succeeded.
"""

import atexit
import collections
import json
import os
import re
import subprocess
import sys
import time


def tell(path):
    seen = json.load(open(path))
    for operation, statuses in sorted(seen.items()):
        print(f"{operation:50} " + ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items())))
    never = sorted(operation for operation, statuses in seen.items() if not any(status[0] == "2" for status in statuses))
    if never:
        sys.exit(f"never answered with success: {', '.join(never)}")
    print(f"each of the {len(seen)} operations was answered with success")


if __name__ == "__main__":
    tell(sys.argv[1])
    sys.exit()

import requests
import schemathesis

seen = collections.defaultdict(collections.Counter)
tokens = {}  # Of the last write of an entity, by its address.
begun = set()  # Operations on rollouts that have had one.
known = {}  # Ids that exist, by the address that lists them.
TOKEN = re.compile(r"^([0-9]{1,9}:[0-9]{1,19}(,[0-9]{1,9}:[0-9]{1,19})*(;[!+]?([A-Za-z0-9._~-]|%[0-9A-F]{2})+)*(;[*])?)$")


@schemathesis.serializer("application/x-ndjson")
def json_lines(context, value):
    return (json.dumps(value) + "\n").encode()


@schemathesis.hook
def after_load_schema(context, schema):
    for path in schema.raw_schema["paths"]:
        for method in schema.raw_schema["paths"][path]:
            if path != "/openapi.json":  # That it has asked for already.
                seen[f"{method.upper()} {path}"]


@atexit.register
def write_seen():
    json.dump(seen, open(os.environ["SEEN"], "w"))


def troupe(*words, check=True):
    words = ["troupe", "--data", os.environ["FLEET_DATA"], "--json", *words]
    done = subprocess.run(words, capture_output=True, text=True)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr}")
    return done.stdout


def begin_rollout(name):
    """One to promote or abort, which nothing but the caller ends."""
    troupe("rollouts", "abort", "current", check=False)
    troupe("rollouts", "start", "--release", "again", "--strategy", "canary", "--min-sample", "1000000", "--id", name)
    for _ in range(200):
        if json.loads(troupe("rollouts", "show", name))["state"] == "running":
            return
        time.sleep(0.1)


def existing(operation):
    """An id that the operation has, where its address has one."""
    address = operation.path.split("/{")[0]
    if address in ("/v1/users", "/v1/items"):
        return address[4] + "1"
    if address not in known:
        ask = lambda path: requests.get(
            operation.base_url.rstrip("/") + path, headers={"Authorization": "Bearer " + os.environ["GATEWAY_KEY"]}, timeout=30
        ).json()
        if address == "/v1/requests":
            known[address] = ask("/v1/users/u1/recommendations")["request_id"]
        else:
            first = ask(address)[address[4:]][0]
            known[address] = first.get("id") or first.get("run_id") or first.get("rollout_id") or first["name"]
    return known[address]


BODIES = {
    "post_v1_events": [{"type": "click", "user": "u1", "item": "i1", "event_time": 1709294400}],
    "post_v1_items": [{"item": "i1", "attributes": {"title": "Heat"}}],
    "post_v1_users": [{"user": "u1", "attributes": {"age": 30}}],
    "put_v1_items_id": {"attributes": {"title": "Heat", "hidden": "no"}},
    "put_v1_users_id": {"attributes": {"age": 30}},
    "post_v1_recommendations": {
        "user": "u1",
        "filters": [{"attribute": "genres", "op": "contains", "value": "a", "not": True}],
        "n": 3,
    },
    "post_v1_rollouts_id_promote": {"reason": "it is asked for"},
    "post_v1_rollouts_id_abort": {"reason": "it is asked for"},
}


@schemathesis.hook
def before_add_examples(context, examples):
    """One of each operation about what exists."""
    operation = context.operation
    asked = {}
    if "{" in operation.path:
        name = operation.path.split("{")[1].split("}")[0]
        asked["path_parameters"] = {name: existing(operation)}
    body = BODIES.get(operation.definition.raw["operationId"])
    if body is not None:
        asked |= {"body": body, "media_type": "application/json"}
    examples.append(operation.Case(**asked))


def ascii_of(text):
    """Bounds of ids are bytes of UTF-8, and JSON Schema counts characters."""
    return text if len(text) < 250 else "".join(each if each.isascii() else "x" for each in text)


def within_bytes(what):
    if isinstance(what, str):
        return ascii_of(what)
    if isinstance(what, list):
        return [within_bytes(each) for each in what]
    if isinstance(what, dict):
        return {ascii_of(name) if isinstance(name, str) else name: within_bytes(each) for name, each in what.items()}
    return what


@schemathesis.hook
def before_call(context, case, kwargs):
    name = case.operation.definition.raw["operationId"]
    # What is set is judged anew, whether it is right or wrong: only what changes.
    for part in ("path_parameters", "body"):
        before = getattr(case, part)
        if (after := within_bytes(before)) != before:
            setattr(case, part, after)
    # A place that the log has not reached is waited for in vain, and no document says how far it is. Who has written an entity reads
    # it with the token of that write.
    headers = {each.lower() for each in case.headers or {}}
    given = (case.headers or {}).get("X-Consistency-Token")
    if "x-consistency-token" in headers and TOKEN.match(str(given)) or "x-consistency-token" not in headers and case.method == "GET":
        if token := tokens.get(case.formatted_path):
            case.headers["X-Consistency-Token"] = token
        elif given is not None:
            case.headers["X-Consistency-Token"] = "0:0"
    # Which attributes rankers read is a matter of the operator.
    if name == "post_v1_recommendations" and isinstance(case.body, dict) and isinstance(case.body.get("filters"), list):
        for each in case.body["filters"]:
            if isinstance(each, dict) and isinstance(each.get("attribute"), str) and each["attribute"]:
                each["attribute"] = "genres"
    if isinstance(case.query, dict) and isinstance(case.query.get("filter"), list):
        case.query["filter"] = [
            re.sub(r"^(not:)?[^:]+:", r"\1genres:", each) if isinstance(each, str) else each for each in case.query["filter"]
        ]
    if name.startswith("post_v1_rollouts_id_") and case.path_parameters == {"id": known.get("/v1/rollouts")}:
        case.path_parameters = {"id": f"of-{name}"}
        if name not in begun:
            begun.add(name)
            begin_rollout(f"of-{name}")


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """Headers that nobody knows are no mistake: HTTP has whoever reads them pass over them (RFC 9110, 5.1). Nor is there any in a case
    whose only wrong part was replaced by the id that a link gave."""
    data = case.meta.phase.data if case.meta else None
    what = str(getattr(data, "description", "")).lower()
    in_header = str(getattr(data, "parameter_location", "")).lower().endswith("header")
    excused = what == "positive test case" or (in_header and what == "object with unexpected properties")
    return type(failure).__name__ != "AcceptedNegativeData" or not excused


@schemathesis.hook
def after_call(context, case, response):
    if response.request.method == case.operation.method.upper():  # It asks with methods that there are not, too.
        seen[case.operation.label][str(response.status_code)] += 1
    token = response.headers.get("x-consistency-token")
    if token and case.operation.path in ("/v1/users/{id}", "/v1/items/{id}"):
        tokens[case.formatted_path] = token[0] if isinstance(token, list) else token
