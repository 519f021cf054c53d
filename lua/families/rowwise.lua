-- rowwise.lua - ops over rows: y[m,:] is a function of x[m,:], row sums included. The row has up to four leading dims, each with
-- a stride of its own (M of the op's declaration is M0..M3 here; the runtime merges what is contiguous).
--
-- Three skeletons from one definition:
--   regs    a row lives in the registers of `threads` threads: every tensor is read once
--   shared  a row lives in shared memory: read once, walked once per row sum and once for the outputs
--   passes  a row of any length: read again for each row sum
local tile = use "kiln.tile"
local trace = use "kiln.trace"
local layout = use "kiln.layout"
local contract = use "kiln.contract"
local schedule = use "kiln.schedule"
local op = use "kiln.op"
local evaluate = use "kiln.evaluate"

local rowwise = { name = "rowwise", lead = "M" }
local KEYS = { "kind", "rows", "threads", "warps", "cols", "vec", "ctas", "cache" }
local ROW, COL = "M", "N"

-- ---- what an op of this family may be ----

local READS = { f32 = true, f16 = true, bf16 = true, i32 = true, i64 = true }
local WRITES = { f32 = true, f16 = true, bf16 = true }

local function check_tensor(o, t)
  local dims = table.concat(t.dims, " ")
  local what = (t.out and "output '" or "tensor '") .. t.name .. "'"
  if dims ~= "M N" and dims ~= "M" and (t.out or dims ~= "N") then
    op.fail(o, what .. " has the dims \"" .. dims .. "\"; a row-wise op's are M N (rows, the caller's leading dims; columns), M" ..
      (t.out and ": sums over rows are not made yet" or ", or N"))
  end
  if t.fixed and not (t.out and WRITES or READS)[t.fixed] then
    op.fail(o, what .. ": " .. t.fixed .. " is not " .. (t.out and "written yet; f32, f16 and bf16 are" or "read yet; f32, f16, bf16, i32 and i64 are"))
  end
  return dims == "M N"
end

function rowwise.check(o)
  local rows, outputs = false, false
  for _, t in ipairs(o.specs) do
    rows = check_tensor(o, t) and not t.optional or rows
    outputs = outputs or t.out
  end
  if not outputs then op.fail(o, "has no output; one is declared as \"y M N out\"") end
  if not rows then op.fail(o, "no tensor that is always there has both dims, M (rows) and N (columns)") end
  if type(o.declared.forward) ~= "function" then op.fail(o, "has no function `forward`") end
end

-- Names of the contract beside the op's own.
function rowwise.names(o, claim)
  for i = 0, 3 do claim("M" .. i, "a leading dim of the family") end
  for _, n in ipairs { "rows", "lead", "blocks", "inv_N" } do claim(n, "a value of the family") end
  for _, t in ipairs(o.specs) do
    if t.dims[1] == ROW then for i = 0, 3 do claim(t.name .. "_" .. i, "a stride of '" .. t.name .. "'") end end
  end
end

function rowwise.trace(inst)
  local graph = trace.new_graph(COL)
  inst.declared.forward(trace.arguments(graph, inst))
  trace.finish(graph, inst)
  return graph
end

-- ---- schedules ----

local function largest_bytes(inst)
  local bytes = 1
  for _, t in ipairs(inst.tensors) do
    if t.present and #t.dims > 0 and t.dims[#t.dims] == COL then bytes = math.max(bytes, contract.bytes_of[t.dtype]) end
  end
  return bytes
end

-- 16 columns per thread measured best up to rows of 4096 (docs/performance.md), 32 beyond: what a thread keeps of a row fits in
-- its registers several times over.
local shared_columns

local function candidates(inst)
  local list = {}
  local function regs(threads, vec, per_thread)
    local warps = math.max(4, threads // 32)
    local rows = warps * 32 // threads
    table.insert(list, { kind = "regs", rows = rows, threads = threads, warps = warps, cols = threads * per_thread, vec = vec, ctas = 1, cache = "keep" })
  end
  local vec = 16 // largest_bytes(inst)
  if vec > 1 then
    for _, t in ipairs { 8, 16, 32 } do regs(t, vec, vec) end
    for _, t in ipairs { 32, 64, 128, 256 } do regs(t, vec, 16) end
    if vec == 8 then regs(16, vec, 64) end -- rows of 1024 elements of 16 bits: no shared memory, no barrier
    for _, t in ipairs { 256, 512 } do regs(t, vec, 32) end
    local s = { kind = "shared", rows = 1, threads = 1024, warps = 32, vec = vec, ctas = 1, cache = "keep" }
    if shared_columns(inst, s) > 0 then table.insert(list, s) end
    table.insert(list, { kind = "passes", rows = 1, threads = 1024, warps = 32, cols = 1024 * vec, vec = vec, ctas = 1, cache = "keep" })
  end
  regs(32, 1, 4)
  regs(32, 1, 32)
  regs(256, 1, 32)
  table.insert(list, { kind = "passes", rows = 1, threads = 1024, warps = 32, cols = 8192, vec = 1, ctas = 1, cache = "keep" })
  return list
end

-- The default for reading PTX is the one for rows of 4096 16-byte-aligned elements.
local function preferred(list)
  for _, s in ipairs(list) do if s.kind == "regs" and s.cols == 4096 and s.vec > 1 then return s end end
  return list[1]
end

-- Shared rows: as many columns as fit beside the reductions' scratch, in whole chunks.
function shared_columns(inst, s)
  local bytes = 0
  for _, t in ipairs(inst.tensors) do
    if t.present and not t.out and #t.dims == 2 then
      if t.dtype == "i64" then return 0 end -- 8-byte elements do not go through shared memory yet
      bytes = bytes + contract.bytes_of[t.dtype]
    end
  end
  local chunk = s.threads * s.vec
  return bytes == 0 and 0 or (core.target.shared_block - 4096) // (bytes * chunk) * chunk
end

function rowwise.schedules(inst)
  local list, texts = candidates(inst), {}
  local best = preferred(list)
  table.insert(texts, schedule.print(best, KEYS))
  for _, s in ipairs(list) do if s ~= best then table.insert(texts, schedule.print(s, KEYS)) end end
  return texts
end

local function check_schedule(s)
  local function refuse(why) core.fail("schedule " .. schedule.print(s, KEYS) .. ": " .. why) end
  if s.kind ~= "regs" and s.kind ~= "shared" and s.kind ~= "passes" then refuse("kind is regs, shared or passes") end
  if s.warps > 32 or s.warps & (s.warps - 1) ~= 0 then refuse("warps is a power of two up to 32") end
  if s.threads & (s.threads - 1) ~= 0 or s.threads > s.warps * 32 then refuse("threads (of a row) is a power of two up to 32 * warps") end
  if s.vec ~= 1 and s.vec ~= 2 and s.vec ~= 4 and s.vec ~= 8 then refuse("vec is 1, 2, 4 or 8") end
  if s.cache ~= "keep" and s.cache ~= "plain" then refuse("cache (how rows are read) is keep (L2::evict_last, measured best) or plain") end
  if s.ctas > 32 then refuse("ctas (the least number on an SM, for the registers) is at most 32") end
  if s.kind ~= "regs" and (s.rows ~= 1 or s.threads ~= s.warps * 32) then refuse("shared and passes give a row to the whole CTA: rows=1, threads=32*warps") end
  if s.kind == "regs" and s.cols // s.threads > 64 then refuse("a thread would keep more than 64 columns; take more threads") end
  if s.kind == "regs" and (s.cols % (s.threads * s.vec) ~= 0 or s.rows * s.threads % (s.warps * 32) ~= 0) then
    refuse("cols is a multiple of threads * vec, rows * threads of 32 * warps")
  end
  if s.kind == "shared" and s.cols == 0 then refuse("a row's columns do not fit into the shared memory of " .. core.target.name) end
  if s.kind == "passes" and s.cols % (s.threads * s.vec) ~= 0 then refuse("cols (of a piece) is a multiple of threads * vec") end
end

-- ---- contract ----

local function is_row_tensor(t) return t.dims[1] == ROW end

local function put_contract(inst, s, text)
  contract.begin(inst, text)
  contract.line("collapse M0 M1 M2 M3")
  for _, t in ipairs(inst.tensors) do
    if t.present then
      local dims, strides = {}, {}
      if is_row_tensor(t) then
        for i = 0, 3 do
          table.insert(dims, "M" .. i)
          table.insert(strides, t.name .. "_" .. i)
        end
      end
      if t.dims[#t.dims] == COL then
        table.insert(dims, COL)
        table.insert(strides, "1")
      end
      local bytes = contract.bytes_of[t.dtype]
      local aligned = t.dims[#t.dims] == COL and bytes * s.vec or bytes
      contract.tensor(t, dims, strides, aligned, is_row_tensor(t) and "lead 4" or nil)
    end
  end
  for _, sc in ipairs(inst.scalars) do contract.scalar(sc) end
  contract.line("derived inv_N f32 1/N")
  contract.line("let rows M0*M1*M2*M3")
  contract.line("let lead M0*M1*M2")
  contract.line("let blocks ceildiv(M3,%d)", s.rows)
  if s.kind ~= "passes" then
    contract.line("require N<=%d \"a row has at most %d columns in %s\"", s.cols, s.cols, s.kind == "regs" and "registers" or "shared memory")
  end
  if s.vec > 1 then contract.line("require N%%%d==0 \"rows are read in pieces of %d elements\"", s.vec, s.vec) end
end

-- Bytes that must move, by tensors that have the row dim; and what a schedule adds to their time.
local function put_cost(inst, s)
  local terms = {}
  for _, t in ipairs(inst.tensors) do
    if t.present then
      local n = contract.bytes_of[t.dtype]
      table.insert(terms, (is_row_tensor(t) and "rows*" or "") .. (t.dims[#t.dims] == COL and "N*" or "") .. n)
    end
  end
  local bytes = table.concat(terms, "+")
  contract.line("bytes %s", bytes)
  local slow = s.vec == 1 and 4 or 1
  if s.kind == "regs" then -- idle threads cost a part of what busy ones do; CTAs of many warps wait longer at their barrier
    contract.line("cost (%s)*%d/bw*(1+0.3*(%d-N)/%d)*%.4f+rows*%d*0.0001", bytes, slow, s.cols, s.cols, 1 + s.threads / 16384, s.cols // 32)
  else
    contract.line("cost (%s)*%d/bw*%s+2000", bytes, slow, s.kind == "shared" and "1.3" or "1.6")
  end
end

-- ---- emission ----

local REDUCE = { sum = "sum", amax = "max", amin = "min" }

local function is_finite(n) return n.op == "const" and n.value - n.value == 0 end

-- Is the value 0 beyond the row's end, where arguments read 0? What may be infinite, NaN or a divisor of 0 there, is not.
local function zero_outside(n)
  local a, b = n.args[1], n.args[2]
  if n.op == "arg" then return n.dims[COL] or false end
  if n.op == "const" then return n.value == 0 end
  if n.op == "mul" then return zero_outside(a) and (zero_outside(b) or is_finite(b)) or is_finite(a) and zero_outside(b) end
  if n.op == "div" then return zero_outside(a) and (b.op == "dim" or is_finite(b) and b.value ~= 0) end
  if n.op == "add" or n.op == "sub" or n.op == "min" or n.op == "max" then return zero_outside(a) and zero_outside(b) end
  if n.op == "neg" or n.op == "abs" or n.op == "round" or n.op == "tanh" or n.op == "erf" or n.op == "sin" then return zero_outside(a) end
  return false
end

-- How many row sums lie one above the other below a node.
local function depth(n, memo)
  if memo[n.index] then return memo[n.index] end
  local d = 0
  for _, a in ipairs(n.args) do d = math.max(d, depth(a, memo)) end
  if REDUCE[n.op] then d = d + 1 end
  memo[n.index] = d
  return d
end

local function views(inst, s)
  local v = {}
  for _, t in ipairs(inst.tensors) do
    if t.present then
      local sizes, strides = {}, {}
      if is_row_tensor(t) then
        for i = 0, 3 do
          table.insert(sizes, "M" .. i)
          table.insert(strides, t.name .. "_" .. i)
        end
      end
      local along = t.dims[#t.dims] == COL
      if along then
        table.insert(sizes, COL)
        table.insert(strides, "1")
      end
      local bytes = contract.bytes_of[t.dtype]
      v[t.name] = tile.view {
        tensor = t.name, rank = #sizes, dtype = t.dtype, align = along and bytes * s.vec or bytes,
        sizes = table.concat(sizes, ","), strides = table.concat(strides, ","), multiple = along and s.vec or 1,
      }
    end
  end
  return v
end

-- Coordinates of this CTA's first row: one leading dim is the common case, four are taken apart when there are.
local function row_coordinates(s)
  local cta, m = tile.cta(0), {}
  local block = tile.var(cta)
  for i = 0, 2 do m[i] = tile.var(tile.const(0, "i32")) end
  tile.if_(tile.param("lead", "i64"):ne(tile.const(1, "i64")), function()
    local blocks, rest = tile.to(tile.param("blocks", "i64"), "i32"), nil
    local i32 = function(name) return tile.to(tile.param(name, "i64"), "i32") end
    tile.put(block, cta % blocks)
    rest = cta / blocks
    tile.put(m[2], rest % i32("M2"))
    rest = rest / i32("M2")
    tile.put(m[1], rest % i32("M1"))
    tile.put(m[0], rest / i32("M1"))
  end)
  local c = {}
  for i = 0, 2 do c[i + 1] = tile.i64(tile.get(m[i])) end
  c[4] = tile.i64(tile.get(block)) * s.rows
  return c
end

local function at(coordinates, t, column)
  local c = {}
  if is_row_tensor(t) then for i = 1, 4 do c[i] = coordinates[i] end end
  if t.dims[#t.dims] == COL then table.insert(c, column) end
  return c
end

-- Sum over the row of a value that may not be 0 beyond its end. column: first column of the piece.
local function masked(n, value, column)
  local arg = n.args[1]
  if n.op == "sum" and zero_outside(arg) then return value end
  local nothing = n.op == "sum" and 0.0 or n.op == "amax" and -math.huge or math.huge
  local left = tile.to(tile.param(COL, "i64") - tile.i64(column), "i32")
  return tile.where(tile.lt(tile.coord(value, 1), left), value, nothing)
end

-- A fragment of one piece of a row, from memory, in f32. like: a fragment in whose layout (or its slice) it lies.
local function reader(inst, view, s, coordinates, column, cols, like)
  local lay = layout.rowwise(s.rows, cols, s.warps, s.threads, s.vec)
  return function(n)
    local t = inst.by_name[n.name]
    if #t.dims == 2 then
      local cache = s.cache == "keep" and "keep" or "nc"
      return tile.f32(tile.load(view[t.name], at(coordinates, t, column), { shape = { s.rows, cols }, layout = lay, cache = cache }))
    end
    local dims = t.dims[1] == ROW and { 3, -1 } or nil -- one value per row; otherwise one per column
    return tile.f32(tile.load_like(view[t.name], like(), at(coordinates, t, column), { cache = "nc", dims = dims }))
  end
end

-- Some fragment of the piece's layout, for slices to follow.
local function shape_of(s, cols)
  local lay, f = layout.rowwise(s.rows, cols, s.warps, s.threads, s.vec), nil
  return function()
    f = f or tile.frag("f32", { s.rows, cols }, lay)
    return f
  end
end

local function spread(value, s, cols)
  return tile.spread(value, { s.rows, cols }, layout.rowwise(s.rows, cols, s.warps, s.threads, s.vec))
end

local function write(inst, s, view, output, value, coordinates, column, cols)
  local t = output.tensor
  core.at(output.loc[1], output.loc[2])
  if #t.dims == 2 then
    value = spread(value, s, cols)
  elseif value.kind ~= "frag" then -- the same for all rows
    value = tile.reduce(spread(value, s, cols), "max", 1)
  end
  tile.store(view[t.name], tile.to(value, t.dtype), at(coordinates, t, column))
  core.at()
end

local function body_regs(inst, graph, s, view)
  local c = row_coordinates(s)
  local like = shape_of(s, s.cols)
  local e = evaluate.new(function(n) return not n.dims[COL] end)
  e.argument = reader(inst, view, s, c, 0, s.cols, like)
  e.spread = function(v) return spread(v, s, s.cols) end
  e.reduce = function(n, v) return tile.reduce(masked(n, spread(v, s, s.cols), 0), REDUCE[n.op], 1) end
  for _, n in ipairs(graph.nodes) do if n.op == "arg" then e:value(n) end end -- every load is on its way before the first barrier
  for _, o in ipairs(graph.outputs) do write(inst, s, view, o, e:value(o.value), c, 0, s.cols) end
end

-- Row sums level by level, each in a walk over the row in pieces; then the outputs in a last one.
local function body_pieces(inst, graph, s, view)
  local c = row_coordinates(s)
  local cols = s.kind == "shared" and s.threads * s.vec or s.cols
  local pieces = tile.to((tile.param(COL, "i64") + (cols - 1)) / cols, "i32")
  local levels, memo, deepest = {}, {}, 0
  for _, n in ipairs(graph.nodes) do
    if REDUCE[n.op] then
      local d = depth(n, memo)
      levels[d] = levels[d] or {}
      table.insert(levels[d], n)
      deepest = math.max(deepest, d)
    end
  end
  local rows, filled = {}, {}
  if s.kind == "shared" then
    for _, n in ipairs(graph.nodes) do
      local t = n.op == "arg" and inst.by_name[n.name]
      if t and #t.dims == 2 then rows[n.name] = tile.smem(t.dtype, { 1, s.cols }, { swizzle = 0 }) end
    end
  end
  local e = evaluate.new(function(n) return not n.dims[COL] end)
  e.spread = function(v) return spread(v, s, cols) end
  local lay = layout.rowwise(1, cols, s.warps, s.threads, s.vec)
  local outer = shape_of(s, cols)()
  local function walk(body)
    tile.for_(tile.const(0, "i32"), pieces, 1, function(i)
      local column = tile.i64(i) * cols
      local from_memory = reader(inst, view, s, c, column, cols, function() return outer end)
      local fresh = {}
      e:forget()
      e.argument = function(n)
        local row = rows[n.name]
        if not row then return from_memory(n) end
        local piece = tile.part(row, i, 1, cols)
        if filled[n.name] then return tile.f32(tile.load(piece, { 0, 0 }, { shape = { 1, cols }, layout = lay })) end
        local t = inst.by_name[n.name]
        local f = tile.load(view[n.name], at(c, t, column), { shape = { 1, cols }, layout = lay, cache = "nc" })
        tile.store(piece, f, { 0, 0 })
        fresh[n.name] = true
        return tile.f32(f)
      end
      body(column)
      for name in pairs(fresh) do filled[name] = true end
    end)
  end
  -- What is one value per row is made between the walks: a value made inside a walk would end with it.
  local function settle(level)
    e:forget()
    e.argument = reader(inst, view, s, c, 0, cols, function() return outer end)
    for _, n in ipairs(graph.nodes) do
      if not n.dims[COL] and n.op ~= "dim" and depth(n, memo) <= level then e:value(n) end
    end
  end
  settle(0)
  for d = 1, deepest do
    local sums = {}
    for k, n in ipairs(levels[d]) do
      sums[k] = tile.frag("f32", { 1, cols }, lay)
      tile.fill(sums[k], n.op == "sum" and 0.0 or n.op == "amax" and -math.huge or math.huge)
    end
    walk(function(column)
      for k, n in ipairs(levels[d]) do
        local v = masked(n, spread(e:value(n.args[1]), s, cols), column)
        local f = tile.read(sums[k])
        tile.set(sums[k], n.op == "sum" and f + v or n.op == "amax" and f:max(v) or f:min(v))
      end
    end)
    for k, n in ipairs(levels[d]) do e.kept[n.index] = tile.reduce(tile.read(sums[k]), REDUCE[n.op], 1) end
    settle(d)
  end
  for _, o in ipairs(graph.outputs) do
    if #o.tensor.dims == 1 then write(inst, s, view, o, e:value(o.value), c, 0, cols) end
  end
  walk(function(column)
    for _, o in ipairs(graph.outputs) do
      if #o.tensor.dims == 2 then write(inst, s, view, o, e:value(o.value), c, column, cols) end
    end
  end)
end

function rowwise.emit(inst, given)
  local s = schedule.read(given, preferred(candidates(inst)), KEYS)
  if s.kind == "shared" then s.cols = shared_columns(inst, s) end
  check_schedule(s)
  local graph = rowwise.trace(inst)
  local text = schedule.print(s, KEYS)
  put_contract(inst, s, text)
  put_cost(inst, s)
  local letter = { regs = "r", shared = "s", passes = "p" }
  local name = string.format("%s-%s-%s%dx%d%s", inst.name, op.values_name(inst), letter[s.kind], s.rows, s.cols, s.vec == 1 and "-any" or "")
  tile.kernel({ name = op.entry_name(name), threads = s.warps * 32, min_ctas = s.ctas > 1 and s.ctas or nil }, function()
    local view = views(inst, s)
    if s.kind == "regs" then body_regs(inst, graph, s, view) else body_pieces(inst, graph, s, view) end
  end)
  contract.line("step main entry $entry0 grid lead*blocks,1,1 block $block0 shared $shared0 when rows>0 args $args0")
  return name
end

return rowwise
