-- evaluate.lua - makes tile values of a definition's nodes, each once. A family says where arguments and reductions come from:
--   e.argument(node)        the tile of an argument, in f32
--   e.reduce(node, value)   its row reduction
--   e.special(node)         anything of the family's own (a product's accumulator), or nil
--   e.spread(value)         a value that lies along one dim of the tile, over the whole tile
-- Values that `keeps(node)` holds for survive forget(), which a family calls when it turns to the next piece of a tensor.
local tile = use "kiln.tile"
local evaluate = {}

local E = {}
E.__index = E

local UNARY = { neg = 1, abs = 1, exp = 1, exp2 = 1, log = 1, log2 = 1, sqrt = 1, rsqrt = 1, rcp = 1, tanh = 1, erf = 1, sin = 1, cos = 1, rint = 1 }
local REDUCE = { sum = 1, amax = 1, amin = 1 }

function evaluate.new(keeps) return setmetatable({ memo = {}, kept = {}, keeps = keeps or function() return false end }, E) end

function E:forget() self.memo = {} end

function E:value(n)
  local done = self.memo[n.index] or self.kept[n.index]
  if done then return done end
  local v = self:make(n)
  if self.keeps(n) then self.kept[n.index] = v else self.memo[n.index] = v end
  return v
end

local function is_whole(n) return n.dims.M and n.dims.N or false end -- the dims of a tile, in both families

-- Statements recorded for a node carry the line of the op's script.
function E:make(n)
  local special = self.special and self.special(n)
  if special then return special end
  local a = {}
  local is_mean = n.op == "div" and n.args[2].op == "dim" -- by the reciprocal, derived once per launch
  for i, arg in ipairs(n.args) do
    if not (is_mean and i == 2) then a[i] = self:value(arg) end
  end
  core.at(n.loc[1], n.loc[2])
  local across = #n.args > 1 and is_whole(n) -- of a value per row and one per column only: one of them is spread first
  for _, arg in ipairs(n.args) do across = across and not is_whole(arg) end
  if across then a[#a] = self.spread(a[#a]) end
  local v = self:apply(n, a, is_mean)
  core.at()
  return v
end

function E:apply(n, a, is_mean)
  if n.op == "arg" then return self.argument(n) end
  if n.op == "scalar" then return tile.param(n.scalar_dtype == "f32" and n.name or n.name .. "_f32", "f32") end
  if n.op == "const" then return tile.const(n.value, "f32") end
  if n.op == "dim" then return tile.to(tile.param(n.dim, "i64"), "f32") end
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
