#!/bin/bash
# The same bits on any number of SMs: every op and gradient on simulated devices of 1 and of 132 SMs; many rows, so that CTAs take
# several; and a kernel that does depend on their number must be found out.
. "$(dirname "$0")/common.sh"
device=sim:sm_90a

expect 0 '^[1-9][0-9]* passed, 0 failed$' "$kiln" check all --device $device --quick --set dtype=bf16 --sms 1,132
expect 0 'M=100003,N=8 .*pass' "$kiln" check rms_norm.grad --device $device --set dtype=f32 --sms 1,4,132 --size M=100003,N=8
expect 0 'pass' "$kiln" check layer_norm_adaln.grad --device $device --sms 1,132 --size B=3,M=700,N=128

"$kiln" emit rms_norm --target sm_80 --set dtype=f32 -o "$work/good.ptx"
sed 's#derived inv_N f32 1/[a-zA-Z_]*#&*(1+sms/2000000000)#' "$work/good.ptx" >"$work/bad.ptx"
truth "the edit took" bash -c "! cmp -s '$work/good.ptx' '$work/bad.ptx'"
expect 0 ' 0 failed' "$kiln" check rms_norm --device sim:sm_80 --ptx "$work/good.ptx" --size M=8,N=512 --sms 1,1000
expect 0 ' 0 failed' "$kiln" check rms_norm --device sim:sm_80,sms=1000 --ptx "$work/bad.ptx" --size M=8,N=512
expect 1 'y: .* are not the same on sim:sm_80,sms=1000' "$kiln" check rms_norm --device sim:sm_80 --ptx "$work/bad.ptx" --size M=8,N=512 --sms 1,1000

expect 2 'for simulated devices' "$kiln" check rms_norm --device cuda:0 --sms 1,132
expect 2 'exclude each other' "$kiln" check rms_norm --device sim:sm_80,sms=3 --sms 1,132
expect 2 'two numbers of SMs' "$kiln" check rms_norm --device sim:sm_80 --sms 132
expect 2 'numbers of SMs from 1 to 1024' "$kiln" check rms_norm --device sim:sm_80 --sms 1,0
finish
