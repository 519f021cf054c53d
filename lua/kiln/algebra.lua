-- algebra.lua - what autodiff builds gradients with: sums and products that stay simple, so that row sums are few and none waits
-- for another without need. A product is taken apart into its factors; what lacks the summed dim is drawn out of a sum; a sum of
-- several adjoints is split where the parts can be summed earlier than the whole.
local trace = use "kiln.trace"
local f = trace.functions
local algebra = {}

local A = {}
A.__index = A

-- graph.count: nodes of the op's own definition. graph.kept[index]: values that are not taken apart (they may be read from memory).
function algebra.new(graph) return setmetatable({ graph = graph }, A) end

local function is(n, value) return n.op == "const" and n.value == value end

local function has_column(self, n)
  for d in pairs(n.dims) do if trace.is_column(self.graph, d) then return true end end
  return false
end

-- Row sums one above the other below a node.
local function depth(self, n)
  if n.depth then return n.depth end
  local d = 0
  for _, a in ipairs(n.args) do d = math.max(d, depth(self, a)) end
  if (n.op == "sum" or n.op == "amax" or n.op == "amin") and trace.is_column(self.graph, n.dim) then d = d + 1 end
  n.depth = d
  return d
end
function A:depth(n) return depth(self, n) end

function A:extent(dim) return trace.new(self.graph, { op = "dim", dim = dim, dims = {} }) end

function A:neg(n)
  if n.op == "neg" then return n.args[1] end
  if n.op == "const" then return n.value == 0 and n or trace.const(self.graph, -n.value) end
  if n.op == "sub" then return self:sub(n.args[2], n.args[1]) end
  if n.op == "where" and (is(n.args[2], 0) or is(n.args[3], 0)) then
    return self:where(n.args[1], self:neg(n.args[2]), self:neg(n.args[3]))
  end
  return f.neg(n)
end

-- Two selections by one condition of which one has a 0: one selection, and no addition more.
local function are_branches(a, b)
  if a.op ~= "where" or b.op ~= "where" or a.args[1].index ~= b.args[1].index then return false end
  for i = 2, 3 do if is(a.args[i], 0) or is(b.args[i], 0) then return true end end
  return false
end

function A:add(a, b)
  if is(a, 0) then return b end
  if is(b, 0) then return a end
  if b.op == "neg" then return self:sub(a, b.args[1]) end
  if a.op == "neg" then return self:sub(b, a.args[1]) end
  if a.index == b.index then return self:product({ a }, 2) end
  if are_branches(a, b) then return self:where(a.args[1], self:add(a.args[2], b.args[2]), self:add(a.args[3], b.args[3])) end
  return a + b
end

function A:sub(a, b)
  if is(b, 0) then return a end
  if is(a, 0) then return self:neg(b) end
  if b.op == "neg" then return self:add(a, b.args[1]) end
  if are_branches(a, b) then return self:where(a.args[1], self:sub(a.args[2], b.args[2]), self:sub(a.args[3], b.args[3])) end
  return a - b
end

function A:where(c, a, b)
  a = type(a) == "number" and trace.const(self.graph, a) or a
  b = type(b) == "number" and trace.const(self.graph, b) or b
  if a.index == b.index then return a end
  -- 0 by one selection in both branches: that selection comes last, where others like it can join it.
  for i = 2, a.op == "where" and b.op == "where" and a.args[1].index == b.args[1].index and 3 or 1 do
    if is(a.args[i], 0) and is(b.args[i], 0) then
      local inner = self:where(c, a.args[5 - i], b.args[5 - i])
      return i == 3 and self:where(a.args[1], inner, 0) or self:where(a.args[1], 0, inner)
    end
  end
  return f.where(c, a, b)
end

-- ---- products ----

-- Of the definition's own products only those by a value of the row are taken apart: such a factor can leave a sum. (Without rows none is.)
local function is_open(self, n)
  if self.graph.kept[n.index] or not self.graph.row_dim and n.index <= self.graph.count then return false end
  if n.op ~= "mul" or n.index > self.graph.count then return true end
  return not (has_column(self, n.args[1]) and has_column(self, n.args[2]))
end

-- p: { list of factors, coefficient, over (list of divisors without a column dim), guards (list of { condition, branch }: the
-- product is 0 elsewhere) }. Of selections only an adjoint's are opened: 0 by selection stays 0 by selection.
local function empty() return { list = {}, over = {}, guards = {}, coefficient = 1 } end

local function take_apart(self, n, p)
  local zero = n.op == "where" and n.index > self.graph.count and (is(n.args[2], 0) and 2 or is(n.args[3], 0) and 3)
  if zero then
    table.insert(p.guards, { n.args[1], 5 - zero })
    return take_apart(self, n.args[5 - zero], p)
  end
  if n.op == "const" and n.value - n.value == 0 then
    p.coefficient = p.coefficient * n.value
  elseif is_open(self, n) and n.op == "mul" then
    take_apart(self, n.args[1], p)
    take_apart(self, n.args[2], p)
  elseif is_open(self, n) and n.op == "neg" then
    p.coefficient = -p.coefficient
    take_apart(self, n.args[1], p)
  elseif is_open(self, n) and n.op == "div" and not has_column(self, n.args[2]) then
    take_apart(self, n.args[1], p)
    table.insert(p.over, n.args[2])
  else
    table.insert(p.list, n)
  end
end

local function position(list, n)
  for i, v in ipairs(list) do if v.index == n.index then return i end end
end

-- Factors of the row that the definition itself multiplies with a factor of the column: that product is there already, and keeps
-- the range (x * r is near 1 where r * r * r leaves f32).
local function pair_up(self, columns, rows)
  for i, c in ipairs(columns) do
    for k, r in ipairs(rows) do
      local known = trace.known(self.graph, "mul", c, r) or trace.known(self.graph, "mul", r, c)
      if known and known.index <= self.graph.count then
        columns[i] = known
        table.remove(rows, k)
        return pair_up(self, columns, rows)
      end
    end
  end
end

local function times(a, b) return a and a * b or b end

local function guarded(self, n, guards, of_column)
  for _, g in ipairs(guards) do
    if has_column(self, g[1]) == of_column then n = g[2] == 2 and self:where(g[1], n, 0) or self:where(g[1], 0, n) end
  end
  return n
end

local function divided(n, over)
  for _, d in ipairs(over) do n = n / d end
  return n
end

-- The factors of the row: sums first, and divided first, so that a mean comes about before powers are multiplied.
local function build_row(self, rows, over, size)
  local row
  for i, n in ipairs(rows) do
    row = times(row, n)
    if i == 1 then row = divided(row, over) end
  end
  if not row and #over > 0 then
    row, size = divided(trace.const(self.graph, size), over), 1
  end
  if size == 1 then return row end
  return row and row * size or trace.const(self.graph, size)
end

local function build(self, p)
  local columns, rows, over, column = {}, {}, {}, nil
  for _, n in ipairs(p.list) do
    if has_column(self, n) then table.insert(columns, n)
    elseif n.op == "sum" then table.insert(rows, 1, n)
    else table.insert(rows, n) end
  end
  for _, d in ipairs(p.over) do
    local at = position(rows, d)
    if at then table.remove(rows, at) else table.insert(over, d) end
  end
  pair_up(self, columns, rows)
  for _, n in ipairs(columns) do column = times(column, n) end
  local row = build_row(self, rows, over, math.abs(p.coefficient))
  if p.coefficient < 0 and row then row, p.coefficient = self:neg(row), 1 end
  if row then row = guarded(self, row, p.guards, false) end
  local all = column and row and column * row or column or row or trace.const(self.graph, 1)
  if row and column and row.op == "neg" then all = self:neg(column * row.args[1]) end
  if not row then all = guarded(self, all, p.guards, false) end
  all = guarded(self, all, p.guards, true)
  return p.coefficient < 0 and self:neg(all) or all
end

-- The product of the factors times coefficient, divided by `over`.
function A:product(factors, coefficient, over)
  local p = empty()
  p.coefficient = coefficient or 1
  for _, n in ipairs(factors) do take_apart(self, n, p) end
  if over and not has_column(self, over) then
    table.insert(p.over, over)
    over = nil
  end
  local n = build(self, p)
  return over and n / over or n
end

-- ---- sums ----

-- The terms of an adjoint: { {term, sign}, .. }. The definition's own sums are left whole: taken apart they may cancel.
local function terms_of(self, n, sign, list)
  if n.index > self.graph.count and (n.op == "add" or n.op == "sub") then
    terms_of(self, n.args[1], sign, list)
    terms_of(self, n.args[2], n.op == "sub" and -sign or sign, list)
  elseif n.index > self.graph.count and n.op == "neg" then
    terms_of(self, n.args[1], -sign, list)
  else
    table.insert(list, { n, sign })
  end
  return list
end

-- Of the factors that wait for most row sums the first, and its terms; nil where one of them is whole: it, and what it waits for, stands in each
-- part of the sum, however the others are taken apart. So one factor is tried and not all in all orders, which takes forever from five on.
local function latest(self, inside)
  local most, at, terms = 0, nil, nil
  for _, n in ipairs(inside) do most = math.max(most, depth(self, n)) end
  for i, n in ipairs(most > 0 and inside or {}) do
    if depth(self, n) == most then
      local list = terms_of(self, n, 1, {})
      if #list == 1 then return nil end
      if not at then at, terms = i, list end
    end
  end
  return at, terms
end

-- The sum of the product of `inside`, of which one is a sum of adjoints; nil where splitting gains nothing.
local function split(self, inside, dim, whole)
  local at, terms = latest(self, inside)
  if not at then return nil end
  local total
  for _, term in ipairs(terms) do
    local factors = { term[1] }
    for k, other in ipairs(inside) do if k ~= at then table.insert(factors, other) end end
    local part = self:sum(self:product(factors, term[2]), dim)
    total = total and self:add(total, part) or part
  end
  return depth(self, total) < depth(self, whole) and total or nil
end

-- Over a row dim nothing is drawn out: such a sum is to be the last thing that is done.
function A:sum(n, dim)
  if not n.dims[dim] then return self:product { n, self:extent(dim) } end
  if not trace.is_column(self.graph, dim) then return trace.reduce(self.graph, "sum", n, dim) end
  local p, inside, outside = empty(), empty(), empty()
  take_apart(self, n, p)
  for _, factor in ipairs(p.list) do table.insert(factor.dims[dim] and inside.list or outside.list, factor) end
  for _, guard in ipairs(p.guards) do table.insert(guard[1].dims[dim] and inside.guards or outside.guards, guard) end
  if #inside.list == 0 and #inside.guards == 0 then return self:product { build(self, p), self:extent(dim) } end
  local whole = trace.reduce(self.graph, "sum", build(self, inside), dim)
  local parts = #inside.guards == 0 and split(self, inside.list, dim, whole)
  if parts then take_apart(self, parts, outside) else table.insert(outside.list, whole) end
  outside.over, outside.coefficient = p.over, p.coefficient * outside.coefficient
  return build(self, outside)
end

return algebra
