-- products.lua - epilogues with tensors of every shape that a product's may have, two outputs, and scalars that are no f32;
-- products that one accumulator adds up, and one without a batch dim.
local function product(name, more, fn, scalars, products)
  local tensors = { "a B M K", "b B K N", "d B M N out" }
  for _, t in ipairs(more) do table.insert(tensors, t) end
  if more.flat then tensors = more.flat end
  return gemm.op(name) { doc = name, tensors = tensors, scalars = scalars, dtypes = { "f16", "bf16" }, epilogue = fn, products = products }
end
return {
  product("p_row", { "r M" }, function(e) return e.acc + e.r end),
  product("p_batch_row", { "r B M" }, function(e) return e.acc + e.r end),
  product("p_batch_column", { "r B N f32" }, function(e) return e.acc * e.r end),
  product("p_tile", { "r M N" }, function(e) return e.acc + e.r end),
  product("p_row_and_column", { "r B M", "c N" }, function(e) return e.acc + e.r * e.c end),
  product("p_two_outputs", { "f B M N f32 out" }, function(e) e.f = e.acc return e.acc * 2 end),
  product("p_constant", {}, function(e) return 1 end),
  product("p_only_row", { "r M" }, function(e) return e.r end),
  product("p_added_up", { "c B M K", "e B K N" }, function(e) return e.acc end, nil, { { "acc", "a", "b" }, { "acc", "c", "e" } }),
  product("p_added_shared", { "e B K N", "f B K N" }, function(e) return e.acc end, nil, { { "acc", "a", "b" }, { "acc", "a", "e" }, { "acc", "a", "f" } }),
  product("p_tanh", { "r N" }, function(e) return tanh(e.acc + e.r) end),
  product("p_kept", { "r N ?", "z B M N out saved ?" }, function(e)
    e.z = e.r and e.acc + e.r or e.acc
    return tanh(e.z)
  end),
  product("p_two_products", { "e B K N" }, function(e) return e.gate * e.acc + e.gate end, nil, { { "gate", "a", "b" }, { "acc", "a", "e" } }),
  product("p_shared_adjoint", { "e B K N" }, function(e) return 3 * e.gate - e.acc end, nil, { { "gate", "a", "b" }, { "acc", "a", "e" } }),
  product("p_flat", { flat = { "a M K", "b K N", "r N", "d M N out" } }, function(e) return e.acc + e.r end),
  product("p_i32_scalar", {}, function(e) return e.acc * e.k end, { "k i32 = 2" }),
}
