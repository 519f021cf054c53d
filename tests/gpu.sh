#!/bin/bash
# gpu.sh - everything that needs a GPU, in one call: checks, bars, peers, launch cost, sanitizers; a table of the bars comes last.
# Installs and builds nothing: takes the products in build/ (KILN_BUILD to name another folder).
# shellcheck disable=SC2317 # functions are called from a child bash
set -u -o pipefail
cd "$(dirname "$(readlink -f "$0")")/.." || exit 1
BUILD=${KILN_BUILD:-build}
OUT=${OUT:-/tmp/kiln-gpu}
WORK=$(mktemp -d) || exit 1 # what the parts write; gpu.log and results.json in $OUT hold all of it
trap 'rm -rf "$WORK"' EXIT
DEVICE=${KILN_DEVICE:-cuda:0}
SHOW=${KILN_SHOW:-25} # lines of each part on the screen
LIMIT=${KILN_SECONDS:-570} # of the whole run: what does not fit is left out, and the table still comes
JOBS=$(nproc 2>/dev/null || echo 4); JOBS=$((JOBS < 8 ? JOBS : 8)) # ops that are checked at once
DEFAULT_PARTS="info check isa bench ceiling launch peers python memcheck racecheck"
NAMED_PARTS="rowwise gemm tune ncu"

usage() {
  cat <<'END'
usage: tests/gpu.sh [PART...]

  info       the GPU, the driver, the tools
  check      kiln check --quick of every op on the GPU
  isa        every PTX form on the GPU (tests/isa/forms, and those whose files are written here by tests/isa/make.py --every), and the
             simulator against what the GPU gave (KILN_SIM, default sim:sm_90a)
  bench      kiln bench of the shapes that have a bar
  ceiling    the mma.sync ceiling, by tests/bench/mma_ceiling.py
  launch     CPU time of kiln_launch and of plan creation, by build/launch
  peers      torch eager, torch.compile, cuBLAS and the copy rate, by tests/bench/peers.py
  python     the Python package with torch on the GPU, by tests/python
  memcheck   compute-sanitizer memcheck over kiln check --quick of every op
  racecheck  compute-sanitizer racecheck over the same
  rowwise    every row-wise op forward and backward beside torch eager, torch.compile and Triton, by tests/bench/rowwise.py; in under
             six minutes (only when named; KILN_ROWWISE adds arguments: KILN_ROWWISE="--only kiln --op rms_norm")
  gemm       matrix products beside cuBLAS, cuBLASLt and torch.compile, the first plan and emission, by tests/bench/gemm.py; in under 150 s
             (only when named; KILN_GEMM adds arguments: KILN_GEMM="--dtype f16 --shape 8192x8192x8192 --schedules all")
  tune       kiln tune of two ops at one size each, and what plans then take; in under a minute (only when named; KILN_TUNE takes the place
             of the sizes: KILN_TUNE="gemm M=8192,N=8192,K=8192"). The measurements stay in $OUT/cache
  ncu        hardware counters of the benched kernels (only when named)

Without parts: all but rowwise, gemm, tune and ncu, in under ten minutes. Leaves gpu.log (all output), results.json (all figures) and table.txt in the
folder $OUT (default /tmp/kiln-gpu). KILN_DEVICE (default cuda:0), KILN_BUILD (default build) and KILN_SECONDS (default 570: what the
whole run may take) may be set. Exit status 1 if a part failed or a bar was missed.

examples
  tests/gpu.sh
  OUT=/tmp/logs tests/gpu.sh check bench ceiling
  tests/gpu.sh info rowwise
END
}

failed=""
have() { command -v "$1" >/dev/null 2>&1; }

# part NAME SECONDS COMMAND...: all output to gpu.log, its end to the screen; the verdict is remembered
part() {
  local name=$1 limit=$2 t0=$SECONDS rc; shift 2
  echo; echo "== $name"
  if [ $((LIMIT - SECONDS)) -lt 10 ]; then
    echo "-- $name: left out, $SECONDS of $LIMIT s are spent" | tee -a "$OUT/gpu.log"
    echo 124 >"$WORK/$name.status"
    failed+=" $name"
    return
  fi
  [ $((LIMIT - SECONDS)) -ge "$limit" ] || limit=$((LIMIT - SECONDS))
  timeout -k 5 "$limit" "$@" >"$WORK/$name.log" 2>&1
  rc=$?
  echo "$rc" >"$WORK/$name.status"
  { echo; echo "== $name"; cat "$WORK/$name.log"; } >>"$OUT/gpu.log"
  tail -n "$SHOW" "$WORK/$name.log"
  if [ "$rc" = 124 ] || [ "$rc" = 137 ]; then echo "$name: stopped after $limit s"; fi
  [ "$rc" = 0 ] || failed+=" $name"
  echo "-- $name: status $rc, $((SECONDS - t0)) s" | tee -a "$OUT/gpu.log"
}

part_info() {
  nvidia-smi --query-gpu=name,driver_version,clocks.max.sm,power.limit --format=csv
  "$BUILD/kiln" --version
  local tool
  for tool in nvcc ptxas compute-sanitizer ncu python3; do printf '%-18s %s\n' "$tool" "$(command -v "$tool" || echo absent)"; done
}

# Every form on the GPU, in several processes, as the driver assembles each file: logs and outputs in $WORK/isa.N.{log,txt}; what failed, and a sum.
isa_share() { # isa_share LIST: its files, in one process after another: some faults cost a process the GPU, and what it had left goes on
  local list=$1 n=0 rc
  while [ -s "$list" ]; do
    xargs "$BUILD/isa_run" --device "$DEVICE" --save "$1.$n.out" <"$list" >"$1.$n.log" 2>&1
    rc=$?
    sed -n 's/^LEFT //p' "$1.$n.log" >"$1.$n.left"
    grep -q '^LEFT ' "$1.$n.log" || echo "status $rc" >>"$1.$n.log"
    [ "$n" -lt 99 ] || { echo "status 99" >>"$1.$n.log"; break; }
    list=$1.$n.left n=$((n + 1))
  done
}

isa_everywhere() {
  python3 tests/isa/make.py --every "$WORK/forms" || return 1
  ls tests/isa/forms/*.ptx "$WORK"/forms/*.ptx >"$WORK/isa.files" && split -n "r/$JOBS" -d "$WORK/isa.files" "$WORK/isa.part."
  # shellcheck disable=SC2016 # expanded by the child
  printf '%s\n' "$WORK"/isa.part.?? | xargs -P "$JOBS" -I{} bash -c 'isa_share "$1"' one {}
  grep -hE '^(FAIL|isa_run)' "$WORK"/isa.part.*.log | sort
  cat "$WORK"/isa.part.*.out >"$OUT/isa.txt"
  sed -nE 's/^([0-9]+) passed, ([0-9]+) failed$/\1 \2/p' "$WORK"/isa.part.*.log | awk '{ p += $1; f += $2 } END { print p + 0 " passed, " f + 0 " failed" }'
  ! grep -q '^status [^0]' "$WORK"/isa.part.*.log && ! grep -q '^FAIL' "$WORK"/isa.part.*.log
}

part_isa() { # the GPU's outputs stay in $OUT/isa.txt: `isa_run --device sim:sm_90a --against isa.txt FOLDER...` compares anywhere
  local rc=0
  isa_everywhere || rc=1
  [ -s "$OUT/isa.txt" ] || return 1
  "$BUILD/isa_run" --device "${KILN_SIM:-sim:sm_90a}" --against "$OUT/isa.txt" --list "$WORK/agreed.txt" tests/isa/forms "$WORK/forms" || rc=1
  # which model of addition its tensor cores follow (runtime/sim/exec/tensor.h)
  python3 tests/isa/tensor_probe.py make "$WORK/probe" && "$BUILD/isa_run" --device "$DEVICE" --save "$OUT/tensor.txt" "$WORK/probe" >/dev/null
  python3 tests/isa/tensor_probe.py fit "$OUT/tensor.txt" | tee "$OUT/tensor_models.txt"
  # what agreed: to be committed as tests/isa/gpu.txt; tests/isa/make.py brings it into `kiln inspect --isa`
  { echo "# $(date -I) $(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -n 1)"; sort "$WORK/agreed.txt"; } >"$OUT/isa_gpu.txt"
  return $rc
}

bench_one() { # bench_one NAME OP SIZE [options]: JSON to $OUT/bench-NAME.json, the readable form to the log
  local name=$1 op=$2 size=$3; shift 3
  echo "kiln bench $op --device $DEVICE --size $size $*"
  "$BUILD/kiln" bench "$op" --device "$DEVICE" --size "$size" "$@" --json >"$WORK/bench-$name.json" || { cat "$WORK/bench-$name.json"; return 1; }
  cat "$WORK/bench-$name.json"
}

part_bench() {
  local rc=0
  bench_one norm-65536x8192 rms_norm M=65536,N=8192 || rc=1
  bench_one norm-8192x4096 rms_norm M=8192,N=4096 || rc=1
  bench_one norm-32768x1024 rms_norm M=32768,N=1024 || rc=1
  bench_one gemm-4096 gemm M=4096,N=4096,K=4096 --target sm_80 || rc=1
  return $rc
}

part_launch() {
  "$BUILD/kiln" emit rms_norm --target sm_80 -o "$WORK/launch.ptx" && "$BUILD/launch" "$DEVICE" "$WORK/launch.ptx" --json "$WORK/launch.json"
}

# check_every [COMMAND...]: kiln check --quick of every op, several at once, run by COMMAND. What fails is shown whole, totals come last.
check_every() {
  local folder op passed=0 failures=0 closing
  folder=$(mktemp -d "$WORK/check.XXXXXX") || return 1
  "$BUILD/kiln" list | awk 'NF { print $1 }' >"$folder/ops"
  # shellcheck disable=SC2016 # expanded by the child
  xargs -P "$JOBS" -I{} bash -c '"${@:3}" "$BUILD/kiln" check "$2" --quick --device "$DEVICE" >"$1/$2.log" 2>&1; echo $? >"$1/$2.status"' \
    one "$folder" {} "$@" <"$folder/ops"
  while read -r op; do
    closing=$(grep -E '^[0-9]+ passed, [0-9]+ failed' "$folder/$op.log" | tail -n 1)
    printf '%-24s %s\n' "$op" "${closing:-no result}"
    passed=$((passed + $(sed -nE 's/^([0-9]+) passed.*/\1/p' <<<"${closing:-0 passed}")))
    [ "$(cat "$folder/$op.status" 2>/dev/null)" = 0 ] && [ -n "$closing" ] && { grep -E '^========= (ERROR|RACECHECK) SUMMARY' "$folder/$op.log"; continue; }
    failures=$((failures + $(sed -nE 's/^.* ([0-9]+) failed.*/\1/p' <<<"${closing:-, 1 failed}")))
    cat "$folder/$op.log"
    echo "$op: status $(cat "$folder/$op.status" 2>/dev/null)" >>"$folder/bad"
  done <"$folder/ops"
  [ ! -e "$folder/bad" ] || { cat "$folder/bad"; }
  echo "$passed passed, $failures failed, of $(wc -l <"$folder/ops") ops"
  [ -s "$folder/ops" ] && [ ! -e "$folder/bad" ]
}

part_sanitizer() { # part_sanitizer TOOL
  have compute-sanitizer || { echo "compute-sanitizer is not installed"; return 1; }
  check_every compute-sanitizer --tool "$1" --error-exitcode 9 --print-limit 20
}

part_rowwise() { # the plan cache and the emitted files of the run are its own
  # shellcheck disable=SC2086 # a list of words
  python3 tests/bench/rowwise.py --build "$BUILD" --json "$WORK/rowwise.json" ${KILN_ROWWISE-}
}

part_gemm() {
  # shellcheck disable=SC2086 # a list of words
  python3 tests/bench/gemm.py --build "$BUILD" --json "$WORK/gemm.json" ${KILN_GEMM-}
}

part_tune() { # a second run measures nothing
  local rc=0 op size
  export XDG_CACHE_HOME=$OUT/cache
  while read -r op size; do
    "$BUILD/kiln" tune "$op" --device "$DEVICE" --size "$size" || rc=1
    "$BUILD/kiln" tune "$op" --device "$DEVICE" --size "$size" | grep '^0 measured' || rc=1
    "$BUILD/kiln" list --variants "$op" --device "$DEVICE" --size "$size" | grep -E ' us +(wins|fits)'
    "$BUILD/kiln" list --variants "$op" --device "$DEVICE" --size "$size" | grep -q ' wins: measured ' || rc=1
  done < <(printf '%b\n' "${KILN_TUNE:-rms_norm M=8192,N=4096\\ngemm M=4096,N=4096,K=4096}")
  return $rc
}

part_python() { # each file in a process of its own, all at once; without torch or its GPU the tests would go to the simulator, or be skipped
  python3 -c 'import sys, torch; sys.exit(0 if torch.cuda.is_available() else "torch sees no GPU")' || return 1
  local file name rc=0 pids=()
  for file in tests/python/test_torch*.py; do
    name=$(basename "$file" .py)
    KILN_BUILD=$(readlink -f "$BUILD") PYTHONPATH=runtime/python:tests/python python3 -m unittest -v "$name" >"$WORK/$name.log" 2>&1 &
    pids+=($!)
  done
  for name in "${pids[@]}"; do wait "$name" || rc=1; done
  cat "$WORK"/test_torch*.log
  return $rc
}

part_ncu() {
  have ncu || { echo "ncu is not installed"; return 1; }
  local metrics=gpu__time_duration.sum,dram__throughput.avg.pct_of_peak_sustained_elapsed,sm__inst_executed.sum
  metrics+=,sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_elapsed,launch__registers_per_thread
  metrics+=,l1tex__data_bank_conflicts_pipe_lsu.sum,sm__warps_active.avg.pct_of_peak_sustained_active
  local rc=0
  ncu --clock-control none --metrics "$metrics" -c 3 "$BUILD/kiln" check rms_norm --device "$DEVICE" --size M=8192,N=4096 || rc=1
  ncu --clock-control none --metrics "$metrics" -c 3 "$BUILD/kiln" check gemm --device "$DEVICE" --target sm_80 --size M=2048,N=2048,K=2048 || rc=1
  return $rc
}

case "${1-}" in -h | --help) usage; exit 0 ;; esac
parts=${*:-$DEFAULT_PARTS}
for name in $parts; do
  case " $DEFAULT_PARTS $NAMED_PARTS " in *" $name "*) ;; *) echo "gpu.sh: unknown part '$name'" >&2; usage >&2; exit 2 ;; esac
done
for product in kiln libkiln.so libkilnsim.so; do
  [ -e "$BUILD/$product" ] || { echo "gpu.sh: $BUILD/$product is not there; run ./bootstrap build first" >&2; exit 2; }
done
mkdir -p "$OUT" && : >"$OUT/gpu.log" || exit 1
export WORK OUT BUILD DEVICE JOBS
export -f have check_every bench_one part_rowwise part_gemm part_python part_info part_bench part_launch part_sanitizer part_ncu part_isa isa_everywhere isa_share part_tune

for name in $parts; do
  case $name in
    info) part info 20 bash -c part_info ;;
    check) part check 150 bash -c check_every ;;
    isa) part isa 200 bash -c part_isa ;;
    bench) part bench 80 bash -c part_bench ;;
    ceiling) part ceiling 20 python3 tests/bench/mma_ceiling.py --json "$WORK/ceiling.json" ;;
    launch) part launch 20 bash -c part_launch ;;
    peers) part peers 120 python3 tests/bench/peers.py --json "$WORK/peers.json" ;;
    python) part python 240 bash -c part_python ;;
    rowwise) part rowwise 420 bash -c part_rowwise ;;
    gemm) part gemm 200 bash -c part_gemm ;;
    tune) part tune 120 bash -c part_tune ;;
    memcheck) part memcheck 150 bash -c 'part_sanitizer memcheck' ;;
    racecheck) part racecheck 180 bash -c 'part_sanitizer racecheck' ;;
    ncu) part ncu 90 bash -c part_ncu ;;
  esac
done

echo
python3 tests/bench/report.py "$WORK" --json "$OUT/results.json" | tee "$OUT/table.txt" || failed+=" report"
[ -z "$failed" ] && exit 0
echo "failed parts:$failed"
exit 1
