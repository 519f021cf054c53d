-- rowwise_segments.lua - what an op's definition asks of a row-wise kernel.
--
-- Outputs whose rows and columns are the same dims form a segment; the segments of an op (q and k of an attention, say) run in
-- one launch. A segment has up to four row slots: a dim M stands for as many of the caller's leading dims as are left over.
-- An output that is a sum over rows belongs to the segment of what is summed.
local text = use "kiln.text"
local op = use "kiln.op"
local segments = {}

local MOST_SLOTS = 4
local REDUCE = { sum = "sum", amax = "max", amin = "min" }
segments.REDUCE = REDUCE

local function first_letter(name) return string.sub(name, 1, 1) end
function segments.is_column(dim) return first_letter(dim) == "N" end
function segments.is_lead(dim) return first_letter(dim) == "M" end

function segments.is_same_everywhere(n)
  for _ in pairs(n.dims) do return false end
  return true
end

-- ---- walks over a graph ----

-- Every node that `value` needs, in the graph's order.
function segments.reach(values)
  local seen, list = {}, {}
  local function visit(n)
    if seen[n.index] then return end
    seen[n.index] = true
    for _, a in ipairs(n.args) do visit(a) end
    table.insert(list, n)
  end
  for _, v in ipairs(values) do visit(v) end
  return list, seen
end

-- The value under an output's sums over rows, and which dims they take: nothing where there are none.
local function under_sums(value)
  local reduced, kind, n = {}, nil, value
  while REDUCE[n.op] and not segments.is_column(n.dim) do
    if kind and kind ~= n.op then break end
    kind = n.op
    reduced[n.dim] = true
    n = n.args[1]
  end
  if kind then return n, reduced, REDUCE[kind] end
end

-- A sum over rows is there when all rows have been walked, which is too late for anything but an output.
local function refuse_inner_sums(inst, nodes)
  for _, n in ipairs(nodes) do
    if REDUCE[n.op] and not segments.is_column(n.dim) then
      core.at(n.loc[1], n.loc[2])
      if inst.op.declared.gradient_of then core.refuse("the gradient needs the " .. n.op .. " over rows, along " .. n.dim .. "; that is not made yet") end
      error(n.op .. " over rows, along " .. n.dim .. ": it may be an output, but nothing is computed from it; factors stand inside, as in sum(2 * x, \"" ..
        n.dim .. "\")", 0)
    end
  end
end

local function column_of(inst, nodes, tensor, loc)
  local found
  for _, n in ipairs(nodes) do
    for d in pairs(n.dims) do
      if segments.is_column(d) then
        if found and found ~= d then
          core.at(loc[1], loc[2])
          local why = "output '" .. tensor.name .. "' needs values along " .. found .. " and along " .. d .. "; a row has one column dim"
          if inst.op.declared.gradient_of then core.refuse(why) end
          error(why, 0)
        end
        found = d
      end
    end
  end
  for _, d in ipairs(tensor.dims) do if segments.is_column(d) then found = found or d end end
  return found
end

-- Dims of the rows of an output: its own and those that sums take away, in the order of the op's dims.
local function row_dims(inst, tensor, value, reduced)
  local has, list = {}, {}
  for _, d in ipairs(tensor.dims) do has[d] = true end
  for d in pairs(value.dims) do has[d] = true end
  for d in pairs(reduced or {}) do has[d] = true end
  for _, d in ipairs(inst.dims) do if has[d] and not segments.is_column(d) then table.insert(list, d) end end
  return list
end

local function same(a, b) return table.concat(a, " ") == table.concat(b, " ") end

local function find_segment(list, rows, column)
  for _, s in ipairs(list) do
    if same(s.rows, rows) and (not column or not s.column or s.column == column) then
      s.column = s.column or column
      return s
    end
  end
  local s = { index = #list, rows = rows, column = column, outputs = {}, sums = {} }
  table.insert(list, s)
  return s
end

-- ---- slots ----

-- How many of the caller's dims each M stands for: what the named dims of its segments leave of the four.
local function lead_counts(o, list)
  local count = {}
  for _, s in ipairs(list) do
    local named, lead = 0, nil
    for _, d in ipairs(s.rows) do
      if not segments.is_lead(d) then named = named + 1
      elseif lead then op.fail(o, "rows have the dims " .. lead .. " and " .. d .. "; one of them may stand for several")
      else lead = d end
    end
    if named + (lead and 1 or 0) > MOST_SLOTS then op.fail(o, "rows have " .. #s.rows .. " dims; at most " .. MOST_SLOTS .. " are possible") end
    if lead then count[lead] = math.min(count[lead] or MOST_SLOTS, MOST_SLOTS - named) end
  end
  return count
end

local function expand(dims, count)
  local slots = {}
  for _, d in ipairs(dims) do
    if count[d] then
      for i = 0, count[d] - 1 do table.insert(slots, d .. "_" .. i) end
    else
      table.insert(slots, d)
    end
  end
  return slots
end

-- ---- what may be merged ----

-- Dims whose coordinate or size the definition asks for keep them.
local function pinned_dims(graph)
  local pinned = {}
  for _, n in ipairs(graph.nodes) do if n.op == "index" or n.op == "size" or n.op == "dim" then pinned[n.dim] = true end end
  return pinned
end

-- Neighbouring slots that the same tensors have may be merged by the runtime: lists of slots.
local function collapse_lists(inst, seg, pinned)
  local lists, open = {}, nil
  local function owners(d)
    local names = {}
    for _, t in ipairs(inst.tensors) do if t.present and text.has(t.dims, d) then table.insert(names, t.name) end end
    return table.concat(names, " ")
  end
  local function follows(outer, d) -- in each tensor, and at once
    for _, t in ipairs(inst.tensors) do
      for i, own in ipairs(t.present and t.dims or {}) do if own == d and t.dims[i - 1] ~= outer then return false end end
    end
    return true
  end
  local before
  for k, d in ipairs(seg.rows) do
    local own = owners(d)
    if open and own == before and follows(seg.rows[k - 1], d) and not pinned[d] and not open.pinned then
      for _, slot in ipairs(expand({ d }, seg.count)) do table.insert(open, slot) end
    else
      open = expand({ d }, seg.count)
      open.pinned = pinned[d]
      table.insert(lists, open)
    end
    before = own
  end
  return lists
end

-- Without sums a CTA that walks over rows stays where the values per column (of a sample) are the same: rows that lead.
local function keep_columns(s)
  for _, n in ipairs(s.nodes) do
    if n.op == "arg" and n.dims[s.column] and not n.dims[s.tiled] then
      local kept = {}
      for i, d in ipairs(s.rows) do if n.dims[d] and #kept == i - 1 then table.insert(kept, d) end end
      if #kept > #s.kept then s.kept = kept end
    end
  end
end

-- ---- the whole ----

-- Takes a traced graph apart. inst.dim_count: lead dim -> number of slots.
function segments.find(inst, graph)
  local list = {}
  for _, o in ipairs(graph.outputs) do
    local value, reduced, kind = under_sums(o.value)
    local nodes = segments.reach { value or o.value }
    refuse_inner_sums(inst, nodes)
    local column = column_of(inst, nodes, o.tensor, o.loc)
    local seg = find_segment(list, row_dims(inst, o.tensor, value or o.value, reduced), column)
    if not kind then
      table.insert(seg.outputs, o)
    else
      local kept = {}
      for _, d in ipairs(seg.rows) do if not reduced[d] then table.insert(kept, d) end end
      core.at(o.loc[1], o.loc[2])
      local refuse = inst.op.declared.gradient_of and core.refuse or function(why) error(why, 0) end -- a derived op is nobody's mistake
      if not column or not text.has(o.tensor.dims, column) then refuse("output '" .. o.tensor.name .. "' is a sum over rows that has no column dim") end
      if #kept == #seg.rows or kept[#kept] == seg.rows[#seg.rows] then
        refuse("output '" .. o.tensor.name .. "' sums over rows but keeps the innermost of their dims, " .. seg.rows[#seg.rows] .. "; that is not made yet")
      end
      core.at()
      table.insert(seg.sums, { tensor = o.tensor, value = value, kept = kept, kind = kind, loc = o.loc })
    end
  end
  local count, pinned = lead_counts(inst.op, list), pinned_dims(graph)
  -- Tensors that nothing reads under these settings (dyq of a gradient without dq) have their leading dims all the same.
  for _, t in ipairs(inst.tensors) do
    local named = 0
    for _, d in ipairs(t.dims) do if not segments.is_lead(d) and not segments.is_column(d) then named = named + 1 end end
    for _, d in ipairs(t.present and t.dims or {}) do
      if segments.is_lead(d) and not count[d] then count[d] = MOST_SLOTS - named end
    end
  end
  inst.dim_count = count
  local stated = {}
  for _, s in ipairs(list) do
    local alone = inst.op.declared.gradient_of and (not s.column or #s.rows == 0) and (s.column or table.concat(s.rows, " "))
    if alone then core.refuse("what is left of the gradient under these settings lies along " .. alone .. " alone; that is not made yet") end
    if not s.column then op.fail(inst.op, "rows along " .. table.concat(s.rows, " ") .. " have no column dim; its name begins with N") end
    s.count = count
    s.slots = expand(s.rows, count)
    if #s.slots == 0 then op.fail(inst.op, "what lies along " .. s.column .. " alone has no rows; give it a dim M") end
    s.tiled = s.rows[#s.rows]
    s.merged, s.collapse = collapse_lists(inst, s, pinned), {}
    for _, m in ipairs(s.merged) do -- segments of the same rows have the same lists, and the contract each of them once
      if #m > 1 and not stated[m[1]] then table.insert(s.collapse, m) end
      stated[m[1]] = true
    end
    s.kept = {} -- slots of dims that some sum keeps: they lead, and a CTA stays within one of each
    for _, sum in ipairs(s.sums) do
      for i, d in ipairs(sum.kept) do
        local why = s.rows[i] ~= d and "output '" .. sum.tensor.name .. "' keeps " .. d .. ", which is not the outermost dim of the rows"
        if why and inst.op.declared.gradient_of then core.refuse(why) elseif why then op.fail(inst.op, why) end
        if #sum.kept > #s.kept then s.kept = sum.kept end
      end
    end
    local values = {}
    for _, o in ipairs(s.outputs) do table.insert(values, o.value) end
    for _, sum in ipairs(s.sums) do table.insert(values, sum.value) end
    s.nodes = segments.reach(values)
    if #s.sums == 0 then keep_columns(s) end
  end
  if #list == 0 then op.fail(inst.op, "nothing is left to compute") end
  return list
end

-- Dims of a tensor as the contract has them.
function segments.slots_of(inst, t) return expand(t.dims, inst.dim_count) end

-- How many dims the caller may leave out of a tensor, and from which on: those of the merged list that has its M; of a tensor without M, of its first one.
function segments.lead_of(inst, list, t)
  local slots, has_lead = segments.slots_of(inst, t), false
  for _, d in ipairs(t.dims) do has_lead = has_lead or segments.is_lead(d) end
  for _, s in ipairs(list) do
    for _, m in ipairs(s.merged) do
      local at
      for i, slot in ipairs(slots) do if slot == m[1] then at = i end end
      if at and #m > 1 and (not has_lead or segments.is_lead(m[#m])) then return #m, at - 1 end
    end
  end
  local read = {}
  for _, s in ipairs(list) do for _, d in ipairs(s.rows) do read[d] = true end end
  for i, d in ipairs(t.dims) do if segments.is_lead(d) and not read[d] then return inst.dim_count[d], i - 1 end end
  return 0, 0
end

return segments
