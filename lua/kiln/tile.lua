-- tile.lua - the tile statements: thin wrappers over the recorder. A value is { id, kind, dtype, shape } with operators;
-- a number beside a value becomes a constant of its type. docs/language.md lists every operation.
local scope = use "kiln.scope"
local tile = {}

local V = {} -- metatable of traced values

local function value(id)
  local kind, dtype, shape = core.type(id)
  return setmetatable({ id = id, kind = kind, dtype = dtype, shape = shape }, V)
end

local function is_value(v) return type(v) == "table" and v.id ~= nil end
tile.is_value = is_value

function tile.const(number, dtype)
  return value(core.node("const", nil, { dtype = dtype, value = number }))
end

local function operand(v, like)
  if is_value(v) then return v.id end
  if type(v) == "number" then return tile.const(v, like and like.dtype or (math.type(v) == "integer" and "i32" or "f32")).id end
  if type(v) == "boolean" then return tile.const(v and 1 or 0, "bool").id end
  error("a traced value or a number is expected here, this is a " .. type(v))
end

local function node(op, args, attrs) return value(core.node(op, args, attrs)) end

local function binary(op, a, b)
  local like = is_value(a) and a or b
  return node(op, { operand(a, like), operand(b, like) })
end
local function unary(op) return function(a) return node(op, { operand(a) }) end end

local function refuse(use) return function() error("a traced value cannot be compared or joined by an operator; use " .. use, 2) end end
V.__index = function(_, key) return tile[key] end
V.__add = function(a, b) return binary("add", a, b) end
V.__sub = function(a, b) return binary("sub", a, b) end
V.__mul = function(a, b) return binary("mul", a, b) end
V.__div = function(a, b) return binary("div", a, b) end
V.__idiv = function(a, b) return binary("div", a, b) end
V.__mod = function(a, b) return binary("rem", a, b) end
V.__unm = function(a) return node("neg", { a.id }) end
V.__lt = refuse "lt(a, b)"
V.__le = refuse "le(a, b)"
V.__concat = refuse "a list"
V.__len = refuse "its shape"

for _, op in ipairs { "neg", "abs", "exp", "exp2", "log", "log2", "sqrt", "rsqrt", "rcp", "tanh", "erf", "sin", "cos", "rint" } do tile[op] = unary(op) end
tile["not_"] = unary "not"
for _, op in ipairs { "min", "max", "lt", "le", "eq", "ne" } do tile[op] = function(a, b) return binary(op, a, b) end end
tile.and_ = function(a, b) return binary("and", a, b) end
tile.or_ = function(a, b) return binary("or", a, b) end
tile.add = V.__add
tile.sub = V.__sub
tile.mul = V.__mul
tile.div = V.__div
function tile.fma(a, b, c) return node("fma", { operand(a, b), operand(b, a), operand(c, a) }) end
function tile.where(c, a, b)
  local like = is_value(a) and a or b
  return node("where", { c.id, operand(a, like), operand(b, like) })
end
function tile.to(a, dtype) return a.dtype == dtype and a or node("cvt", { a.id }, { dtype = dtype }) end
function tile.f32(a) return tile.to(a, "f32") end
function tile.i64(a) return is_value(a) and tile.to(a, "i64") or tile.const(a, "i64") end

-- ---- declarations ----

tile.kernels = 0 -- that were recorded, ever
-- body() records the kernel's statements.
function tile.kernel(attrs, body)
  local k = core.node("kernel", nil, attrs)
  tile.kernels = tile.kernels + 1
  core.open(k, 0)
  body()
  core.close()
end
-- A tensor argument, or a workspace of the contract: a kernel that writes it and the next one that reads it name it alike.
function tile.view(attrs)
  local s = scope.current
  if not s then return node("view", nil, attrs) end
  local a = {}
  for k, v in pairs(attrs) do a[k] = v end
  local target = s.stage.targets[a.tensor]
  a.tensor = target and target.name or s:name(a.tensor)
  for _, k in ipairs { "sizes", "strides", "halves" } do a[k] = a[k] and s:list(a[k]) end
  return node("view", nil, a)
end
-- A tensor map: attrs.dims the names of the view's sizes, outermost first, attrs.box the sizes that one copy moves, attrs.swizzle bytes.
function tile.map(view, attrs)
  local s = scope.current
  if not s then return node("map", { view.id }, attrs) end
  local a = {}
  for k, v in pairs(attrs) do a[k] = v end
  a.dims, a.name = s:list(a.dims), s.stage.name -- stages may see one tensor through maps of different boxes
  return node("map", { view.id }, a)
end
function tile.param(name, dtype)
  local own = scope.current and scope.current:name(name) or name
  local number = tonumber(own)
  return number and tile.const(math.tointeger(number), dtype) or node("param", nil, { name = own, dtype = dtype })
end
function tile.smem(dtype, shape, attrs)
  local a = { dtype = dtype, shape = shape }
  for k, v in pairs(attrs or {}) do if k ~= "alias" then a[k] = v end end
  return node("smem", attrs and attrs.alias and { attrs.alias.id } or nil, a)
end
function tile.frag(dtype, shape, layout) return node("frag", nil, { dtype = dtype, shape = shape, layout = layout }) end
function tile.frag_like(f) return node("frag", { f.id }, { dtype = f.dtype, shape = f.shape }) end -- in that fragment's layout
function tile.var(first) return node("var", { operand(first) }) end
function tile.ring(attrs, names, tiles)
  local ids = {}
  for _, t in ipairs(tiles) do table.insert(ids, t.id) end
  attrs.fields = table.concat(names, ",")
  return node("ring", ids, attrs)
end

-- ---- control ----

local function region(n, k, body, argument)
  core.open(n.id, k)
  body(argument)
  core.close()
end
function tile.for_(lo, hi, step, body, attrs)
  local like = is_value(hi) and hi or is_value(lo) and lo or nil
  local n = node("for", { operand(lo, like), operand(hi, like), operand(step, like) }, attrs)
  region(n, 0, body, n)
end
function tile.if_(condition, yes, no)
  local n = node("if", { condition.id })
  region(n, 0, yes)
  if no then region(n, 1, no) end
end
-- A group of warps with one job; body(group) gets the index of the role's group.
function tile.role(attrs, body)
  local n = node("role", nil, attrs)
  region(n, 0, body, n)
end
function tile.elect(body) region(node("elect"), 0, body) end
function tile.sched(counts, attrs)
  local ids = {}
  for _, c in ipairs(counts) do table.insert(ids, operand(c)) end
  return node("sched", ids, attrs)
end
-- body(index) for every tile that the scheduler gives this cluster.
function tile.each(sched, attrs, body)
  local n = node("each", { sched.id }, attrs)
  region(n, 0, body, n)
end
function tile.order(groups) return node("order", nil, { groups = groups }) end
function tile.enter(order) core.node("enter", { order.id }) end
function tile.leave(order) core.node("leave", { order.id }) end
function tile.cta(axis) return node("cta", nil, { axis = axis or 0 }) end
function tile.ctas(axis) return node("ctas", nil, { axis = axis or 0 }) end
function tile.fastdiv(a, by) return node("fastdiv", { a.id, by.id }) end -- by: a derived fastdiv parameter
function tile.get(v) return node("get", { v.id }) end
function tile.put(v, x) core.node("put", { v.id, operand(x, { dtype = v.dtype }) }) end
function tile.sync() core.node("sync") end
function tile.cluster_sync(attrs) core.node("cluster_sync", nil, attrs) end
-- Of a step with `attr pdl`: what the step before it wrote is there from here on. Of the step before: the next one may start.
function tile.pdl_wait() core.node("pdl_wait") end
function tile.pdl_launch() core.node("pdl_launch") end

-- ---- fragments ----

function tile.set(f, v) core.node("set", { f.id, v.id }) end
function tile.zero(f) core.node("zero", { f.id }) end
function tile.fill(f, x) core.node("fill", { f.id, operand(x, f) }) end
function tile.coord(f, dim) return node("coord", { f.id }, { dim = dim }) end
-- run: of so many elements (default 1).
function tile.exchange(f, run) return node("exchange", { f.id }, { run = run }) end
function tile.even_odd(even, odd, run) return node("even_odd", { even.id, odd.id }, { run = run }) end
function tile.twice(f, run) return node("twice", { f.id }, { run = run }) end
function tile.repeat_(f, times) return times == 1 and f or node("repeat", { f.id }, { times = times }) end
function tile.columns(view, f, first, step) return node("columns", { view.id, f.id, operand(first, { dtype = "i64" }) }, { step = step }) end
-- join: reductions with the same number that follow one another share one barrier.
-- mask: a condition, without which an element does not count.
function tile.reduce(f, kind, dim, join, mask) return node("reduce", { f.id, mask and mask.id }, { kind = kind, dim = dim, join = join }) end
-- What a mutable fragment holds now, as a value of its own that later assignments leave alone.
function tile.copy(f)
  local own = node("frag", { f.id }, { dtype = f.dtype, shape = f.shape })
  core.node("set", { own.id, node("read", { f.id }).id })
  return node("read", { own.id })
end
function tile.read(f) return node("read", { f.id }) end
-- A value with fewer dims than a tile of this shape and layout, spread over it; in f32, a condition as one.
function tile.spread(v, shape, layout)
  if v.kind == "frag" and #v.shape == #shape then return v end
  local whole = tile.frag(v.dtype == "i32" and "i32" or "f32", shape, layout)
  tile.fill(whole, tile.const(0, v.dtype == "i32" and "i32" or "f32"))
  local sum = tile.read(whole) + (v.dtype == "i32" and v or tile.f32(v))
  return v.dtype == "bool" and tile.ne(sum, 0.0) or sum
end

-- ---- memory: coordinates are a list, one per dim of the memory ----

local function with_coordinates(first, coordinates, dtype)
  local ids = first
  for _, c in ipairs(coordinates) do table.insert(ids, operand(c, { dtype = dtype })) end
  return ids
end
-- attrs.share: the name of a derived f32.
function tile.load(memory, coordinates, attrs)
  if attrs and attrs.share then
    tile.param(attrs.share, "f32")
    attrs.share = scope.current and scope.current:name(attrs.share) or attrs.share
  end
  return node("load", with_coordinates({ memory.id }, coordinates, "i64"), attrs)
end
-- Loads test against the memory's bounds what is a dim of the tile. Of a row `at` that is none: the column to begin with, behind the last
-- one where the row is not there. rows, columns: names of the memory's sizes.
function tile.column_of_row(at, column, rows, columns)
  local there = tile.and_(tile.le(0, at), tile.lt(at, tile.param(rows, "i64")))
  return tile.where(there, tile.i64(column), tile.param(columns, "i64"))
end
function tile.load_like(memory, like, coordinates, attrs) return node("load_like", with_coordinates({ memory.id, like.id }, coordinates, "i64"), attrs) end
function tile.gather(memory, index, coordinates, attrs) return node("gather", with_coordinates({ memory.id, index.id }, coordinates, "i64"), attrs) end
function tile.store(memory, f, coordinates, attrs) core.node("store", with_coordinates({ memory.id, f.id }, coordinates, "i64"), attrs) end
function tile.load1(memory, coordinates, attrs) return node("load1", with_coordinates({ memory.id }, coordinates, "i64"), attrs) end
function tile.store1(memory, v, coordinates) core.node("store1", with_coordinates({ memory.id, v.id }, coordinates, "i64")) end
function tile.slice(t, start, shape, layout) return node("slice", { t.id }, { start = start, shape = shape, layout = layout }) end
function tile.part(t, index, dim, size) return node("part", { t.id, operand(index) }, { dim = dim, size = size }) end
function tile.peer(t, rank) return node("peer", { t.id, operand(rank) }) end
function tile.trans(t) return node("trans", { t.id }) end

-- ---- rings and products ----

function tile.acquire(r) return node("acquire", { r.id }) end
-- Tiles of a field that follow one another in memory, `step` elements apart along `dim` of the tile; fill_slot takes one after the other.
function tile.walk(r, field, memory, coordinates, dim, step)
  return node("walk", with_coordinates({ r.id, memory.id }, coordinates, "i64"), { field = field, dim = dim, step = step })
end
function tile.rewalk(walk, coordinates) core.node("rewalk", with_coordinates({ walk.id }, coordinates, "i64")) end
-- memory: a walk, or a view or map and the tile's coordinates. whole: rows are copied as they lie, in whatever order the view walks them.
function tile.fill_slot(slot, field, memory, coordinates, whole)
  core.node("fill_slot", with_coordinates({ slot.id, memory.id }, coordinates or {}, "i64"), { field = field, whole = whole })
end
function tile.commit(slot) core.node("commit", { slot.id }) end
function tile.wait(r) return node("wait", { r.id }) end
function tile.release(slot) core.node("release", { slot.id }) end
function tile.skip(r, n) core.node("skip", { r.id, operand(n) }) end
function tile.put_slot(slot, field, f) core.node("put_slot", { slot.id, f.id }, { field = field }) end
function tile.store_slot(slot, field, map, coordinates)
  core.node("store_slot", with_coordinates({ slot.id, map.id }, coordinates, "i64"), { field = field })
end
function tile.drain(r, n) core.node("drain", { r.id }, { n = n }) end
function tile.field(slot, name) return node("field", { slot.id }, { name = name }) end
function tile.carry(slot) return node("carry", { slot.id }) end
function tile.swap(carrier, slot) return node("swap", { carrier.id, slot.id }) end
function tile.take(carrier) return node("take", { carrier.id }) end
-- right: the right operand's dtype, where it is another than the left one's.
function tile.mma_operands(acc, dtype, right)
  return node("mma_operands", { acc.id }, { dtype = dtype, right = right ~= dtype and right or nil })
end
function tile.mma_fetch(operands, a, b, step) core.node("mma_fetch", { operands.id, a.id, b.id }, { step = step }) end
function tile.mma_issue(acc, operands, attrs) core.node("mma_issue", { acc.id, operands.id }, attrs) end
function tile.mma_commit() core.node("mma_commit") end
function tile.mma_wait(n) core.node("mma_wait", nil, { n = n }) end
function tile.mma(acc, a, b, attrs) core.node("mma", { acc.id, a.id, b.id }, attrs) end
function tile.mma_rs(acc, a, b, attrs) core.node("mma_rs", { acc.id, a.id, b.id }, attrs) end -- a: a fragment

return tile
