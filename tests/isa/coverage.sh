#!/bin/bash
# coverage.sh BUILD SCAN [--histogram] - every form that the generator emits has a file in tests/isa/forms. What it emits is found by
# emitting: each op for each target with each of its schedules; and on one target of every kind with each value of each setting, alone
# and together with each other dtype.
set -u -o pipefail
kiln=$(readlink -f "$1")/kiln
scan=$(readlink -f "$2")
cd "$(dirname "$(readlink -f "$0")")/../.." || exit 1
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
count=0

# emit_all OP TARGET SETTINGS: every schedule that the op offers; settings that the target refuses give none
emit_all() {
  local op=$1 target=$2 settings=$3 line set=()
  [ -n "$settings" ] && set=(--set "$settings")
  while read -r line; do
    "$kiln" emit "$op" --target "$target" "${set[@]}" --schedule "$line" -o "$work/$count.ptx" ||
      { echo "FAIL: kiln emit $op --target $target --set '$settings' --schedule $line"; exit 1; }
    count=$((count + 1))
  done < <("$kiln" list --variants "$op" --target "$target" "${set[@]}" 2>/dev/null | sed -n 's/^[^ ]*  *\([a-z_]*=.*\)/\1/p' | tr ' ' ',' | sort -u)
}

settings_of() { "$kiln" list "$1" | tr ' ' '\n' | grep '=.*|'; }

for op in $("$kiln" list | cut -d' ' -f1); do
  for target in $("$kiln" list --targets | sed -n 's/^\(sm_[^ ]*\).*/\1/p'); do
    emit_all "$op" "$target" ""
    case $target in sm_75 | sm_80 | sm_90a) ;; *) continue ;; esac
    dtypes=$(settings_of "$op" | sed -n 's/^dtype=//p' | tr '|' ' ')
    for dtype in $dtypes; do emit_all "$op" "$target" "dtype=$dtype"; done
    for setting in $(settings_of "$op"); do
      key=${setting%%=*}
      [ "$key" = dtype ] && continue
      for value in $(cut -d '|' -f 2- <<<"${setting#*=}" | tr '|' ' '); do # the first is the default
        for dtype in $dtypes; do
          before=$count
          emit_all "$op" "$target" "dtype=$dtype,$key=$value"
          # an optional tensor's own dtype needs the tensor
          [ "$count" = "$before" ] && emit_all "$op" "$target" "dtype=$dtype,${key%_dtype}=yes,$key=$value"
        done
      done
    done
  done
done
echo "$count kernels emitted"
[ "$count" -gt 100 ] || { echo "too few: how does kiln list its variants now?"; exit 1; }
"$scan" tests/isa/forms "${@:3}" "$work"/*.ptx
