#!/bin/bash
# run.sh BUILD - ptx_out is what the generator emits today, emitted twice it is the same bytes, the hot loop of each kernel has the
# instructions that loops.txt holds, and (where ptxas is installed) every file is assembled for its target without a warning (wgmma that is
# serialised is one), a spill or a stack, with the registers that registers.txt holds. The recorded ones count where the same release of
# ptxas is installed; `run.sh BUILD --record` writes both.
set -u -o pipefail
cd "$(dirname "$(readlink -f "$0")")/../.." || exit 1
build=$(readlink -f "$1")
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
bad=0

"$build/kiln" emit --all "$work/one" >"$work/log" || { cat "$work/log"; exit 1; }
# another folder, environment and address space: none of them may show
(cd / && env -i LC_ALL=C HOME=/nowhere FILLER="$(seq 1000)" "$build/kiln" emit --all "$work/two" >/dev/null) || exit 1
diff -r "$work/one" "$work/two" >"$work/log" || { echo "two emissions differ:"; head -20 "$work/log"; exit 1; }
files=$(find "$work/one" -name '*.ptx' | wc -l)
[ "$files" -gt 0 ] || { echo "nothing was emitted"; exit 1; }
"$build/kiln" emit --all ptx_out --diff || { echo "ptx_out is not what the generator emits: kiln emit --all ptx_out"; bad=1; }
kilobytes=$(find ptx_out -type f -printf '%s\n' | awk '{ all += $1 } END { printf "%d", all / 1024 }')
[ "$kilobytes" -lt 4096 ] || { echo "ptx_out holds $kilobytes KB, more than 4 MB"; bad=1; }
echo "golden: $files files, $kilobytes KB"

# The loop of each kernel with the most products, or the longest: its instructions, and those per 1024 multiply-adds of a warp. More of them
# than recorded is a step back; fewer are to be recorded.
while read -r file; do
  PTXAS=/none "$build/kiln" inspect "$file" | sed -nE '/^entry /{s/^entry //;h}
    /^  loop /{G;s/^.*: ([0-9]+) instructions(, [0-9]+ products of a warp: ([0-9.]+) instructions per 1024)?\n(.*)/\4 \1 \3/p}' |
    awk -v file="${file#"$work/one/"}" '!seen[$1]++ { print file, $1, $2, (NF > 2 ? $3 : "-") }'
done < <(find "$work/one" -name '*.ptx' | sort) >"$work/loops"
if [ "${2-}" = --record ]; then cp "$work/loops" tests/golden/loops.txt; fi
diff -u tests/golden/loops.txt "$work/loops" || { echo "hot loops are not as recorded: tests/golden/run.sh $1 --record"; bad=1; }

ptxas=${PTXAS:-$(command -v ptxas || echo /usr/local/cuda/bin/ptxas)}
[ -x "$ptxas" ] || { echo "golden: no ptxas here: the files were not assembled"; exit $bad; }
release=$("$ptxas" --version | sed -n 's/.*release [^V]*V\([0-9.]*\).*/\1/p')
{
  echo "# registers per thread by ptxas $release"
  while read -r file; do
    target=$(sed -n 's|^//@ target ||p' "$file")
    if ! "$ptxas" -arch="$target" -v -o "$work/cubin" "$file" >"$work/out" 2>&1; then
      echo "${file#"$work/one/"} refused"; cat "$work/out" >&2; continue
    fi
    grep -E 'warning|error|Potential Performance Loss|C75[0-9][0-9]' "$work/out" >&2 && echo "${file#"$work/one/"} warning"
    grep -vE ' 0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads' "$work/out" | grep -E 'stack frame' >&2 && echo "${file#"$work/one/"} spills"
    sed -n "s|.*Used \([0-9]*\) registers.*|${file#"$work/one/"} \1|p" "$work/out"
  done < <(find "$work/one" -name '*.ptx' | sort)
} >"$work/registers"
grep -E ' (refused|warning|spills)$' "$work/registers" && bad=1
if [ "${2-}" = --record ]; then cp "$work/registers" tests/golden/registers.txt; exit $bad; fi
if [ "$(head -1 tests/golden/registers.txt)" = "$(head -1 "$work/registers")" ]; then
  diff -u tests/golden/registers.txt "$work/registers" || { echo "registers are not as recorded: tests/golden/run.sh $1 --record"; bad=1; }
fi
exit $bad
