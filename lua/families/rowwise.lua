-- rowwise.lua - ops over rows: what an op may be, the schedules, and the emission of its kernels.
--
-- Column dims begin with N; a dim that begins with M stands for several leading dims of the caller (the runtime merges what is
-- contiguous); others are dims of rows by name. rowwise_segments.lua takes a definition apart, rowwise_values.lua makes its
-- values on a tile, rowwise_kernels.lua has the skeletons, rowwise_contract.lua writes the contract. Kinds of schedule:
--   regs    a row lives in the registers of `threads` threads: every tensor is read once
--   shared  a row lives in shared memory: read once, walked once per level of row sums and once for the outputs
--   passes  a row of any length: read again for each level of row sums
--   loop    a CTA walks over rows that a ring of `stages` brings ahead, and sums over rows as it goes; `parts` shares of the rows
-- Sums over rows take further steps: under the first three kinds one that reads the rows once more, column by column; and one
-- that adds the shares in a fixed order, so that results are the same on every card.
local tile = use "kiln.tile"
local trace = use "kiln.trace"
local contract = use "kiln.contract"
local schedule = use "kiln.schedule"
local op = use "kiln.op"
local segments = use "families.rowwise_segments"
local sizes = use "families.rowwise_sizes"
local values = use "families.rowwise_values"
local kernels = use "families.rowwise_kernels"
local writer = use "families.rowwise_contract"

local rowwise = { name = "rowwise", lead = "M", column = "N", has_gradient = true }
local KEYS = { "kind", "rows", "threads", "warps", "cols", "vec", "ctas", "cache", "stages", "parts", "reuse", "walk" }

-- ---- what an op of this family may be ----

local READS = { f32 = true, f16 = true, bf16 = true, i32 = true, i64 = true, bool = true, u8 = true }
local WRITES = { f32 = true, f16 = true, bf16 = true }

function rowwise.check(o)
  local rows, outputs = false, false
  for _, t in ipairs(o.specs) do
    local what = (t.out and "output '" or "tensor '") .. t.name .. "'"
    local columns = 0
    for i, d in ipairs(t.dims) do
      if segments.is_column(d) then
        columns = columns + 1
        if i ~= #t.dims then
          op.fail(o, what .. " has the dims \"" .. table.concat(t.dims, " ") .. "\"; the column dim, " .. d .. ", is the last one")
        end
      end
    end
    if columns > 1 then op.fail(o, what .. " has two column dims (names that begin with N); one is possible") end
    if t.fixed and not (t.out and WRITES or READS)[t.fixed] then
      local known = t.out and "written by this family; f32, f16 and bf16 are" or "read by this family; f32, f16, bf16, i32, i64, u8 and bool are"
      op.fail(o, what .. ": " .. t.fixed .. " is not " .. known)
    end
    rows = rows or columns == 1 and #t.dims > 1 and not t.optional
    outputs = outputs or t.out
  end
  if not outputs then op.fail(o, "has no output; one is declared as \"y M N out\"") end
  if not rows then op.fail(o, "no tensor that is always there has rows and columns, as \"x M N\"") end
  if type(o.declared.forward) ~= "function" then op.fail(o, "has no function `forward`") end
end

-- Names of the contract beside the op's own.
function rowwise.names(o, claim)
  for _, d in ipairs(o.dims) do
    if segments.is_lead(d) then for i = 0, 3 do
      claim(d .. "_" .. i, "a leading dim of the family")
      claim("by_" .. d .. "_" .. i, "a value of the family")
    end end
    claim("inv_" .. d, "a value of the family")
    claim("size_" .. d, "a value of the family")
    claim("by_" .. d, "a value of the family")
    for _, n in ipairs { "half_", "by_half_", "whole_", "span_" } do claim(n .. d, "a value of the family") end
  end
  for _, t in ipairs(o.specs) do
    for i = 0, 4 do claim(t.name .. "_" .. i, "a stride of '" .. t.name .. "'") end
    for _, n in ipairs { "part_", "kout_", "addends_", "fstep_", "fctas_", "fblocks_", "by_fblocks_" } do claim(n .. t.name, "a value of the family") end
  end
  for i = 0, 3 do for k = 1, 8 do
    claim("stat" .. i .. "_" .. k, "a workspace of the family")
    claim("sstep" .. i .. "_" .. k, "a value of the family")
  end end
  for _, n in ipairs(writer.NAMES) do for i = 0, 3 do
    claim(n .. i, "a value of the family")
    claim("by_" .. n .. i, "a value of the family")
  end end
  claim("both", "a value of the family")
  for i = 1, sizes.MOST_LETS do
    claim("expr_" .. i, "a value of the family")
    claim("by_expr_" .. i, "a value of the family")
  end
end

function rowwise.trace(inst)
  local graph = trace.new_graph(rowwise.column)
  inst.declared.forward(trace.arguments(graph, inst))
  trace.finish(graph, inst)
  return graph
end

-- ---- schedules ----

local function largest_bytes(inst)
  local bytes = 1
  for _, t in ipairs(inst.tensors) do
    if t.present and #t.dims > 1 and segments.is_column(t.dims[#t.dims]) and t.dtype ~= "bool" then bytes = math.max(bytes, contract.bytes_of[t.dtype]) end
  end
  return bytes
end

-- What is read along rows: bytes per element, of the segment that has most; narrow: an element has 1 or 8 bytes, which do not go through shared
-- memory; apart: no ring can bring it, whose copies look for the rows' innermost dim before the columns, and are as many in each segment and of
-- the same dtypes; rows, columns:
-- how many tensors are read along rows, how many have one value per column (and their bytes); sampled: one of those belongs to a
-- sample; most: of one segment; tables: there are look-ups.
local function row_inputs(inst)
  local r = { bytes = 0, rows = 0, most = 0, narrow = false, apart = false, columns = 0, column_bytes = 0, sampled = false, tables = false }
  for _, seg in ipairs(inst.segments) do
    local bytes, columns, column_bytes, before = 0, 0, 0, r.rows
    for _, n in ipairs(seg.nodes) do
      r.tables = r.tables or n.op == "lookup"
      local t = n.op == "arg" and n.dims[seg.column] and inst.by_name[n.name]
      local b = t and contract.bytes_of[t.dtype]
      if t and n.dims[seg.tiled] then
        r.narrow, r.apart = r.narrow or b == 1 or b == 8, r.apart or t.dims[#t.dims - 1] ~= seg.tiled
        bytes = bytes + b
        r.rows = r.rows + 1
      elseif t then
        columns, column_bytes = columns + 1, column_bytes + b
        for _, d in ipairs(seg.rows) do r.sampled = r.sampled or n.dims[d] end
      end
    end
    r.bytes = math.max(r.bytes, bytes)
    r.columns = math.max(r.columns, columns)
    r.column_bytes = math.max(r.column_bytes, column_bytes)
    r.apart, r.most = r.apart or seg ~= inst.segments[1] and r.rows - before ~= r.most, math.max(r.most, r.rows - before)
  end
  local places = {}
  for _, seg in ipairs(inst.segments) do
    for i, n in ipairs(values.split_arguments { inst = inst, seg = seg }) do
      local dtype = inst.by_name[n.name].dtype
      places[i] = places[i] or dtype
      r.apart = r.apart or places[i] ~= dtype
    end
  end
  return r
end

-- Columns that a thread has at a time, at least: where halves are exchanged, a vector of each.
local function least_columns(inst, vec)
  local least = vec
  for d in pairs(inst.halves) do least = math.max(least, 2 * sizes.piece(inst, d, vec)) end
  return least
end

-- Shared rows: as many columns as fit beside the reductions' scratch, in whole chunks; of all segments. 0: none is read more than once, or
-- they are not of 2 or 4 bytes.
local function shared_columns(inst, s)
  local bytes, chunk = 0, s.threads * least_columns(inst, s.vec)
  for _, seg in ipairs(inst.segments) do
    for _, name in ipairs(values.rows_read_again { inst = inst, seg = seg }) do bytes = bytes + contract.bytes_of[inst.by_name[name].dtype] end
  end
  if bytes == 0 or row_inputs(inst).narrow then return 0 end
  return (core.target.shared_block - 4096) // (bytes * chunk) * chunk
end

-- Slots of a loop's ring: what is left for each of the CTAs that share an SM, beside what warps of different rows need to add
-- their sums.
local function loop_stages(inst, rows, threads, cols, warps, ctas)
  local stage, sums, all = row_inputs(inst).bytes * rows * cols, 0, 0
  for _, seg in ipairs(inst.segments) do sums, all = math.max(sums, #seg.sums), all + #seg.sums end
  local meeting = threads < warps * 32 and 128 * warps * (cols // threads) or 0 -- of a sum; each part of the launch has memory of its own for its sums
  return math.min(4, (core.target.shared_block // ctas - 2048 - sums * meeting) // stage, (core.target.shared_block - 2048 - all * meeting) // stage)
end

-- Is there room beside a loop's ring for what is the same in all rows?
local function has_room(inst, s)
  local r = row_inputs(inst)
  return s.rows == 1 and (r.bytes * s.stages + r.column_bytes) * s.cols <= core.target.shared_block // s.ctas - 2048
end

local PARTS = 264 -- two CTAs on each SM of the largest Hopper; a number of the schedule, so that results do not depend on the card

-- What a thread holds of a column grows with what is computed there. Values of a column and row sums of columns, of the segment that
-- has most; from many on, threads get fewer columns, or more registers by fewer threads: ptxas would spill. Third: whether there are
-- exponentials, for which ptxas spills to have one CTA more, unless it is told that so many are enough. Fourth: row sums, or false.
local MANY = 18
local EXPONENTIAL = { exp = true, tanh = true, erf = true }
local function load_of(inst)
  local values, sums, exponential, levels = 0, 0, false, false
  for _, seg in ipairs(inst.segments) do
    local count, row_sums = 0, 0
    for _, n in ipairs(seg.nodes) do
      if n.dims[seg.column] then count = count + 1 end
      exponential = exponential or EXPONENTIAL[n.op]
      if segments.REDUCE[n.op] and n.dim == seg.column then row_sums = row_sums + 1 end
    end
    if row_sums > 0 then levels = math.max(levels or 0, row_sums) end
    values, sums = math.max(values, count), math.max(sums, #seg.sums)
  end
  return values, sums, exponential, levels
end

local function loop_candidates(inst, list, vec)
  local inputs, values, sums = row_inputs(inst), load_of(inst)
  if inputs.narrow or inputs.apart or inputs.bytes == 0 or vec == 1 then return end
  local wider = inputs.column_bytes * inputs.most > inputs.bytes * inputs.columns -- a weight in f32 beside rows of 16 bits
  local heavy = inputs.sampled and values > 13 or (inputs.sampled or inputs.tables) and wider
  local sampled = inst.has_sums -- does each sum keep something, so that a CTA could make it alone?
  for _, seg in ipairs(inst.segments) do for _, sum in ipairs(seg.sums) do sampled = sampled and #sum.kept > 0 end end
  local function loop(threads, per_thread, warps, ctas, parts, most_stages)
    local rows = warps * 32 // threads
    local cols = threads * per_thread
    local stages = loop_stages(inst, rows, threads, cols, warps, ctas)
    if per_thread % least_columns(inst, vec) ~= 0 or stages < 2 then return end
    local s = {
      kind = "loop", rows = rows, threads = threads, warps = warps, cols = cols, vec = vec, ctas = ctas, cache = "plain",
      stages = math.min(stages, most_stages or stages), parts = parts or PARTS, reuse = 1, walk = "rows",
    }
    if heavy and per_thread > 16 and not has_room(inst, s) then return end -- what all rows share would have to stay in registers
    table.insert(list, s)
    return true
  end
  if not inst.has_sums then
    if inputs.tables or values > MANY then return end
    loop(256, 16, 8, 2)
    loop(256, 32, 8, 2)
    return
  end
  -- 32 columns of a thread where its registers hold their sums; CTAs of four warps and four of them on an SM, whose barriers are short.
  local wide = values <= MANY or sizes.shares_entries(inst)
  -- Where it holds more, 8 columns: with 16 the assembler spills a little rather than take more than 128 registers.
  if not (wide and loop(128, 32, 4, 4, 2 * PARTS, 2) or values > MANY and loop(512, 8, 16, 1)) then loop(256, 16, 8, values > MANY and 1 or 2) end
  for _, t in ipairs { 4, 8, 16, 32, 64, 128 } do
    local ctas = (values > MANY or sums > 1 and t < (vec < 8 and 64 or 8)) and 1 or 2
    local four = t >= 64 and not sampled and values <= MANY
    if four and sums == 1 then four = loop(t // 2, 32, 4, 4, 2 * PARTS, 2) else four = four and loop(t, 16, 4, 4, 2 * PARTS, 2) end
    if four or t == 128 and values > MANY and loop(256, 8, 16, 1) then -- taken
    elseif t > 8 then loop(t, 16, 8, ctas)
    elseif t == 8 and sampled and least_columns(inst, vec) <= 8 then loop(16, 8, 4, 2 * ctas, 2 * PARTS, 2)
    else loop(t, 16, 4, 2 * ctas, 2 * PARTS, 2) end
    if sampled and t <= 32 then
      loop(t, 16, 8, 1, 1)
      loop(2 * t, 8, 8, 2, 1)
    end
  end
  if not wide then return end
  if not loop(256, 32, 8, 2, nil, 2) and heavy then loop(512, 16, 16, 1) end -- the rest of shared memory holds what is the same in all rows
  if vec == 8 or sums < 2 then loop(512, 32, 16, 1) end
end

-- Rows in registers, by what is read beside them; docs/performance.md has the measurements. put(threads of a row, its columns, vec, more).
local REGS = {}

-- Tables: the rows of four heads at once share theirs, a vector of each in a thread, or a pair of them where halves are exchanged. Of short
-- tables the rows of fewer heads do, in planes.
function REGS.tables(inst, vec, inputs, levels, put)
  local least = least_columns(inst, vec)
  local each = math.max(8, least)
  local stages = inputs.most * each <= 16 and 4 or 2
  for _, t in ipairs(levels and { 4, 8, 16 } or { 4, 8, 16, 32 }) do put(t * 16 // each, each, vec, { reuse = 4, stages = stages }) end
  for _, t in ipairs(levels and { 4 } or { 4, 8 }) do
    local heads = levels and 4 or 2
    put(t * 16 // each, each, vec, { reuse = heads, stages = math.min(heads, stages), walk = "planes" })
  end
  for _, t in ipairs { 4, 8, 16, 32, 64, 128, 256 } do put(t, math.max(least, 16), vec) end
  if vec == 8 and sizes.shares_entries(inst) then put(256, 32, vec, { ctas = levels == 1 and 3 or 2 })
  else put(512, math.max(least, 16), vec) end
end

-- Can a thread hold two rows of 32 columns? Where an SM has few threads, the assembler spills instead.
local function holds_two(vec, inputs) return vec == 8 and inputs.most == 1 and core.target.threads_sm > 1024 end

-- Several values per column: two rows of a thread share what it reads of them.
function REGS.columns(_, vec, inputs, levels, put)
  local each = vec == 8 and 16 or 8
  for _, t in ipairs { 4, 8, 16 } do put(t * 16 // each, each, vec) end
  for _, t in ipairs { 32, 64, 128 } do put(t * 8 // each * 2, each, vec, { rows = 2 }) end
  put(vec == 8 and 128 or 256, vec == 8 and 32 or 16, vec, { ctas = vec == 8 and 8 or 1 })
  -- of 32 columns where the assembler has 128 registers for them without spilling: with one row sum, or two where they belong to a sample
  if not holds_two(vec, inputs) or not levels or levels > (inputs.sampled and 2 or 1) then return end
  put(128, 32, vec, { rows = 2, ctas = 4 })
  if levels == 1 then put(256, 32, vec, { rows = 2, ctas = 2 }) end
end

-- 16 columns per thread measured best up to rows of 4096, 32 beyond: what a thread keeps of a row fits in its registers several times over.
-- Heads of 128: a vector each of two rows. A value per column is shared by two rows of a thread, where there are two. Sums of exponentials: more
-- columns, so that fewer threads meet for them.
function REGS.plain(inst, vec, inputs, _, put, meets, simple)
  for _, t in ipairs { 2, 4, 8, 16, 32, 64, 128, 256 } do
    if t == 8 and vec == 8 and least_columns(inst, vec) == 8 then put(16, 8, vec, { rows = 2 })
    elseif t >= 128 and meets then put(t // 2, 32, vec)
    else put(t, 16, vec) end
  end
  if not holds_two(vec, inputs) or inputs.columns ~= 1 or not simple then return end
  put(128, 16, vec, { rows = 2 })
  put(128, 32, vec, { rows = 2 })
  put(256, 32, vec, { rows = 2 })
end

local candidates = op.once("candidates", function(inst)
  local list, inputs = {}, row_inputs(inst)
  local values, _, exponential, levels = load_of(inst)
  local many, vec = values > MANY, 16 // largest_bytes(inst)
  local enough = inputs.columns > 1 and vec == 8 and 4 or 1 -- CTAs of an SM for 32 columns of a thread
  if exponential then enough = levels and (inputs.rows == 1 and 1 or 2) or inputs.rows == 2 and values <= 8 and vec == 8 and 4 or 2 end
  if core.target.threads_sm < 512 * enough then enough = math.min(enough, 2) end -- more than half of an SM's threads: ptxas spills, with 3 as well
  local cache = inputs.tables and "plain" or "keep" -- what stays in L2 is the tables then
  local walk = inputs.tables and "heads" or "rows"
  local function regs(threads, per_thread, vec, more)
    local warps = math.max(4, threads // 32)
    local s = {
      kind = "regs", rows = warps * 32 // threads, threads = threads, warps = warps, cols = threads * per_thread, vec = vec, ctas = 1,
      cache = more and more.reuse and "keep" or cache, stages = 1, parts = 1, reuse = 1, walk = walk,
    }
    for k, v in pairs(more or {}) do s[k] = k == "rows" and s.rows * v or v end
    table.insert(list, s)
  end
  local fewer = many or exponential or inst.has_sums or inputs.rows > 1 -- threads for a row in pieces: shared memory holds one CTA, in any case
  local shared_threads, passes_threads = fewer and 512 or 1024, fewer and 256 or 512
  local function pieces(kind, threads, cols, vec, ctas)
    table.insert(list, {
      kind = kind, rows = 1, threads = threads, warps = threads // 32, cols = cols, vec = vec, ctas = ctas, cache = cache, stages = 1, parts = 1,
      reuse = 1, walk = walk,
    })
  end
  loop_candidates(inst, list, vec)
  if vec > 1 then
    if not inst.has_sums then
      local beside = inputs.tables and "tables" or inputs.columns > 1 and not many and not exponential and "columns" or "plain"
      local meets = exponential and levels and vec == 8 and inputs.rows == 1
      REGS[beside](inst, vec, inputs, levels, regs, meets, not many and not exponential)
      -- 1024 of 16 bits: no barrier
      if beside == "plain" and vec == 8 and not many then
        regs(16, 64, vec, { ctas = (exponential or inputs.rows + inputs.column_bytes // 4 > 2) and 2 or 3 }) -- a weight in f32 is as much as a row
      end
      if not many and not inputs.tables then
        if meets then regs(128, 64, vec)
        elseif exponential and inputs.rows > 2 and vec < 8 then regs(512, 16, vec) -- three rows of f32: too much for 32 columns
        else regs(256, 32, vec, { ctas = enough }) end
        if vec == 8 or values <= 12 then regs(512, 32, vec) end
      elseif vec == 8 and not inputs.tables then
        regs(512, 16, vec)
      end
    end
    if shared_columns(inst, { threads = shared_threads, vec = vec }) > 0 then pieces("shared", shared_threads, 0, vec, 1) end
    pieces("passes", passes_threads, passes_threads * least_columns(inst, vec), vec, fewer and 2 or 1)
  end
  regs(32, 4, 1)
  regs(64, 16, 1, { ctas = 2 }) -- elements one by one have an address each: more than 16 of a thread would spill
  regs(many and 128 or 256, 16, 1, { ctas = 2 })
  pieces("passes", passes_threads, 8 * passes_threads, 1, fewer and 2 or 1)
  for _, s in ipairs(list) do if s.kind == "shared" then s.cols = shared_columns(inst, s) end end
  return list
end)

-- The default for reading PTX is the one for rows of 4096 16-byte-aligned elements.
local function preferred(list)
  for _, kind in ipairs { "regs", "loop" } do
    for _, s in ipairs(list) do if s.kind == kind and s.cols == 4096 and s.vec > 1 then return s end end
  end
  return list[1]
end

-- What is written over is read by the rows that write it, before they do, and by nobody else; but sums over them come first where they
-- are steps of their own (written_early).
local function check_written_over(inst)
  for _, s in ipairs(inst.segments) do
    for _, o in ipairs(s.outputs) do
      local under = o.tensor.over
      for _, other in ipairs(under and inst.segments or {}) do
        local reads = false
        for _, n in ipairs(other.nodes) do reads = reads or n.op == "arg" and n.name == under end
        if reads and other ~= s then
          op.fail(inst.op, string.format("output '%s' is over '%s', which the rows along %s read as well, before or after it is written", o.tensor.name,
            under, table.concat(other.rows, " ") .. " " .. other.column))
        end
      end
    end
    for _, sum in ipairs(s.sums) do
      for _, n in ipairs(segments.reach { sum.value }) do
        inst.written_early = inst.written_early or n.op == "arg" and inst.written_over[n.name]
      end
    end
  end
end

-- Traces once, to know whether there are sums over rows, and what is written over.
local function study(inst)
  if inst.segments then return end
  inst.graph = rowwise.trace(inst)
  inst.segments = segments.find(inst, inst.graph)
  sizes.find_halves(inst, inst.segments)
  inst.written_over = {}
  for _, s in ipairs(inst.segments) do inst.has_sums = inst.has_sums or #s.sums > 0 end
  for _, t in ipairs(inst.tensors) do if t.present and t.over then inst.written_over[t.over] = true end end
  check_written_over(inst)
end

function rowwise.schedules(inst)
  study(inst)
  local list, texts = candidates(inst), {}
  local best = preferred(list)
  table.insert(texts, schedule.print(best, KEYS))
  for _, s in ipairs(list) do if s ~= best then table.insert(texts, schedule.print(s, KEYS)) end end
  return texts
end

local function check_schedule(inst, s)
  local function refuse(why) core.fail("schedule " .. schedule.print(s, KEYS) .. ": " .. why) end
  if s.kind ~= "regs" and s.kind ~= "shared" and s.kind ~= "passes" and s.kind ~= "loop" then refuse("kind is regs, shared, passes or loop") end
  if s.warps > 32 or s.warps & (s.warps - 1) ~= 0 then refuse("warps is a power of two up to 32") end
  if s.threads & (s.threads - 1) ~= 0 or s.threads > s.warps * 32 then refuse("threads (of a row) is a power of two up to 32 * warps") end
  if s.vec ~= 1 and s.vec ~= 2 and s.vec ~= 4 and s.vec ~= 8 then refuse("vec is 1, 2, 4 or 8") end
  if s.cache ~= "keep" and s.cache ~= "plain" then refuse("cache (how rows are read) is keep (L2::evict_last, measured best) or plain") end
  if s.reuse > 64 then refuse("reuse (tiles in turn that share what is the same for them) is at most 64") end
  if s.kind == "regs" and (s.stages < 1 or s.stages > 8 or s.reuse % s.stages ~= 0) then
    refuse("stages (of tiles in turn: how many are read at once) is 1 to 8 and divides reuse")
  end
  if s.walk ~= "heads" and s.walk ~= "planes" and s.walk ~= "rows" then refuse("walk (where tiles in turn differ) is heads, planes or rows") end
  if s.reuse > 1 and s.walk ~= "rows" and not row_inputs(inst).tables then
    refuse("walk=heads and planes are for ops that look something up in tables; take rows")
  end
  if s.ctas > 32 then refuse("ctas (the least number on an SM, for the registers) is at most 32") end
  local in_pieces = s.kind == "shared" or s.kind == "passes"
  if in_pieces and (s.rows ~= 1 or s.threads ~= s.warps * 32) then refuse("shared and passes give a row to the whole CTA: rows=1, threads=32*warps") end
  if not in_pieces and s.cols // s.threads > 64 then refuse("a thread would keep more than 64 columns; take more threads") end
  local least = least_columns(inst, s.vec)
  local times = "threads * vec" .. (least > s.vec and " * 2 (halves are exchanged)" or "")
  if not in_pieces and (s.cols % (s.threads * least) ~= 0 or s.rows * s.threads % (s.warps * 32) ~= 0) then
    refuse("cols is a multiple of " .. times .. ", rows * threads of 32 * warps")
  end
  if s.kind == "shared" and s.cols == 0 then
    refuse("no row is read more than once, or its columns do not fit into the shared memory of " .. core.target.name .. ", or are not of 2 or 4 bytes")
  end
  if s.kind == "passes" and s.cols % (s.threads * least) ~= 0 then refuse("cols (of a piece) is a multiple of " .. times) end
  if s.kind == "loop" then
    if s.vec == 1 or row_inputs(inst).narrow then refuse("loop needs vectors (vec) of elements of 2 or 4 bytes") end
    if row_inputs(inst).bytes == 0 or row_inputs(inst).apart then refuse("loop brings rows ahead; there are none that a ring can bring") end
    if s.stages < 2 or s.stages > 8 then refuse("stages is 2 to 8") end
    if s.rows * s.threads ~= s.warps * 32 then refuse("a loop's tile has a row for each group of threads: rows * threads = 32 * warps") end
  end
end

-- ---- emission ----

-- One kernel over CTAs [0, sum of counts): part k works on index - first of its range. parts: { count (name), body }.
local function dispatch(parts)
  local cta = tile.cta(0)
  if #parts == 1 then return parts[1].body(cta) end
  local function from(k, index)
    if k == #parts then return parts[k].body(index) end
    local count = tile.to(tile.param(parts[k].count, "i64"), "i32")
    tile.if_(tile.lt(index, count), function() parts[k].body(index) end, function() from(k + 1, index - count) end)
  end
  from(1, cta)
end

-- Two parts whose CTAs take turns, as long as both have some left: what they read alike (tables) is read once.
local function dispatch_in_turn(parts)
  local cta, both = tile.cta(0), tile.to(tile.param("both", "i64"), "i32")
  local first = tile.to(tile.param(parts[1].count, "i64"), "i32")
  local in_turn, half = tile.lt(cta, both + both), cta / 2
  local index = tile.where(in_turn, half, cta - both)
  local second = tile.where(in_turn, cta - half - half, tile.where(tile.le(first, both), tile.const(1, "i32"), 0))
  tile.if_(tile.eq(second, 0), function() parts[1].body(index) end, function() parts[2].body(index) end)
end

-- The segment with some of its outputs only.
local function with_outputs(seg, from, to)
  local part, list = {}, {}
  for k, v in pairs(seg) do part[k] = v end
  part.outputs = { table.unpack(seg.outputs, from, to) }
  for _, o in ipairs(part.outputs) do table.insert(list, o.value) end
  part.nodes = segments.reach(list)
  return part
end

local SKELETON = { regs = kernels.regs, shared = kernels.pieces, passes = kernels.pieces }

function rowwise.emit(inst, given)
  study(inst)
  local s = schedule.read(given, preferred(candidates(inst)), KEYS)
  if s.kind == "shared" then s.cols = shared_columns(inst, s) end
  check_schedule(inst, s)
  local list = inst.segments
  local letter = { regs = "r", shared = "s", passes = "p", loop = "l" }
  local name = string.format("%s-%s-%s%dx%d%s", inst.name, op.values_name(inst), letter[s.kind], s.rows, s.cols, s.vec == 1 and "-any" or "")
  if s.kind == "loop" and s.parts == 1 then name = name .. "-one" end
  if s.kind == "regs" and s.reuse > 1 then name = name .. (s.walk == "planes" and "-planes" or "-x") .. s.reuse end
  local entry = op.entry_name(name)
  local w = writer.start(inst, list, s, KEYS)
  local ctx = { inst = inst, s = s, asks = sizes.new_asks(), direct = w.direct, has_room = s.kind == "loop" and has_room(inst, s) }

  -- step 1: what lies along rows, and in the loop the shares of sums. early: only what the sums need of it, which then have their turn before
  -- the outputs are written.
  local looped = s.kind == "loop"
  local early = inst.written_early and not looped
  local main, stats = {}, {}
  for _, seg in ipairs(list) do
    local before, after = seg, seg
    if early then before, after = with_outputs(seg, #seg.outputs - #seg.stats + 1, #seg.outputs), with_outputs(seg, 1, #seg.outputs - #seg.stats) end
    if looped or #after.outputs > 0 then
      table.insert(main, { count = seg.name.ctas, body = function(index)
        if looped then kernels.loop(ctx, seg, index) else SKELETON[s.kind](ctx, after, index) end
      end })
    end
    if early and #before.outputs > 0 then
      table.insert(stats, { count = seg.name.ctas, body = function(index) SKELETON[s.kind](ctx, before, index) end })
    end
  end
  local count = 0
  local function kernel(suffix, warps, ctas, parts, step, portion)
    if #parts == 0 then return end
    -- Else ptxas chooses how many may be on an SM; of 16 warps it spills for the sake of two: with look-ups, and in loops whose
    -- rings leave no room for a second one.
    local squeezed = warps >= 16 and (row_inputs(inst).tables or s.kind == "loop" and s.stages < 4)
    local said = ctas > 1 or (step == "main" or step == "early") and (s.kind == "shared" or squeezed)
    tile.kernel({ name = entry .. suffix, threads = warps * 32, min_ctas = said and ctas or nil, portion = portion }, function()
      ctx.view, ctx.parts, ctx.gathered, ctx.stats = w.views(step == "finish")
      if step == "main" and s.kind == "loop" then ctx.ring, ctx.resident = kernels.loop_memory(ctx, list) end
      if step == "main" and #parts == #list and kernels.take_turns(s, list) then dispatch_in_turn(parts) else dispatch(parts) end
    end)
    w.step(step, count, parts)
    count = count + 1
  end
  local function main_kernel() kernel("", s.warps, s.ctas, main, "main", looped and math.max(8, least_columns(inst, s.vec)) or nil) end
  kernel("_early", s.warps, s.ctas, stats, "early")
  if not early then main_kernel() end

  -- step 2: the shares of sums, where the first step was no loop
  local columns = {}
  if s.kind ~= "loop" then
    local cs
    for _, seg in ipairs(list) do
      if #seg.sums > 0 then
        cs = kernels.columns_schedule(inst, seg, s)
        local own = cs
        table.insert(columns, { count = seg.name.column_ctas, body = function(index)
          local c = {}
          for k, v in pairs(ctx) do c[k] = v end
          c.s = own
          kernels.columns(c, seg, index)
        end })
      end
    end
    kernel("_columns", cs and cs.warps or 1, 1, columns, "columns")
  end
  if early then main_kernel() end

  -- step 3: the shares of each output added
  local finish = {}
  if not ctx.direct and inst.has_sums then
    for _, seg in ipairs(list) do
      for _, sum in ipairs(seg.sums) do
        table.insert(finish, { count = sum.name.ctas, body = function(index) kernels.finish(ctx, seg, sum, index) end })
      end
    end
    kernel("_finish", kernels.FINISH.warps, 1, finish, "finish")
  end
  w.finish(ctx.asks)
  return name
end

return rowwise
