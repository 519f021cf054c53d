#!/bin/bash
# run.sh BUILD - the README's two programs are the files that it says they are, and both work: the op is checked on the simulator,
# and the C program (built by meson) prints what the definition says. So does the program of docs/products.md, with the kernels that
# the page's commands emit.
set -u -o pipefail
cd "$(dirname "$(readlink -f "$0")")/../.." || exit 1
build=$(readlink -f "$1")
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

block() { awk -v fence='```'"$1" '$0 == fence { on = 1; next } $0 == "```" { on = 0 } on' "${2:-README.md}"; }
fail() { echo "readme: $*" >&2; exit 1; }

block lua | diff -u - lua/examples/l2_norm.lua || fail "the Lua block is not lua/examples/l2_norm.lua"
block c | diff -u - tests/readme/l2_norm.c || fail "the C block is not tests/readme/l2_norm.c"
block c docs/products.md | diff -u - tests/readme/mlp.c || fail "the C block of docs/products.md is not tests/readme/mlp.c"

"$build/kiln" check lua/examples/l2_norm.lua --device sim:sm_80 --quick | tee "$work/check" || fail "the op's check failed"
grep -qE '^[1-9][0-9]* passed, 0 failed' "$work/check" || fail "the op's check did not end as it should"

"$build/kiln" emit lua/examples/l2_norm.lua --target sm_80 --set dtype=f32,g=no -o "$work/l2_norm.ptx" || fail "emit failed"
"$build/tests/readme_program" sim:sm_80 "$work/l2_norm.ptx" >"$work/out" || fail "the program failed"
diff -u - "$work/out" <<'END' || fail "the program printed something else"
0.3874 0.5520 0.0000 0.0000
0.3112 0.3112 0.3112 0.3112
END

# by the command in each one's first line, with the flags of the build in the place of those of the installation (what a sanitizer adds to the
# library is not there)
for file in l2_norm.c mlp.c; do
  command=$(sed -n '1s|.*/\* \(cc [^;]*\);.*|\1|p' "tests/readme/$file")
  [ -n "$command" ] || fail "$file does not say how it is compiled"
  command=${command/#cc $file/${CC:-cc} tests/readme/$file} flags="-Iruntime -L$build -lkiln -Wl,--unresolved-symbols=ignore-in-shared-libs"
  # shellcheck disable=SC2016,SC2086 # the text of the page; a command line is words
  ${command/'$(pkg-config --cflags --libs kiln)'/$flags} -o "$work/program" || fail "this command does not link: $command"
done

mkdir "$work/kernels" || exit 1
emitted=0
while read -r command; do
  emitted=$((emitted + 1))
  # shellcheck disable=SC2086 # a command line is words
  (cd "$work/kernels" && "$build"/${command#build/}) || fail "this command of docs/products.md failed: $command"
done < <(sed -nE 's/^ +(build\/kiln emit .*)$/\1/p' docs/products.md)
[ $emitted -ge 4 ] || fail "docs/products.md emits only $emitted kernels"
"$build/tests/readme_mlp" sim:sm_90a "$work/kernels" >"$work/out" || fail "the program of docs/products.md failed"
# in double: -2.3709 -0.7517 -1.2139 2.0999; the rows between and the result are rounded to bf16
diff -u - "$work/out" <<'END' || fail "the program of docs/products.md printed something else"
-2.38 -0.75 -1.22 2.09
eight bits: within 0.05 of the largest
END
