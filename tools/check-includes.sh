#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# src/DEPS lists "folder: folders it may include"; any other quoted include fails, and so
# does a folder that is not listed. The inside.h of another folder must be listed itself.
set -eu
cd "${srcdir:-.}/src"
bad=0
for path in */; do
    folder=${path%/}
    if ! allowed=$(grep "^$folder:" DEPS); then
        echo "src/$folder is not listed in src/DEPS"
        bad=1
        continue
    fi
    used=$(find "$folder" -name '*.[ch]' -exec sed -n \
        's/^[[:space:]]*#[[:space:]]*include "\([a-z0-9]*\)\/.*/\1/p' {} + | sort -u)
    inside=$(find "$folder" -name '*.[ch]' -exec sed -n \
        's/^[[:space:]]*#[[:space:]]*include "\([a-z0-9]*\/inside\.h\)".*/\1/p' {} + |
        grep -v "^$folder/" | sort -u || :)
    for other in $used $inside; do
        case " $folder ${allowed#*:} " in
        *" $other "*) ;;
        *) echo "src/$folder may not include $other (see src/DEPS)"; bad=1 ;;
        esac
    done
done
exit $bad
