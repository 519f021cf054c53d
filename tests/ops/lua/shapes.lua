-- shapes.lua - values with fewer dims than what they meet or are assigned to, and sums that are not 0 beyond a row's end.
local function row(name, declared)
  return rowwise.op(name) { doc = name, tensors = declared[1], scalars = declared[3], forward = declared[2] }
end
return {
  row("s_row_to_all", { { "x M N", "y M N out" }, function(t) t.y = mean(t.x) end }),
  row("s_column_to_all", { { "x M N", "w N", "y M N out" }, function(t) t.y = t.w + 1 end }),
  row("s_constant", { { "x M N", "y M N out", "s M f32 out" }, function(t) t.y = 3 t.s = 4 end }),
  row("s_scalar", { { "x M N", "y M N out" }, function(t) t.y = t.f end, { "f f32 = 2" } }),
  row("s_row_input", { { "x M N", "g M", "y M N out", "s M f32 out" }, function(t) t.s = sum(t.x) * t.g t.y = t.x * t.g end }),
  row("s_row_and_column", { { "x M N", "g M", "w N", "y M N out" },
    function(t) t.y = t.x + t.g * t.w + where(all(lt(t.g, 0), lt(t.w, 0)), 1, 0) end }),
  row("s_sum_of_column", { { "x M N", "w N", "y M N out" }, function(t) t.y = t.x * sum(t.w * t.w) end }),
  row("s_no_row_input", { { "w N", "y M N out" }, function(t) t.y = t.w end }),
  row("s_entropy", { { "x M N", "h M f32 out" }, function(t) local p = abs(t.x) t.h = -sum(where(eq(p, 0), 0, p * log(p + 1))) end }),
  row("s_times_log", { { "x M N", "h M f32 out" }, function(t) local p = abs(t.x) + 1 t.h = sum((p - 1) * rcp(p - 1 + 0.0 * t.x) * 0 + p) end }),
  row("s_sum_of_quotient", { { "x M N", "h M f32 out" }, function(t) t.h = sum(t.x / (sum(t.x) * 0)) end }),
  row("s_read_back", { { "x M N", "y M N out", "z M N f32 out" }, function(t) t.y = t.x * 1.001 t.z = t.y * 2 end }),
  row("s_i32", { { "x M N i32", "y M N out" }, function(t) t.y = t.x * t.k end, { "k i32 = 3" } }),
  row("s_i64", { { "x M N i64", "y M N out" }, function(t) t.y = t.x * t.k end, { "k i64 = 3" } }),
  row("s_f64_scalar", { { "x M N", "y M N out" }, function(t) t.y = t.x * t.k end, { "k f64 = 0.1" } }),
  -- dims in another order than the rows have: of outputs, of inputs, of both; their loops are none, and their gradients not all made
  row("s_first_of_rows", { { "x M N", "y B M N out" }, function(t) t.y = t.x end }),
  row("s_turned", { { "x B M N", "y M B N out", "s M B f32 out" }, function(t) t.s = sum(t.x * t.x) t.y = t.x * t.s end }),
  row("s_turned_inputs", { { "x B T N", "g T B N", "q T B", "y B T N out", "z B T N out" }, function(t) t.y = t.x * t.g t.z = t.x + t.g * t.q end }),
  -- parts of a launch that have the same rows, and read different numbers of tensors
  row("s_columns_of_two", { { "x M N1", "w M N2", "y M N1 out", "v M N2 out" }, function(t) t.y = t.x * t.x t.v = t.w * 2 end }),
  row("s_two_and_one", { { "x M N1", "z M N1", "w M N2", "y M N1 out", "v M N2 out" }, function(t) t.y = t.x * t.z t.v = t.w / sum(t.w * t.w) end }),
  row("s_ptx_words", { { "add M N", "tid M N", "ret M N out" }, function(t) t.ret = t.add + t.tid end }),
}
