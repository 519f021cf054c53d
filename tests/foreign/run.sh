#!/bin/bash
# run.sh BUILD - kernels that nvcc has compiled (the .ptx kept here; make.sh) under host programs of the driver API, by kiln sim: right
# ones on several targets, seeds and policies, linked and by name; broken twins must be found out, at the line that is marked in the source.
. "$(dirname "$0")/../cli/common.sh"
here=$(dirname "$(readlink -f "$0")")
bin=$build/tests
seed=${FOREIGN_SEED:-$RANDOM}
echo "seed $seed (FOREIGN_SEED)"

right() { # PROGRAM TARGET OPTIONS: passes, nothing found
  local program=$1 target=$2 options=$3
  seed=$((seed + 1))
  expect 0 ' 0 wrong$' "$kiln" sim --device "sim:$target,$options" -- "$bin/foreign_$program" "$here/${program%_by_name}.ptx" $seed
  truth "$program on $target,$options: launches, and none found wrong" grep -Eq ': [1-9][0-9]* launches, 0 found wrong' "$work/err"
}
for program in reduce histogram scan; do
  for target in sm_75 sm_80 sm_90a; do right $program $target "seed=$seed"; done
  right $program sm_89 policy=random,sms=2,seed=$seed
  right $program sm_86 sms=1
  right ${program}_by_name sm_120a seed=3,cores=1
done
for program in gemm pipeline; do
  right $program sm_80 policy=lazy
  right $program sm_89 policy=eager,seed=$seed
  right $program sm_90a policy=random,seed=$seed
  right ${program}_by_name sm_100a policy=lazy,seed=$seed
  expect 1 'refused: .*sm_80 does not run on this device' "$kiln" sim --target sm_75 -- "$bin/foreign_$program" "$here/$program.ptx"
done

marks() { grep -n 'MARK' "$here/$1.cu" | cut -d: -f1 | paste -sd '|'; } # lines of which the report must name one: a race has two sides
broken() { # PROGRAM TWIN KIND: found under each of four seeds, with the line; the program's own check need not notice
  local program=$1 twin=$2 kind=$3 lines found=0
  lines=$(marks "$program")
  for s in 1 2 3 4; do
    "$kiln" sim --device "sim:sm_80,seed=$s,policy=lazy" -- "$bin/foreign_$program" "$here/$twin.ptx" $((seed + s)) >"$work/out" 2>"$work/err" && continue
    grep -Eq "tests/foreign/$program.cu:($lines): ptx line [0-9]+: [a-z_]+: ($kind): cta" "$work/err" && found=$((found + 1))
  done
  truth "$twin: $kind at $program.cu:$lines, under every seed (found under $found of 4)" test $found = 4
  [ $found = 4 ] || sed 's/^/  /' "$work/err" | head -5
}
broken reduce reduce_no_fence race
broken scan scan_no_fence race
broken histogram histogram_no_barrier 'race|uninitialised'
broken pipeline pipeline_no_wait pending_copy
finish
