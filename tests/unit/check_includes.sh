#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tools/check-includes.sh: lets what src/DEPS allows through, and refuses the rest.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir -p "$dir/src/low" "$dir/src/high"
printf '# comment\nlow:\nhigh: low\n' >"$dir/src/DEPS"
printf 'part: low low/inside.h\n' >>"$dir/src/DEPS"
mkdir "$dir/src/part"
printf '#include "low/inside.h"\n' >"$dir/src/part/e.c"
printf '#include "low/inside.h"\n' >"$dir/src/low/b.c"
printf '#include "low/a.h"\n#include <stdio.h>\n' >"$dir/src/low/a.c"
printf '#include "low/a.h"\n  #  include "high/b.h"\n' >"$dir/src/high/b.c"

check()
{
    srcdir=$dir "$abs_top_srcdir/tools/check-includes.sh"
}

check || { echo "allowed includes were refused"; exit 1; }
for line in '#include "high/b.h"' '  #  include "high/b.h"' '#include "elsewhere/c.h"'; do
    printf '%s\n' "$line" >"$dir/src/low/bad.h"
    ! out=$(check) || { echo "let through: $line"; exit 1; }
    case $out in *"src/low may not include "*) ;; *) echo "said: $out"; exit 1 ;; esac
done
rm "$dir/src/low/bad.h"
printf '#include "low/inside.h"\n' >"$dir/src/high/bad.h"
! out=$(check) || { echo "let the inside of another folder through"; exit 1; }
case $out in *"src/high may not include low/inside.h "*) ;; *) echo "said: $out"; exit 1 ;; esac
rm "$dir/src/high/bad.h"
mkdir "$dir/src/unlisted" && printf '#include "high/b.h"\n' >"$dir/src/unlisted/d.c"
! out=$(check) || { echo "let an unlisted folder through"; exit 1; }
echo "$out"
