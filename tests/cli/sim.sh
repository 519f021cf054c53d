#!/bin/bash
# kiln sim: programs of the driver API, linked against libcuda.so.1 or opening it; findings with their lines, exit codes, leftovers.
. "$(dirname "$0")/common.sh"
linked=$build/tests/sim_program
opened=$build/tests/sim_program_by_name
export TMPDIR=$work/tmp
mkdir "$TMPDIR"

for program in "$linked" "$opened"; do
  expect 0 '^128 checks, 0 wrong$' "$kiln" sim "$program" right
  truth "the launch is counted" grep -q 'sim:sm_80: 1 launch, 0 found wrong' "$work/err"
  expect 3 'twice.cu:1[13]: ptx line [0-9]+: twice: race: cta \(0,0,0\) warp [0-9]+ lane' "$kiln" sim --target sm_75 -- "$program" race
  expect 3 'twice.cu:11: .*twice: out_of_bounds: .* lane 4 .*offset 400' "$kiln" sim -- "$program" bounds
done
expect 0 'sim:sm_90a,seed=7: 1 launch' "$kiln" sim --target sm_90a --seed 7 "$linked" right
expect 0 'sim:sm_86,sms=2,policy=random: 1 launch' "$kiln" sim --device sim:sm_86,sms=2,policy=random "$linked" right
expect 0 '0 found wrong' "$kiln" sim --device sim:sm_80,checks=off "$linked" right
# devices that kiln emits nothing for
expect 0 'sim:sm_87: 1 launch' "$kiln" sim --target sm_87 "$linked" right
expect 0 'sim:sm_90,sms=2: 1 launch' "$kiln" sim --device sim:sm_90,sms=2 "$linked" right
expect 1 "no target 'sm_12'; there are sm_75 .*sm_87" "$kiln" sim --target sm_12 "$linked" right

# ---- exit codes ----
expect 1 '2 launches, 2 found wrong' "$kiln" sim "$linked" forgiving
truth "a finding that comes again is printed once" test "$(grep -c 'twice: race' "$work/err")" = 1
truth "and counted" grep -q '(2 times)' "$work/err"
expect 4 '2 launches, 2 found wrong' "$kiln" sim "$linked" forked
expect 0 'refused: ptx line 5: .frobnicate. is not an instruction' "$kiln" sim "$linked" refused
expect 3 'refused: twice: block 2000,1,1 has not 1 to 1024 threads' "$kiln" sim "$linked" block
expect 42 'did not open the simulator' "$kiln" sim "$linked" exit 42
expect 143 'did not open' "$kiln" sim "$linked" signal 15
expect 127 'cannot run .*No such file' "$kiln" sim "$work/absent"
expect 126 'cannot run .*Permission denied' "$kiln" sim "$work"

# ---- the command line ----
expect 0 '^<--help>$' "$kiln" sim "$linked" arguments --help
expect 0 '^<>$' "$kiln" sim -- "$linked" arguments ''
expect 0 '^<a b>$' "$kiln" sim -- "$linked" arguments 'a b'
expect 2 'operand is missing' "$kiln" sim
expect 2 'operand is missing' "$kiln" sim --
expect 2 'exclude each other' "$kiln" sim --target sm_80 --device sim:sm_80 "$linked"
expect 2 'expected sim:TARGET' "$kiln" sim --device cuda:0 "$linked"
expect 2 'expected sim:TARGET' "$kiln" sim --device sim "$linked"
expect 2 'one device' "$kiln" sim --device sim:sm_80,sim:sm_75 "$linked"
expect 2 'not an option of sim' "$kiln" sim --quick "$linked"
expect 1 "option 'colour=red'" "$kiln" sim --device sim:sm_80,colour=red "$linked"
expect 1 'temporary folder' env TMPDIR="$work/absent" "$kiln" sim "$linked"
expect 0 '^/.*kiln-sim-.*:/mine$' env LD_LIBRARY_PATH=/mine "$kiln" sim -- sh -c 'echo $LD_LIBRARY_PATH'
mv "$work/tmp" "$work/t m p"
export TMPDIR="$work/t m p"
expect 0 '^128 checks, 0 wrong$' "$kiln" sim "$linked" right

# ---- ended from outside: the program is told, and nothing stays behind ----
"$kiln" sim -- sh -c 'trap "exit 9" TERM; echo there; while :; do sleep 0.1; done' >"$work/out" 2>"$work/err" &
for _ in $(seq 100); do grep -q there "$work/out" && break; sleep 0.1; done
kill $!
wait $!
truth "a signal to the command reaches the program" test $? = 9
for _ in $(seq 20); do # as early as can be: by the program's first act
  timeout 20 "$kiln" sim -- sh -c 'kill -TERM $PPID; exec sleep 10' >"$work/out" 2>"$work/err"
  truth "a signal from the program's first moment is not lost" test $? = 143
done
truth "temporary folders are removed" test -z "$(ls "$TMPDIR")"
finish
