#!/bin/bash
# docs.sh BUILD - what README.md and docs/ name is there:
#   paths in backticks exist, and files of ptx_out in help texts; a function named as `function` (`file`) is defined in that file
#   a Lua block whose first line names its file is that file
#   every command that begins with build/kiln, and every example of a command's --help, runs if it needs no GPU and is not `check all` (which
#   ./bootstrap test does), in a copy of what it reads; my_op.lua is add-an-op.md's
set -u -o pipefail
cd "$(dirname "$(readlink -f "$0")")/../.." || exit 1
build=$(readlink -f "$1")
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
bad=0
complain() { echo "docs: $*"; bad=1; }
pages=(README.md docs/*.md tests/README.md ptx_out/README.md)

# ---- paths ----
paths=0
for page in "${pages[@]}"; do
  while read -r path; do
    paths=$((paths + 1))
    [ -e "$path" ] || [ -e "docs/$path" ] || { [ "$page" = tests/README.md ] && [ -e "tests/$path" ]; } || complain "$page: there is no $path"
  done < <(grep -oE '`((gen|lua|runtime|tests|docs|ptx_out|kernels)/[A-Za-z0-9_./-]*|[a-z][a-z-]*\.md)`' "$page" | tr -d '`' | sort -u)
done
while read -r path; do
  [ -e "$path" ] || complain "gen/cli: a help text names $path, which is not there"
done < <(grep -ohE 'ptx_out/[A-Za-z0-9_./-]+\.ptx' gen/cli/*.c | sort -u)
[ $paths -gt 50 ] || complain "only $paths paths were found"

# ---- functions of the tour ----
functions=0
while read -r name file; do
  functions=$((functions + 1))
  grep -qE "^(function |[a-zA-Z].*[ *])$name\(.*(\{|,|\))$" "$file" || grep -qE "^local function $name\(" "$file" || complain "docs/tour.md: $file has no function $name"
done < <(tr '\n' ' ' <docs/tour.md | tr -s ' ' | grep -oE '`[a-z_.0-9]+` \(`[^`]*`|\(`[a-z_0-9]+`, `[^`]*`' | tr -d '`(,')
[ $functions -ge 20 ] || complain "docs/tour.md: only $functions functions were found"

# ---- Lua blocks ----
blocks=0
for page in "${pages[@]}"; do
  rm -f "$work"/block-*
  awk -v to="$work/block-" '$0 == "```lua" { on = 1; n++; next } $0 == "```" { on = 0 } on { print > (to n) }' "$page"
  for block in "$work"/block-*; do
    [ -e "$block" ] || continue
    blocks=$((blocks + 1))
    name=$(sed -n '1s/^-- \([a-z0-9_]*\.lua\) .*/\1/p' "$block")
    [ -n "$name" ] || { complain "$page: a Lua block does not name its file in its first line"; continue; }
    file=$(find lua -name "$name")
    diff -u "$block" "$file" || complain "$page: the block of $name is not $file"
    [ "$(wc -l <"$block")" -le 15 ] || [ "$name" != 4_softcap.lua ] || complain "$page: an epilogue takes at most 15 lines"
  done
done
[ $blocks -ge 2 ] || complain "only $blocks Lua blocks were found"

# ---- commands ----
cp -r lua docs ptx_out "$work" && ln -s "$build" "$work/build" && cp lua/examples/3_center.lua "$work/my_op.lua" || exit 1
commands=0
while read -r command; do
  commands=$((commands + 1))
  # shellcheck disable=SC2086 # a command line is words
  (cd "$work" && XDG_CACHE_HOME=$work/cache $command) >"$work/out" 2>&1 </dev/null || { tail -20 "$work/out"; complain "this command fails: $command"; }
done < <(sed -nE 's/^ +(build\/kiln [^`]*)$/\1/p' "${pages[@]}" | sed -E 's/  +.*//' | grep -v -e cuda: -e 'check all' | sort -u)
[ $commands -ge 8 ] || complain "only $commands commands were found"

# of the help, what needs no GPU and no program of somebody's (kiln sim); NAME is the op of my_op.lua, edited.ptx an edited file
examples=0
"$build/kiln" emit gemm --target sm_80 -o "$work/edited.ptx" || complain "gemm is not emitted"
while read -r command; do
  examples=$((examples + 1))
  quick=
  [[ $command != *' check my_op.lua'* ]] || quick=--quick # the command's line is what is tried here, not all cases
  (cd "$work" && XDG_CACHE_HOME=$work/cache eval "build/${command/:NAME/:center} $quick") >"$work/out" 2>&1 </dev/null || {
    tail -20 "$work/out"
    complain "this example of a help text fails: $command"
  }
done < <(for name in list emit check bench tune inspect; do "$build/kiln" $name --help; done |
  sed -nE 's/^  (kiln .*)/\1/p' | sed -E 's/  +.*//' | grep -v -e cuda: -e 'check all' -e '^kiln bench gemm --target')
[ $examples -ge 15 ] || complain "only $examples examples were found"

[ $bad = 0 ] && echo "docs: $paths paths, $functions functions, $blocks Lua blocks, $commands commands and $examples examples of help texts as they are shown"
exit $bad
