-- 5_cross_entropy.lua - one value per row, by integers: the loss of rows of logits against labels, smoothed; rows of a label below 0 count
-- nothing. `index "N"` is the column, `smooth` comes with each launch, and the gradient of the logits is derived: labels have none.
return rowwise.op "cross_entropy" {
  doc     = "loss = logsumexp(x) - (1 - smooth) x[label] - smooth mean(x)",
  tensors = { "x M N", "label M i64", "loss M f32 out" },
  scalars = { "smooth f32 = 0.1 call" },
  forward = function(t)
    local chosen = sum(where(eq(index "N", t.label), t.x, 0))
    t.loss = where(lt(t.label, 0), 0, logsumexp(t.x) - (1 - t.smooth) * chosen - t.smooth * mean(t.x))
  end,
}
