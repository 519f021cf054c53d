#!/bin/sh
# embed.sh LUA_DIR OUTPUT - writes embed_list.h: a row per Lua file that goes into the binary, in order of name.
#
# The build runs it each time; the output is replaced only when a file came, went or changed (hence the checksums), so that
# nothing is assembled in vain.
set -eu
LC_ALL=C
export LC_ALL
lua=$1
out=$2
{
  echo "/* made by gen/embed.sh */"
  n=0
  (cd "$lua" && find kiln families ops -name '*.lua' -type f 2>/dev/null | sort) | while read -r file; do
    echo "LUA_FILE($n, \"$file\", \"$lua/$file\") /* $(cksum <"$lua/$file") */"
    n=$((n + 1))
  done
} >"$out.new"
if cmp -s "$out.new" "$out"; then rm "$out.new"; else mv "$out.new" "$out"; fi
