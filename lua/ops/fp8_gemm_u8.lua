-- fp8_gemm_u8.lua - the product of tensors in the u8 format of quantize_fp8, by its values in f16, and its result through f16, as system 001
-- has them: past 65504 it is an infinity, whatever d is.
local product = gemm.op "product" {
  tensors  = { "a B M K", "b B K N", "d B M N own out" },
  dtypes   = { "f16" },
  epilogue = function(e) return e.acc:to "f16" end,
}

return chain.op "fp8_gemm_u8" {
  doc      = "d = a b of the u8 format with a scale each, through f16",
  tensors  = { "a B M K u8", "b B K N u8", "scale_a f32", "scale_b f32", "d B M N out" },
  dtypes   = { "f16", "bf16", "f32" },
  majors   = { b_major = { "k", "n" } },
  stages   = function(c)
    local k = c.set.b_major == "k"
    local function back(name, dims) return {
      name = name == "a" and "left" or "right", op = op "dequantize_fp8", set = { dtype = "f16", format = "u8", per = "tensor" }, dims = dims,
      tensors = { q = name, scale = "scale_" .. name, y = "value_" .. name },
    } end
    return {
      workspaces = { "value_a B M K f16", (k and "value_b B N K" or "value_b B K N") .. " f16" },
      back("a", { M = "B M", N = "K" }),
      back("b", k and { M = "B N", N = "K" } or { M = "B K", N = "N" }),
      { name = "multiply", op = product, set = { b_major = c.set.b_major, d_dtype = c.tensor.d.dtype }, tensors = { a = "value_a", b = "value_b" } },
    }
  end,
}
