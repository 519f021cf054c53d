#!/bin/bash
# kiln tune: measures, keeps, goes on where it stopped, survives candidates that are wrong, fault or never end; and what later plans take.
. "$(dirname "$0")/common.sh"
root=$(dirname "$(readlink -f "$0")")/../..
export XDG_CACHE_HOME=$work/cache
unset KILN_TUNED
device=sim:sm_80
n=$("$kiln" list --variants gemm --target sm_80 | grep -c 'bm=') # schedules, all of which take 64 x 64 x 64
file() { echo "$work"/cache/kiln/tuned-*.txt; }

# ---- two sizes of two ops; what was measured is not measured again ----
expect 0 "^$((2 * n)) measured, 0 known before, 0 left out" "$kiln" tune gemm --device $device --size 'M=64,N=64|128,K=64'
truth "a row per size" grep -Eq '^M=64,N=128,K=64  gemm-bf16-64x128x64-s3-w2x2 .*gemm-bf16-64x64x64-s4-w2x2 .* 1\.[0-9]+ ' "$work/out"
truth "progress says how far it is, the best so far and what is left" grep -Eq "^5 of $((2 * n))  M=64,N=64,K=64: best [0-9]+ \\(gemm-.*\\), [0-9]+:[0-9][0-9] left$" "$work/err"
expect 0 "^0 measured, $((2 * n)) known before" "$kiln" tune gemm --device $device --size 'M=64,N=64|128,K=64'
truth "nothing is measured, so there is no progress" test ! -s "$work/err"
cp "$(file)" "$work/before"
expect 0 "^$n measured, 0 known before" "$kiln" tune gemm --device $device --size M=64,N=64,K=64 --force
truth "a simulated figure is the same each time" diff <(sort "$work/before") <(sort "$(file)")
expect 0 '^[1-9][0-9]* measured, 0 known before, 0 left out' "$kiln" tune rms_norm --device $device --size M=16,N=512..1024*2 --set w=no
truth "two sizes" test "$(grep -c '^M=16,N=' "$work/out")" = 2
truth "no temporary file stays" test -z "$(find "$work/cache" -name '*.tmp')"

# ---- later plans ----
winner() { "$kiln" list --variants gemm --device $device --size "$1" | sed -n "s/^\(gemm[^ ]*\) .* us  wins: measured .*/\1/p"; }
truth "the size that was measured" test "$(winner M=64,N=128,K=64)" = gemm-bf16-64x128x64-s3-w2x2
truth "and one near it" test "$(winner M=96,N=160,K=72)" = gemm-bf16-64x128x64-s3-w2x2
truth "not one far from it" test -z "$(winner M=64,N=264,K=64)"
truth "nor with measurements off" test -z "$(KILN_TUNED=0 winner M=64,N=128,K=64)"
expect 0 'variant      gemm-bf16-64x128x64-s3-w2x2 ' "$kiln" bench gemm --device $device --size M=64,N=128,K=64
expect 0 'variant      gemm-bf16-64x64x64-s4-w2x2 ' env KILN_TUNED=0 "$kiln" bench gemm --device $device --size M=64,N=128,K=64
expect 0 'M=64,K=64,N=128 +gemm-bf16-64x64x64-s4-w2x2 .*pass' "$kiln" check gemm --device $device --size M=64,N=128,K=64 # checks go by cost
truth "another number of SMs is another device" bash -c "'$kiln' list --variants gemm --device $device,sms=7 --size M=64,N=128,K=64 | grep -q ' wins  '"

# ---- how a predicted time comes about ----
"$kiln" list --variants gemm --device $device --size M=256,N=256,K=64 >"$work/out"
truth "terms" grep -Eq '^ +2\.000 us  2000$' "$work/out"
truth "waves and names" grep -Eq 'waves ceildiv\(tiles,sms\) = 4, tiles = 16, sms = 4, K = 64' "$work/out"
truth "bytes" grep -Eq '^ +bytes 196608: ' "$work/out"
truth "terms add up" awk '/predicted/ { if (n && (sum - total > 0.01 || total - sum > 0.01)) bad = 1; total = $3; sum = 0; n++ } / us  / && n && !/^gemm/ { sum += $1 }
  END { exit bad || n < 5 }' "$work/out"

# ---- a wider space: its winner is none that is offered, and is emitted when a plan wants it ----
expect 0 '^[1-9][0-9]* measured, 0 known before' "$kiln" tune gemm --device $device --size M=64,N=128,K=256 --schedule 'stages=2|3,fill=first|last,bk=128'
truth "what a family does not take is counted" grep -Eq '^[1-9][0-9]* of the schedules with other values' "$work/out"
truth "by cost means by cost of what is offered" grep -Eq '^M=64,N=128,K=256  gemm-[^ ]+  +[0-9]+  gemm-bf16-64x64x64-s4-w2x2 ' "$work/out"
wide=$(sed -n 's/^M=64,N=128,K=256  \([^ ]*\) .*/\1/p' "$work/out")
truth "it is another one" bash -c "! '$kiln' list --variants gemm --target sm_80 | grep -q '^$wide '"
truth "list shows it" test "$(winner M=64,N=128,K=256)" = "$wide"
expect 0 "variant      $wide " "$kiln" bench gemm --device $device --size M=64,N=128,K=256
expect 1 'no schedule that is offered has a colour' "$kiln" tune gemm --device $device --size M=64,N=64,K=64 --schedule colour=red

# ---- damage, and another version ----
sed -i '2s/bf16/bf61/' "$(file)"
expect 0 "^1 measured, $((n - 1)) known before" "$kiln" tune gemm --device $device --size M=64,N=64,K=64
truth "damage is reported" grep -q '1 damaged lines are left out' "$work/err"
sed -i '1s/kiln tuned 1/kiln tuned 99/' "$(file)"
expect 0 'wins  ' "$kiln" list --variants gemm --device $device --size M=64,N=128,K=64
expect 0 "^$n measured, 0 known before" "$kiln" tune gemm --device $device --size M=64,N=64,K=64
truth "another version is reported" grep -q 'another version or device and is begun anew' "$work/err"

# ---- interrupted, and two at once ----
rm "$(file)"
"$kiln" tune gemm --device $device --size M=64,N=64..2048+64,K=64 >"$work/out" 2>"$work/err" &
interrupted=$!
for i in $(seq 300); do
  [ "$(cat "$(file)" 2>/dev/null | wc -l)" -gt 3 ] && break
  sleep 0.02
done
kill -9 $interrupted
wait $interrupted 2>/dev/null
expect 0 '^[0-9]+ measured, [1-9][0-9]* known before, 0 left out' "$kiln" tune gemm --device $device --size M=64,N=64,K=64
truth "3 or more are kept" test "$(sed -n 's/.* measured, \([0-9]*\) known before.*/\1/p' "$work/out")" -ge 3
rm "$(file)"
"$kiln" tune gemm --device $device --size M=64,N=64,K=64 >"$work/one" 2>&1 &
"$kiln" tune rms_norm --device $device --size M=8,N=64 >"$work/two" 2>&1 &
wait
expect 0 "^0 measured, $n known before" "$kiln" tune gemm --device $device --size M=64,N=64,K=64
expect 0 '^0 measured, [1-9][0-9]* known before' "$kiln" tune rms_norm --device $device --size M=8,N=64

# ---- candidates that must not win: one leaves a tile out, one has too little shared memory, one has so many CTAs that it never ends ----
cp -r "$root/lua" "$work/lua"
sed -i 's/grid %s,1,1 block $block0 shared $shared0/grid %s" .. (s.bm == 64 and s.bn == 128 and "-1" or s.bn == 256 and s.bk == 64 and "*200000000" or "") .. ",1,1 block $block0 shared " .. (s.bm == 128 and s.bn == 128 and s.bk == 64 and "64" or "$shared0") .. "/' "$work/lua/families/gemm_warp.lua"
truth "the edit took" bash -c "! cmp -s '$root/lua/families/gemm_warp.lua' '$work/lua/families/gemm_warp.lua'"
expect 0 "^3 measured, $((n - 3)) known before, 3 left out" "$kiln" tune gemm --device $device --size M=64,N=64,K=64 --lua "$work/lua" --seconds 4
truth "wrong results" grep -Eq '64x128x64-s3-w2x2 +wrong +.*(never written|differ)' "$work/out"
truth "a fault" grep -Eq '128x128x64-s3-w2x2 +fault +.*shared' "$work/out"
truth "no end" grep -Eq '128x256x64-s3-w2x4 +hang +no result within 4 s' "$work/out"
truth "the right one wins" test "$(winner M=64,N=64,K=64)" = gemm-bf16-64x64x64-s4-w2x2
expect 0 "^0 measured, $n known before, 3 left out" "$kiln" tune gemm --device $device --size M=64,N=64,K=64 --lua "$work/lua" # nor is it tried again
expect 0 "^3 measured, $((n - 3)) known before, 0 left out" "$kiln" tune gemm --device $device --size M=64,N=64,K=64 # of other texts nothing is known

# a process that ends while it measures: what it was at is left out, and another goes on
rm "$(file)"
"$kiln" tune gemm --device $device --size M=64,N=64,K=64 --lua "$work/lua" --seconds 100 >"$work/killed" 2>/dev/null &
tuner=$!
for ((i = 0, still = 0, lines = 0; i < 1000; i++)); do
  kill -0 $tuner 2>/dev/null || break
  now=$(cat "$(file)" 2>/dev/null | wc -l)
  [ "$now" -eq "$lines" ] && still=$((still + 1)) || still=0
  lines=$now
  if [ $still -ge 40 ] && [ "$lines" -gt 1 ]; then # two seconds at one candidate
    kill -9 $(cat /proc/$tuner/task/$tuner/children 2>/dev/null)
    still=0
  fi
  sleep 0.05
done
wait $tuner
truth "the tuner ends well" test $? = 0
truth "the one that was under way" grep -Eq '128x256x64-s3-w2x4 +fault +the process that measured it was ended by signal 9' "$work/killed"
truth "the others were measured" grep -Eq "^$n measured, 0 known before, [3-9] left out" "$work/killed"

# ---- an op of a script, gradients, leading dims ----
expect 0 '^[1-9][0-9]* measured' "$kiln" tune "$root/lua/examples/l2_norm.lua" --device $device --size M=2x3,N=64
truth "leading dims are one axis" grep -Eq ' M_0\*M_1\*M_2\*M_3=6,N=64 | B\*M_0\*M_1\*M_2=6,N=64 ' "$(file)"
expect 0 '^[1-9][0-9]* measured' "$kiln" tune rms_norm.grad --device $device --size M=32,N=64

# ---- what is typed wrong ----
expect 1 'a value is empty in stages=3\|$' "$kiln" tune gemm --device $device --size M=64,N=64,K=64 --schedule 'stages=3|'
expect 1 'a value is empty in stages=\|3' "$kiln" tune gemm --device $device --size M=64,N=64,K=64 --schedule 'stages=|3'
expect 1 'M=0,N=64,K=64: no kernel runs at these sizes' "$kiln" tune gemm --device $device --size M=0,N=64,K=64
expect 2 'size is needed' "$kiln" tune gemm --device $device
expect 2 'LOW\.\.HIGH\*FACTOR' "$kiln" tune gemm --device $device --size M=64..32*2
expect 2 'LOW\.\.HIGH\*FACTOR' "$kiln" tune gemm --device $device --size M=64..128
expect 2 'LOW\.\.HIGH\*FACTOR' "$kiln" tune gemm --device $device --size M=64..128*1
expect 2 'more than 256 values' "$kiln" tune gemm --device $device --size M=1..1000+1
expect 2 'one device at a time' "$kiln" tune gemm --device sim:sm_80,sim:sm_86 --size M=64,N=64,K=64
expect 2 'from 1 to 86400' "$kiln" tune gemm --seconds 0 --size M=64
expect 1 'has no dim Q' "$kiln" tune gemm --device $device --size Q=3
expect 1 'no folder for the measurements' env XDG_CACHE_HOME=/proc/nowhere "$kiln" tune gemm --device $device --size M=64,N=64,K=64
finish
