#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# embed.sh NAME FILE > FILE.c: defines const char NAME[] (NUL-terminated) and NAME_len.
set -eu
printf '/* Made from %s. */\n#include <stddef.h>\nextern const char %s[];\nextern const size_t %s_len;\n' "$(basename "$2")" "$1" "$1"
printf 'const char %s[] = {\n' "$1"
od -An -v -tu1 "$2" | sed 's/[0-9][0-9]*/&,/g'
printf '0};\nconst size_t %s_len = sizeof(%s) - 1;\n' "$1" "$1"
