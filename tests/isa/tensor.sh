#!/bin/bash
# tensor.sh BUILD - the simulator adds up as runtime/sim/exec/tensor.h says (mma=exact), and as a chain of f32 without: tensor_probe.py, which
# knows the models by their description, finds them in its results. tests/gpu.sh isa asks a GPU the same.
set -u -o pipefail
build=$(readlink -f "$1")
cd "$(dirname "$(readlink -f "$0")")/../.." || exit 1
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
bad=0
export LD_LIBRARY_PATH=$build${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
python3 tests/isa/tensor_probe.py make "$work/probe" || exit 1

expect() { # expect DEVICE MODELS
  "$build/isa_run" --device "sim:$1" --save "$work/out" "$work/probe" >/dev/null
  echo "sim:$1"
  python3 tests/isa/tensor_probe.py fit "$work/out" "$2" || bad=1
}
f16=m16n8k16.f32.f16.f16.f32 bf16=m16n8k16.f32.bf16.bf16.f32 tf32=m16n8k8.f32.tf32.tf32.f32 half=m16n8k16.f16.f16.f16.f16 fp8=m16n8k32.f32.e4m3.e4m3.f32
expect sm_75,mma=exact "m16n8k8.f32.f16.f16.f32=24/8"
expect sm_80,mma=exact "$f16=24/8 $bf16=24/8 $tf32=24/4 $half=24/8"
expect sm_89,mma=exact "$f16=24/8 $bf16=24/8 $fp8=13/16/13"
expect sm_90,mma=exact "$f16=25/16 $bf16=25/16 $tf32=25/8 $half=25/16 $fp8=25/16a"
expect sm_120,mma=exact "$f16=25/16 $fp8=25/32"
expect sm_90,mma=fast "$f16=fma $bf16=fma $tf32=fma"
exit $bad
