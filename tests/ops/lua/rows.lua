-- rows.lua - row-wise ops of every form that users may declare: dims of rows beside M, several segments, tables, moves along the
-- row, masks, integers, sums over rows, several levels of sums over columns. test_language.c has each by hand.
local function row(name, tensors, fn, scalars) return rowwise.op(name) { doc = name, tensors = tensors, scalars = scalars, forward = fn } end
return {
  row("r_heads", { "x B H T N", "a B T N", "g H", "c H N", "y B H T N out", "s B H T f32 out" }, function(t)
    t.y = t.x * t.g + t.a - t.c
    t.s = mean(t.x * t.c) + t.g
  end),
  row("r_segments", { "x B M1 N1", "z M2 N2", "w N2", "y B M1 N1 out", "s B M1 f32 out", "u M2 N2 out" }, function(t)
    t.s = amax(t.x)
    t.y = t.x - t.s
    t.u = t.z * t.w / (1 + sum(abs(t.z)))
  end),
  row("r_lookup", { "x B T N", "tab P R const", "y B T N out" }, function(t)
    t.y = t.x + lookup(t.tab, index "T" + t.pos, index "N" % size "R")
  end, { "pos i32 = 1 call" }),
  row("r_turn", { "x B T N", "cos P R own const", "sin P R own const", "y B T N out" }, function(t)
    local c, n, half = index "N", index "T", size "R"
    local low, other = lt(c % (half * 2), half), swap_halves(t.x, half * 2)
    local turned = t.x * lookup(t.cos, n, c % half) + where(low, -other, other) * lookup(t.sin, n, c % half)
    t.y = where(lt(n, t.rows), turned, t.x)
  end, { "rows i32 = 3" }),
  row("r_rotate", { "x B T N", "cos P R const", "sin P R const", "y B T N out" }, function(t)
    local tables = { cos = t.cos, sin = t.sin, row = index "T" + t.pos, entries = size "R", table = "channel", pairs = "halves", blocks = "all" }
    local turned, turns = rotate(t.x, tables)
    t.y = where(turns, turned, t.x)
  end, { "pos i32 = 1" }),
  row("r_swap_pairs", { "x M N", "y M N out" }, function(t) t.y = swap_pairs(t.x * 2) - t.x end),
  row("r_swap_halves", { "x M N", "y M N out" }, function(t) t.y = swap_halves(t.x, 6) + t.x * 3 end),
  row("r_mask", { "x M N", "m M N bool", "y M N out" }, function(t) t.y = where(t.m, -1, t.x * t.x) end),
  row("r_causal", { "x T N", "y T N out" }, function(t)
    t.y = softmax(where(le(index "N", index "T" + t.shift), t.x, excluded))
  end, { "shift i32 = 0" }),
  row("r_integers", { "x M N", "y M N out" }, function(t)
    local c = index "N"
    local k = where(eq(c % 3, 0), max(c - t.k, 0), min(c * 2, size "N" - 1 - c // t.k))
    t.y = t.x + k * 0.125
  end, { "k i32 = 5" }),
  row("r_checkerboard", { "x T N", "y T N out" }, function(t) t.y = where(eq((index "T" + index "N") % 2, 0), t.x, -t.x) end),
  row("r_column_sums", { "dy M N", "x M N", "dw N f32 out", "db N f32 out" }, function(t)
    t.dw = sum(t.dy * t.x, "M")
    t.db = sum(t.dy, "M")
  end),
  row("r_column_sums_of_samples", { "x B M N", "w N", "y B M N out", "s B N out" }, function(t)
    local h = t.x * rsqrt(mean(t.x * t.x) + t.eps)
    t.y = h * t.w
    t.s = sum(h * h, "M")
  end, { "eps f32 = 1e-3" }),
  row("r_norm_backward", { "dy M N", "x M N", "w N own", "dx M N out", "dw N out as w" }, function(t)
    local r = rsqrt(mean(t.x * t.x) + 1e-2)
    local h, g = t.x * r, t.dy * t.w
    t.dx = r * (g - h * mean(g * h))
    t.dw = sum(t.dy * h, "M")
  end),
  row("r_levels", { "x M N", "y M N out", "s M f32 out" }, function(t)
    local c = t.x - mean(t.x)
    local d = c / (mean(abs(c)) + 0.125)
    local p = softmax(d)
    t.s = sum(p * d)
    t.y = p * (d - sum(p * d))
  end),
  row("r_logsumexp", { "x M N", "m M N bool", "y M f32 out" }, function(t)
    t.y = logsumexp(where(all(t.m, lt(0, index "N")), excluded, t.x * t.scale))
  end, { "scale f32 = 2" }),
  row("r_over", { "x M N", "r M N", "x2 M N out over x", "y M N out" }, function(t)
    t.x2 = t.x + t.r
    t.y = t.x2 * rsqrt(mean(t.x2 * t.x2) + 1e-2)
  end),
  row("r_per_sample", { "x B M N", "w [B] N ?", "y B M N out" }, function(t) t.y = t.w and t.x * t.w or t.x end),
}
