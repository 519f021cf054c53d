-- random.lua - what random ops (fuzz/random_ops.py) came upon that was wrong or refused, each made small.
local function row(name, tensors, fn, scalars, absent)
  return rowwise.op(name) { doc = name, tensors = tensors, scalars = scalars, absent = absent, forward = fn }
end
local function product(name, tensors, fn, scalars, products)
  return gemm.op(name) { doc = name, tensors = tensors, scalars = scalars, products = products, epilogue = fn }
end
local CALLS = { "c f64 = 1.5 call", "k i32 = 2 call", "l i64 = 3 call" }
return {
  -- scalars of each launch that are no f32: no plan converts them
  row("x_call_scalars", { "x M N", "y M N out" }, function(t) t.y = t.x * t.c + t.k + t.l end, CALLS),
  product("x_call_scalars_of_products", { "a M K", "b K N", "d M N out" }, function(e) return e.acc * e.c + e.k + e.l end, CALLS),
  -- conditions and integers of a row that the first step hands on to sums over rows
  row("x_condition_of_rows", { "x M N", "w N", "y M N out", "k N f32 out" }, function(t)
    t.y = where(lt(mean(t.x), 0), 2, t.w)
    t.k = sum(where(lt(mean(t.x), 0), 2, t.w), "M")
  end),
  row("x_integer_of_rows", { "x M N", "w N", "y M N out", "k N f32 out" }, function(t)
    local i = where(lt(mean(t.x), 0), 3, size "N")
    t.y = where(lt(index "N", i), t.x, t.w)
    t.k = sum(where(lt(index "N", i), t.x, t.w) * (index "N" % i), "M")
  end),
  -- a row's number in a value per row
  row("x_number_of_row", { "x B T N", "s B T out" }, function(t) t.s = max(var(t.x), index "T" % 8 * 0.125) + index "B" end),
  -- tiles in turn: a tensor without the outermost dim, but with leading dims that M stands for
  row("x_lead_in_turn", { "x B M N f16", "c M N", "tab P R f32 const", "y B M N out", "z B M N f32 out" }, function(t)
    t.y = t.x * t.c
    t.z = swap_pairs(lookup(t.tab, index "B" + t.pos, index "N" // 2))
  end, { "pos i32 = 1" }),
  -- sums over rows of what an output may be written over
  row("x_over_sum", { "x M N", "r M N", "y M N out over x", "k N f32 out" }, function(t)
    t.y = t.x + t.r
    t.k = sum(t.x * t.r, "M")
  end),
  row("x_over_sum_of_norm", { "x B M N", "w N", "y B M N out over x", "k B N f32 out", "s B M f32 out" }, function(t)
    local h = t.x * rsqrt(mean(t.x * t.x) + 0.01)
    t.y = h * t.w
    t.k = sum(h, "M")
    t.s = mean(abs(t.x))
  end),
  -- two merged lists of row dims, of which callers may leave out those of M
  row("x_two_lists", { "x H T M N", "c M", "y H T M N out" }, function(t) t.y = t.x * t.c end),
  row("x_many_dims", { "x H T M N1", "z H S M2 N2", "tab P R const", "y H T M N1 out", "u H S M2 N2 out" }, function(t)
    t.y = t.x + lookup(t.tab, index "T", index "N1")
    t.u = t.z + lookup(t.tab, index "S", index "N2")
  end),
  -- what the backward reads only where an input is absent
  row("x_instead", { "x M N", "w N", "c N i32 ?", "y M N out" }, function(t) t.y = (t.c and t.c or t.x) * t.w end, nil, { c = true }),
  -- five factors that are sums of adjoints: tried in all orders, they took forever
  row("x_many_factors", { "x M N", "r M N", "w N", "g M", "y M N out", "z M N out" }, function(t)
    local v = logsumexp(t.w)
    t.y = tanh(tanh(t.g - t.x) * (1 + v))
    t.z = log2(abs(v) + 0.5) + t.y
  end),
  -- values of 64 bits per column, which a loop cannot keep in shared memory; rows of two dtypes, which no ring brings
  row("x_wide_columns", { "x B H N", "e N i64", "k B N f32 out", "y B H N out" }, function(t)
    t.y = tanh(t.x * t.e * 0.125)
    t.k = sum(tanh(t.x * t.e * 0.125), "H")
  end),
  row("x_two_dtypes", { "x B M N1 bf16", "z B M N2 f32", "y B M N1 out", "k B N1 f32 out", "u B M N2 out" }, function(t)
    t.y = t.x * 2
    t.u = t.z / (1 + mean(abs(t.z)))
    t.k = sum(t.x, "M")
  end),
  -- sums of two parts of a launch, each of which has memory of its own
  row("x_sums_of_two", { "a B H T N1", "c N1", "e N1", "f B H T N2", "i N2 bf16", "y B H T N1 out", "u B H T N2 out" }, function(t)
    t.y = max(t.a * 0.5, tanh(max(t.a, t.c) * 0.1)) * t.e
    t.u = t.f * t.i
  end),
  product("x_three_products", { "a M K", "a2 M K", "b K N", "b1 K N", "b2 K N", "d M N out" }, function(e) return tanh(e.p) * e.q + e.r end, nil,
    { { "p", "a", "b" }, { "q", "a", "b1" }, { "r", "a2", "b2" } }),
  product("x_stored_product", { "a B M K", "b B K N", "h N", "d B M N out", "f B M N out" }, function(e)
    e.f = tanh(e.acc * e.h * 0.125)
    return e.acc
  end),
  product("x_tensor_of_no_dim", { "a M K", "b K N", "s const", "d M N out" }, function(e) return e.acc * e.s * e.s end),
}
