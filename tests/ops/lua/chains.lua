-- chains.lua - ops of several stages: two products, families mixed, dims in another order, a dim of size 1, scalars that are numbers or the
-- chain's, a tensor that two stages read along the same dim, and outputs that later stages read.
local DTYPES = { "f16", "bf16" }
local function chained(name, tensors, scalars, stages)
  return chain.op(name) { doc = name, tensors = tensors, scalars = scalars, dtypes = DTYPES, stages = stages }
end

local product = gemm.op "product" {
  tensors = { "a B M K", "b B K N", "d B M N own out" }, scalars = { "alpha f32 = 1", "k i32 = 2" }, dtypes = DTYPES,
  epilogue = function(e) return e.alpha * e.acc * e.k end,
}
local activated = gemm.op "activated" {
  tensors = { "a B M K", "b B K N", "d B M N out" }, dtypes = DTYPES, settings = { act = { "gelu", "silu" } },
  epilogue = function(e) return e.act(e.acc) end,
}
local total = rowwise.op "total" { tensors = { "x B T N", "y B N f32 out" }, dtypes = DTYPES, forward = function(t) t.y = sum(t.x, "T") end }

return {
  chained("c_two", { "x B M K", "w1 B K H", "w2 B H N", "y B M N out" }, nil, function(c)
    local dtype = c.set.dtype
    return {
      workspaces = { "h B M H " .. dtype },
      { name = "up", op = activated, set = { dtype = dtype, act = "silu" }, dims = { N = "H" }, tensors = { a = "x", b = "w1", d = "h" } },
      { name = "down", op = product, set = { dtype = dtype, b_major = "n" }, dims = { K = "H" }, tensors = { a = "h", b = "w2", d = "y" },
        scalars = { alpha = 0.5, k = 3 } },
    }
  end),
  chained("c_families", { "a B M K", "b B K N", "w N", "y B M N out", "r B M f32 out" }, { "eps f32 = 1e-6" }, function(c)
    local dtype, few = c.set.dtype, function(list) return { list[1], list[#list] } end
    return {
      workspaces = { "q B M K u8", "x B M K " .. dtype, "s B M f32", "h B M N " .. dtype },
      { name = "quant", op = op "quantize_fp8", set = { dtype = dtype, format = "u8", per = "row" }, dims = { M = "B M", N = "K" },
        tensors = { x = "a", scale = "s" } },
      { name = "back", op = op "dequantize_fp8", set = { dtype = dtype, format = "u8", per = "row" }, dims = { M = "B M", N = "K" },
        tensors = { scale = "s", y = "x" } },
      { name = "mul", op = product, set = { dtype = dtype }, tensors = { a = "x", d = "h" } },
      { name = "norm", op = op "rms_norm", set = { dtype = dtype, rstd = "yes" }, tensors = { x = "h", rstd = "r" }, schedules = few },
    }
  end),
  chained("c_turned", { "x B M K", "g B M N", "dw B K N f32 out", "db B N f32 out" }, { "alpha f32 = 2" }, function(c)
    return {
      { name = "dw", op = product, set = { dtype = c.set.dtype, d_dtype = "f32", a_major = "m", b_major = "n" }, dims = { M = "K", K = "M" },
        tensors = { a = "x", b = "g", d = "dw" } },
      { name = "db", op = total, set = { dtype = c.set.dtype }, dims = { T = "M" }, tensors = { x = "g", y = "db" },
        schedules = function(list) return { list[1], list[#list] } end },
    }
  end),
  chained("c_flat", { "x M K", "w K N", "h M N out", "y M K out" }, nil, function(c)
    return {
      { name = "up", op = activated, set = { dtype = c.set.dtype }, dims = { B = "" }, tensors = { a = "x", b = "w", d = "h" } },
      { name = "down", op = activated, set = { dtype = c.set.dtype, b_major = "n" }, dims = { B = "", K = "N", N = "K" },
        tensors = { a = "h", b = "w", d = "y" } },
    }
  end),
}
