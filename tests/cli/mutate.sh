#!/bin/bash
# kiln check --mutate: counts, seeds, rules, survivors and exit codes.
. "$(dirname "$0")/common.sh"
device=sim:sm_80
last='^mutants: [0-9]+ made, [0-9]+ caught, [0-9]+ equivalent, score [0-9.]+ %$'

# What a seed chooses may hold something that the kernel does not need, so the exit code is left open here.
"$kiln" check rms_norm --mutate --quick --seed 1 --device $device --set dtype=f32 >"$work/first"
truth "forty are made" grep -q '^mutants: 40 made' "$work/first"
truth "the score is the last line" bash -c "tail -1 '$work/first' | grep -Eq '$last'"
"$kiln" check rms_norm --mutate --quick --seed 1 --device $device --set dtype=f32 >"$work/second"
truth "a seed makes the same mutants" cmp -s "$work/first" "$work/second"
expect 0 'caught by: .*(race|result)' "$kiln" check gemm --mutate --quick --seed 3 --device $device

# ---- one file: every synchronising instruction, and twenty others ----
"$kiln" emit rms_norm --target sm_80 -o "$work/good.ptx"
"$kiln" check rms_norm --mutate --seed 4 --device $device --ptx "$work/good.ptx" >"$work/all"
truth "all that synchronise and up to twenty others" grep -Eq '^mutants: 2[0-6] made, [12][0-9] caught' "$work/all"

edited() { # what, sed expression, exit code, pattern
  sed "$2" "$work/good.ptx" >"$work/edited.ptx"
  truth "$1: the edit took" bash -c "! cmp -s '$work/good.ptx' '$work/edited.ptx'"
  "$kiln" check rms_norm --mutate --seed 4 --device $device --ptx "$work/edited.ptx" >"$work/out" 2>&1
  code=$?
  [ "$3" = any ] || truth "$1: exit code $code" [ $code -eq "$3" ]
  truth "$1: nothing matches $4" grep -Eq -- "$4" "$work/out"
}
edited "a barrier twice" 's/^ *bar.sync 0;/& bar.sync 0;/' any 'equivalent \(repeated (after|before)\): kiln/ops/.*lua:[0-9]+: ptx line [0-9]+: bar.sync 0; deleted'
edited "a barrier for nothing" '0,/^ *\(@%p[0-9]* \)\?ld.global.*/s//&\n    bar.sync 0;/' 1 'survived: .*ptx line [0-9]+: bar.sync 0; deleted'
truth "a survivor lowers the score" bash -c "! grep -q 'score 100' '$work/out'"
edited "a wait for nothing" '0,/^ *bar.sync 0;/s//    cp.async.wait_all;\n&/' any 'equivalent \(nothing in flight\): .*cp.async.wait_all; deleted'
edited "a kernel that is wrong already" 's/^ *bar.sync.*//' 1 'unchanged, on '
truth "which ends it" grep -q '^mutants: 0 made' "$work/out"

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
