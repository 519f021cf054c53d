return op "one" {
  doc = "an op of one kernel",
  emit = function(set)
    contract("tensor x in f32 [N] strides [1] align 4")
    contract("tensor y out f32 [N] strides [1] align 4")
    kernel("one", function()
      local x = node("view", nil, { tensor = "x", rank = 1, dtype = "f32", align = 4 })
      local y = node("view", nil, { tensor = "y", rank = 1, dtype = "f32", align = 4 })
      local i = node("cvt", { node("cta", nil, { axis = 0 }) }, { dtype = "i64" })
      local s = line(node("load1", { x, i }))
      name(s, "twice")
      node("store1", { y, s, i })
    end)
  end,
  define = {
    op = "one", dims = { "N" },
    tensors = { { name = "x", dtype = "f32", dims = { "N" } }, { name = "y", dtype = "f32", dims = { "N" }, out = true, value = 2 } },
    scalars = { { name = "eps", dtype = "f32", default = 0.5 } },
    nodes = { { op = "arg", index = 1, dims = { "N" } }, { op = "add", args = { 1, 1 }, line = { where() } } },
    cases = "N=3",
  },
}
