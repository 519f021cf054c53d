-- rotary.lua - rotary position embedding as a function of definitions: pairs of columns turn by angles of which a table has cosines
-- and sines.
--
--   turned, turns = rotate(x, { cos = .., sin = .., row = .., entries = size "R", pairs = .., table = .., blocks = .. })
--
-- row: of the tables; entries: how many a row has. table: they have an entry per "channel", or per "pair". pairs: "neighbours", or
-- "halves" of a block, which is as wide as the table says. blocks: "first", or "all" whole ones of the row. The second result is the
-- condition under which a column is one of those that turn; elsewhere the first is of no use.
local trace = use "kiln.trace"
local text = use "kiln.text"
local f = trace.functions

local function column_of(x)
  for d in pairs(x.dims) do if trace.is_column(x.graph, d) then return d end end
  error("rotate: the value is the same in the whole row", 3)
end

local WORDS = { pairs = { "neighbours", "halves" }, table = { "channel", "pair" }, blocks = { "first", "all" } } -- of blocks, the first if left out

function f.rotate(x, by)
  local takes = "rotate takes a value and a table { cos, sin, row, entries, pairs, table, blocks }"
  if not trace.is_node(x) or type(by) ~= "table" then error(takes, 2) end
  local column = column_of(x)
  for _, key in ipairs { "cos", "sin", "row", "entries" } do if by[key] == nil then error(takes .. "; " .. key .. " is not there", 2) end end
  for key, words in pairs(WORDS) do
    if not text.has(words, by[key]) and not (key == "blocks" and by[key] == nil) then
      error("rotate: " .. key .. " is \"" .. table.concat(words, "\" or \"") .. "\", this is " .. tostring(by[key]), 2)
    end
  end
  local c, width = f.index(column), by.table == "pair" and 2 * by.entries or by.entries // 2 * 2
  local block = f.max(width, 1) -- a table without entries turns nothing
  local neighbours, all = by.pairs == "neighbours", by.blocks == "all"
  local place = all and c % block or c
  local entry = by.table == "channel" and place or neighbours and place // 2 or c % f.max(by.entries, 1)
  local partner = neighbours and f.swap_pairs(x) or f.swap_halves(x, width)
  local first = neighbours and f.eq(c % 2, 0) or f.lt(c % block, width // 2)
  local turned = x * f.lookup(by.cos, by.row, entry) + f.where(first, -partner, partner) * f.lookup(by.sin, by.row, entry)
  return turned, f.lt(c, all and f.size(column) // block * width or width)
end

return f
