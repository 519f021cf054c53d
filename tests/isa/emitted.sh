#!/bin/bash
# emitted.sh BUILD SCAN [most | every] [--histogram] - what the generator emits, by emitting it: for each op of `kiln list` the kernels
# that emit_op.sh takes (few, unless said otherwise). Every form that occurs has a file in tests/isa/forms, and ptxas, where it is
# installed, assembles each kernel without a warning and without spilling registers.
set -u -o pipefail
kiln=$(readlink -f "$1")/kiln
scan=$(readlink -f "$2")
how=few
case ${3-} in most | every) how=$3; shift ;; esac
cd "$(dirname "$(readlink -f "$0")")/../.." || exit 1
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
here=tests/isa processors=$(nproc 2>/dev/null || echo 2) bad=0
ptxas=${PTXAS:-$(command -v ptxas || echo /usr/local/cuda/bin/ptxas)}
export kiln work here how ptxas

mkdir "$work/ptx"
"$kiln" list | awk '/^[^ ]/ { print $1, n++ }' |
  xargs -P "$processors" -L 1 bash -c '"$here/emit_op.sh" "$kiln" "$work/ptx" "$0" "$1" "$how"' || bad=1
count=$(find "$work/ptx" -name '*.ptx' | wc -l)
echo "$count kernels emitted"
[ "$count" -gt 100 ] || { echo "too few: how does kiln list its variants now?"; exit 1; }
find "$work/ptx" -name '*.ptx' -print0 | sort -z | xargs -0 "$scan" $here/forms "${@:3}" || bad=1

# One file: silent, or a line that says which kernel it is and what ptxas says of it.
assemble() {
  local file=$1 about out
  about=$(sed -n 's#^//@ \(op\|target\|set\|schedule\) \(.*\)#\1 \2#p' "$file" | tr ' ' ',' |
    sed 's/^op,/kiln emit /; s/^\(target\|set\|schedule\),/--\1 /' | tr '\n' ' ')
  if ! out=$("$ptxas" -arch="$(sed -n 's|^//@ target ||p' "$file")" -v -o /dev/null "$file" 2>&1); then echo "ptxas refuses: $about"
  elif grep -qiE 'warning|error|Potential Performance Loss|C75[0-9][0-9]' <<<"$out"; then echo "ptxas warns:   $about"
  elif grep 'stack frame' <<<"$out" | grep -qvE ' 0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads'; then
    echo "spills:        $about"
  else return; fi
  grep -iE 'warning|error|fatal|stack frame|Performance Loss|C75[0-9][0-9]' <<<"$out" | grep -v ' 0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads' | sort -u | sed 's/^ */    /'
}
export -f assemble

[ -x "$ptxas" ] || { echo "no ptxas here: the kernels were not assembled"; exit $bad; }
find "$work/ptx" -name '*.ptx' -print0 | sort -z | xargs -0 -n 1 -P "$processors" bash -c 'assemble "$0" >"$0.said" || true'
find "$work/ptx" -name '*.said' -size +0 -print0 | sort -z | xargs -0 -r cat
spilled=$(find "$work/ptx" -name '*.said' -size +0 | wc -l)
echo "$count kernels assembled, $spilled of them with spills, warnings or refusals"
[ "$spilled" = 0 ] && [ "$(find "$work/ptx" -name '*.said' | wc -l)" = "$count" ] || bad=1
exit $bad
