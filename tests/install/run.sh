#!/bin/bash
# run.sh BUILD - `meson install` leaves what an application needs: a C program finds kiln by pkg-config, links it, both shared and
# static, and runs with nothing but the installed files; the installed command works too.
set -u -o pipefail
cd "$(dirname "$(readlink -f "$0")")/../.." || exit 1
build=$(readlink -f "$1")
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
fail() { echo "install: $*" >&2; exit 1; }

meson install -C "$build" --no-rebuild --destdir "$work/root" >"$work/log" 2>&1 || { cat "$work/log"; fail "meson install failed"; }
pc=$(find "$work/root" -name kiln.pc)
[ -n "$pc" ] || fail "no kiln.pc"
export PKG_CONFIG_PATH="${pc%/*}" PKG_CONFIG_SYSROOT_DIR="$work/root"
libdir=$work/root$(pkg-config --variable=libdir kiln | sed "s|^$work/root||")
prefix=$work/root$(pkg-config --variable=prefix kiln | sed "s|^$work/root||")
for file in "$prefix/bin/kiln" "$prefix/include/kiln.h" "$prefix/include/kilnsim.h" "$libdir/libkiln.so" "$libdir/libkiln.so.0" "$libdir/libkiln.a" "$libdir/libkilnsim.so.0"; do
  [ -e "$file" ] || fail "${file#"$work/root"} is not installed"
done

"$prefix/bin/kiln" emit lua/examples/l2_norm.lua --target sm_80 --set dtype=f32,g=no -o "$work/l2_norm.ptx" || fail "the installed kiln cannot emit"
want='0.3874 0.5520 0.0000 0.0000'
# shellcheck disable=SC2046 # flags are words
"${CC:-cc}" tests/readme/l2_norm.c -o "$work/shared" $(pkg-config --cflags --libs kiln) || fail "does not link with libkiln.so"
got=$(LD_LIBRARY_PATH=$libdir "$work/shared" sim:sm_80 "$work/l2_norm.ptx" | head -1)
[ "$got" = "$want" ] || fail "with libkiln.so: got '$got', expected '$want'"
# shellcheck disable=SC2046
"${CC:-cc}" tests/readme/l2_norm.c -o "$work/static" $(pkg-config --cflags kiln) "$libdir/libkiln.a" -ldl -lm || fail "does not link with libkiln.a"
got=$(LD_LIBRARY_PATH=$libdir "$work/static" sim:sm_80 "$work/l2_norm.ptx" | head -1)
[ "$got" = "$want" ] || fail "with libkiln.a: got '$got', expected '$want'"
# all of the C library, too: the loader has no place for what such a program opens, which is said and does not crash
# shellcheck disable=SC2046
if "${CC:-cc}" -static tests/readme/l2_norm.c -o "$work/all-static" $(pkg-config --static --cflags --libs kiln) 2>/dev/null; then
  LD_LIBRARY_PATH=$libdir "$work/all-static" sim:sm_80 "$work/l2_norm.ptx" >"$work/log" 2>&1
  [ $? = 1 ] && grep -q 'linked with -static' "$work/log" || { cat "$work/log"; fail "a program linked with -static does not say why it cannot open the simulator"; }
fi

# the headers, as strict programs of other languages include them; the simulator's own library from one of them
headers='#include <kiln.h>
#include <kiln_rope.h>
#include <kilnsim.h>
int main(void) { int n = 0; unsigned code = kilnsim_configure("sm_80", &n); return (int)code + (kiln_version()[0] == 0); }'
for language in c,c99 c,c11 c++,c++11 c++,c++17; do
  compiler=${CC:-cc}
  [ "${language%,*}" = c ] || compiler=${CXX:-c++}
  command -v "$compiler" >/dev/null || continue
  echo "$headers" | "$compiler" -x "${language%,*}" -std="${language#*,}" -pedantic -Wall -Wextra -Werror - -o "$work/headers" \
    -I"$prefix/include" -L"$libdir" -lkiln -lkilnsim -lm || fail "the headers do not compile as ${language#*,}"
  LD_LIBRARY_PATH=$libdir "$work/headers" || fail "a program in ${language#*,} does not run"
done

# what the library needs, exports, and how large it is
# (the loader is a part of the C library as well)
needed=$(objdump -p "$libdir/libkiln.so.0" | awk '/NEEDED/ { print $2 }' | grep -vE '^(libc|libdl|ld-linux-x86-64)\.so\.')
[ -z "$needed" ] || fail "libkiln.so needs $needed"
exports=$(nm -D --defined-only "$libdir/libkiln.so.0" | awk '{ print $NF }' | grep -v '^kiln_')
[ -z "$exports" ] || fail "libkiln.so exports names without kiln_: $exports"
strip -o "$work/stripped" "$libdir/libkiln.so.0" || fail "strip failed"
bytes=$(stat -c %s "$work/stripped")
echo "libkiln.so stripped: $bytes bytes"
[ "$bytes" -le 150000 ] || fail "libkiln.so stripped has $bytes bytes, more than 150000"
