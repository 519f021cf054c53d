-- blockwise_ops.lua - blockwise ops as users could write them: other blocks, other uses of the largest value, integers, scalars.
local function ops()
  return
    blockwise.op "mx32" {
      doc = "32 neighbours over the largest of them", tensors = { "x M N", "y M N out", "s f32 out" },
      forms = function() return { x = "M N", y = "M N f16", s = "M N/32 f32" } end,
      forward = function(t)
        local m = block_amax(abs(t.x), "N/32")
        t.s = where(eq(m, 0), 1, m)
        t.y = t.x / spread(t.s, "N/32")
      end,
    },
    blockwise.op "tiles" {
      doc = "blocks of 64 x 256", tensors = { "x M N", "y M N out", "s f32 out" },
      forms = function() return { x = "M R N", y = "M R N i8", s = "M R/64 N/256 f32" } end,
      forward = function(t)
        local m = max(block_amax(block_amax(abs(t.x), "N/256"), "R/64"), 1e-6)
        t.s = m / 127
        t.y = rint(spread(spread(127 / m, "R/64"), "N/256") * t.x):to "i32"
      end,
    },
    blockwise.op "capped" {
      doc = "rows over their largest value, capped by a scalar, with a bias per column", tensors = { "x M N", "b N f32", "y M N out", "m M f32 out" },
      scalars = { "least f32 = 0.5" },
      forward = function(t)
        t.m = amax(abs(t.x), "N")
        t.y = t.x / max(t.m, t.least) + t.b
      end,
    },
    blockwise.op "beyond" {
      doc = "what saturates, infinities too", tensors = { "x M N", "w N i8", "y M N e4m3 out", "z M N e5m2 out", "v M N i8 out" },
      forward = function(t)
        t.y = t.x * 300
        t.z = t.x * 40000
        t.v = (t.x * 100):to "i32" + t.w
      end,
    },
    blockwise.op "peak" {
      doc = "a matrix over its largest value", tensors = { "x M N", "y M N out", "m f32 out" },
      forward = function(t)
        t.m = amax(amax(abs(t.x), "N"), "M")
        t.y = t.x / (1 + t.m)
      end,
    },
    blockwise.op "columns" {
      doc = "columns over their largest value, row by row weighted", tensors = { "x M R N", "w M R f32", "y M R N out", "m M N f32 out" },
      forward = function(t)
        t.m = amax(abs(t.x), "R")
        t.y = t.w * t.x / (1 + t.m)
      end,
    },
    blockwise.op "plain" {
      doc = "no largest value: codes by rows and blocks of columns", tensors = { "q M N", "s f32", "z M N", "y M N out" },
      forms = function() return { q = "M N u8", s = "M N/64 f32", z = "M N/64 f32" } end,
      forward = function(t) t.y = (t.q:f32() - spread(t.z, "N/64")) * spread(t.s, "N/64") end,
    },
    blockwise.op "masked" {
      doc = "conditions read and written", tensors = { "x M N", "keep M N bool", "y M N out", "below M N bool out" },
      forward = function(t)
        t.y = where(t.keep, t.x, 0)
        t.below = all(t.keep, lt(t.x, 0))
      end,
    },
    blockwise.op "small" {
      doc = "blocks of 16 x 16, the largest value alone", tensors = { "x M R N", "y M R N out" },
      forms = function() return { y = "M R/16 N/16 f32" } end,
      forward = function(t) t.y = 2 * block_amax(block_amax(abs(t.x), "N/16"), "R/16") end,
    },
    blockwise.op "rows" {
      doc = "a row's largest value, and no tensor of one value per row: rows are not merged with columns", tensors = { "x M N", "b N ?", "y M N out" },
      forward = function(t)
        local v = t.x / max(amax(abs(t.x)), 1e-12)
        t.y = t.b and v + t.b or v
      end,
    },
    blockwise.op "levelled" {
      doc = "a block's largest value, and no tensor of blocks; the largest of all is left out unless asked for",
      tensors = { "x M N", "y M N out" },
      forward = function(t) t.y = t.x / max(spread(block_amax(abs(t.x), "N/64"), "N/64"), 1e-12) end,
    },
    blockwise.op "bytes" {
      doc = "to i8, of NaN 0", tensors = { "x M N", "q M N out", "top f32 out ?" },
      forms = function() return { q = "M N i8" } end,
      forward = function(t)
        local s = max(amax(amax(abs(t.x), "N"), "M"), 1e-12)
        t.top = s
        t.q = rint(t.x / s * 127)
      end,
    }
end
return { ops() }
