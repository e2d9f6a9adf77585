"""Checks recorded requests against an OpenAPI description: python conform.py DESCRIPTION < requests.json

Run with the Python of schemathesis, which brings both libraries.
"""

import json
import re
import sys

import jsonschema_rs
import yaml

with open(sys.argv[1], encoding="utf-8") as file:
    description = yaml.safe_load(file)


def operation_for(method, path):
    for template, operations in description["paths"].items():
        pattern = re.sub(r"\{[^}]*\}", "[^/]+", template)
        if re.fullmatch(pattern, path) and method.lower() in operations:
            return operations[method.lower()]
    return None


def faults(request):
    operation = operation_for(request["method"], request["path"])
    if operation is None:
        yield "is not in the description"
        return
    body = operation.get("requestBody")
    if body is None:
        if request["body"]:
            yield "has a body, and none is described"
        return
    if request["content_type"] != "application/json":
        yield f"has the content type {request['content_type']!r}"
    schema = dict(body["content"]["application/json"]["schema"])
    schema["components"] = description["components"]
    # What is not described is not sent either.
    schema["additionalProperties"] = False
    for error in jsonschema_rs.validator_for(schema, validate_formats=True).iter_errors(json.loads(request["body"])):
        yield str(error)


wrong = [f"{r['method']} {r['path']}: {fault}" for r in json.load(sys.stdin) for fault in faults(r)]
print("\n".join(wrong))
sys.exit(bool(wrong))
