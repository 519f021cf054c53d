#!/bin/bash
# blockwise_ops.sh BUILD - blockwise ops that users could write, on targets with conversions to eight bits and without; and mistakes,
# each with the line and the words that its author must see.
set -u -o pipefail
kiln=$(readlink -f "$1")/kiln
cd "$(dirname "$(readlink -f "$0")")" || exit 1
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
failed=0 passed=0

for op in mx32 tiles capped beyond peak columns plain masked small rows levelled bytes; do
  for target in sm_75 sm_90a; do
    if ! "$kiln" check "blockwise_ops.lua:$op" --device "sim:$target" --quick >"$work/log" 2>&1; then
      echo "FAIL $op on $target"; grep -A3 FAIL "$work/log" | head -12; failed=$((failed + 1))
    elif grep -q '^0 passed' "$work/log"; then
      echo "FAIL $op on $target: nothing ran"; failed=$((failed + 1))
    else
      passed=$((passed + 1))
    fi
  done
done

# refused LINE WORDS TENSORS FORWARD [FORMS]: the op is refused at that line with those words
refused() {
  cat >"$work/op.lua" <<E
return blockwise.op "mine" {
  tensors = { $3 },
  forms = ${5-nil},
  forward = function(t)
    $4
  end,
}
E
  (ulimit -t 2; exec timeout 60 "$kiln" emit "$work/op.lua" --target sm_80 >"$work/out" 2>"$work/log") # processor time: the clock runs on a busy machine, too
  local rc=$?
  if [ $rc -eq 0 ] || [ $rc -ge 124 ] || [ -s "$work/out" ] || ! grep -qF "op.lua:$1:" "$work/log" || ! grep -qF -- "$2" "$work/log"; then
    echo "FAIL expected a refusal at line $1 with '$2', exit $rc:"; cat "$work/op.lua" "$work/log"; failed=$((failed + 1))
  else
    passed=$((passed + 1))
  fi
}
xy='"x M N", "y M N out"'
refused 5 "is no dim of blocks" "$xy" 't.y = block_amax(abs(t.x), "N")'
refused 5 "has no dim R" "$xy" 't.y = block_amax(abs(t.x), "R/8")'
refused 5 "has no dim N_16" "$xy" 't.y = spread(t.x, "N/16")'
refused 5 "no dim N_16, but the value assigned to it has" "$xy" 't.y = block_amax(abs(t.x), "N/16")'
refused 1 "are of abs(x), x an input" "$xy" 't.y = t.x / amax(t.x, "N")'
refused 1 "has several largest values" "$xy" 't.y = t.x / (amax(abs(t.x), "N") + amax(amax(abs(t.x), "N"), "M"))'
refused 5 "largest values (amax, block_amax) only" "$xy" 't.y = t.x / sum(t.x)'
refused 1 "is no dim of this family" '"x M K", "y M K out"' 't.y = t.x'
refused 1 "has no output" '"x M N"' 'local a = t.x'
refused 1 "i32 is not written" "$xy" 't.y = t.x' 'function() return { y = "M N i32" } end'
refused 1 "'N/0' is no dim of blocks" "$xy" 't.y = t.x' 'function() return { y = "M N/0" } end'
refused 1 "blocks of one size" '"x M N", "s M f32", "y M N out"' 't.y = t.x * spread(t.s, "N/8")' 'function() return { s = "M N/32", y = "M N/16" } end'
refused 1 "blocks of N have 16, 32, .. 1024" "$xy" 't.y = t.x' 'function() return { y = "M N/100" } end'
refused 1 "a block of more than 32768 elements" "$xy" 't.y = t.x' 'function() return { x = "M R/256 N/256" } end'
refused 1 "is no dim of this family in this place" "$xy" 't.y = t.x' 'function() return { y = "N M" } end'

echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
