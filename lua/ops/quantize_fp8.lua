-- quantize_fp8.lua - to eight bits with a scale: value = code * scale, scale = amax / the format's largest value.
--
-- format   e4m3, e5m2; u8: the format of system 001, 127 even steps to each side of the code 128, with the scale inverted
-- per      what has a scale of its own: the tensor, a row, a column, 128 neighbours in a row (block1), 128 x 128 of them (block128);
--          given: one for the tensor, an input
-- Where everything is 0 the scale is 1. A scale is at least 2^-126 (its reciprocal is finite), whatever is scaled.
local LARGEST = { e4m3 = 448, e5m2 = 57344, u8 = 448 }
local SCALE = {
  tensor = "f32 out", given = "f32 in", row = "M f32 out", column = "M N f32 out",
  block1 = "M N/128 f32 out", block128 = "M R/128 N/128 f32 out",
}

local function largest(t, a)
  if t.per == "tensor" then return amax(amax(a, "N"), "M") end
  if t.per == "row" then return amax(a, "N") end
  if t.per == "column" then return amax(a, "R") end
  local m = block_amax(a, "N/128")
  return t.per == "block128" and block_amax(m, "R/128") or m
end

local function over_blocks(t, v)
  if t.per == "block128" then v = spread(v, "R/128") end
  return (t.per == "block1" or t.per == "block128") and spread(v, "N/128") or v
end

local function clamp(v, most) return max(min(v, most), -most) end

return blockwise.op "quantize_fp8" {
  doc      = "q = x / scale in e4m3 or e5m2, scale = amax|x| / largest, per tensor, row, column or block of 128",
  tensors  = { "x M N", "q M N out", "scale f32 out" },
  settings = { format = { "e4m3", "e5m2", "u8" }, per = { "tensor", "given", "row", "column", "block1", "block128" } },
  forms    = function(set)
    local dims = (set.per == "column" or set.per == "block128") and "M R N" or "M N"
    return { x = dims, q = dims .. " " .. set.format, scale = SCALE[set.per] }
  end,
  forward  = function(t)
    local x, top, s = t.x:f32(), LARGEST[t.format], nil
    if t.per == "given" then s = t.scale else
      local m = max(largest(t, abs(x)), 0)
      if t.format == "u8" then s = where(eq(m, 0), 1, top / m) else s = where(eq(m, 0), 1, max(m / top, 0x1p-126)) end
      t.scale = s
      s = t.scale
    end
    if t.format == "u8" then
      local v = x * over_blocks(t, s)
      if t.per == "given" then v = clamp(v, top) end
      t.q = rint(v / top * 127):to "i32" + 128 -- there is no code for NaN: it becomes 0's
    else
      local v = x * over_blocks(t, rcp(s))
      t.q = t.per == "given" and clamp(v, top) or v
    end
  end,
  cases = "M=1,R=300,N=260 per=block128\nM=2,R=130,N=384 strided per=block128\nM=2,R=1000,N=72 per=column\nM=1,R=5000,N=300 per=column",
  curated = {
    { targets = "sm_80 sm_90a" },
    { targets = "sm_75", set = "dtype=f16 format=u8" },
    { targets = "sm_90a", set = "dtype=f16 format=u8" },
    { targets = "sm_89 sm_90a", set = "format=e5m2 per=row" },
    { targets = "sm_90a", set = "per=column" },
    { targets = "sm_80 sm_90a", set = "per=block1" },
    { targets = "sm_90a", set = "per=block128" },
  },
}
