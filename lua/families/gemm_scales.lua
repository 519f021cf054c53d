-- gemm_scales.lua - promoted products: sums over 128 of k, times the scales of their blocks, added up in f32.
local tile = use "kiln.tile"
local layout = use "kiln.layout"
local op = use "kiln.op"
local text = use "kiln.text"

local scales = {}

-- Has each column scales of its own, one for every 128 of k?
scales.has_columns = op.once("has_column_scales", function(inst)
  for _, t in ipairs(inst.tensors) do
    if inst.op.scaled[t.name] and text.has(t.dims, "N") and text.has(t.dims, "K_128") then return true end
  end
  return false
end)

local Scales = {}
Scales.__index = Scales

local function leave(s, set, values) tile.store(s.shared[set], values, { 0, 0 }, { dims = { 1 } }) end

-- The scales of blocks that parts of a tile need, { row =, column =, accs = }: rows from m + row on, columns from n + column on; for one step
-- of k after the other. Each is loaded once: a value per row, one per column, or one for all (of a block of 128 rows or columns there is one;
-- parts lie within such a block).
--
-- sets: of registers, which take turns: the i-th begins with the i-th step's scales, and `after` a step its set gets those of the step that is
-- `sets` later.
-- share(n): shared memory of a row of n for the threads of this group, four warps. Scales of columns go through two such rows, which take turns:
-- a thread brings one or two of them instead of all that its elements need. `during` a step's products those of the next one are left there.
function scales.new(inst, view, parts, batch, m, n, sets, share)
  local self, columns = setmetatable({ of = {}, parts = parts, sets = sets }, Scales), 0
  for _, part in ipairs(parts) do columns = math.max(columns, part.column + part.accs[1].shape[2]) end
  local last = tile.to(tile.param("K_128", "i64") - 1, "i32")
  local function block(d, of) -- beyond the tensor there is nothing to scale, but a load has no bounds there
    return tile.min(tile.to(of, "i32") / 128, tile.to(tile.param(d, "i64") - 1, "i32"))
  end
  local sources = {}
  local function source(t, part)
    local s, key = { view = view[t.name], at = {}, dims = { -1, -1 }, like = part.accs[1] }, t.name
    local column = share and 0 or part.column -- shared memory has those of all parts
    for j, d in ipairs(t.dims) do
      if d == "M" then key = key .. " m" .. part.row elseif d == "N" then key = key .. " n" .. column end
      if d == "M_128" then key = key .. " m" .. part.row elseif d == "N_128" then key = key .. " n" .. part.column end
      if d == "M" then s.dims[1], s.along = j - 1, "row" elseif d == "N" then s.dims[2], s.along = j - 1, "column" end
      s.at[j] = d == "B" and batch or d == "M" and m + part.row or d == "N" and n + column or d
    end
    if sources[key] then return sources[key] end
    for j, d in ipairs(s.at) do
      if d == "M_128" then s.at[j] = block(d, m + part.row) elseif d == "N_128" then s.at[j] = block(d, n + part.column) end
    end
    sources[key] = s
    table.insert(self, s)
    return s
  end
  for at, part in ipairs(parts) do
    self.of[at] = {}
    for i, p in ipairs(inst.op.products) do
      local list = {}
      for _, name in ipairs { p.left, p.right } do
        local t = inst.by_name[inst.op.scale_of[name]]
        if t and text.has(t.dims, "K_128") then table.insert(list, source(t, part)) end
      end
      self.of[at][i] = list
    end
  end
  for _, s in ipairs(self) do
    if share and s.along == "column" then
      self.shared = true
      s.count, s.shared = layout.whole(columns, 4), {}
      for set = 1, 2 do s.shared[set] = share(s.count) end
    end
  end
  function self.load(s, k) -- beyond the end: the last step's
    local c, step = {}, tile.min(k, last)
    for j, d in ipairs(s.at) do c[j] = d == "K_128" and step or d end
    if s.shared then return tile.load(s.view, c, { shape = { s.count }, layout = layout.one_dim(s.count, 4), dims = { s.dims[2] }, cache = "nc" }) end
    if s.along then return tile.load_like(s.view, s.like, c, { cache = "nc", dims = s.dims }) end
    return tile.load1(s.view, c, { cache = "nc" })
  end
  local function hold(s, v, set)
    s.held[set] = s.along and tile.frag_like(v) or tile.var(v)
    if s.along then tile.set(s.held[set], v) end
  end
  for _, s in ipairs(self) do
    s.held = {}
    if s.shared then
      leave(s, 1, self.load(s, tile.const(0, "i32")))
      hold(s, self.load(s, tile.const(1, "i32")), 1)
    end
  end
  for set = 1, sets do
    local values = self:fetch(tile.const(set - 1, "i32"))
    for i, s in ipairs(self) do if not s.shared then hold(s, values[i], set) end end
  end
  return self
end

-- While the products of step k are under way, whose scales are of this set.
function Scales:during(k, set)
  if self.shared then tile.sync() end -- this step's scales are there, and the next one's may take the place of those before
  for _, s in ipairs(self) do
    if s.shared then
      leave(s, 3 - set, tile.read(s.held[1]))
      tile.set(s.held[1], self.load(s, k + 2))
    end
  end
end

-- Those of step k that go to registers, on their way; from `put` on they are what counts in their set.
function Scales:fetch(k)
  local values = {}
  for i, s in ipairs(self) do if not s.shared then values[i] = self.load(s, k) end end
  return values
end
function Scales:put(values, set)
  for i, s in ipairs(self) do
    if s.shared then -- they went there
    elseif s.along then tile.set(s.held[set], values[i])
    else tile.put(s.held[set], values[i]) end
  end
end

-- Once the sums of step k are promoted.
function Scales:after(k, set) self:put(self:fetch(k + self.sets), set) end

-- acc += sum * scales, of the part's i-th product. own: nil, there are none.
function scales.promote(acc, sum, own, at, i, set)
  local value, by = tile.read(sum), {}
  for _, s in ipairs(own and own.of[at][i] or {}) do
    local along, v = s.along or "all", nil
    if s.shared then v = tile.load_like(s.shared[set], sum, { 0, own.parts[at].column }, { dims = { -1, 1 } })
    elseif s.along then v = tile.read(s.held[set])
    else v = tile.get(s.held[set]) end
    by[along] = by[along] and by[along] * v or v
  end
  if by.column then value = value * by.column end
  local factor = by.row and by.all and by.row * by.all or by.row or by.all
  tile.set(acc, factor and tile.fma(value, factor, tile.read(acc)) or tile.read(acc) + value)
end

return scales
