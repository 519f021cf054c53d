#!/bin/bash
# kiln check: passes what is right, refuses what was broken, and says on which element; rows, counts and exit codes.
. "$(dirname "$0")/common.sh"
device=sim:sm_80

expect 0 '^[1-9][0-9]* passed, 0 failed$' "$kiln" check rms_norm --device $device --quick
truth "the count is the last line" bash -c "tail -1 '$work/out' | grep -Eq '^[0-9]+ passed, 0 failed$'"
expect 0 'M=3,N=5 .*pass$' "$kiln" check rms_norm --device $device --size M=3,N=5
expect 0 'M=2x3,N=64 ' "$kiln" check rms_norm --device $device --size M=2x3,N=64 --set dtype=f32,w=no
expect 0 '^seed 42' "$kiln" check rms_norm --device $device --size M=3,N=5 --seed 42
cp "$work/out" "$work/first"
"$kiln" check rms_norm --device $device --size M=3,N=5 --seed 42 >"$work/second"
truth "a seed gives the same run" cmp -s "$work/first" "$work/second"
expect 0 'PTX for sm_80' "$kiln" check rms_norm --device sim:sm_90a --target sm_80 --size M=3,N=64

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
expect 0 ' wins ' "$kiln" list --variants rms_norm --target sm_80 --size M=64,N=512
expect 0 'requires|expected' "$kiln" list --variants rms_norm --target sm_80 --size M=64,N=511
expect 0 '^rms_norm  ' "$kiln" list
expect 0 '^sm_120a ' "$kiln" list --targets
finish
