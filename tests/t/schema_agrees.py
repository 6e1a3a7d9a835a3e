# SPDX-License-Identifier: Apache-2.0
"""schema_agrees.py RAYWF SCHEMA CORPUS: does jsonschema say what `raywf check` says?

YAML is read by ruamel.yaml with the types of YAML 1.2, except that keys stay the text
that they are: a recipe has no other keys. What is beyond a schema (references, cycles,
files, YAML features) is marked in the corpus with "# schema: ok".
"""
import json
import pathlib
import subprocess
import sys

import jsonschema
from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode


class Refused(Exception):
    pass


def plain(yaml, node):
    """A node as JSON. Merge keys are keys like others; two equal keys are refused."""
    if isinstance(node, ScalarNode):
        value = yaml.constructor.construct_object(node, deep=True)
        return value if isinstance(value, (str, int, float, bool, type(None))) else node.value
    if isinstance(node, SequenceNode):
        return [plain(yaml, item) for item in node.value]
    assert isinstance(node, MappingNode)
    result = {}
    for key, value in node.value:
        if not isinstance(key, ScalarNode):
            raise Refused("a key that is not text")
        if key.value in result:
            raise Refused("the key %s twice" % key.value)
        result[key.value] = plain(yaml, value)
    return result


def validates(validator, path):
    yaml = YAML(typ="safe", pure=True)
    try:
        nodes = list(yaml.compose_all(path.read_bytes()))
        if len(nodes) > 1:
            return False
        data = plain(yaml, nodes[0]) if nodes and nodes[0] is not None else None
    except Exception:  # any refusal of the reader is one
        return False
    return validator.is_valid(data)


def checks(raywf, path):
    run = subprocess.run([raywf, "check", "--format", "json", path.name], cwd=path.parent,
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    codes = {d["code"] for d in json.loads(run.stdout)["diagnostics"]}
    return run.returncode == 0, sorted(codes)


def main(raywf, schema_path, corpus):
    schema = json.loads(pathlib.Path(schema_path).read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    count = wrong = 0
    for path in sorted(pathlib.Path(corpus).glob("*/*.yaml")):
        head = path.read_bytes().split(b"\n")[:3]
        beyond = b"# schema: ok" in head
        ours, codes = checks(raywf, path)
        theirs = validates(validator, path)
        count += 1
        if (ours or beyond) != theirs:
            wrong += 1
            print("FAIL: %s: raywf says %s, the schema alone %s" %
                  (path.name, "good" if ours else " ".join(codes),
                   "good" if theirs else "bad"))
    print("%d recipes, %d disagreements" % (count, wrong))
    return 1 if wrong or count < 60 else 0


sys.exit(main(*sys.argv[1:]))
