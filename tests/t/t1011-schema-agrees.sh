#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# An independent JSON Schema validator must agree with `raywf check` about the whole
# corpus. Needs python3 with venv, and once the network: the packages jsonschema and
# ruamel.yaml come from PyPI into ${XDG_CACHE_HOME:-~/.cache}/raywf/venv. Without them
# the test is skipped (77), saying why.
set -u
venv=${XDG_CACHE_HOME:-$HOME/.cache}/raywf/venv
python=$venv/bin/python

skip()
{
    echo "SKIP: $1"
    exit 77
}

if ! "$python" -c 'import jsonschema, ruamel.yaml' 2>/dev/null; then
    command -v python3 >/dev/null || skip "python3 is not installed"
    python3 -m venv "$venv" >/dev/null 2>&1 || skip "python3 cannot make a venv in $venv"
    timeout 120 "$venv/bin/pip" install -q --disable-pip-version-check \
        'jsonschema>=4.18,<5' 'ruamel.yaml>=0.18,<0.19' >/dev/null 2>&1 ||
        skip "PyPI cannot be reached for jsonschema and ruamel.yaml"
fi
RAYWF_TEST_TOKEN=canary-value "$python" "$abs_top_srcdir/tests/t/schema_agrees.py" \
    "$RAYWF" "$abs_top_srcdir/schemas/recipe.schema.json" "$abs_top_srcdir/tests/corpus"
