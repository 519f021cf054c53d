#!/bin/bash
# Emission: the same bytes each time, whole files or none, C arrays that compile to the same bytes, the curated set.
. "$(dirname "$0")/common.sh"

"$kiln" emit rms_norm --target sm_90a >"$work/a.ptx"
"$kiln" emit rms_norm --target sm_90a -o "$work/b.ptx"
truth "two emissions are the same bytes" cmp -s "$work/a.ptx" "$work/b.ptx"
expect 0 '^//@ op rms_norm' "$kiln" emit rms_norm --target sm_80
expect 0 '^//@ set dtype=f16' "$kiln" emit rms_norm --target sm_80 --set dtype=f16
expect 0 'kernel' "$kiln" emit rms_norm --target sm_80 --dump script
expect 1 'nonsense' "$kiln" emit rms_norm --target sm_80 --dump nonsense

# ---- files are whole or as they were ----
echo before >"$work/kept.ptx"
expect 1 '.' "$kiln" emit rms_norm --target sm_80 --set colour=red -o "$work/kept.ptx"
truth "a failed emission leaves the file" grep -qx before "$work/kept.ptx"
expect 1 'is a folder' "$kiln" emit rms_norm --target sm_80 -o "$work"
expect 1 "x.ptx: cannot write: there is no folder $work/absent\$" "$kiln" emit rms_norm --target sm_80 -o "$work/absent/x.ptx"
expect 1 'cannot create a file beside it: Not a directory' "$kiln" emit rms_norm --target sm_80 -o "$work/a.ptx/x.ptx"
expect 1 'cannot make the folder: Not a directory' "$kiln" emit --all "$work/a.ptx/set"
truth "a folder that cannot be made is said once" test "$(wc -l <"$work/err")" = 1
truth "nothing half-written stays" test -z "$(find "$work" -name '*.tmp')"
ln -s b.ptx "$work/link.ptx"
"$kiln" emit rms_norm --target sm_80 -o "$work/link.ptx"
truth "a link stays a link" test -L "$work/link.ptx"
truth "and its file is written" grep -q 'target sm_80' "$work/b.ptx"
mkdir "$work/deep" && ln -s new.ptx "$work/deep/second.ptx" && ln -s deep/second.ptx "$work/first.ptx"
"$kiln" emit rms_norm --target sm_80 -o "$work/first.ptx"
truth "links to nothing stay links" test -L "$work/first.ptx" -a -L "$work/deep/second.ptx"
truth "and the file is where they lead" grep -q 'target sm_80' "$work/deep/new.ptx"
ln -s round.ptx "$work/round.ptx"
expect 1 'round.ptx: cannot follow it' "$kiln" emit rms_norm --target sm_80 -o "$work/round.ptx"
chmod 640 "$work/b.ptx"
"$kiln" emit rms_norm --target sm_90a -o "$work/b.ptx"
truth "the file keeps its mode" test "$(stat -c %a "$work/b.ptx")" = 640
truth "/dev/null takes it" "$kiln" emit rms_norm --target sm_80 -o /dev/null
truth "/dev/null is still a device" test -c /dev/null
(
  ulimit -f 8 # KB: the text does not fit
  trap '' XFSZ
  "$kiln" emit gemm --target sm_80 -o "$work/big.ptx" 2>"$work/err"
)
truth "a file that does not fit is not begun" test ! -e "$work/big.ptx"
truth "and leaves nothing" test -z "$(find "$work" -name '*.tmp')"
(
  ulimit -f 8
  "$kiln" emit gemm --target sm_80 -o "$work/big.ptx" 2>"$work/err"
)
truth "without a trap, either: it is said" grep -q 'cannot write: File too large' "$work/err"
truth "and leaves nothing" test -z "$(find "$work" -name '*.tmp')"
# A killed run's temporary file has the number of a process that may come again: in a container each run has the same one.
bash -c "touch '$work/again.ptx.'\$\$.tmp '$work/again.ptx.'\$\$-0.tmp; exec '$kiln' emit rms_norm --target sm_80 -o '$work/again.ptx'"
truth "what a killed run left is no obstacle" test -s "$work/again.ptx"
rm -f "$work"/again.ptx.*
if strace -o /dev/null true 2>/dev/null; then # which can send a signal in the midst of a write
  strace -o /dev/null -e inject=write:signal=SIGTERM:when=1 "$kiln" emit rms_norm --target sm_80 -o "$work/ended.ptx" 2>/dev/null
  truth "a run that is ended while it writes leaves no temporary file" test -z "$(find "$work" -name '*.tmp')"
fi

# ---- where the rows of tables begin: the contract holds the scalar against the table, at each launch or for the plan, of a stage as well ----
turned() { # FILE SCALARS OF-THE-STAGE: an op that turns rows, and a chain of it
  cat >"$work/$1" <<END
local turn = rowwise.op "turn" {
  tensors = { "x B T N", "cos P R const", "sin P R const", "y B T N out" }, scalars = { "pos i32 = 0$2", "rows i32 = 9" },
  forward = function(t)
    local n = index "T"
    local turned, turns = rotate(t.x, { cos = t.cos, sin = t.sin, row = n + t.pos, entries = size "R", pairs = "halves", table = "pair" })
    t.y = where(all(turns, lt(n, t.rows)), turned, t.x)
  end,
}
return { turn, chain.op "chained" {
  tensors = { "x B T N", "cos P R", "sin P R", "y B T N out" }, scalars = { $3 },
  stages = function(c)
    return { workspaces = { "mid B T N " .. c.set.dtype },
      { name = "one", op = turn, set = { dtype = c.set.dtype }, tensors = { y = "mid" }, scalars = { rows = 7 } },
      { name = "two", op = turn, set = { dtype = c.set.dtype }, tensors = { x = "mid" }, scalars = { pos = 2, rows = 7 } } }
  end,
} }
END
}
turned call.lua " call" '"pos i32 = 0 call"'
turned plan.lua "" '"pos i32 = 0"'
most='(min(T,rows)>0?P-min(T,rows):2147483647)' least='(min(T,one_rows)>0?P-min(T,one_rows):2147483647)'
expect_line() { truth "$1 has the line $2" grep -qF "//@ $2" "$work/$1.ptx"; }
for file in call plan; do
  "$kiln" emit "$work/$file.lua:turn" --target sm_80 --set dtype=f32 -o "$work/$file.ptx"
  "$kiln" emit "$work/$file.lua:chained" --target sm_80 --set dtype=f32 -o "$work/$file-chain.ptx"
done
expect_line call "limit pos 0 $most \"row n of T takes row n + pos of cos\""
expect_line plan "require pos>=0&&pos<=$most \"row n of T takes row n + pos of cos\""
expect_line call-chain "limit pos 0 $least \"one: row n of T takes row n + pos of cos\""
expect_line plan-chain "require pos>=0&&pos<=$least \"one: row n of"
expect_line call-chain "require two_pos>=0&&two_pos<=${least//one_/two_} \"two: row n of"

# ---- standard output by name ----
(cd "$work" && "$kiln" emit rms_norm --target sm_90a -o - >"$work/dash.ptx")
truth "-o - is standard output" cmp -s "$work/dash.ptx" "$work/a.ptx"
truth "and makes no file of that name" test ! -e "$work/-"
expect 2 '--as is about PTX' "$kiln" emit rms_norm --target sm_80 --dump script --as c

# ---- C ----
"$kiln" emit rms_norm --target sm_90a --as c -o "$work/text.c"
cat >"$work/main.c" <<END
#include <stdio.h>
#include <string.h>
#include "text.c"
int main(void) { return fwrite(NAME, 1, NAME_bytes, stdout) != NAME_bytes || NAME[NAME_bytes] || strlen(NAME) != NAME_bytes; }
END
name=$(sed -n 's/^extern const char \([a-z0-9_A-Z]*\)\[\];$/\1/p' "$work/text.c")
if command -v cc >/dev/null; then
  sed -i "s/NAME/$name/g" "$work/main.c"
  truth "the array compiles" cc -Wall -Wextra -Werror -o "$work/main" "$work/main.c"
  "$work/main" >"$work/c.ptx"
  truth "it holds the same bytes, ended by NUL" cmp -s "$work/c.ptx" "$work/a.ptx"
fi

# ---- the curated set ----
expect 1 'missing' "$kiln" emit --all "$work/set" --diff
truth "--diff writes nothing" test ! -e "$work/set"
expect 0 ', 0 unchanged, 0 removed, 0 failed' "$kiln" emit --all "$work/set"
expect 0 '^0 would change, [1-9][0-9]* unchanged, 0 stale' "$kiln" emit --all "$work/set" --diff
one=$(find "$work/set" -name '*.ptx' | sort | head -1)
sed -i '$s/$/ /' "$one"
cp "$one" "$(dirname "$one")/old.ptx"
cp "$one" "$work/set/mine.ptx"
echo mine >"$(dirname "$one")/other.ptx"
expect 1 'changed ' "$kiln" emit --all "$work/set" --diff
expect 1 'stale .*old.ptx' "$kiln" emit --all "$work/set" --diff
expect 0 '^1 written, [0-9]* unchanged, 1 removed' "$kiln" emit --all "$work/set"
truth "what kiln did not emit is left alone" grep -qx mine "$(dirname "$one")/other.ptx"
truth "so is what lies otherwise than as OP/TARGET/NAME" test -s "$work/set/mine.ptx"

# What could not be emitted is not taken for a file that no longer belongs to the set.
cp -r "$(dirname "$0")/../../lua" "$work/lua"
sed -i 's/forward = function(t)/forward = function(t) error("broken on purpose")/' "$work/lua/ops/softmax.lua"
files=$(find "$work/set" -name '*.ptx' | sort)
expect 1 'broken on purpose' "$kiln" emit --all "$work/set" --lua "$work/lua"
truth "a script that is broken removes no file" test "$files" = "$(find "$work/set" -name '*.ptx' | sort)"
expect 1 'nothing is removed' "$kiln" emit --all "$work/set" --lua "$work/lua"
expect 1 'is a file, a folder was expected' "$kiln" emit --all "$work/b.ptx"

# Names of variants tell them apart: in a folder one would take the other's place.
for op in $("$kiln" list | awk 'NR > 1 { print $1 }'); do
  for set in dtype=bf16 dtype=f32; do
    twice=$("$kiln" list --variants "$op" --target sm_90a --set $set | awk 'NR > 1 { print $1 }' | sort | uniq -d)
    truth "variants of $op, $set, have a name each: $twice" test -z "$twice"
  done
done

# ---- a contract that nobody could read is not written ----
{
  echo 'return rowwise.op "many" { doc = "a sum of many", dtypes = { "f32" },'
  echo "  tensors = { $(for i in $(seq 0 22); do printf '"x%d H T M N", ' "$i"; done) \"y H T M N out\" },"
  echo '  forward = function(t) local s = t.x0 for i = 1, 22 do s = s + t["x" .. i] end t.y = s end }'
} >"$work/many.lua"
expect 1 'has [0-9]* arguments .* a contract takes 128; give the op fewer tensors' "$kiln" emit "$work/many.lua" --target sm_80 -o "$work/many.ptx"
truth "and leaves no file" test ! -e "$work/many.ptx"

# ---- rows of more than 2^31 columns, and as many rows: what is left of them is cut to what 32 bits hold before it is narrowed ----
for op in softmax layer_norm layer_norm.grad; do
  truth "$op in pieces is emitted" "$kiln" emit $op --target sm_80 --schedule kind=passes,rows=1,threads=256,warps=8,cols=2048,vec=8,ctas=2,cache=keep -o "$work/long.ptx"
  truth "$op narrows no difference of 64 bits as it is" awk '/^\.visible/ { split("", left) } $1 == "sub.s64" { left[$2] = 1 }
    $1 == "cvt.u32.u64" { sub(";", ",", $3); bad = bad || $3 in left } END { exit bad }' "$work/long.ptx"
done

# Tiles in turn along heads are for tables.
expect 1 'are for ops that look something up in tables' "$kiln" emit l2_normalize --target sm_80 --schedule kind=regs,reuse=2,stages=2,walk=planes

# A card without a target of its own takes the newest elder's code.
expect 0 '^//@ target sm_86' "$kiln" emit rms_norm --target sm_87
expect 0 'sim:sm_87 is sm_87: sm_86 is taken' "$kiln" check rms_norm --device sim:sm_87 --size B=1,M=2,N=8

# The locale of the environment changes nothing: neither the point in numbers nor what is a letter (where the machine can make such locales).
for locale in de_DE tr_TR; do
  localedef -c --no-archive -i $locale -f ISO-8859-9 "$work/locales-$locale" >/dev/null 2>&1
  mkdir -p "$work/locales" && [ -d "$work/locales-$locale" ] && mv "$work/locales-$locale" "$work/locales/$locale"
  for command in 'emit layer_norm --target sm_90a' 'emit rope.grad --target sm_80 --dump layout' 'list --variants rms_norm --size M=300,N=4096'; do
    # shellcheck disable=SC2086 # a command line is words
    truth "$command is the same in the locale $locale" cmp -s <("$kiln" $command) <(LOCPATH=$work/locales LC_ALL=$locale "$kiln" $command)
  done
done
finish
