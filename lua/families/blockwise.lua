-- blockwise.lua - ops over a matrix and the largest values of its parts: of each block, row, column, or of all of it.
--
-- x has dims M N, rows and columns, M being up to four leading dims of the caller; or M R N, where the rows R are told apart from up
-- to three dims of matrices M, for ops that look down the columns. Which dims the op's largest values run over says how it is laid:
--   map      none: one walk
--   row      N: one walk, a row in registers; longer rows are read twice
--   strip    blocks of N: one walk, a block in registers
--   block    blocks of R and N: likewise
--   column   R: a kernel for parts of columns, one that joins them, one that walks
--   whole    M and N: a kernel for parts, and one that joins them, each CTA for itself, and walks
-- The parts' largest values lie in a workspace. Their number follows from the shape alone, and of numbers the largest is the same in
-- any order. What is done to the largest values is in blockwise_emit.lua; this file says what ops may be, and how they are scheduled.
local trace = use "kiln.trace"
local blocks = use "kiln.blocks"
local contract = use "kiln.contract"
local schedule = use "kiln.schedule"
local text = use "kiln.text"
local op = use "kiln.op"
local emit = use "families.blockwise_emit"

local blockwise = { name = "blockwise", lead = "M" }
local KEYS = { "kind", "rows", "cols", "threads", "warps", "vec", "ctas", "cache" }

-- ---- what an op of this family may be ----

local READS = { f32 = true, f16 = true, bf16 = true, e4m3 = true, e5m2 = true, u8 = true, i8 = true, i32 = true, bool = true }
local WRITES = { f32 = true, f16 = true, bf16 = true, e4m3 = true, e5m2 = true, u8 = true, i8 = true, bool = true }

function blockwise.check(o)
  local d = o.declared
  if type(d.forward) ~= "function" then op.fail(o, "has no function `forward`") end
  if d.forms ~= nil and type(d.forms) ~= "function" then op.fail(o, "`forms` is a function of the settings' values") end
  local outputs = false
  for _, t in ipairs(o.specs) do outputs = outputs or t.out end
  if not outputs then op.fail(o, "has no output; one is declared as \"y M N out\"") end
end

-- Names of the contract beside the op's own.
function blockwise.names(o, claim)
  for i = 0, 3 do claim("M" .. i, "a leading dim of the family") end
  for _, n in ipairs { "rows_of", "cols_of", "lead", "tiles", "parts", "part_rows", "part", "by_cols", "by_rows", "by_lead", "by_M1", "by_M2" } do
    claim(n, "a value of the family")
  end
  for _, t in ipairs(o.specs) do for i = 0, 5 do claim(t.name .. "_" .. i, "a stride of '" .. t.name .. "'") end end
end

local function is_power(n, least, most) return n >= least and n <= most and n & (n - 1) == 0 end

-- Dims stand in the order M R N; a dim of blocks stands in its dim's place.
local function check_dims(o, t, found)
  local place, of = 0, {}
  for _, b in ipairs(found) do of[b.dim] = b.of end
  for _, d in ipairs(t.dims) do
    local at = ({ M = 1, R = 2, N = 3 })[of[d] or d]
    if not at or at <= place or of[d] == "M" then
      op.fail(o, "tensor '" .. t.name .. "': " .. d .. " is no dim of this family in this place; they are M R N, N/128 and R/128 their blocks")
    end
    place = at
  end
end

local function check_block(o, b, known)
  local most = b.of == "N" and 1024 or 256
  if not is_power(b.size, 16, most) then op.fail(o, b.of .. "/" .. b.size .. ": blocks of " .. b.of .. " have 16, 32, .. " .. most .. " elements") end
  for _, other in ipairs(known) do
    local both = b.of .. "/" .. b.size .. " and " .. other.of .. "/" .. other.size
    if other.of == b.of and other.size ~= b.size then op.fail(o, "has " .. both .. "; an op has blocks of one size") end
    if other.of ~= b.of and b.size * other.size > 32768 then op.fail(o, both .. ": a block of more than 32768 elements") end
  end
end

local function apply_form(o, t, form)
  local dims, found, dtype = {}, {}, t.dtype
  for _, word in ipairs(text.split(form, " ")) do
    if word == "out" or word == "in" then t.out = word == "out"
    elseif READS[word] then dtype = word
    else
      local more, own = blocks.dims(word)
      if string.find(word, "/", 1, true) and #own == 0 then op.fail(o, "'" .. word .. "' is no dim of blocks; N/128 is one") end
      table.insert(dims, more[1])
      for _, b in ipairs(own) do table.insert(found, b) end
    end
  end
  t.dims, t.dtype = dims, dtype
  check_dims(o, t, found)
  if not (t.out and WRITES or READS)[dtype] then
    op.fail(o, "tensor '" .. t.name .. "': " .. dtype .. " is not " .. (t.out and "written" or "read") .. " yet")
  end
  return found
end

-- The tensors' dims and dtypes under the settings: `forms(values)` gives a text for each tensor by name, "M N/128 e4m3 out".
function blockwise.refine(inst)
  local forms = inst.declared.forms and inst.declared.forms(inst.values) or {}
  inst.blocks = {}
  for name in pairs(forms) do
    if not inst.by_name[name] then op.fail(inst.op, "forms: there is no tensor '" .. tostring(name) .. "'") end
  end
  for _, t in ipairs(inst.tensors) do
    for _, b in ipairs(apply_form(inst.op, t, forms[t.name] or table.concat(t.dims, " "))) do
      local known = false
      for _, other in ipairs(inst.blocks) do known = known or other.dim == b.dim end
      check_block(inst.op, b, inst.blocks)
      if not known then table.insert(inst.blocks, b) end
    end
  end
end

-- Blocks of which the op has largest values, and no tensor a dim.
local function add_block(inst, n)
  local of = string.sub(n.dim, 1, 1)
  local b = { dim = n.dim, of = of, size = tonumber(string.sub(n.dim, 3)) }
  core.at(n.loc[1], n.loc[2])
  check_block(inst.op, b, inst.blocks)
  core.at()
  table.insert(inst.blocks, b)
  table.insert(inst.dims, n.dim)
end

function blockwise.trace(inst)
  local graph = trace.new_graph("N")
  inst.declared.forward(trace.arguments(graph, inst))
  trace.finish(graph, inst)
  for _, n in ipairs(graph.nodes) do
    if n.op == "size" then
      core.at(n.loc[1], n.loc[2])
      error("size: blockwise ops do not have it; pass it as a scalar", 0)
    end
    if n.op == "block_amax" and not text.has(inst.dims, n.dim) then add_block(inst, n) end
  end
  return graph
end

-- ---- schedules ----

-- Elements of 16 bytes, of the widest tensor that has rows and columns.
local function vector(inst)
  local bytes, rows = 1, "M"
  for _, t in ipairs(inst.tensors) do if text.has(t.dims, "R") then rows = "R" end end
  for _, t in ipairs(inst.tensors) do
    if text.has(t.dims, rows) and t.dims[#t.dims] == "N" then bytes = math.max(bytes, contract.bytes_of[t.dtype]) end
  end
  return math.min(16 // bytes, 8)
end

local function add(list, kind, rows, cols, threads, warps, vec, ctas)
  table.insert(list, { kind = kind, rows = rows, cols = cols, threads = threads, warps = warps, vec = vec, ctas = ctas or 1,
    cache = kind == "whole" and "some" or "keep" }) -- of a whole tensor as much as L2 has room for is there when it is read again
end

-- 16 elements per thread, as in row-wise kernels; 256 threads.
local CANDIDATES = {}
function CANDIDATES.map(list, kind, vec)
  add(list, kind, 1, 4096, 256, 8, vec)
  add(list, kind, 4, 1024, 64, 8, vec)
  add(list, kind, 16, 256, 16, 8, vec)
  add(list, kind, 64, 64, 64 // vec // (vec < 8 and 2 or 1), 8, vec)
  add(list, kind, 1, 2048, 256, 8, 1)
  add(list, kind, 64, 32, 32, 8, 1)
end
function CANDIDATES.whole(list, kind, vec)
  if vec == 8 then add(list, kind, 1, 8192, 256, 8, vec, 3) end -- 32 elements per thread and as many ahead
  CANDIDATES.map(list, kind, vec)
end
function CANDIDATES.row(list, kind, vec)
  for _, t in ipairs { 8, 16, 32, 64, 128, 256 } do add(list, kind, 8 * 32 // t, t * 16, t, 8, vec) end
  add(list, kind, 1, 8192, 256, 8, vec)
  add(list, kind, 1, 16384, 512, 16, vec)
  if vec == 8 then add(list, kind, 1, 32768, 1024, 32, vec) end
  add(list, "row2", 1, 16384, 1024, 32, vec)
  for _, t in ipairs { 32, 256 } do add(list, kind, 8 * 32 // t, t * 8, t, 8, 1) end
  add(list, "row2", 1, 8192, 1024, 32, 1)
end
function CANDIDATES.strip(list, kind, vec, block)
  add(list, kind, 8 * 32 * vec // block * 2, block, block // vec, 8, vec)
  add(list, kind, math.max(16, 512 // block), block, math.min(32, block), 8, 1)
end
function CANDIDATES.block(list, kind, vec, block, rows)
  add(list, kind, rows, block, block // vec, math.max(1, math.min(16, rows * block // 1024)), vec)
  add(list, kind, rows, block, math.min(32, block), math.min(32, rows * block // 256), 1)
end
function CANDIDATES.column(list, kind, vec)
  add(list, kind, 16, 256, 256 // vec, 8, vec)
  add(list, kind, 64, 32, 32, 8, 1)
end

-- Blocks of columns and rows that the op's tensors or its largest values have.
local function block_sizes(inst)
  local cols, rows
  for _, b in ipairs(inst.blocks) do
    if b.of == "N" then cols = b.size elseif b.of == "R" then rows = b.size end
  end
  return cols, rows
end

-- How the op is laid, see above.
local function kind_of(inst, graph)
  local over = {}
  for _, n in ipairs(graph.nodes) do
    if n.op == "amax" or n.op == "block_amax" then over[n.dim] = true
    elseif n.op == "sum" or n.op == "amin" then
      core.at(n.loc[1], n.loc[2])
      error("blockwise ops make largest values (amax, block_amax) only", 0)
    end
  end
  local cols, rows = block_sizes(inst)
  if over.M and over.N then return "whole" end
  if over.R then return "column" end
  if over.N then return "row" end
  if cols and rows and over["R_" .. rows] then return "block" end
  return cols and "strip" or "map"
end

local candidates = op.once("candidates", function(inst)
  local kind = kind_of(inst, blockwise.trace(inst))
  local list, cols, rows = {}, block_sizes(inst)
  CANDIDATES[kind](list, kind, vector(inst), cols, rows)
  return list
end)

function blockwise.schedules(inst)
  local texts = {}
  for _, s in ipairs(candidates(inst)) do table.insert(texts, schedule.print(s, KEYS)) end
  return texts
end

local function check_schedule(inst, s, kind)
  local function refuse(why) core.fail("schedule " .. schedule.print(s, KEYS) .. ": " .. why) end
  local cols, rows = block_sizes(inst)
  if s.kind ~= kind and not (kind == "row" and s.kind == "row2") then refuse("the kind is " .. kind .. (kind == "row" and " or row2" or "") .. " here") end
  if s.warps > 32 or s.warps & (s.warps - 1) ~= 0 then refuse("warps is a power of two up to 32") end
  if s.threads & (s.threads - 1) ~= 0 or s.threads > s.warps * 32 then refuse("threads (of a row) is a power of two up to 32 * warps") end
  if s.vec ~= 1 and s.vec ~= 2 and s.vec ~= 4 and s.vec ~= 8 then refuse("vec is 1, 2, 4 or 8") end
  if s.ctas > 32 then refuse("ctas (the least number on an SM, for the registers) is at most 32") end
  if s.cache ~= "keep" and s.cache ~= "some" and s.cache ~= "plain" then refuse("cache (how the input is read) is keep, some or plain") end
  if s.cols % (s.threads * s.vec) ~= 0 or s.rows * s.threads % (s.warps * 32) ~= 0 then
    refuse("cols is a multiple of threads * vec, rows * threads of 32 * warps")
  end
  if s.rows * s.cols // (s.warps * 32) > 128 then refuse("a thread would keep more than 128 elements; take more threads") end
  if cols and s.cols ~= cols then refuse("cols is the block's " .. cols) end
  if rows and (kind == "block" and s.rows ~= rows or rows % s.rows ~= 0) then refuse("rows is the block's " .. rows) end
end

function blockwise.emit(inst, given)
  local list = candidates(inst)
  local s = schedule.read(given, list[1], KEYS)
  local graph = blockwise.trace(inst)
  local kind = kind_of(inst, graph)
  check_schedule(inst, s, kind)
  local letter = { map = "m", row = "r", row2 = "p", strip = "s", block = "b", column = "c", whole = "w" }
  local name = string.format("%s-%s-%s%dx%d%s", inst.name, op.values_name(inst), letter[s.kind], s.rows, s.cols, s.vec == 1 and "-any" or "")
  contract.begin(inst, schedule.print(s, KEYS))
  emit(inst, graph, s, op.entry_name(name))
  return name
end

return blockwise
