"""Validates outputs against the schemas in a folder. Prints a line for each failure, and for a schema without an output.

Schemas allow further keys. Here they do not, so that each key of an output must be described.
"""
import json
import pathlib
import sys

import jsonschema_rs


def closed(schema):
    """Returns the schema without permission for further keys."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    copy = {key: closed(value) for key, value in schema.items()}
    if schema.get("type") == "object" and "properties" in schema:
        copy["additionalProperties"] = False
    return copy


def failures(name, schema, outputs):
    """Yields what is wrong with one schema and its outputs."""
    jsonschema_rs.meta.validate(schema)
    yield from () if outputs else [f"docs/schemas/{name}.json describes no output of a page"]
    validator = jsonschema_rs.Draft202012Validator(closed(schema))
    for output in outputs:
        value = json.loads(output["text"])
        for error in validator.iter_errors(value):
            yield f"{output['place']}: {name}.json: {error.instance_path}: {error.message}"
        for key in schema["required"]:
            if validator.is_valid({other: value[other] for other in value if other != key}):
                yield f"{name}.json does not require {key}"


printed = json.load(sys.stdin)
schemas = {path.stem: json.loads(path.read_text()) for path in pathlib.Path(sys.argv[1]).glob("*.json")}
for name, schema in sorted(schemas.items()):
    for failure in failures(name, schema, [output for output in printed if output["schema"] == name]):
        print(failure)
for output in printed:
    if output["schema"] not in schemas:
        print(f"{output['place']}: there is no docs/schemas/{output['schema']}.json")
