#!/bin/bash
# kiln check --mutate: counts, seeds, rules, survivors and exit codes.
. "$(dirname "$0")/common.sh"
device=sim:sm_80
last='^mutants: [0-9]+ made, [0-9]+ caught, [0-9]+ equivalent, score [0-9.]+ %$'

expect 0 "$last" "$kiln" check rms_norm --mutate --quick --seed 1 --device $device --set dtype=f32
cp "$work/out" "$work/first"
truth "forty are made" grep -q '^mutants: 40 made' "$work/first"
truth "the score is the last line" bash -c "tail -1 '$work/first' | grep -Eq '$last'"
"$kiln" check rms_norm --mutate --quick --seed 1 --device $device --set dtype=f32 >"$work/second"
truth "a seed makes the same mutants" cmp -s "$work/first" "$work/second"
expect 0 'caught by: .*(race|result)' "$kiln" check gemm --mutate --quick --seed 3 --device $device

# ---- one file: every synchronising instruction, and twenty others ----
"$kiln" emit rms_norm --target sm_80 -o "$work/good.ptx"
expect 0 '^mutants: 26 made, 2[0-9] caught' "$kiln" check rms_norm --mutate --seed 4 --device $device --ptx "$work/good.ptx"

edited() { # what, sed expression, exit code, pattern
  sed "$2" "$work/good.ptx" >"$work/edited.ptx"
  truth "$1: the edit took" bash -c "! cmp -s '$work/good.ptx' '$work/edited.ptx'"
  expect "$3" "$4" "$kiln" check rms_norm --mutate --seed 4 --device $device --ptx "$work/edited.ptx"
}
edited "a barrier twice" 's/^ *bar.sync 0;/& bar.sync 0;/' 0 'equivalent \(repeated (after|before)\): kiln/ops/.*lua:[0-9]+: ptx line [0-9]+: bar.sync 0; deleted'
edited "a barrier for nothing" '0,/^ *\(@%p[0-9]* \)\?ld.global.*/s//&\n    bar.sync 0;/' 1 'survived: .*ptx line [0-9]+: bar.sync 0; deleted'
truth "a survivor lowers the score" bash -c "! grep -q 'score 100' '$work/out'"
edited "a wait for nothing" '0,/^ *bar.sync 0;/s//    cp.async.wait_all;\n&/' 0 'equivalent \(nothing in flight\): .*cp.async.wait_all; deleted'
edited "a kernel that is wrong already" 's/^ *bar.sync.*//' 1 'unchanged, on .*race'

# ---- what is refused ----
expect 2 'simulated devices, not for cuda:0' "$kiln" check rms_norm --mutate --device cuda:0
expect 2 'not an option of bench' "$kiln" bench rms_norm --mutate --size M=1,N=8

# ---- the meter ----
expect 0 'global requests .*sectors' "$kiln" bench rms_norm --device $device --size M=16,N=512
expect 0 'kiln/ops/rms_norm.lua:7 ' "$kiln" bench rms_norm --device $device --size M=16,N=512 --lines
expect 0 '"meter": \[\{"kernel": "rms_norm' "$kiln" bench rms_norm --device $device --size M=16,N=512 --json
truth "lines only if asked for" bash -c "! grep -q '\"lines\"' '$work/out'"
expect 0 '"lines": \[\{"file": "kiln/' "$kiln" bench rms_norm --device $device --size M=16,N=512 --json --lines
finish
