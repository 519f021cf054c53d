#!/bin/bash
# rules.sh - rules of docs/design.md that can be read off the sources:
#   PTX text only in gen/isa/*.def          names of ops neither in gen/ nor in the runtime's C (help examples apart)
#   architecture numbers compared only in gen/target.c      libraries do not print, exit or abort
#   numbers in a library read and written whatever the locale; nothing sets a locale
#   Lua's headers only in gen/script*; no CUDA header       files of at most 900 lines, lines of at most 160 columns
#   every script of tests/cases is run
# Comments are taken out first (by the preprocessor, which leaves line numbers alone).
set -u -o pipefail
cd "$(dirname "$(readlink -f "$0")")/../.." || exit 1
bad=0
export LC_ALL=C

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

# forbid WHAT PATTERN EXCEPT FILE...: no line of the files, without comments, matches PATTERN unless it matches EXCEPT
forbid() {
  local what=$1 pattern=$2 except=$3 file bare found; shift 3
  bare=()
  for file in "$@"; do
    bare+=("${file//\//+}")
    [ -e "$work/${bare[-1]}" ] || "${CC:-cc}" -fpreprocessed -dD -E -P "$file" >"$work/${bare[-1]}" 2>/dev/null || cp "$file" "$work/${bare[-1]}"
  done
  found=$(cd "$work" && grep -HnE "$pattern" "${bare[@]}" | grep -vE "$except" | sed ':again;s|^\([^:+]*\)+|\1/|;t again')
  [ -z "$found" ] && return
  printf '%s:\n%s\n' "$what" "$found"
  bad=1
}

NEVER='^matches nothing, since lines begin with a name'
mapfile -t gen < <(find gen -name '*.[ch]' | sort)
mapfile -t runtime < <(find runtime -name '*.[chS]' -not -path 'runtime/sim/*' | sort)
mapfile -t sim < <(find runtime/sim -name '*.[ch]' | sort)
mapfile -t libraries < <(printf '%s\n' "${gen[@]}" "${runtime[@]}" | grep -v -e '^gen/cli/' -e '^gen/main.c' -e '^gen/base.c') # base.c: kiln_bug
mapfile -t tables < <(find gen runtime -name '*.def' -not -path 'gen/isa/*' | sort)
mapfile -t beyond_target < <(printf '%s\n' "${gen[@]}" | grep -v '^gen/target.c')
mapfile -t beyond_script < <(printf '%s\n' "${gen[@]}" "${runtime[@]}" "${sim[@]}" | grep -v '^gen/script')

opcode='"[ \t]*(ld|st|mov|cvt|mma|ldmatrix|setp|selp|bra|cp\.async|add|sub|mul|mad|fma|shfl|bar|barrier|shl|shr|and|or|ex2|rcp|rsqrt)\.[a-z0-9]+([.;"]| *[%{])'
forbid "PTX text outside gen/isa" "$opcode" "$NEVER" "${libraries[@]}" "${tables[@]}"
forbid "PTX text outside gen/isa" "${opcode/;\"/;}" "$NEVER" gen/main.c gen/cli/*.[ch] # which read PTX, and so know opcodes by name

ops=$(find lua/ops -name '*.lua' -exec basename {} .lua \; | sort | paste -sd '|')
[ -n "$ops" ] || { echo "no ops under lua/ops"; bad=1; }
forbid "the name of an op" "\\b($ops)\\b" '"[^"]*(kiln |example|  )[^"]*"' "${gen[@]}" "${runtime[@]}"

forbid "an architecture number is compared outside gen/target.c" '(->|\.|\b)sm *(==|!=|<=|>=|<|>) *[0-9]' "$NEVER" "${beyond_target[@]}"
forbid "a library prints, exits or aborts" '\b(printf|puts|putchar|perror|exit|_exit|abort)\(' '_exit\(127\)' "${libraries[@]}"
forbid "a number is read as the program's locale writes it" '\b(strto(f|d|ld)|atof)\(' "$NEVER" "${runtime[@]}" "${sim[@]}"
forbid "a number is written as the program's locale writes it" '(^|[^%])%[-+#0-9.*]*[efgaEFGA]([^a-z0-9_]|$)' '\bnumber_text\(' "${runtime[@]}" "${sim[@]}"
forbid "a locale is set, by which the generator's numbers would go" '\bsetlocale\(' "$NEVER" "${gen[@]}" "${runtime[@]}" "${sim[@]}"
forbid "a Lua header outside gen/script*" '#include [<"](lua|lauxlib|lualib)' "$NEVER" "${beyond_script[@]}"
forbid "a CUDA header" '#include (<(cuda|nv)|"(cuda|nv)[a-z_]*\.h")' "$NEVER" "${gen[@]}" "${runtime[@]}" "${sim[@]}"

mapfile -t sources < <(find gen runtime lua tests \( -name '*.[ch]' -o -name '*.lua' -o -name '*.py' -o -name '*.sh' \) | sort; echo bootstrap)
while read -r lines file; do
  [ "$lines" -le 900 ] || { echo "$file has $lines lines, more than 900"; bad=1; }
done < <(wc -l "${sources[@]}" | grep -v ' total$')
mapfile -t prose < <(printf '%s\n' "${sources[@]}" | grep -E '\.(c|h|lua)$')
awk 'length > 160 { printf "%s:%d has %d columns, more than 160\n", FILENAME, FNR, length; bad = 1 } END { exit bad }' "${prose[@]}" || bad=1
for file in tests/cases/*.lua; do # meson wants them by name, so one that is not named would never run
  grep -qF "'${file#tests/}'" tests/meson.build || { echo "$file is not in tests/meson.build"; bad=1; }
done
[ $bad = 0 ] && echo "rules: ${#sources[@]} files as they should be"
exit $bad
