-- gradients.lua - what gradients are derived of beside the functions one by one: compositions with rules of their own, moves along
-- the row, reductions of every kind, values that are broadcast, outputs that are read back, inputs without gradient.
local function row(name, tensors, fn, scalars) return rowwise.op(name) { doc = name, tensors = tensors, scalars = scalars, forward = fn } end
local one, two = { "x M N", "y M N out" }, { "x M N", "z M N", "y M N out" }
return {
  row("g_softmax", two, function(t) t.y = softmax(t.x) * t.z end),
  row("g_softmax_of_few", two, function(t) t.y = softmax(where(lt(t.z, 0), excluded, t.x)) end),
  row("g_softmax_of_none", two, function(t) t.y = softmax(where(lt(index "N", 100), excluded, t.x)) + t.z end),
  row("g_logsumexp", { "x M N", "y M N out", "s M f32 out" }, function(t) t.s = logsumexp(t.x) t.y = t.x - t.s end),
  row("g_kept_sum", { "x M N", "b N ?", "y M N out", "z M N out saved ?" }, function(t) -- x and b are read only where z has not been kept
    t.z = t.b and t.x + t.b or t.x * 2
    t.y = tanh(t.z)
  end),
  row("g_softmax_by_hand", one, function(t) local e = exp(t.x - stop(amax(t.x))) t.y = e / sum(e) end),
  row("g_var", { "x M N", "w N", "y M N out" }, function(t) t.y = t.w * var(t.x * t.w) end),
  row("g_norm_by_hand", { "x M N", "w N", "b N", "y M N out" }, function(t)
    local c = t.x - mean(t.x)
    t.y = c * rsqrt(mean(c * c) + 0.01) * t.w + t.b
  end),
  row("g_amax", two, function(t) t.y = t.z * amax(t.x) + amin(t.x) end),
  row("g_equal_extremes", one, function(t) t.y = t.x + amax(where(lt(index "N", 4), 2, 1)) * t.x end),
  row("g_swap_pairs", two, function(t) t.y = swap_pairs(t.x) * t.z + swap_pairs(t.x * sum(t.z)) end),
  row("g_swap_of_row", two, function(t) t.y = swap_pairs(t.x + mean(t.z)) end),
  row("g_swap_halves", two, function(t) t.y = swap_halves(t.x, 6) * t.z end),
  row("g_swapped_row_sum", { "x M N", "s M f32 out" }, function(t) t.s = sum(swap_pairs(t.x)) * sum(swap_halves(t.x, 4)) end),
  row("g_turn", { "x B T N", "cos P R const", "sin P R const", "y B T N out" }, function(t)
    local c, n = index "N", index "T"
    local s = where(eq(c % 2, 0), -swap_pairs(t.x), swap_pairs(t.x))
    t.y = where(lt(c, size "R"), t.x * lookup(t.cos, n + t.pos, c) + s * lookup(t.sin, n + t.pos, c), t.x)
  end, { "pos i32 = 1 call" }),
  row("g_table_norm", { "x B T N", "tab P R const", "y B T N out" }, function(t)
    local l = lookup(t.tab, index "T" + t.pos, index "N" % size "R")
    local c = l - mean(l)
    t.y = t.x * c * rsqrt(mean(c * c) + 0.1)
  end, { "pos i32 = 1 call" }),
  row("g_lookup_by_outer_rows", { "x T B N", "tab P R const", "y T B N out" }, function(t) -- one table row per tile, maybe outside of the table
    t.y = t.x * lookup(t.tab, index "T" + t.pos, index "N" % size "R") + lookup(t.tab, index "T" + t.pos, index "N")
  end, { "pos i32 = 1 call" }),
  row("g_column_and_row", { "x M N", "g M", "w N", "y M N out" }, function(t) t.y = exp(t.g * t.w) * t.x + t.w * t.w * t.g end),
  row("g_only_column", { "x M N", "w N", "y M N out" }, function(t) t.y = t.x * sum(t.w * t.w) + t.w end),
  row("g_column_norms", { "x M N", "w N", "y M N out" }, function(t)
    t.y = t.x * softmax(t.w) + t.w * rsqrt(sum(t.w * t.w) + 0.1) - min(t.w, amax(t.w) * 0.5)
  end),
  row("g_only_row", { "x M N", "g M", "y M N out", "s M f32 out" }, function(t) t.y = t.g * 2 t.s = t.g * mean(t.x) end),
  row("g_scalar", two, function(t) t.y = t.x * (t.k * 3) * t.z / t.k end, { "k f32 = 2" }),
  row("g_integers", one, function(t) t.y = t.x * ((index "N" + t.k) % 3 * 2 - min(index "N", 2)) end, { "k i32 = 2" }),
  row("g_read_back", { "x M N", "r M N", "h M N out", "y M N out" }, function(t) t.h = t.x * t.r t.y = t.h * t.h * rsqrt(mean(t.h * t.h) + 1) end),
  row("g_twice", { "x M N", "w N", "y M N out", "z M N out" }, function(t) t.y = t.x * t.w t.z = t.x / (t.w * t.w + 1) end),
  row("g_stop", two, function(t) t.y = t.x * stop(t.x * 0 + 2) + t.z * t.x end),
  row("g_unused", { "x M N", "z M N", "w N", "y M N out" }, function(t) t.y = t.x * 2 end),
  row("g_per_sample", { "x B M N", "w [B] N ?", "y B M N out" }, function(t) t.y = t.w and t.x * t.w or t.x end),
  row("g_rows_of_two", { "x M1 N1", "z M2 N2", "y M1 N1 out", "u M2 N2 out" }, function(t) t.y = softmax(t.x) t.u = t.z * mean(t.z) end),
  row("g_condition", { "x M N", "m M N bool", "y M N out" }, function(t) t.y = where(t.m, t.x * t.x, 0) end),
}
