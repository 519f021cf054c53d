#!/bin/bash
# kiln check: passes what is right, refuses what was broken, and says on which element; rows, counts and exit codes.
. "$(dirname "$0")/common.sh"
device=sim:sm_80

expect 0 '^[1-9][0-9]* passed, 0 failed$' "$kiln" check rms_norm --device $device --quick
truth "the count is the last line" bash -c "tail -1 '$work/out' | grep -Eq '^[0-9]+ passed, 0 failed$'"
expect 0 'M=3,N=5 .*pass$' "$kiln" check rms_norm --device $device --size M=3,N=5
expect 0 'M=2x3,N=64 ' "$kiln" check rms_norm --device $device --size M=2x3,N=64 --set dtype=f32,w=no
expect 1 'set has more than 255 characters' "$kiln" check rms_norm --device $device --set "dtype=$(printf 'x%.0s' {1..300})"
expect 0 '^seed 42' "$kiln" check rms_norm --device $device --size M=3,N=5 --seed 42
cp "$work/out" "$work/first"
"$kiln" check rms_norm --device $device --size M=3,N=5 --seed 42 >"$work/second"
truth "a seed gives the same run" cmp -s "$work/first" "$work/second"
expect 0 'PTX for sm_80' "$kiln" check rms_norm --device sim:sm_90a --target sm_80 --size M=3,N=64

expect 0 'M=5,N=100 columns .*pass$' "$kiln" check rms_norm --device $device --quick --set dtype=bf16
expect 0 'N=192 broadcast .*pass$' "$kiln" check rms_norm --device $device --quick --set dtype=bf16

# ---- gradients; several dims, tables, scalars of each launch ----
expect 0 '^[1-9][0-9]* passed, 0 failed$' "$kiln" check rms_norm.grad --device $device --quick
expect 0 'M=300,N=40 .*pass$' "$kiln" check layer_norm.grad --device $device --quick --set dtype=f32
expect 0 'special .*pass$' "$kiln" check softmax.grad --device $device --quick --set dtype=f32
expect 0 ', again .*pass$' "$kiln" check rope --device $device --size B=2,H=3,T=4,N=16,P=5
expect 0 'B=1,H=1,T=4,N=16,G=1,S=7,P=9,R=8 .*pass$' "$kiln" check rope.grad --device $device --size H=1,T=4,N=16,S=7,P=9,R=8
expect 0 'in_place' "$kiln" check rope --device $device --quick --set dtype=f16
shifted() { # NAME ROW: an op that looks up that row of a table
  cat >"$work/$1.lua" <<END
return rowwise.op "$1" {
  tensors = { "x B T N", "tab P R const", "y B T N out" }, scalars = { "pos i32 = 0 call", "first i32 = 0" },
  forward = function(t) t.y = t.x + lookup(t.tab, $2, index "N" % size "R") end,
}
END
}
shifted several 'index "T" + t.pos + 1 + t.first' # of which all but the last were lost
expect 0 '^[1-9][0-9]* passed, 0 failed$' "$kiln" check "$work/several.lua" --device $device --quick --set dtype=f32
expect 0 '^//@ limit pos \(0-\(1\+first\)\) \(\(T>0\?P-T:2147483647\)-\(1\+first\)\) ' "$kiln" emit "$work/several.lua" --target sm_80
shifted before 'index "T" + (-1)'
expect 1 'what is added to index "T" is 0 or more' "$kiln" emit "$work/before.lua" --target sm_80
shifted twice 'index "T" + t.pos * 2'
expect 1 'what is added to index "T" is 0 or more' "$kiln" emit "$work/twice.lua" --target sm_80
expect 1 'rope also needs T' "$kiln" check rope --device $device --size N=16
cat >"$work/two.lua" <<'E'
return rowwise.op "center" { tensors = { "x M N", "y M N out" }, forward = function(t) t.y = t.x - mean(t.x) end }
E
expect 0 'two.lua:center.grad ' "$kiln" check "$work/two.lua" --device $device --quick --set dtype=f32
truth "the op itself, too" grep -q 'two.lua:center ' "$work/out"
expect 0 'two.lua:center.grad ' "$kiln" check "$work/two.lua:center.grad" --device $device --size M=3,N=8
truth "one alone" bash -c "! grep -q 'two.lua:center ' '$work/out'"

# A gradient that cancels as a whole, to what the rounding of a saved mean leaves: dw is held to a share of its terms.
cat >"$work/cancel.lua" <<'E'
return rowwise.op "cancel" {
  tensors = { "x M N", "w N", "y M N out", "mu M f32 out saved" },
  forward = function(t)
    local x = t.x:f32()
    local mu = mean(x)
    t.mu, t.y = mu, x + mean(x - mu) * t.w:f32()
  end,
}
E
expect 0 'no_dx.*pass$' "$kiln" check "$work/cancel.lua:cancel.grad" --device $device --quick

# ---- broken kernels ----
"$kiln" emit rms_norm --target sm_80 -o "$work/good.ptx"
expect 0 ' 0 failed' "$kiln" check rms_norm --device $device --ptx "$work/good.ptx" --size M=5,N=512
broken() { # what, sed expression, pattern
  sed "$2" "$work/good.ptx" >"$work/bad.ptx"
  truth "$1: the edit took" bash -c "! cmp -s '$work/good.ptx' '$work/bad.ptx'"
  expect 1 "$3" "$kiln" check rms_norm --device $device --ptx "$work/bad.ptx" --size M=5,N=512
}
broken "another operation" '0,/mul.rn.f32/s//add.rn.f32/' 'elements differ; first y\['
broken "a store left out" '0,/st.global/s/.*st.global.*//' 'never written|elements differ'
broken "no barrier" 's/^ *bar.sync.*//' 'FAIL'
broken "another rsqrt" 's/rsqrt.approx.ftz.f32\|rsqrt.approx.f32/sqrt.approx.f32/' 'elements differ'
"$kiln" emit rms_norm.grad --target sm_80 --set dtype=f32 -o "$work/sums.ptx"
expect 0 ' 0 failed' "$kiln" check rms_norm.grad --device $device --ptx "$work/sums.ptx" --size M=70,N=512
sed 's/^\(.*@ let addends_dw .*\)/\1-1/' "$work/sums.ptx" >"$work/fewer.ptx"
truth "a partial sum left out: the edit took" bash -c "! cmp -s '$work/sums.ptx' '$work/fewer.ptx'"
expect 1 'first dw\[0\] =' "$kiln" check rms_norm.grad --device $device --ptx "$work/fewer.ptx" --size M=70,N=512
expect 1 'mma|differ|FAIL' bash -c "'$kiln' emit gemm --target sm_80 | sed '0,/ldmatrix.*\.trans/s/\.trans//; 0,/mma.sync/s/.*mma.sync.*//' >'$work/bad.ptx'; '$kiln' check gemm --device $device --ptx '$work/bad.ptx' --size M=64,N=64,K=64"

# ---- bench, inspect, list on the same ground ----
expect 0 'lane-instructions/s' "$kiln" bench rms_norm --device $device --size M=16,N=512
expect 0 '"lane_instructions_per_second"' "$kiln" bench rms_norm --device $device --size M=16,N=512 --json
expect 0 'MAC/s' "$kiln" bench gemm --device $device --size M=64,N=64,K=64
"$kiln" bench gemm --device $device --size M=64,N=64,K=64 --json >"$work/json"
if command -v python3 >/dev/null; then truth "JSON can be read" python3 -c "import json; json.load(open('$work/json'))"; fi
expect 0 'instructions [1-9]' "$kiln" inspect rms_norm --target sm_90a
expect 0 'bound by' "$kiln" inspect "$work/good.ptx" --size M=64,N=512
expect 0 'loop .*instructions' "$kiln" inspect gemm
# past 2^31 along a dim bulk copies have no coordinates, and a CTA that walks over tiles no count of them
expect 0 'variant +gemm-bf16-64x64x64-s4-w2x2$' "$kiln" inspect gemm --target sm_90a --size M=8,N=8,K=2147483904 --device sim:sm_90a
expect 1 'grid tiles is 2147483648' "$kiln" inspect gemm --target sm_90a --size B=2147483648,M=1,N=8,K=8 --device sim:sm_90a
expect 0 ' wins ' "$kiln" list --variants rms_norm --target sm_80 --size M=64,N=512
expect 0 'requires|expected' "$kiln" list --variants rms_norm --target sm_80 --size M=64,N=511
expect 0 '^rms_norm  ' "$kiln" list
expect 0 '^sm_120a ' "$kiln" list --targets
finish
