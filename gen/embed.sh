#!/bin/sh
# embed.sh LUA_DIR OUTPUT [COMPILER] - writes embed_list.h: a row per Lua file that goes into the binary, in order of name; beside it the
# files' bytecode as COMPILER (script_compile) makes it, empty without one.
#
# The build runs it each time; the output is replaced only when a file came, went or changed (hence the checksums), so that
# nothing is compiled or assembled in vain.
set -eu
LC_ALL=C
export LC_ALL
lua=$1
out=$2
compiler=${3-}
{
  echo "/* made by gen/embed.sh${compiler:+; bytecode: $(cksum <"$compiler")} */"
  n=0
  (cd "$lua" && find kiln families ops -name '*.lua' -type f 2>/dev/null | sort) | while read -r file; do
    echo "LUA_FILE($n, \"$file\", \"$lua/$file\", \"$out.code/$n\") /* $(cksum <"$lua/$file") */"
    n=$((n + 1))
  done
} >"$out.new"
if cmp -s "$out.new" "$out"; then rm "$out.new"; exit 0; fi
mkdir -p "$out.code"
sed -n 's/^LUA_FILE(\([0-9]*\), "[^"]*", "\([^"]*\)".*/\1 \2/p' "$out.new" | while read -r n file; do
  if [ -n "$compiler" ]; then "$compiler" $((n + 1)) "$file" "$out.code/$n" || : >"$out.code/$n" # what is wrong with it, the command says
  else : >"$out.code/$n"; fi
done
mv "$out.new" "$out"
