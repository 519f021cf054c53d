-- evaluate.lua - makes tile values of a definition's nodes, each once. A family says where arguments and reductions come from:
--   e.argument(node)        the tile of an argument, in f32
--   e.reduce(node, value)   its row reduction
--   e.special(node)         anything of the family's own (a product's accumulator), or nil
--   e.spread(value)         a value that lies along one dim of the tile, over the whole tile
--   e.whole(node)           does the node's value lie along both dims of the tile?
--   e.per_row(node), e.per_column(node)   along one of them only? What is made of row sums lies along the rows, whatever its dims are
-- and, where its definitions have them: e.index(node), e.swap_pairs(node, value), e.swap_halves(node, value), e.lookup(node), and
--   e.alternates(condition)   of how many elements the runs are at which the condition holds and does not, in turns; nil: it is not so
--   e.even_odd(a, b, run)     a where it holds, b elsewhere
-- Values that `keeps(node)` holds for survive forget(), which a family calls when it turns to the next piece of a tensor.
local tile = use "kiln.tile"
local evaluate = {}

local E = {}
E.__index = E

local UNARY = { neg = 1, abs = 1, exp = 1, exp2 = 1, log = 1, log2 = 1, sqrt = 1, rsqrt = 1, rcp = 1, tanh = 1, erf = 1, sin = 1, cos = 1, rint = 1 }
local REDUCE = { sum = 1, amax = 1, amin = 1 }
-- What an evaluator has a function for, where its family makes it at all.
local HELPED = { index = "index", lookup = "lookup", swap_pairs = "swap_pairs", swap_halves = "swap_halves", sum = "reduce", amax = "reduce", amin = "reduce" }

local function has_both(n) return n.dims.M and n.dims.N or false end -- a product's rows and columns
local function has_rows(n) return n.dims.M and not n.dims.N or false end
local function has_columns(n) return n.dims.N and not n.dims.M or false end

function evaluate.new(keeps)
  return setmetatable({ memo = {}, kept = {}, keeps = keeps or function() return false end, whole = has_both, per_row = has_rows, per_column = has_columns }, E)
end

function E:forget() self.memo = {} end

function E:value(n)
  local done = self.kept[n.index] or self.memo[n.index]
  if done then return done end
  local v = self:make(n)
  if self.keeps(n) then self.kept[n.index] = v else self.memo[n.index] = v end
  return v
end

-- Makes values under another memo, `f()`, for places where the same node means something else.
function E:within(memo, f)
  local outer = self.memo
  self.memo = memo
  local v = f()
  self.memo = outer
  return v
end

-- Is it of a value per row and one per column only? One of them is spread first.
function E:is_across(n)
  local per_row, per_column = false, false
  for _, arg in ipairs(n.args) do
    if self.whole(arg) then return false end
    if self.per_row(arg) then per_row = true else per_column = per_column or self.per_column(arg) end
  end
  return per_row and per_column
end

-- Statements recorded for a node carry the line of the op's script.
function E:make(n)
  local special = self.special and self.special(n)
  if special then return special end
  if HELPED[n.op] and not self[HELPED[n.op]] then
    core.at(n.loc[1], n.loc[2])
    error(n.op .. ": row-wise ops have it, this op's family has not", 0)
  end
  if n.op == "lookup" then return self.lookup(n) end
  local number = n.op == "float" and n.args[1].op == "scalar" and not n.args[1].call and n.args[1] -- converted once per plan
  if number then return tile.param(number.name .. "_f32", "f32") end
  local turns = n.op == "where" and self.alternates and self.alternates(n.args[1])
  local a = {}
  local is_mean = n.op == "div" and n.args[2].op == "dim" -- by the reciprocal, derived once per launch
  for i, arg in ipairs(n.args) do
    local unused = i == 2 and (is_mean or n.op == "swap_halves") or i == 1 and turns
    if not unused then a[i] = self:value(arg) end
  end
  core.at(n.loc[1], n.loc[2])
  if turns then
    local v = self.even_odd(a[2], a[3], turns)
    core.at()
    return v
  end
  if self:is_across(n) then a[#a] = self.spread(a[#a]) end
  local v = self:apply(n, a, is_mean)
  core.at()
  return v
end

function E:apply(n, a, is_mean)
  if n.op == "arg" then return self.argument(n) end
  if n.op == "scalar" then
    if n.dtype == "i32" then return tile.to(tile.param(n.name, n.scalar_dtype), "i32") end
    if n.call and n.scalar_dtype ~= "f32" then return tile.to(tile.param(n.name, n.scalar_dtype), "f32") end -- no plan has converted it
    return tile.param(n.scalar_dtype == "f32" and n.name or n.name .. "_f32", "f32")
  end
  if n.op == "const" then
    if n.dtype == "i32" then return tile.const(math.tointeger(n.value), "i32") end
    return tile.const(n.value, "f32")
  end
  if n.op == "dim" then return tile.to(tile.param("size_" .. n.dim, "i64"), "f32") end -- a let of the family's
  if n.op == "size" then return tile.to(tile.param("size_" .. n.dim, "i64"), "i32") end
  if n.op == "index" then return self.index(n) end
  if n.op == "swap_pairs" or n.op == "swap_halves" then return self[n.op](n, a[1]) end
  if n.op == "stop" then return a[1] end
  if n.op == "float" then return tile.to(a[1], "f32") end
  if n.op == "idiv" then return a[1] / a[2] end
  if n.op == "mod" then return a[1] % a[2] end
  if REDUCE[n.op] then return self.reduce(n, a[1]) end
  if is_mean then return a[1] * tile.param("inv_" .. n.args[2].dim, "f32") end
  if n.op == "round" then return tile.f32(tile.to(a[1], n.round)) end
  if UNARY[n.op] then return tile[n.op](a[1]) end
  if n.op == "float" or n.op == "stop" then return a[1] end -- integer scalars reach a kernel as NAME_f32, too
  if n.op == "not" then return tile.not_(a[1]) end
  if n.op == "where" then return tile.where(a[1], a[2], a[3]) end
  if n.op == "and" or n.op == "or" then return tile[n.op .. "_"](a[1], a[2]) end
  return tile[n.op](a[1], a[2])
end

return evaluate
