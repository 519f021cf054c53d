-- l2_norm.lua - rows brought to length one, weighted, and passed through silu.
return rowwise.op "l2_norm" {
  doc     = "y = silu(x / max(|x|, eps) * g), row by row; len = |x|",

  -- In the caller's order. M: up to four leading dims; `own`: may have a dtype of its own; `?`: may be left out.
  tensors = { "x M N", "g N own ?", "y M N out", "len M f32 out ?" },
  scalars = { "eps f32 = 1e-12" },

  forward = function(t)
    local x = t.x:f32()                   -- arithmetic is in f32, whatever the dtype
    local length = sqrt(sum(x * x))       -- a sum over the row
    t.len = length                        -- written only where the caller passes `len`
    local y = x / max(length, t.eps)
    if t.g then y = y * t.g end           -- presence is known when the op is generated
    t.y = silu(y)                         -- rounded here, to the dtype of y
  end,
}
