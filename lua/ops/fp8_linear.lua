-- fp8_linear.lua - a linear layer in eight bits: x is quantised on the way, the weight was quantised before (quantize_fp8 of w (N, K), with
-- per = tensor, row, block128 or block1 for scale = tensor, row, block or block1) and is kept. The weight's codes are given as K x N, so with
-- strides 1 and K (b_major=k); its scales as fp8_gemm has them: one; N; K/128 x N/128; K/128 x N. What x (M, K) has a scale for follows.
local PER = { tensor = "tensor", row = "row", block = "block1", block1 = "block1" }
local SCALE_X = { tensor = "f32", row = "B M f32", block = "B M K/128 f32", block1 = "B M K/128 f32" }
local SCALE_W = { tensor = "", row = "B N", block = "B K/128 N/128", block1 = "B K/128 N" }

return chain.op "fp8_linear" {
  doc      = "y = x w + bias in eight bits, x quantised on the way, w before",
  tensors  = { "x B M K", "w B K N e4m3|e5m2", "scale_w f32 strided finite", "bias N own ?", "y B M N own out" },
  absent   = { bias = true },
  majors   = { b_major = { "k", "n" } }, -- of w
  settings = { scale = { "tensor", "row", "block", "block1" }, accumulate = { "fast", "promoted" }, format = { "e4m3", "e5m2" } },
  forms    = function(set) return { scale_w = SCALE_W[set.scale] } end,
  cases    = "B=2,M=40,K=400,N=264 scale=block\nB=1,M=130,K=272,N=136 scale=row bias=yes\nB=1,M=33,K=129,N=65 unaligned scale=block1",
  stages   = function(c)
    local set, bias = c.set, c.tensor.bias.present
    return {
      workspaces = { "code B M K " .. set.format, "scale_x " .. SCALE_X[set.scale] },
      { name = "quantize", group = "codes", few = 3, reach = set.scale == "row", op = op "quantize_fp8",
        set = { dtype = c.tensor.x.dtype, format = set.format, per = PER[set.scale] }, dims = { M = "B M", N = "K" },
        tensors = { q = "code", scale = "scale_x" } },
      { name = "multiply", few = 6, op = op "fp8_gemm", tensors = { a = "code", b = "w", scale_a = "scale_x", scale_b = "scale_w", d = "y" },
        set = {
          dtype = c.tensor.y.dtype, a_dtype = set.format, b_dtype = c.tensor.w.dtype, b_major = set.b_major, scale = set.scale,
          accumulate = set.accumulate, bias = bias and "yes" or "no", bias_dtype = bias and c.tensor.bias.dtype or nil,
        } },
    }
  end,
  curated  = { { targets = "sm_90a", set = "scale=row bias=yes" } },
}
