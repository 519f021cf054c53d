#!/bin/bash
# make.sh - writes the .ptx files of this folder anew with nvcc (CUDA 13.0 made those that are kept; the tests need no nvcc).
# Names of files are made relative: the kernel's own to the repository, the toolkit's headers to their folder.
set -eu -o pipefail
cd "$(dirname "$(readlink -f "$0")")"
compile() { # NAME SOURCE ARCHITECTURE [-D..]
  local name=$1 source=$2 arch=$3; shift 3
  nvcc -ptx -lineinfo -arch="$arch" "$@" -o "$name.ptx" "$source.cu"
  sed -i -e "s|\"$PWD/|\"tests/foreign/|" -e 's|"/[^"]*/include/|"|' -e '/^\/\/ Compiler Build ID/d' "$name.ptx"
  ! grep -n '"/' "$name.ptx"
}
compile reduce reduce compute_75
compile reduce_no_fence reduce compute_75 -DNO_FENCE
compile histogram histogram compute_75
compile histogram_no_barrier histogram compute_75 -DNO_BARRIER
compile scan scan compute_75
compile scan_no_fence scan compute_75 -DNO_FENCE
compile gemm gemm compute_80
compile pipeline pipeline compute_80
compile pipeline_no_wait pipeline compute_80 -DNO_WAIT
