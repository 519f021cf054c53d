#!/bin/bash
# user_ops.sh BUILD - ops that users could write: those of tests/ops/lua on the simulator, on a target with and one without the
# younger forms; and mistakes, each with the line and the words that its author must see, within two seconds of processor time.
set -u -o pipefail
kiln=$(readlink -f "$1")/kiln
cd "$(dirname "$(readlink -f "$0")")" || exit 1
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
failed=0 passed=0

ops_of() { sed -n 's/^  \(row\|product\|chained\)("\([a-z0-9_]*\)".*/\2/p' "$1"; }

for script in lua/*.lua; do
  names=$(ops_of "$script")
  [ -n "$names" ] || { echo "$script: no op found"; failed=$((failed + 1)); }
  turn=0
  for op in $names; do
    targets="sm_75 sm_80"
    case $script in # in turn: test_language.c and test_gradients.c are there as well
      lua/rows.lua | lua/gradients.lua) turn=$((1 - turn)); [ $turn = 1 ] && targets=sm_80 || targets=sm_75;;
    esac
    for target in $targets; do
      if ! "$kiln" check "$script:$op" --device "sim:$target" --set dtype=f16 --quick >"$work/log" 2>&1; then
        echo "FAIL $script:$op on $target"; grep -A3 FAIL "$work/log" | head -12; failed=$((failed + 1))
      elif grep -q '^0 passed' "$work/log"; then
        echo "FAIL $script:$op on $target: nothing ran"; tail -3 "$work/log"; failed=$((failed + 1))
      else
        passed=$((passed + 1))
      fi
    done
  done
done

# refused LINE WORDS: the script on standard input is refused at that line with those words
refused() {
  cat >"$work/op.lua"
  (ulimit -t 2; exec timeout 60 "$kiln" emit "$work/op.lua" --target sm_80 >"$work/out" 2>"$work/log") # processor time: the clock runs on a busy machine, too
  local rc=$?
  if [ $rc -eq 0 ] || [ $rc -ge 124 ] || [ -s "$work/out" ] || ! grep -qF "op.lua:$1:" "$work/log" || ! grep -qF -- "$2" "$work/log"; then
    echo "FAIL expected a refusal at line $1 with '$2', exit $rc:"; cat "$work/op.lua" "$work/log"; failed=$((failed + 1))
  else
    passed=$((passed + 1))
  fi
}
# row LINE WORDS TENSORS FORWARD [SCALARS]
row() {
  refused "$1" "$2" <<E
return rowwise.op "mine" {
  tensors = { $3 },
  scalars = { ${5-} },
  forward = function(t)
    $4
  end,
}
E
}
product() {
  refused "$1" "$2" <<E
return gemm.op "mine" {
  tensors = { $3 },
  epilogue = function(e)
    $4
  end,
}
E
}
# stages LINE WORDS STAGES [WORKSPACES]: of a chain of x B M K, w B K N and y B M N, with the ops p, a product, and q, a row-wise one
stages() {
  refused "$1" "$2" <<E
local p = gemm.op "p" { tensors = { "a B M K", "b B K N", "d B M N out" }, epilogue = function(e) return e.acc end }
local q = rowwise.op "q" { tensors = { "x B M N", "y B M N out" }, scalars = { "s f32" }, forward = function(t) t.y = t.x * t.s end }
return chain.op "mine" {
  tensors = { "x B M K", "w B K N", "y B M N out" },
  stages = function(c) return { workspaces = { ${4-} }, $3 } end,
}
E
}
XY='"x M N", "y M N out"'
ABD='"a B M K", "b B K N", "d B M N out"'

# ---- declarations: a misspelled field is not passed over, and a default is a number that the contract can hold ----
refused 1 "there is no field 'dtype'; there are doc, tensors," <<E
return rowwise.op "mine" { tensors = { $XY }, dtype = { "f32" }, forward = function(t) t.y = t.x end }
E
refused 1 "'z' is no place in it" <<E
return rowwise.op "mine" { tensors = { "x M N", "y M N out", z = "z N" }, forward = function(t) t.y = t.x end }
E
refused 1 "there is no field 'majors'" <<E
return rowwise.op "mine" { tensors = { $XY }, majors = { x_major = { "n", "m" } }, forward = function(t) t.y = t.x end }
E
refused 1 "there is no field 'forward'; there are doc, tensors," <<E
return gemm.op "mine" { tensors = { $ABD }, forward = function(t) t.y = t.x end }
E
refused 1 'rowwise.op "mine" takes a table of fields, not a number' <<<'return rowwise.op "mine" (1)'
row 1 "the default is none that f32 has" "$XY" "t.y = t.x" '"eps f32 = 1e999"'
row 1 "the default is none that f32 has" "$XY" "t.y = t.x" '"eps f32 = -3.5e38"'
row 1 "the default is none that i32 has" "$XY" "t.y = t.x" '"k i32 = 2147483648"'

row 1 "has rows and columns" '"x M K", "y M K out"' 't.y = t.x'
row 1 "the column dim, N, is the last one" '"x N M", "y N M out"' 't.y = t.x'
row 1 "the column dim, N, is the last one" '"x M N K", "y M N out"' 't.y = t.x'
row 5 "output 'y' has no dim M" '"x M N", "y N out"' 't.y = t.x'
row 5 "keeps the innermost of their dims" '"x B M N", "y M N out"' 't.y = sum(t.x, "B")'
row 1 "has rows and columns" '"x M", "y M out"' 't.y = t.x'
row 1 "the list \`tensors\` is empty" '' 't.y = 1'
row 1 "has no output" '"x M N"' 'local y = t.x'
row 1 "the dim N twice" '"x N N", "y M N out"' 't.y = t.x'
row 1 "output 'y' is never assigned" "$XY" 'local y = t.x'
row 5 "'x' is not an output of the op" "$XY" 't.x = t.x'
row 5 "is assigned twice" "$XY" 't.y = t.x t.y = t.x'
row 5 "output 's' has no dim N" "$XY, \"s M f32 out\"" 't.y = t.x t.s = t.x'
row 5 "use lt(a, b)" "$XY" 'if t.x < 0 then t.y = t.x end'
row 5 "no tensor, scalar or setting 'z'" "$XY" 't.y = t.z'
row 5 "unknown name 'foo'" "$XY" 't.y = foo(t.x)'
row 5 "no dim N to reduce over" "$XY" 't.y = t.x * sum(sum(t.x))'
row 5 "a condition is no number" "$XY" 't.y = lt(t.x, 0) * t.x'
row 5 "takes conditions" "$XY" 't.y = where(all(t.x, t.x), t.x, 0)'
row 5 "is none of bf16, f16, f32" "$XY" 't.y = t.x:to "foo"'
row 5 "the condition is a comparison" "$XY" 't.y = where(t.x, t.x, 0)'
row 1 "f64 is not read" '"x M N f64", "y M N out"' 't.y = t.x'
row 1 "i32 is not written" '"x M N", "y M N i32 out"' 't.y = t.x'
row 1 "its dtype is one of f32, f64, i32, i64" "$XY" 't.y = t.x' '"k bf16 = 3"'
row 1 "the default is not a whole number" "$XY" 't.y = t.x' '"k i32 = 1.5"'
row 1 "the default is not a number" "$XY" 't.y = t.x' '"k f32 = abc"'
row 1 "'x-y' is no name for a tensor" '"x-y M N", "y M N out"' 't.y = 1'
for name in rows0 lead1 blocks0 M_0 M_3 inv_N size_N part_y; do
  row 1 "is called '$name' like a tensor" "\"$name M N\", \"y M N out\"" 't.y = 1'
done
row 1 "is called 'x_0' like a tensor" '"x M N", "x_0 M N", "y M N out"' 't.y = t.x'
row 1 "is called 'sms' like the number of SMs" '"sms M N", "y M N out"' 't.y = 1'
row 1 "a tensor is called 'x' like a tensor" '"x M N", "x M N", "y M N out"' 't.y = 1'
row 1 "a dim is called 'N' like a scalar" "$XY" 't.y = t.x' '"N f32 = 1"'
row 1 "there is no other tensor 'z'" '"x M N", "y M N out as z"' 't.y = t.x'
row 1 "follows itself" '"x M N", "y M N out as z", "z M N out as y"' 't.y = t.x'
row 1 "only an output is saved or over another" '"x M N saved", "y M N out"' 't.y = t.x'
row 1 "const is said of inputs" '"x M N", "y M N const out"' 't.y = t.x'
row 1 "neither a dim (capital)" '"x M N", "y [M N out"' 't.y = t.x'
row 5 "mod: takes integers" "$XY" 't.y = t.x * mod(t.x, 2)'
row 5 "index: the op has no dim 'K'" "$XY" 't.y = t.x * index "K"'
row 5 "swap_halves: the width is even" "$XY" 't.y = swap_halves(t.x, 3)'
row 5 "swap_halves: the width is an even integer" "$XY" 't.y = swap_halves(t.x, index "N")'
row 5 "halves of blocks of one width are exchanged along N already" "$XY" 't.y = swap_halves(t.x, 4) + swap_halves(t.x, 8)'
row 5 "where the width is a multiple of 4" "$XY" 't.y = swap_halves(t.x, 6) + swap_pairs(t.x)'
row 5 "the width of swap_halves is made of sizes and numbers" "$XY" 't.y = swap_halves(t.x, t.k * 2)' '"k i32 = 2 call"'
row 5 "rotate takes a value and a table" "$XY" 't.y = rotate(t.x, 4)'
row 5 "; cos is not there" "$XY" 't.y = rotate(t.x, {})'
row 5 "rotate: the value is the same in the whole row" '"x M N", "g M", "y M N out"' 't.y = t.x + rotate(t.g, {})'
row 5 "lookup: the table is a tensor of two dims" "$XY" 't.y = lookup(t.x * 2, 1, 1)'
row 5 "sum: the value has no dim 'K'" "$XY" 't.y = t.x * sum(t.x, "K")'
row 5 "sum over rows, along M: it may be an output" "$XY" 't.y = t.x - sum(t.x, "M")'
row 5 "sum over rows, along M: it may be an output" "$XY, \"s N f32 out\"" 't.y = t.x t.s = mean(t.x, "M")'
row 5 "there is no power; write x * x" "$XY" 't.y = t.x ^ 2'
row 5 "needs values along N" '"x M N1", "z M N2", "y M N1 out"' 't.y = t.x * amax(t.z)'
row 1 "one of them may stand for several" '"x M1 M2 N", "y M1 M2 N out"' 't.y = t.x'
row 1 "at most 4 are possible" '"x A B C D E N", "y A B C D E N out"' 't.y = t.x'
row 5 "is a sum over rows that has no column dim" '"x B M N", "y B M N out", "s B f32 out"' 't.y = t.x t.s = sum(sum(t.x), "M")'
row 5 "lookup: the row is index" '"x T N", "tab P R const", "y T N out"' 't.y = t.x + lookup(t.tab, index "T" * 2, index "N")'
row 5 "the value has the dims N1 and N2" '"x M N1", "z M N2", "y M N1 out"' 't.y = sum(t.x * t.z)'
row 5 "takes integers" '"x T N", "y T N out"' 't.y = t.x * (index "N" // 1.5)'
product 1 'has the dims "M K"' '"x M K", "w N K", "y M N out"' 'return e.acc'
product 1 'is declared as "a B M K"' '"a M K", "b B K N", "d B M N out"' 'return e.acc'
product 1 'is declared as "b K N"' '"a M K", "b N K", "d M N out"' 'return e.acc'
product 1 'outputs are M N' '"a M K", "b K N", "d N M out"' 'return e.acc'
product 1 'is declared as "b B K N"' '"a B M K", "b B N K", "d B M N out"' 'return e.acc'
product 1 'has no output "d B M N out"' '"a B M K", "b B K N"' 'return e.acc'
product 1 'outputs are B M N' "$ABD, \"s N out\"" 'return e.acc'
product 1 "is called 'tiles_m' like a tensor" "$ABD, \"tiles_m N\"" 'return e.acc'
product 1 "an operand has the op's dtype, a fixed one" '"a B M K", "b B K N own", "d B M N out"' 'return e.acc'
product 4 "has no row to reduce over" "$ABD" 'return e.acc / sum(e.acc)'
# What Lua would drop without a word, and what means something else than is written.
row 5 "softmax takes 1 argument, these are 2" "$XY" 't.y = softmax(t.x, "M")'
row 5 "max takes 2 arguments, these are 3" "$XY" 't.y = max(t.x, 0, 6)'
row 5 "idiv: the divisor is a positive number, this is 0" "$XY" 't.y = t.x * (index "N" // 0)'
row 5 "mod: the divisor is a positive number, this is -3" "$XY" 't.y = t.x * (index "N" % -3)'
row 5 "swap_halves: the width is even, and 2 at least" "$XY" 't.y = swap_halves(t.x, 0)'
row 5 "const: 1e+39 is infinite in f32" "$XY" 't.y = t.x * 1e39'
row 5 "const: 1e-50 is 0 in f32" "$XY" 't.y = t.x / max(abs(t.x), 1e-50)'
row 5 "index: M stands for several dims of the caller's" "$XY" 't.y = t.x * index "M"'
row 5 "this is a boolean; \`==\` and \`~=\` are Lua's own" "$XY" 't.y = t.x == t.x'
ROTATE='cos = t.c, sin = t.s, row = index "T", entries = size "R"'
for by in 'table = "pair", pairs = "halfs"' 'table = "pairs", pairs = "halves"' 'pairs = "halves"' 'table = "pair", pairs = "halves", blocks = "none"'; do
  row 5 'rotate: ' '"x B T N", "c P R const", "s P R const", "y B T N out"' "t.y = rotate(t.x, { $ROTATE, $by })"
done
row 1 "has the dtypes f16 and f32" '"x M N f16 f32", "y M N out"' 't.y = t.x'
row 1 "has one dtype, a choice such as" '"x M N f16 own", "y M N out"' 't.y = t.x'
row 1 "'y' is over 'w', which is no input of the same dims" '"x M N", "w N", "y M N out over w"' 't.y = t.x * t.w'
row 1 "'z' is over 'y', which is no input of the same dims" '"x M N", "y M N out", "z M N out over y"' 't.y = t.x t.z = t.x'
row 1 "'y' is over 'x', which stands behind it in the list" '"y M N out over x", "x M N"' 't.y = t.x'
row 1 "output 'y' is over 'x', which the rows along B T N read as well" '"x B N", "q B T N", "y B N out over x", "z B T N out"' 't.y = t.x t.z = t.q + t.x'
row 1 "output 's' is over 'g', which the rows along M N2 read as well" \
  '"x M N1", "z M N2", "g M", "y M N1 out", "u M N2 out", "s M out over g"' 't.y = t.x t.u = t.z * t.g t.s = t.g + mean(t.x)'
product 1 "'d' is over 'a', which is no input of the same dims" '"a B M K", "b B K N", "d B M N out over a"' 'return e.acc'
product 4 "index: row-wise ops have it, this op's family has not" "$ABD" 'return e.acc * index "N"'
# `return f(x)` leaves no line of the script's behind: the op's own
product 1 "this family has no row to reduce over" "$ABD" 'return softmax(e.acc)'
product 1 "output 'd' has no dim K" "$ABD" 'return e.acc * size "N" + index "K"'
refused 1 "absent: 'v' is no optional tensor" <<E
return rowwise.op "mine" { tensors = { $XY }, absent = { v = true }, forward = function(t) t.y = t.x end }
E
refused 1 "a setting is called 'x' like a tensor" <<E
return rowwise.op "mine" { tensors = { $XY }, settings = { x = { "a", "b" } }, forward = function(t) t.y = t.x end }
E
refused 1 "forms: there is no tensor 'z'" <<E
return blockwise.op "mine" { tensors = { $XY }, forms = function() return { z = "M N f32" } end, forward = function(t) t.y = t.x end }
E
refused 3 "blockwise ops make largest values" <<E
return blockwise.op "mine" { tensors = { $XY },
  forward = function(t)
    t.y = t.x - mean(t.x)
  end }
E
MUL='name = "m", op = p, tensors = { a = "x", b = "w", d = "y" }'
stages 3 "returns a list of them" ''
stages 3 "a stage is { name =" '{ name = "m" }'
stages 3 "no stage writes its output 'y'" '{ name = "m", op = p, tensors = { a = "x", b = "w", d = "h" } }' '"h B M N bf16"'
stages 3 "'bf32' is no dtype" "{ $MUL }" '"h B M N bf32"'
stages 3 "is called like a tensor" "{ $MUL }" '"x B M N bf16"'
stages 3 "stage 'm': its tensor 'b' is bound to 'v', which is neither" '{ name = "m", op = p, tensors = { a = "x", b = "v", d = "y" } }'
stages 3 "stage 'm': its tensor 'a' is f16, 'x' is bf16" "{ $MUL, set = { dtype = \"f16\" } }"
stages 3 "lacks the dim K of 'x'" "{ $MUL, dims = { K = \"N\" } }"
stages 3 "is bound to Q, which is no dim of the chain" "{ $MUL, dims = { K = \"Q\" } }"
stages 3 "is an output, 'x' an input of the chain" '{ name = "m", op = q, dims = { N = "K" }, scalars = { s = 1 }, tensors = { x = "x", y = "x" } }'
stages 3 "writes 'y', which stage 'm' has written" "{ $MUL }, { name = \"n\", op = p, tensors = { a = \"x\", b = \"w\", d = \"y\" } }"
stages 3 "reads 'h', which no stage before it has written" '{ name = "m", op = p, tensors = { a = "h", b = "w", d = "y" } }' '"h B M K bf16"'
stages 3 "its scalar 's' is neither one of the chain's nor a number" '{ name = "n", op = q, dims = { N = "K" }, tensors = { y = "h" } }' '"h B M K bf16"'
stages 3 "reads the workspace 'h' along K, which lies together along M" \
  '{ name = "n", op = q, dims = { N = "K" }, scalars = { s = 1 }, tensors = { y = "h" } }, { name = "m", op = p, tensors = { a = "h", b = "w", d = "y" } }' \
  '"h B K M bf16"'
stages 3 "reads 'w' along N, which lies together along K for another stage" \
  "{ $MUL }, { name = \"n\", op = p, set = { b_major = \"n\" }, tensors = { a = \"x\", b = \"w\", d = \"h\" } }" '"h B M N bf16"'
stages 3 "stage 'm': there is no field 'tensorz'" '{ name = "m", op = p, tensorz = { a = "x" } }'
stages 3 "stage 'm': its op has no 'v', of which tensors speaks" '{ name = "m", op = p, tensors = { v = "x" } }'
stages 3 "stage 'm': its op has no 's', of which scalars speaks" '{ name = "m", op = p, scalars = { s = 1 } }'
stages 3 "'m n' is no name for a stage" '{ name = "m n", op = p }'
stages 3 "two stages are called 'm'" "{ $MUL }, { $MUL }"
# over LINE WORDS STAGES: of a chain whose output z may be the memory of x
over() {
  refused "$1" "$2" <<E
local q = rowwise.op "q" { tensors = { "x M N", "y M N out over x" }, forward = function(t) t.y = t.x * 2 end }
local r = rowwise.op "r" { tensors = { "x M N", "z M N", "y M N out" }, forward = function(t) t.y = t.x + sum(t.z) end }
return chain.op "mine" { tensors = { "x M N", "y M N out", "z M N out over x" }, stages = function(c) return { $3 } end }
E
}
over 3 "reads 'x', whose memory may be that of 'z'" '{ name = "m", op = q, tensors = { y = "z" } }, { name = "n", op = r }'
over 3 "stage 'n': writes 'z', which may be the memory of 'x', while it reads that" \
  '{ name = "m", op = q }, { name = "n", op = r, tensors = { z = "y", y = "z" } }'
stages 5 "there is no op 'foo'" '{ name = "m", op = op "foo" }'
product 4 "an operand of a product" "$ABD" 'return e.acc + e.a'
product 4 "more than 200000 instructions" "$ABD" 'local v = e.acc for i = 1, 10000 do v = v * 1.5 + 0.1 end return v'
refused 1 "has no function \`forward\`" <<<'return rowwise.op "mine" { tensors = { "x M N", "y M N out" } }'
refused 1 "has no function \`epilogue\`" <<<'return gemm.op "mine" { tensors = { "a B M K", "b B K N", "d B M N out" } }'
refused 1 "a name of letters, digits and _" <<<'return rowwise.op "my op" { tensors = { "x M N", "y M N out" } }'
refused 1 "two settings are called 'w'" <<'E'
return rowwise.op "mine" { tensors = { "x M N", "w N ?", "y M N out" }, settings = { w = { "a" } }, forward = function(t) t.y = t.x end }
E
refused 2 "two ops of this name" <<'E'
local function op(k)
  return (rowwise.op "same" { tensors = { "x M N", "y M N out" }, forward = function(t) t.y = t.x * k end })
end
return { op(1), op(2) }
E

# These are about the script, and no line of it.
for text in 'rowwise.op("mine", FIELDS)' 'rowwise.op(FIELDS)'; do
  echo "local FIELDS = { tensors = { $XY }, forward = function(t) t.y = t.x end } return $text" >"$work/op.lua"
  if ! "$kiln" emit "$work/op.lua" --target sm_80 >"$work/out" 2>"$work/log" && grep -qF "first the name by itself, then the table" "$work/log"; then
    passed=$((passed + 1))
  else
    echo "FAIL $text"; cat "$work/log"; failed=$((failed + 1))
  fi
done
echo "local o = rowwise.op 'mine' { tensors = { $XY }, forward = function(t) t.y = t.x end } return o, o" >"$work/op.lua"
if ! "$kiln" emit "$work/op.lua" --target sm_80 >"$work/out" 2>"$work/log" && grep -qF "returns 2 values; several ops are returned as a list" "$work/log"; then
  passed=$((passed + 1))
else
  echo "FAIL a script that returns two ops"; cat "$work/log"; failed=$((failed + 1))
fi

# A gradient that is asked for and cannot be: said at the line without derivative, and none is listed.
cat >"$work/op.lua" <<'E'
return rowwise.op "mine" {
  tensors = { "x B T N", "table P N", "y B T N out" },
  forward = function(t)
    t.y = t.x * lookup(t.table, index "T", index "N")
  end,
}
E
if "$kiln" emit "$work/op.lua:mine.grad" --target sm_80 >"$work/out" 2>"$work/log" ||
  ! grep -qF "op.lua:4: there is no 'mine.grad': 'lookup' has no derivative" "$work/log" ||
  ! "$kiln" list "$work/op.lua" >"$work/out" 2>&1 || grep -qF .grad "$work/out"; then
  echo "FAIL a gradient that cannot be:"; cat "$work/log" "$work/out"; failed=$((failed + 1))
else
  passed=$((passed + 1))
fi

# One that nothing makes is refused, and no failure of its op.
cat >"$work/op.lua" <<'E'
return {
  rowwise.op "broadcast" { tensors = { "x M N", "y B M N out" }, forward = function(t) t.y = t.x end },
  rowwise.op "middle" { tensors = { "x B H T N", "c H N", "y B H T N out" }, forward = function(t) t.y = t.x * t.c end },
  rowwise.op "largest" { tensors = { "x M N", "y M N out", "hi N f32 out" }, forward = function(t) t.y = t.x t.hi = amax(t.x, "M") end },
  gemm.op "scaled" { tensors = { "a B M K", "b B K N", "s", "d B M N out" }, epilogue = function(e) return e.acc * e.s end },
  rowwise.op "later" { tensors = { "x M N u8", "c N f32", "z M N own out ?", "y M N out" }, forward = function(t) t.y = t.x t.z = t.c * t.x end },
  rowwise.op "of_two" { tensors = { "x M N1", "z M N2", "g M", "y M N1 out", "u M N2 out" }, forward = function(t) t.y = t.x * t.g t.u = t.z * t.g end },
}
E
if "$kiln" check "$work/op.lua" --device sim:sm_80 --quick >"$work/out" 2>&1 && grep -q '^[1-9][0-9]* passed, 0 failed' "$work/out" &&
  grep -qF "refused: what is left of the gradient under these settings lies along N alone" "$work/out" && grep -q "later.grad z=yes z_dtype=f32 on" "$work/out" &&
  grep -qF "refused: output 'dg' needs values along N2 and along N1" "$work/out" &&
  grep -qF "refused: output 'dx' sums over rows but keeps the innermost" "$work/out" &&
  grep -qF "refused: output 'dc' keeps H, which is not the outermost" "$work/out" && grep -qF "the gradient of 's' is no product and no sum over rows" "$work/out" &&
  grep -qF "refused: the gradient needs the amax over rows, along M" "$work/out"; then
  passed=$((passed + 1))
else
  echo "FAIL gradients that nothing makes:"; tail -20 "$work/out"; failed=$((failed + 1))
fi

# A stage of a gradient is called as the tensor that it makes, and both may have names that end alike; the size of a dim in an epilogue.
cat >"$work/op.lua" <<'E'
return {
  gemm.op "tokens" { tensors = { "a M K", "b K N", "r M f32", "d M N out" }, epilogue = function(e) return tanh(e.acc * e.r) end },
  gemm.op "sized" { tensors = { "a M K", "b K N", "d M N out" }, epilogue = function(e) return e.acc / size "K" + size "M" end },
}
E
if "$kiln" check "$work/op.lua" --device sim:sm_80 --set dtype=f16 --quick >"$work/out" 2>&1 && grep -q ':tokens.grad ' "$work/out" &&
  grep -qF "refused: the gradient of 'sized', which reads the size of K, is not made yet" "$work/out"; then
  passed=$((passed + 1))
else
  echo "FAIL names of stages, and sizes:"; grep -A3 FAIL "$work/out" | head -12; failed=$((failed + 1))
fi

# Every schedule that is offered can be.
for op in x_sums_of_two.grad x_three_products x_two_dtypes; do
  if ! "$kiln" list --variants "lua/random.lua:$op" --target sm_89 --set dtype=f16 >"$work/out" 2>"$work/log" || [ -s "$work/log" ]; then
    echo "FAIL a schedule of $op that is offered"; cat "$work/log"; failed=$((failed + 1))
  else
    passed=$((passed + 1))
  fi
done

# Beside an op stands its gradient, which a name picks; the op's own name, or none, picks the op.
cp ../../lua/examples/3_center.lua "$work/op.lua"
picks() { # NAME OP
  if "$kiln" emit "$work/op.lua$1" --target sm_80 >"$work/out" 2>&1 && grep -qx "//@ op $2" "$work/out"; then
    passed=$((passed + 1))
  else
    echo "FAIL op.lua$1 is not $2"; failed=$((failed + 1))
  fi
}
picks "" center
picks :center center
picks :center.grad center.grad

echo "user ops: $passed passed, $failed failed"
[ $failed -eq 0 ]
