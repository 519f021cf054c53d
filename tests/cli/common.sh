# common.sh - what the tests of the command share. Sourced; $1 of the test is the build folder.
set -u
build=$(readlink -f "$1")
kiln=$build/kiln
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
passed=0

# expect CODE PATTERN COMMAND..: the exit code, and a line of standard output or error that matches (extended expression).
expect() {
  local code=$1 pattern=$2 got
  shift 2
  "$@" >"$work/out" 2>"$work/err"
  got=$?
  if [ $got -ne "$code" ]; then
    echo "FAIL: exit code $got, expected $code: $*"
    sed 's/^/  /' "$work/err" | head -5
    failed=$((failed + 1))
  elif ! cat "$work/out" "$work/err" | grep -Eq -- "$pattern"; then
    echo "FAIL: nothing matches \"$pattern\": $*"
    cat "$work/out" "$work/err" | sed 's/^/  /' | head -5
    failed=$((failed + 1))
  else
    passed=$((passed + 1))
  fi
}

# truth TEXT CONDITION..: a condition that must hold.
truth() {
  local text=$1
  shift
  if "$@"; then
    passed=$((passed + 1))
  else
    echo "FAIL: $text"
    failed=$((failed + 1))
  fi
}

finish() {
  echo "$passed passed, $failed failed"
  [ $failed -eq 0 ]
}
