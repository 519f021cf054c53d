-- 1_scale.lua - the shortest op: every element times a number. `kiln check lua/examples/1_scale.lua --device sim:sm_80`
return rowwise.op "scale" {
  doc     = "y = x * factor",
  tensors = { "x M N", "y M N out" },
  scalars = { "factor f32 = 2" },
  forward = function(t) t.y = t.x:f32() * t.factor end,
}
