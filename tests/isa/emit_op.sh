#!/bin/bash
# emit_op.sh KILN FOLDER OP NUMBER HOW - emits a sample of the op's kernels into FOLDER; NUMBER (of the op) varies what is taken.
#   few    default settings on sm_80, sm_90a and another target, and settings picked from the whole list; a few schedules of each
#   most   default settings on every target with every schedule; on a target of every kind each value of each setting, alone and with
#          each dtype, and some random settings, with a few schedules each, another few each time
#   every  the same settings, with every schedule
set -u -o pipefail
kiln=$1 folder=$2 op=$3 number=$4 how=$5
count=0 turn=$number

# pick HOW_MANY: that many lines of standard input, evenly spread, other ones each time
pick() {
  local lines n i
  mapfile -t lines
  n=${#lines[@]}
  for ((i = 0; i < ($1 < n ? $1 : n); i++)); do echo "${lines[(turn + i * n / ($1 < n ? $1 : n)) % n]}"; done
}

# emit_some SCHEDULES TARGET SETTINGS: settings that the target refuses give none
emit_some() {
  local line set=()
  [ -n "$3" ] && set=(--set "$3")
  while read -r line; do
    "$kiln" emit "$op" --target "$2" "${set[@]}" --schedule "$line" -o "$folder/$op-$count.ptx" ||
      { echo "FAIL: kiln emit $op --target $2 --set '$3' --schedule $line"; exit 1; }
    count=$((count + 1))
  done < <("$kiln" list --variants "$op" --target "$2" "${set[@]}" 2>/dev/null | sed -n 's/^[^ ]*  *\([a-z0-9_.]*=.*\)/\1/p' | tr ' ' ',' | sort -u | pick "$1")
  turn=$((turn + 1))
}

settings=$("$kiln" list "$op" | tr ' ' '\n' | grep '=.*|')
dtypes=$(sed -n 's/^dtype=//p' <<<"$settings" | tr '|' '\n')
targets=$("$kiln" list --targets | sed -n 's/^\(sm_[^ ]*\).*/\1/p')

# A setting of an optional tensor needs the tensor: NAME_dtype and NAME_B stand with NAME=yes.
with_tensor() {
  local name=${1%_dtype}
  name=${name%_B}
  if [ "$name" != "$1" ] && grep -q "^$name=" <<<"$settings"; then echo "$name=yes,$1=$2"; else echo "$1=$2"; fi
}

values() { cut -d= -f2 <<<"$1" | tr '|' ' '; }

# A setting named after a dtype is of that dtype alone.
of_other_dtype() { grep -qx "$1" <<<"$dtypes" && [ "$1," != "$2" ]; }

# each value of each setting but the defaults, with each dtype
all_settings() {
  local dtype setting value
  for dtype in ${dtypes:-none}; do
    [ "$dtype" = none ] && dtype= || { echo "dtype=$dtype"; dtype="dtype=$dtype,"; }
    for setting in $settings; do
      [ "${setting%%=*}" = dtype ] && continue
      of_other_dtype "${setting%%=*}" "${dtype#dtype=}" && continue
      for value in $(values "$setting" | cut -d' ' -f2-); do echo "$dtype$(with_tensor "${setting%%=*}" "$value")"; done
    done
  done
}

# random_settings HOW_MANY: a value for each setting, but the tensors that have settings of their own are all there
random_settings() {
  local state=$((number * 7919 + 17)) i setting value list
  for ((i = 0; i < $1; i++)); do
    list=
    for setting in $settings; do
      mapfile -t value < <(values "$setting" | tr ' ' '\n')
      state=$(((state * 1103515245 + 12345) & 0x7fffffff))
      grep -qx "${setting%%=*}" <<<"$dtypes" && [[ "$list" != *dtype=${setting%%=*},* ]] && continue
      if grep -q "^${setting%%=*}_dtype=" <<<"$settings"; then list+="${setting%%=*}=yes,"
      else list+="${setting%%=*}=${value[(state >> 8) % ${#value[@]}]},"; fi
    done
    echo "${list%,}"
  done
}

if [ "$how" = few ]; then
  for target in sm_80 sm_90a $(grep -vx -e sm_80 -e sm_90a <<<"$targets" | pick 1); do emit_some 2 "$target" ""; done
  while read -r set; do emit_some 2 "$(printf 'sm_80\nsm_90a\nsm_75\n' | pick 1)" "$set"; done < <(all_settings | pick 2; random_settings 1)
else
  for target in $targets; do emit_some 1000 "$target" ""; done
  [ "$how" = every ] && some=1000 || some=2
  for target in sm_75 sm_80 sm_90a; do
    while read -r set; do emit_some $some "$target" "$set"; done < <(all_settings; random_settings 8)
  done
fi
exit 0
