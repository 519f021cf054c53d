-- rowwise_sizes.lua - expressions of sizes as the contract writes them, what kernels ask of the contract, and rows whose halves are
-- exchanged.
--
-- Where a definition exchanges halves, the row is walked in another order (gen/tile.def, view: halves): pieces from the two halves
-- of a block take turns, so that what is exchanged lies side by side in one thread. Pieces are of `vec` elements.
local sizes = {}

local WRITTEN = { add = "+", sub = "-", mul = "*", idiv = "/" }

-- nil: not made of sizes and numbers alone.
function sizes.text(n)
  if n.op == "size" then return "size_" .. n.dim end
  if n.op == "const" then return n.dtype == "i32" and string.format("%d", math.tointeger(n.value)) or nil end
  if n.op == "scalar" then return n.dtype == "i32" and not n.call and n.name or nil end
  local named = n.op == "max" or n.op == "min"
  if not WRITTEN[n.op] and not named or n.dtype ~= "i32" then return nil end
  local a, b = sizes.text(n.args[1]), sizes.text(n.args[2])
  if not a or not b then return nil end
  return named and n.op .. "(" .. a .. "," .. b .. ")" or "(" .. a .. WRITTEN[n.op] .. b .. ")"
end

local function is_positive(n)
  if n.op == "const" then return n.value > 0 end
  return n.op == "max" and (is_positive(n.args[1]) or is_positive(n.args[2]))
end

-- May the contract compute it for any sizes? It would refuse to divide by 0.
function sizes.is_safe(n)
  if n.op == "idiv" and not is_positive(n.args[2]) then return false end
  for _, a in ipairs(n.args) do if not sizes.is_safe(a) then return false end end
  return true
end

-- ---- rows of tables ----

local function is_same_everywhere(n)
  for _ in pairs(n.dims) do return false end
  return true
end

-- The row of a lookup, index "T" and what is added to it, the same everywhere: T, and the list of that; nil: it is something else.
function sizes.split_row(row)
  if row.op == "index" then return row.dim, {} end
  for i = 1, row.op == "add" and 2 or 0 do
    local dim, shifts = sizes.split_row(row.args[i])
    local other = row.args[3 - i]
    if dim and is_same_everywhere(other) then
      table.insert(shifts, other)
      return dim, shifts
    end
  end
end

-- That, as the contract writes it: a call scalar's name, and the rest; nil for none of either, and for numbers, which lead behind the end of a table at
-- most. false: it cannot be written, or leads in front of a table.
function sizes.shift(shifts)
  local scalar, rest, least = nil, nil, 0
  for _, n in ipairs(shifts) do
    local text = sizes.text(n)
    if n.op == "scalar" and n.call and not scalar then scalar = n.name
    elseif not text then return false
    else
      rest = rest and rest .. "+" .. text or text
      least = n.op == "const" and least and least + n.value or nil
    end
  end
  if not scalar and least then return least >= 0 and nil end
  return scalar, rest and #shifts > 1 and "(" .. rest .. ")" or rest
end

-- ---- what kernels ask of the contract ----

-- needs: sizes that vectors divide; positive: sizes above 0; dividing: remainders that are 0; lets: expressions that have a name; divisors: names to divide by.
function sizes.new_asks() return { needs = {}, positive = {}, lets = {}, divisors = {}, dividing = {} } end

local function index_of(list, text)
  for i, own in ipairs(list) do if own == text then return i end end
  table.insert(list, text)
  return #list
end

function sizes.need_multiple(asks, text) index_of(asks.needs, text) end
function sizes.need_whole_pieces(asks, width, piece) index_of(asks.dividing, "(" .. width .. "/2)%" .. piece) end
function sizes.need_positive(asks, text) index_of(asks.positive, text) end
function sizes.need_divisor(asks, name, number) index_of(asks.dividing, number .. "%" .. name) end

sizes.MOST_LETS = 16
-- The name of an expression's value.
function sizes.let(asks, text)
  local k = index_of(asks.lets, text)
  if k > sizes.MOST_LETS then core.fail("the definition has more than " .. sizes.MOST_LETS .. " integers made of sizes; name fewer") end
  return "expr_" .. k
end

-- The name of the parameter for division by the value `name`.
function sizes.divisor(asks, name)
  index_of(asks.divisors, name)
  return "by_" .. name
end

-- ---- halves ----

-- E of a width 2 * E.
local function half_of(width)
  if width.op ~= "mul" then return nil end
  for i = 1, 2 do
    local two = width.args[i]
    if two.op == "const" and two.value == 2 then return width.args[3 - i] end
  end
end

local function is_same(n, other) -- n, or n where it is not 0
  if other and n.index == other.index then return true end
  return other ~= nil and n.op == "max" and (n.args[1].index == other.index and n.args[2].op == "const" or
    n.args[2].index == other.index and n.args[1].op == "const")
end

function sizes.is_width(h, n) return is_same(n, h.width) end
function sizes.is_half(h, n)
  if n.op == "idiv" and n.args[2].op == "const" and n.args[2].value == 2 then return n.args[1].index == h.width.index end
  return is_same(n, half_of(h.width))
end

-- Does the condition hold within whole blocks only? c < N / width * width
local function is_within_blocks(h, c)
  if c.op == "and" then return is_within_blocks(h, c.args[1]) or is_within_blocks(h, c.args[2]) end
  local first, bound = c.args[1], c.args[2]
  if c.op ~= "lt" or first.op ~= "index" or first.dim ~= h.dim or bound.op ~= "mul" then return false end
  for i = 1, 2 do
    local blocks = bound.args[i]
    local counted = blocks.op == "idiv" and blocks.args[1].op == "size" and blocks.args[1].dim == h.dim and sizes.is_width(h, blocks.args[2])
    if counted and sizes.is_width(h, bound.args[3 - i]) then return true end
  end
  return false
end

local PASSES = { add = true, sub = true, mul = true, div = true, neg = true, where = true }
-- Does nothing of what a segment computes depend on the value outside of whole blocks? A selection leaves it out.
function sizes.is_within_blocks_only(h, seg, n)
  local used = false
  for _, o in ipairs(seg.outputs) do if o.value.index == n.index then return false end end
  for _, sum in ipairs(seg.sums) do if sum.value.index == n.index then return false end end
  for _, u in ipairs(seg.nodes) do
    for i, a in ipairs(u.args) do
      if a.index == n.index then
        used = true
        local left_out = u.op == "where" and i == 2 and is_within_blocks(h, u.args[1])
        if not left_out and (not PASSES[u.op] or not sizes.is_within_blocks_only(h, seg, u)) then return false end
      end
    end
  end
  return used
end

-- inst.halves: column dim -> { width, text, names of values of the contract }, for the dims along which halves are exchanged.
function sizes.find_halves(inst, list)
  inst.halves = {}
  for _, seg in ipairs(list) do
    for _, n in ipairs(seg.nodes) do
      local known = n.op == "swap_halves" and inst.halves[n.dim]
      if known and known.width.index ~= n.args[2].index then
        core.at(n.loc[1], n.loc[2])
        error("swap_halves: halves of blocks of one width are exchanged along " .. n.dim .. " already; a dim has one", 0)
      end
      if n.op == "swap_halves" and not known then
        local text, d = sizes.text(n.args[2]), n.dim
        core.at(n.loc[1], n.loc[2])
        if not text then error("the width of swap_halves is made of sizes and numbers", 0) end
        core.at()
        inst.halves[d] = { dim = d, width = n.args[2], text = text, half = "half_" .. d, whole = "whole_" .. d, span = "span_" .. d, swaps_pairs = false }
      end
    end
    for _, n in ipairs(seg.nodes) do
      local h = n.op == "swap_pairs" and inst.halves[n.dim]
      if h then
        h.swaps_pairs = true
        if h.width.op == "const" and h.width.value % 4 ~= 0 then
          core.at(n.loc[1], n.loc[2])
          error("swap_pairs: halves of " .. h.text .. " columns are exchanged, too; a pair is of one half where the width is a multiple of 4", 0)
        end
      end
    end
  end
end

-- Is the lookup's entry the same in both halves of a block?
function sizes.is_entry_of_half(h, entry)
  return entry.op == "mod" and entry.args[1].op == "index" and sizes.is_half(h, entry.args[2])
end

-- Do all lookups read one entry for both halves?
function sizes.shares_entries(inst)
  local shares = false
  for _, seg in ipairs(inst.segments) do
    local h = inst.halves[seg.column]
    for _, n in ipairs(seg.nodes) do
      if n.op == "lookup" and not (h and sizes.is_entry_of_half(h, n.args[3])) then return false end
      shares = shares or n.op == "lookup"
    end
  end
  return shares
end

-- Elements of a piece; 1 where a row is walked as it lies. Where neighbours are exchanged as well, they are of one piece.
function sizes.piece(inst, column, vec)
  local h = inst.halves[column]
  return h and (h.swaps_pairs and vec == 1 and 2 or vec) or 1
end

-- How many columns the walk along a row comes to, by name: whole blocks where halves take turns.
function sizes.span(inst, column) return inst.halves[column] and inst.halves[column].span or column end

-- The same for a view of which this is the last dim, as the view says it.
function sizes.order(inst, dim)
  local h = inst.halves[dim]
  return h and h.half .. ",by_" .. h.half
end

return sizes
