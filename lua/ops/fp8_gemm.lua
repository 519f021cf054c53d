-- fp8_gemm.lua - product of e4m3 and e5m2 with scales: value = code * scale, as quantize_fp8 makes them. b is K x N with either dim
-- contiguous; a weight (N, K) as it is stored is b_major=k, given with strides 1 and K.
--
-- scale    what has a scale of its own: tensor (one for each operand); row (a row of a, a column of b); block (128 of k in a row of a,
--          128 x 128 of b); block1 (128 of k in a row of a, in a column of b). Scales may have any strides. An infinite one gives NaN where a
--          product of codes is 0, and may give an infinity
-- accumulate   fast: all of K in the tensor cores' accumulators, which keep about 14 bits on Ada and Hopper; promoted: every 128 of K are
--          added up in f32, as scales of blocks are in any case
local FORMS = {
  tensor = { scale_a = "", scale_b = "" },
  row    = { scale_a = "B M", scale_b = "B N" },
  block  = { scale_a = "B M K/128", scale_b = "B K/128 N/128" },
  block1 = { scale_a = "B M K/128", scale_b = "B K/128 N" },
}

return gemm.op "fp8_gemm" {
  doc      = "d = (a scale_a) (b scale_b) + bias, of e4m3 and e5m2, batched",
  tensors  = {
    "a B M K e4m3|e5m2", "b B K N e4m3|e5m2", "scale_a f32 strided finite", "scale_b f32 strided finite", "bias N own ?", "d B M N own out",
  },
  scales   = { a = "scale_a", b = "scale_b" },
  absent   = { bias = true },
  settings = { scale = { "tensor", "row", "block", "block1" }, accumulate = { "fast", "promoted" } },
  forms    = function(set) return FORMS[set.scale] end,
  epilogue = function(e) return e.bias and e.acc + e.bias or e.acc end,
  cases = "B=1,M=40,K=400,N=264 scale=block\nB=2,M=72,K=272,N=136 strided scale=block1\nB=1,M=130,K=520,N=72 accumulate=promoted\n"
    .. "B=1,M=33,K=129,N=65 unaligned scale=block1\nB=1,M=40,K=160,N=48 strided scale=row\nB=1,M=48,K=144,N=80 special scale=block a_major=m b_major=n",
  curated = {
    { targets = "sm_89 sm_90a" },
    { targets = "sm_90a", set = "scale=block" },
    { targets = "sm_89", set = "a_dtype=e5m2 scale=row bias=yes a_major=m b_major=n accumulate=promoted" },
  },
}
