-- rowwise_contract.lua - the contract of a row-wise kernel: sizes, strides and counts of CTAs by name, workspaces, steps, cost.
--
-- Values of segment I are called by a word and I: rowsI (all), leadI (all but the tiled slot), blocksI (of the tiled slot),
-- ctasI; walkI, tilesI, wblocksI, partsI, keptI for what a loop or the columns' kernel walks over; cblocksI, cctasI.
local tile = use "kiln.tile"
local contract = use "kiln.contract"
local schedule = use "kiln.schedule"
local segments = use "families.rowwise_segments"
local sizes = use "families.rowwise_sizes"
local kernels = use "families.rowwise_kernels"
local writer = {}

writer.NAMES = { "rows", "lead", "blocks", "groups", "ctas", "walk", "wblocks", "tiles", "parts", "kept", "kstep", "cblocks", "cctas", "npad" }

local function product(slots)
  if #slots == 0 then return "1" end
  return table.concat(slots, "*")
end

local function expand(seg, dims)
  local slots = {}
  for _, d in ipairs(dims) do
    if seg.count[d] then for i = 0, seg.count[d] - 1 do table.insert(slots, d .. "_" .. i) end else table.insert(slots, d) end
  end
  return slots
end

local function is_table(list, t)
  if t.out or #t.dims ~= 2 or segments.is_column(t.dims[2]) then return false end
  for _, s in ipairs(list) do
    for _, n in ipairs(s.nodes) do if n.op == "lookup" and n.args[1].name == t.name then return true end end
  end
  return false
end

-- Bytes at which pointer and strides of a tensor are aligned: of the vectors that it is read or written by.
local function alignment(list, s, t)
  local bytes = contract.bytes_of[t.dtype]
  local along = #t.dims > 0 and (segments.is_column(t.dims[#t.dims]) or is_table(list, t))
  return along and math.min(16, bytes * s.vec) or bytes
end

-- Names of a tensor's strides; the last one is 1 where vectors are read, any where elements are.
local function strides_of(inst, list, s, t)
  local slots, strides = segments.slots_of(inst, t), {}
  for i, slot in ipairs(slots) do
    local last = i == #slots and (segments.is_column(slot) or is_table(list, t))
    strides[i] = last and s.vec > 1 and "1" or t.name .. "_" .. (i - 1)
  end
  return slots, strides
end

-- ---- lines ----

local function put_tensors(inst, list, s)
  for _, seg in ipairs(list) do
    for _, m in ipairs(seg.collapse) do contract.line("collapse %s", table.concat(m, " ")) end
  end
  for _, t in ipairs(inst.tensors) do
    if t.present then
      local slots, strides = strides_of(inst, list, s, t)
      local words = {}
      local lead, from = segments.lead_of(inst, list, t)
      if lead > 0 then table.insert(words, from > 0 and string.format("lead %d at %d", lead, from) or "lead " .. lead) end
      if t.over then table.insert(words, "alias " .. t.over .. " exact") end
      contract.tensor(t, slots, strides, alignment(list, s, t), #words > 0 and table.concat(words, " ") or nil)
    end
  end
  for _, sc in ipairs(inst.scalars) do contract.scalar(sc) end
end

-- Sizes that the definition asks for, and their reciprocals.
local function put_sizes(inst, list, s)
  local asked, inverse = {}, {}
  for _, seg in ipairs(list) do
    for _, n in ipairs(seg.nodes) do
      if n.op == "size" or n.op == "dim" then asked[n.dim] = seg end
      if n.op == "div" and n.args[2].op == "dim" then inverse[n.args[2].dim] = true end
    end
  end
  for _, d in ipairs(inst.op.dims) do
    if asked[d] then
      contract.line("let size_%s %s", d, product(expand(asked[d], { d })))
      if inverse[d] then contract.line("derived inv_%s f32 1/size_%s", d, d) end
    end
  end
  for d, h in pairs(inst.halves) do
    contract.line("let %s max(1,%s/2/%d)", h.half, h.text, sizes.piece(inst, d, s.vec))
    contract.line("derived by_%s fastdiv %s", h.half, h.half)
    contract.line("let %s %s/max(1,%s)*%s", h.whole, d, h.text, h.text)
    contract.line("let %s roundup(%s,max(1,%s))", h.span, d, h.text)
  end
end

local function put_counts(inst, seg, s)
  local i = seg.index
  local function let(name, fmt, ...) contract.line("let %s%d %s", name, i, string.format(fmt, ...)) end
  local tiled = seg.slots[#seg.slots]
  local before = {}
  for k = 1, #seg.slots - 1 do before[k] = seg.slots[k] end
  local looped = s.kind == "loop"
  let("rows", "%s", product(seg.slots))
  if not looped and (#seg.outputs > 0 or #seg.stats > 0) then
    let("lead", "%s", product(before))
    let("blocks", "ceildiv(%s,%d)", tiled, s.rows)
    if not kernels.in_turn(s, seg) then
      let("ctas", "lead%d*blocks%d", i, i)
    elseif kernels.by_heads(s) then
      let("groups", "ceildiv(lead%d,%d)", i, s.reuse)
      let("ctas", "groups%d*blocks%d", i, i)
    else
      let("groups", "ceildiv(blocks%d,%d)", i, s.reuse)
      let("ctas", "lead%d*groups%d", i, i)
    end
  end
  if #seg.sums == 0 and not looped then return end
  local rows = looped and s.rows or kernels.columns_schedule(inst, seg, s).rows
  local walked = {}
  for k = #seg.kept_slots + 1, #seg.slots - 1 do table.insert(walked, seg.slots[k]) end
  let("kept", "%s", product(seg.kept_slots))
  let("walk", "%s", product(walked))
  let("wblocks", "ceildiv(%s,%d)", tiled, rows)
  let("tiles", "walk%d*wblocks%d", i, i)
  let("npad", "roundup(%s,4)", seg.column)
  if looped then
    let("parts", "max(1,min(tiles%d,%d/max(kept%d,1)))", i, s.parts, i)
    let("ctas", "kept%d*parts%d", i, i)
    contract.line("require max(%s,2*tiles%d)<%d \"a loop counts rows and their tiles in 32 bits\"", tiled, i, 1 << 31)
  else
    let("cblocks", "ceildiv(%s,%d)", sizes.span(inst, seg.column), kernels.columns_schedule(inst, seg, s).cols)
    let("parts", "max(1,min(tiles%d,1024/max(kept%d*cblocks%d,1)))", i, i, i)
    let("cctas", "kept%d*parts%d*cblocks%d", i, i, i)
  end
  let("kstep", "parts%d*npad%d", i, i)
end

-- Shares of a sum, and what is added to what in the end.
local function put_shares(seg, sum)
  local i, t = seg.index, sum.tensor.name
  contract.line("workspace part_%s f32 [kept%d*kstep%d]", t, i, i)
  local rest = {}
  for k = #sum.kept_slots + 1, #seg.kept_slots do table.insert(rest, seg.kept_slots[k]) end
  contract.line("let kout_%s %s", t, product(sum.kept_slots))
  contract.line("let addends_%s %s*parts%d", t, product(rest), i)
  contract.line("let fstep_%s addends_%s*npad%d", t, t, i)
  local few, many = kernels.FINISH.few, kernels.FINISH.many
  contract.line("let fblocks_%s ceildiv(%s,addends_%s<=%d?%d:%d)", t, seg.column, t, few.rows, few.cols, many.cols)
  contract.line("let fctas_%s kout_%s*fblocks_%s", t, t, t)
end

-- ---- row sums that an earlier step hands on to the columns' kernel ----

-- Values per row that sums over rows need and that take row sums: computed once, by the first step.
local function find_stats(seg)
  local stats, seen, depths = {}, {}, {}
  local values = use "families.rowwise_values"
  local function visit(n)
    if seen[n.index] then return end
    seen[n.index] = true
    if not n.dims[seg.column] then
      if values.depth(n, seg.column, depths) > 0 then table.insert(stats, n) end
      return
    end
    for _, a in ipairs(n.args) do visit(a) end
  end
  for _, sum in ipairs(seg.sums) do visit(sum.value) end
  return stats
end

-- A condition is written as 0 or 1, which the columns' kernel compares with 0.
local function stat_dtype(n) return n.dtype == "i32" and "i32" or "f32" end

-- ---- where the rows of tables begin ----

-- How many of a dim's rows are told from the others by their number, as lt(index "T", t.rows) does: the expression, all where none are.
local function count_rows(seg, dim)
  local rows = dim
  for _, n in ipairs(seg.nodes) do
    local known = n.op == "lt" and n.args[1].op == "index" and n.args[1].dim == dim and n.args[2].op == "scalar" and n.args[2].dtype == "i32"
    if known and not n.args[2].call then rows = string.format("min(%s,%s)", rows, n.args[2].name) end
  end
  return rows
end

-- Tables have a row for each row that looks one up, from a scalar on. Kernels know where a table ends (what lies there is 0), not where it begins.
local function put_limits(inst, list)
  local said = {}
  for _, seg in ipairs(list) do
    for _, n in ipairs(seg.nodes) do
      local dim, shifts = nil, nil
      if n.op == "lookup" then dim, shifts = sizes.split_row(n.args[2]) end
      local call, rest = sizes.shift(shifts or {})
      if dim and (call or rest) then
        local rows, t = count_rows(seg, dim), inst.by_name[n.args[1].name]
        local most = string.format("(%s>0?%s-%s:2147483647)", rows, segments.slots_of(inst, t)[1], rows)
        local rule, from = string.format("limit %s 0 %s", call or "", most), call or rest
        if not call then rule = string.format("require %s>=0&&%s<=%s", rest, rest, most)
        elseif rest then rule, from = string.format("limit %s (0-%s) (%s-%s)", call, rest, most, rest), call .. " + " .. rest end
        if not said[rule] then contract.line("%s \"row n of %s takes row n + %s of %s\"", rule, dim, from, t.name) end
        said[rule] = true
      end
    end
  end
end

-- ---- cost ----

-- Does it read values that are the same for all rows of a tile?
local function has_columns(seg)
  for _, n in ipairs(seg.nodes) do if n.op == "arg" and n.dims[seg.column] and not n.dims[seg.tiled] then return true end end
  return false
end

-- Bytes that must move, by tensors that have rows; and what a schedule adds to their time.
local function put_cost(inst, list, s)
  local terms, again, tables = {}, {}, {}
  for _, t in ipairs(inst.tensors) do
    if t.present then
      local slots = segments.slots_of(inst, t)
      local n = product(slots) .. "*" .. contract.bytes_of[t.dtype]
      if #slots == 0 then n = tostring(contract.bytes_of[t.dtype]) end
      table.insert(terms, n)
      if is_table(list, t) then table.insert(tables, n) end
      if not t.out and #slots > 1 and segments.is_column(slots[#slots]) then table.insert(again, n) end
    end
  end
  local bytes = table.concat(terms, "+")
  contract.line("bytes %s", bytes)
  local slow = s.vec == 1 and 4 or 1
  local twice = inst.has_sums and s.kind ~= "loop" and "+" .. table.concat(again, "+") or ""
  local total = string.format("(%s%s)*%d/bw", bytes, twice, slow)
  if s.kind == "regs" or s.kind == "loop" then
    -- idle threads cost a part of what busy ones do; CTAs of many warps wait longer at their barrier; rows beyond a dim's end
    local idle, extra = {}, {}
    for _, seg in ipairs(list) do
      local tiled = seg.slots[#seg.slots]
      table.insert(idle, string.format("0.3*(%d-%s)/%d", s.cols, seg.column, s.cols))
      if s.rows > 1 then
        table.insert(idle, string.format("0.3*(ceildiv(%s,%d)*%d-%s)/max(%s,1)", tiled, s.rows, s.rows, tiled, tiled))
      end
      if s.rows * s.threads > s.warps * 32 and has_columns(seg) then -- read once for a thread's rows; worth it where SMs have several of them
        table.insert(idle, string.format("max(-0.02,0.02-0.02*rows%d/sms)", seg.index))
      end
      if kernels.in_turn(s, seg) and kernels.by_heads(s) then
        table.insert(idle, string.format("0.1*(groups%d*%d-lead%d)/max(lead%d,1)", seg.index, s.reuse, seg.index, seg.index))
      end
      if kernels.in_turn(s, seg) and s.walk == "planes" then -- 2 % less, as long as tables stay in L2
        table.insert(idle, string.format("min(0.4,max(-0.02,(%s)/33554432-0.25))", table.concat(tables, "+")))
      end
      if s.kind == "regs" then table.insert(extra, string.format("rows%d*%d*0.0001", seg.index, s.cols // 32)) end
    end
    local fixed = s.kind == "loop" and (inst.direct and "1000" or inst.has_sums and "5000" or "2000") or inst.has_sums and "9000" or "0"
    if s.kind == "loop" and inst.direct then -- a CTA walks over all rows of a sample alone
      for _, seg in ipairs(list) do
        if #seg.sums > 0 then table.insert(extra, string.format("tiles%d*1500", seg.index)) end
      end
    end
    local shares = 1 -- tiles in turn: fewer CTAs, which read less where something belongs to a sample or a table
    if s.kind == "regs" and s.reuse > 1 then
      fixed, shares = "3000", kernels.by_heads(s) and 0.9 or 1.05
      for _, seg in ipairs(list) do if #seg.kept > 0 then shares = 0.9 end end
    end
    table.insert(extra, 1, fixed)
    contract.line("cost %s*(1+%s)*%.4f+%s", total, table.concat(idle, "+"), (1 + s.threads / 16384) * shares, table.concat(extra, "+"))
  else
    contract.line("cost %s*%s+%d", total, s.kind == "shared" and "1.3" or "1.6", inst.has_sums and 12000 or 2000)
  end
end

-- Does the definition ask for the number of a column, or are the columns walked in an order of their own?
local function counts_columns(inst, seg)
  for _, n in ipairs(seg.nodes) do if n.op == "index" and n.dim == seg.column then return true end end
  return inst.halves[seg.column] ~= nil
end

-- ---- the whole ----

local function name_parts(list)
  for _, seg in ipairs(list) do
    local i = seg.index
    seg.kept_slots = expand(seg, seg.kept)
    seg.walked_slots = {}
    for k = #seg.kept_slots + 1, #seg.slots do table.insert(seg.walked_slots, seg.slots[k]) end
    seg.name = {
      blocks = "blocks" .. i, lead = "lead" .. i, groups = "groups" .. i, ctas = "ctas" .. i, column_ctas = "cctas" .. i,
    }
    seg.walk = { blocks = "wblocks" .. i, lead = "walk" .. i, tiles = "tiles" .. i, parts = "parts" .. i, col_blocks = "cblocks" .. i }
    for _, sum in ipairs(seg.sums) do
      local t = sum.tensor.name
      sum.kept_slots = expand(seg, sum.kept)
      sum.name = { ctas = "fctas_" .. t, addends = "addends_" .. t, blocks = "fblocks_" .. t }
    end
  end
end

-- May the loop's CTAs write sums themselves? Where each keeps all that its segment keeps.
local function is_direct(list, s)
  if s.kind ~= "loop" or s.parts ~= 1 then return false end
  for _, seg in ipairs(list) do
    for _, sum in ipairs(seg.sums) do if #sum.kept ~= #seg.kept then return false end end
  end
  return true
end

function writer.start(inst, list, s, keys)
  name_parts(list)
  inst.direct = is_direct(list, s)
  contract.begin(inst, schedule.print(s, keys))
  put_tensors(inst, list, s)
  put_sizes(inst, list, s)
  for _, seg in ipairs(list) do
    seg.stats = s.kind ~= "loop" and #seg.sums > 0 and find_stats(seg) or {}
    put_counts(inst, seg, s)
    for _, sum in ipairs(seg.sums) do if not inst.direct then put_shares(seg, sum) end end
    if #seg.stats > 0 then
      for k, n in ipairs(seg.stats) do contract.line("workspace stat%d_%d %s [rows%d]", seg.index, k, stat_dtype(n), seg.index) end
      for k = 1, #seg.slots - 1 do
        local inner = {}
        for j = k + 1, #seg.slots do table.insert(inner, seg.slots[j]) end
        contract.line("let sstep%d_%d %s", seg.index, k, product(inner))
      end
      for k, n in ipairs(seg.stats) do
        local t = { name = string.format("stat%d_%d", seg.index, k), dims = seg.rows, dtype = stat_dtype(n) }
        table.insert(seg.outputs, { tensor = t, value = n, loc = n.loc })
      end
    end
  end
  if kernels.take_turns(s, list) then contract.line("let both min(%s,%s)", list[1].name.ctas, list[2].name.ctas) end
  local w = { direct = inst.direct }

  -- The views of a kernel; plain: columns in their own order.
  function w.views(plain)
    local view, parts, gathered, by_node = {}, {}, {}, {}
    for _, t in ipairs(inst.tensors) do
      if t.present then
        local slots, strides = strides_of(inst, list, s, t)
        local along = #slots > 0 and (segments.is_column(slots[#slots]) or is_table(list, t))
        local order = #slots > 0 and not plain and sizes.order(inst, slots[#slots]) or nil
        view[t.name] = tile.view {
          tensor = t.name, rank = #slots, dtype = t.dtype, align = alignment(list, s, t),
          sizes = table.concat(slots, ","), strides = table.concat(strides, ","), multiple = along and s.vec or 1,
          halves = order, run = order and sizes.piece(inst, slots[#slots], s.vec) or nil,
        }
      end
    end
    for _, seg in ipairs(list) do
      local i = seg.index
      for k, n in ipairs(seg.stats) do
        local name, strides = string.format("stat%d_%d", i, k), {}
        for j = 1, #seg.slots do strides[j] = j < #seg.slots and string.format("sstep%d_%d", i, j) or "1" end
        view[name] = tile.view {
          tensor = name, rank = #seg.slots, dtype = stat_dtype(n), align = 4, sizes = table.concat(seg.slots, ","), strides = table.concat(strides, ","),
        }
        by_node[n.index] = view[name]
      end
      for _, sum in ipairs(inst.direct and {} or seg.sums) do
        local t, order = sum.tensor.name, sizes.order(inst, seg.column)
        parts[t] = tile.view {
          tensor = "part_" .. t, rank = 3, dtype = "f32", align = 16, sizes = string.format("kept%d,parts%d,%s", i, i, seg.column),
          strides = string.format("kstep%d,npad%d,1", i, i), multiple = s.vec, halves = order,
          run = order and sizes.piece(inst, seg.column, s.vec) or nil,
        }
        gathered[t] = tile.view {
          tensor = "part_" .. t, rank = 3, dtype = "f32", align = 16, sizes = string.format("kout_%s,addends_%s,%s", t, t, seg.column),
          strides = string.format("fstep_%s,npad%d,1", t, i), multiple = s.vec,
        }
      end
    end
    return view, parts, gathered, by_node
  end

  local steps = {}
  -- Kernel k is a step over the parts' CTAs.
  function w.step(name, k, parts)
    local counts = {}
    for _, p in ipairs(parts) do table.insert(counts, p.count) end
    local line = "step %s entry $entry%d grid %s,1,1 block $block%d shared $shared%d args $args%d"
    table.insert(steps, string.format(line, name, k, table.concat(counts, "+"), k, k, k))
  end

  -- What is only known once the kernels are recorded; then the steps.
  function w.finish(asks)
    local numbered = {}
    for _, seg in ipairs(list) do
      for _, n in ipairs(seg.nodes) do
        if n.op == "index" and n.dim ~= seg.column and not numbered[n.dim] then
          numbered[n.dim] = true
          contract.line("require %s<%d \"numbers of rows have 32 bits\"", n.dim, 1 << 31)
        end
      end
      if s.kind ~= "passes" then
        local where = s.kind == "shared" and "shared memory" or "registers"
        contract.line("require %s<=%d \"a row has at most %d columns in %s\"", sizes.span(inst, seg.column), s.cols, s.cols, where)
      end
      if s.kind == "passes" and counts_columns(inst, seg) then
        contract.line("require %s<=%d \"columns are numbers, of 30 bits where their order is another\"", seg.column, 1 << 30)
      end
      if s.vec > 1 then contract.line("require %s%%%d==0 \"rows are read in pieces of %d elements\"", seg.column, s.vec, s.vec) end
    end
    for _, text in ipairs(asks.dividing) do
      contract.line("require %s==0 \"halves are exchanged in whole pieces, at the same places of a thread's columns\"", text)
    end
    if s.vec > 1 then
      for _, t in ipairs(inst.tensors) do
        if t.present and is_table(list, t) then
          contract.line("require %s%%%d==0 \"rows of %s are read in pieces of %d elements\"", t.dims[2], s.vec, t.name, s.vec)
        end
      end
      for _, text in ipairs(asks.needs) do
        contract.line("require %s%%%d==0 \"pieces of %d elements do not cross the halves of a block\"", text, s.vec, s.vec)
      end
      for _, text in ipairs(asks.positive) do contract.line("require %s>0 \"there are blocks whose halves are exchanged\"", text) end
    end
    put_limits(inst, list)
    for k, text in ipairs(asks.lets) do contract.line("let expr_%d %s", k, text) end
    for _, name in ipairs(asks.divisors) do contract.line("derived by_%s fastdiv %s", name, name) end
    put_cost(inst, list, s)
    for _, line in ipairs(steps) do contract.line("%s", line) end
  end
  return w
end

return writer
