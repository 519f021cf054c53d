-- dequantize_fp8.lua - back from eight bits: value = code * scale; quantize_fp8.lua says what formats and scales there are.
-- In the u8 format the value is rounded through f16, whatever the output is, as system 001 does.
local SCALE = { tensor = "f32", row = "M f32", column = "M N f32", block1 = "M N/128 f32", block128 = "M R/128 N/128 f32" }

return blockwise.op "dequantize_fp8" {
  doc      = "y = q * scale, from e4m3, e5m2 or u8, with a scale per tensor, row, column or block of 128",
  tensors  = { "q M N", "scale f32", "y M N out" },
  settings = { format = { "e4m3", "e5m2", "u8" }, per = { "tensor", "row", "column", "block1", "block128" } },
  forms    = function(set)
    local dims = (set.per == "column" or set.per == "block128") and "M R N" or "M N"
    return { q = dims .. " " .. set.format, scale = SCALE[set.per], y = dims }
  end,
  forward  = function(t)
    local s = t.format == "u8" and rcp(t.scale) or t.scale
    if t.per == "block128" then s = spread(s, "R/128") end
    if t.per == "block1" or t.per == "block128" then s = spread(s, "N/128") end
    if t.format == "u8" then
      t.y = ((t.q - 128) / 127 * 448 * s):to "f16"
    else
      t.y = t.q * s
    end
  end,
  cases = "M=1,R=300,N=260 per=block128\nM=2,R=130,N=384 strided per=block128",
  curated = {
    { targets = "sm_80 sm_90a" },
    { targets = "sm_75", set = "dtype=f16 format=u8" },
    { targets = "sm_90a", set = "per=block128" },
  },
}
