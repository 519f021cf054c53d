-- fp8_gemm_wide.lua - fp8_gemm of wider tensors: both are quantised on the way, in steps of the same plan.
--
-- scale    as in fp8_gemm: tensor; row (of a, column of b); block (128 of k in a row of a, 128 x 128 of b); block1 (128 of k in a row of a, a
--          column of b). b lies with k contiguous (b_major=k) or n (b_major=n, but for block1: b's codes have their scales along k there)
local PER_A = { tensor = "tensor", row = "row", block = "block1", block1 = "block1" }
local SCALE_A = { tensor = "f32", row = "B M f32", block = "B M K/128 f32", block1 = "B M K/128 f32" }
local PER_B = {
  k = { tensor = "tensor", row = "row", block = "block128", block1 = "block1" },
  n = { tensor = "tensor", row = "column", block = "block128" },
}
local SCALE_B = {
  k = { tensor = "f32", row = "B N f32", block = "B N/128 K/128 f32", block1 = "B N K/128 f32" },
  n = { tensor = "f32", row = "B N f32", block = "B K/128 N/128 f32" },
}
-- Rows and columns of b as it lies, for quantize_fp8: M N, or matrices M of R x N where scales run down the columns.
local DIMS = {
  k = { flat = { M = "B N", N = "K" }, matrix = { M = "B", R = "N", N = "K" } },
  n = { flat = { M = "B K", N = "N" }, matrix = { M = "B", R = "K", N = "N" } },
}

return chain.op "fp8_gemm_wide" {
  doc      = "d = a b + bias in eight bits, a and b quantised on the way",
  tensors  = { "a B M K", "b B K N", "bias N own ?", "d B M N own out" },
  absent   = { bias = true },
  majors   = { b_major = { "k", "n" } },
  settings = { scale = { "tensor", "row", "block", "block1" }, accumulate = { "fast", "promoted" }, format = { "e4m3", "e5m2" } },
  cases    = "B=2,M=40,K=400,N=264 scale=block\nB=2,M=130,K=272,N=136 scale=block b_major=n\nB=1,M=130,K=272,N=136 scale=row b_major=n\n"
    .. "B=1,M=33,K=129,N=65 unaligned scale=block1",
  stages   = function(c)
    local set, bias, dtype = c.set, c.tensor.bias.present, c.tensor.a.dtype
    local per, scale = PER_B[set.b_major][set.scale], SCALE_B[set.b_major][set.scale]
    if not per then c.refuse("fp8_gemm_wide: scale=block1 has scales along k of b; give b with k contiguous (b_major=k)") end
    local dims = DIMS[set.b_major][(per == "column" or per == "block128") and "matrix" or "flat"]
    return {
      workspaces = {
        "code_a B M K " .. set.format, "scale_a " .. SCALE_A[set.scale],
        (set.b_major == "k" and "code_b B N K " or "code_b B K N ") .. set.format, "scale_b " .. scale,
      },
      { name = "left", group = "codes", few = 3, reach = set.scale == "row", op = op "quantize_fp8",
        set = { dtype = dtype, format = set.format, per = PER_A[set.scale] }, dims = { M = "B M", N = "K" },
        tensors = { x = "a", q = "code_a", scale = "scale_a" } },
      { name = "right", group = "codes", few = 3, reach = set.scale == "row", op = op "quantize_fp8",
        set = { dtype = dtype, format = set.format, per = per }, dims = dims,
        tensors = { x = "b", q = "code_b", scale = "scale_b" } },
      { name = "multiply", few = 6, op = op "fp8_gemm", tensors = { a = "code_a", b = "code_b" },
        set = {
          dtype = c.tensor.d.dtype, a_dtype = set.format, b_dtype = set.format, b_major = set.b_major, scale = set.scale, accumulate = set.accumulate,
          bias = bias and "yes" or "no", bias_dtype = bias and c.tensor.bias.dtype or nil,
        } },
    }
  end,
  curated  = { { targets = "sm_90a", set = "scale=row b_major=n" } },
}
