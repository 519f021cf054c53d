-- blocks.lua - dims that count blocks of another dim. A tensor's text says "N/128": one value per 128 of N, the last block maybe
-- shorter. In a definition's graph the dim is called N_128.
--
--   block_amax(v, "N/128")   the largest of each block: N gives way to N/128
--   spread(v, "N/128")       the block's value at each of its elements: N/128 gives way to N
local text = use "kiln.text"
local trace = use "kiln.trace"
local blocks = {}

-- "N/128" -> { dim = "N_128", of = "N", size = 128 }; nil: the word is no such dim.
function blocks.read(word)
  local at = type(word) == "string" and string.find(word, "/", 1, true)
  if not at then return nil end
  local of, size = string.sub(word, 1, at - 1), math.tointeger(tonumber(string.sub(word, at + 1)))
  if #of == 0 or not size or size < 1 then return nil end
  return { dim = of .. "_" .. size, of = of, size = size }
end

local function over(op, from, to)
  return function(v, word)
    local b = blocks.read(word)
    if not b then error(op .. ": '" .. tostring(word) .. "' is no dim of blocks; \"N/128\" is one", 2) end
    if not trace.is_node(v) or not v.dims[b[from]] then error(op .. ": the value has no dim " .. b[from], 2) end
    local dims = {}
    for d in pairs(v.dims) do if d ~= b[from] then dims[d] = true end end
    dims[b[to]] = true
    return trace.new(v.graph, { op = op, args = { v }, dims = dims, dim = b.dim })
  end
end
trace.functions.block_amax = over("block_amax", "of", "dim")
trace.functions.spread = over("spread", "dim", "of")

-- The dims in a text such as "M N/128" and the blocks among them.
function blocks.dims(spec)
  local dims, found = {}, {}
  for _, word in ipairs(text.split(spec, " ")) do
    local b = blocks.read(word)
    table.insert(dims, b and b.dim or word)
    if b then table.insert(found, b) end
  end
  return dims, found
end

return blocks
