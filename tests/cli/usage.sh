#!/bin/bash
# Usage, exit codes, and what bad input gets: a message that says what was expected, never a crash.
. "$(dirname "$0")/common.sh"

# ---- the command itself ----
expect 2 '^usage: kiln COMMAND' "$kiln"
truth "usage of no command goes to standard error" test ! -s "$work/out"
expect 2 'unknown command "nonsense"' "$kiln" nonsense
expect 0 '^kiln [0-9]+\.[0-9]+' "$kiln" --version
expect 0 '^usage: kiln COMMAND' "$kiln" --help
truth "help goes to standard output" test ! -s "$work/err"
for command in list emit check bench tune inspect sim; do
  expect 0 "^usage: kiln $command" "$kiln" $command --help
  expect 0 '^examples:' "$kiln" $command --help
  expect 2 'unknown option' "$kiln" $command --nonsense
done
for command in emit check bench tune inspect sim; do expect 2 'operand is missing' "$kiln" $command; done

# ---- settings ----
expect 2 'a setting is empty' "$kiln" emit rms_norm --target sm_80 --set dtype=bf16,
expect 2 'expected NAME=VALUE' "$kiln" emit rms_norm --target sm_80 --set dtype
expect 2 'given twice' "$kiln" emit rms_norm --target sm_80 --set dtype=bf16,dtype=f16
expect 2 'has no value' "$kiln" check rms_norm --set dtype=
expect 1 'colour' "$kiln" emit rms_norm --target sm_80 --set colour=red
expect 1 'f19' "$kiln" emit rms_norm --target sm_80 --set dtype=f19
expect 1 'rows' "$kiln" emit rms_norm --target sm_80 --schedule rows=banana
expect 1 '1 failed' "$kiln" check rms_norm --device sim:sm_80 --set colour=red
expect 1 'refused: sm_75' "$kiln" emit gemm --target sm_75
expect 0 '0 failed' "$kiln" check gemm --device sim:sm_75 --set dtype=bf16

# ---- ops, targets, devices, sizes ----
expect 1 'unknown op "nonsense"|nonsense' "$kiln" emit nonsense --target sm_80
expect 1 'unknown op "nonsense"; there are .*gemm' "$kiln" check nonsense --device sim:sm_80
expect 1 'unknown op' "$kiln" list nonsense
expect 2 'needed, one of sm_75' "$kiln" emit rms_norm
expect 2 'unknown target "sm_12"' "$kiln" emit rms_norm --target sm_12
expect 2 'unknown target "sm_12"' "$kiln" check rms_norm --device sim:sm_12
expect 2 'expected cuda:N' "$kiln" check rms_norm --device quantum
expect 1 'colour' "$kiln" check rms_norm --device sim:sm_80,colour=red --quick
expect 2 '\-\-device: sms is given twice' "$kiln" check rms_norm --device sim:sm_80,sms=4,cores=1,sms=8 --quick
expect 0 ' 0 failed' "$kiln" check rms_norm --device sim:sm_80,sms=4,sim:sm_75,sms=8 --quick --size M=2,N=8 --set dtype=f32
expect 0 'lane-instructions' "$kiln" bench rms_norm --device sim:sm_80,meter=on --size M=2,N=8
expect 1 'no kernel runs at these sizes' "$kiln" bench rms_norm --device sim:sm_80 --size M=0,N=8
expect 2 'targets takes no op and no other option' "$kiln" list --targets --variants
expect 2 'at most 18 digits' "$kiln" check rms_norm --device sim:sm_80 --size M=9223372036854775807,N=8
expect 1 'cuda:99' "$kiln" check rms_norm --device cuda:99 --quick
expect 1 'has no dim Q; its dims are' "$kiln" check rms_norm --device sim:sm_80 --size Q=3
expect 1 'also needs N' "$kiln" check rms_norm --device sim:sm_80 --size M=3
expect 1 '2\^56' "$kiln" check rms_norm --device sim:sm_80 --size M=999999999999,N=999999999999
expect 1 '2\^28' "$kiln" check rms_norm --device sim:sm_80 --size M=999999999999,N=1
expect 2 '2\^36' "$kiln" bench rms_norm --device sim:sm_80 --size M=99999999,N=99999
expect 0 ' wins ' "$kiln" list --variants rms_norm --size M=999999999,N=4096
expect 2 'size is needed' "$kiln" bench rms_norm --device sim:sm_80
expect 2 'has no dim Q' "$kiln" bench rms_norm --device sim:sm_80 --size Q=3
expect 2 'goes with --all|--all' "$kiln" emit rms_norm --diff
expect 2 'set, --size and --device go with --variants' "$kiln" list --size M=3

# ---- files ----
expect 1 'No such file|cannot|not found' "$kiln" emit "$work/absent.lua" --target sm_80
expect 1 '.' "$kiln" emit "$work" --target sm_80
mkdir "$work/folder.lua" "$work/folder.ptx"
expect 1 '.' "$kiln" emit "$work/folder.lua" --target sm_80
expect 1 'is a folder' "$kiln" inspect "$work/folder.ptx"
expect 1 'No such file' "$kiln" inspect "$work/absent.ptx"
echo 'local x = 1' >"$work/empty.lua"
expect 1 '.' "$kiln" emit "$work/empty.lua" --target sm_80
expect 1 '.' "$kiln" check "$work/empty.lua" --device sim:sm_80
echo 'return return' >"$work/syntax.lua"
expect 1 'syntax.lua:1' "$kiln" emit "$work/syntax.lua" --target sm_80
printf '\033Luajunk' >"$work/bytecode.lua"
expect 1 '.' "$kiln" emit "$work/bytecode.lua" --target sm_80
echo 'while true do end' >"$work/endless.lua"
expect 1 '.' timeout 4 "$kiln" emit "$work/endless.lua" --target sm_80
mkfifo "$work/pipe.lua" "$work/pipe.ptx"
expect 1 'is a pipe' timeout 4 "$kiln" emit "$work/pipe.lua" --target sm_80
expect 1 'a pipe or a device' timeout 4 "$kiln" inspect "$work/pipe.ptx"
expect 1 'a pipe or a device' timeout 4 "$kiln" check rms_norm --ptx "$work/pipe.ptx" --device sim:sm_80
echo 'return rowwise.op "center" { tensors = { "x M N", "y M N out" }, forward = function(t) t.y = t.x - mean(t.x) end }' >"$work/center.lua"
expect 0 '^//@ op center' bash -c "'$kiln' emit <(sleep 0.2; cat '$work/center.lua') --target sm_80"
expect 0 '^//@ op center' bash -c "'$kiln' emit <(printf '\357\273\277'; cat '$work/center.lua') --target sm_80"
ln -s /dev/zero "$work/endless.ptx"
expect 1 'a pipe or a device' "$kiln" inspect "$work/endless.ptx"
truncate -s 100M "$work/large.ptx"
expect 1 'has 104857600 bytes; the most is 67108864' "$kiln" inspect "$work/large.ptx"
head -c 300 /dev/urandom >"$work/noise.ptx"
expect 0 'no contract' "$kiln" inspect "$work/noise.ptx"
expect 1 'kiln:' "$kiln" check rms_norm --ptx "$work/noise.ptx" --device sim:sm_80
"$kiln" emit rms_norm --target sm_80 -o "$work/good.ptx"
head -c 700 "$work/good.ptx" >"$work/cut.ptx"
expect 1 'end' "$kiln" inspect "$work/cut.ptx"
sed '1s/1/99/' "$work/good.ptx" >"$work/newer.ptx"
expect 1 '99|newer' "$kiln" check rms_norm --ptx "$work/newer.ptx" --device sim:sm_80
expect 2 'exclude each other' "$kiln" check rms_norm --ptx "$work/good.ptx" --schedule rows=1
expect 2 'good.ptx is of op rms_norm, not of gemm' "$kiln" check gemm --ptx "$work/good.ptx" --device sim:sm_80
expect 2 'good.ptx is of op rms_norm, not of gemm' "$kiln" bench gemm --ptx "$work/good.ptx" --device sim:sm_80 --size M=4,N=8,K=8
expect 1 'good.ptx is for sm_80; --target says sm_90a' "$kiln" check rms_norm --ptx "$work/good.ptx" --target sm_90a --device sim:sm_90a
expect 1 'good.ptx is for sm_80; --target says sm_75' "$kiln" bench rms_norm --ptx "$work/good.ptx" --target sm_75 --device sim:sm_90a --size M=4,N=8
expect 0 ' 0 failed' "$kiln" check rms_norm --ptx "$work/good.ptx" --target sm_80 --device sim:sm_90a --size M=4,N=8
mkdir "$work/lua" && cp -r "$(dirname "$0")/../../lua/kiln" "$(dirname "$0")/../../lua/families" "$work/lua"
expect 1 'there is no op in .*/lua/ops' "$kiln" list --lua "$work/lua"

# ---- what would otherwise be passed over in silence ----
expect 2 'mutate and --seeds exclude each other' "$kiln" check rms_norm --device sim:sm_80 --mutate --quick --seeds 3
expect 2 'mutate and --sms exclude each other' "$kiln" check rms_norm --device sim:sm_80 --mutate --quick --sms 1,4
expect 2 'isa takes no other option' "$kiln" inspect --isa --size M=4
expect 2 'seed and seed= in sim:sm_80,seed=3 exclude each other' "$kiln" sim --seed 1 --device sim:sm_80,seed=3 true
for command in 'list --variants' inspect; do
  # shellcheck disable=SC2086 # words
  expect 2 'one device at a time; name its target' "$kiln" $command rms_norm --size M=4,N=8 --device sim,sms=2
done
"$kiln" check rms_norm --device sim:sm_87 --size M=2,N=8 >/dev/null 2>"$work/err"
truth "what is taken for a card without a target is said once" test "$(grep -c 'sm_86 is taken' "$work/err")" = 1
expect 1 "KILN_SIM_DEVICE in the environment: no target 'nonsense'" env KILN_SIM_DEVICE=nonsense "$kiln" check rms_norm --device sim:sm_80 --size M=4,N=8
expect 1 "sms=N \(1 to 1024\)" "$kiln" check rms_norm --device sim:sm_80,sms=1025 --size M=4,N=8

# ---- standard output that cannot be written ----
"$kiln" list >&- 2>"$work/err"
truth "a closed standard output is an error" test $? -eq 1
truth "and is said" grep -q 'cannot write to standard output' "$work/err"
if [ -w /dev/full ]; then
  "$kiln" emit rms_norm --target sm_80 >/dev/full 2>"$work/err"
  truth "a full disk is an error" test $? -eq 1
  truth "and is said" grep -q 'No space' "$work/err"
fi
"$kiln" emit gemm --target sm_80 2>"$work/err" | head -1 >/dev/null
truth "a reader that leaves gets no complaint" test ! -s "$work/err"
finish
