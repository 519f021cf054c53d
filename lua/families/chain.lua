-- chain.lua - ops made of several: each stage is an op of some family under its own settings, and what one writes into a workspace the
-- next one reads. Together they are one variant: one file, one contract, one plan.
--
--   stages = function(c)     c.set: the settings' values; c.tensor: the op's tensors by name (dtype, dims, present)
--     return {
--       workspaces = { "aq B M K e4m3", "scale B M f32" },
--       { name = "quantize", op = op "quantize_fp8", set = { dtype = c.set.dtype, per = "row" }, dims = { M = "B M", N = "K" },
--         tensors = { x = "a", q = "aq" } },
--       ...
--     }
--   end
--
-- A stage binds every tensor of its op to a tensor of the chain or to a workspace (the one of its own name, unless `tensors` says another),
-- each of its dims to a dim of the chain (likewise; a dim that stands for several to as many as it may; "" is a size of 1), each scalar
-- to one of the chain's or to a number (left out: likewise, or else its default). A tensor may have its dims in another order there.
-- `schedules`, a function of the family's list of schedule texts, says which of them the chain offers. Stages whose best schedules depend on
-- the same sizes are a `group` (a name), and go together, first with first, last with last; of a group `few` are offered, and those of each group
-- go with those of every other; `reach`: where schedules grow towards one for any size, the later ones, as the first reach too little.
-- `rows` names a dim in whose place callers may have several leading ones (as that of a gemm without B has it).
-- Workspaces are dense, with rows rounded up to 16 bytes. What a workspace holds is rounded to its dtype, in the definition too.
local trace = use "kiln.trace"
local contract = use "kiln.contract"
local tile = use "kiln.tile"
local scope = use "kiln.scope"
local blocks = use "kiln.blocks"
local text = use "kiln.text"
local op = use "kiln.op"
local inline = use "kiln.inline"

local chain = { name = "chain" }

-- ---- what a chain may be ----

function chain.check(o)
  if type(o.declared.stages) ~= "function" then op.fail(o, "has no function `stages`") end
  local outputs = false
  for _, t in ipairs(o.specs) do outputs = outputs or t.out end
  if not outputs then op.fail(o, "has no output; one is declared as \"y M N out\"") end
end

function chain.names(o, claim)
  if o.declared.rows then for _, name in ipairs(contract.lead_names(o.specs, o.declared.rows)) do claim(name, "a leading dim of the family") end end
  for _, t in ipairs(o.specs) do for i = 0, 7 do claim(t.name .. "_" .. i, "a stride of '" .. t.name .. "'") end end
end

-- `forms(values)` gives tensors their dims under the settings, by name: "B K/128 N".
function chain.refine(inst)
  if not inst.declared.forms then return end
  inst.blocks = {}
  for name, form in pairs(inst.declared.forms(inst.values)) do
    local t = inst.by_name[name]
    if not t then op.fail(inst.op, "forms: there is no tensor '" .. tostring(name) .. "'") end
    local dims, found = blocks.dims(form)
    t.dims = dims
    for _, b in ipairs(found) do
      local known = false
      for _, other in ipairs(inst.blocks) do known = known or other.dim == b.dim end
      if not known then table.insert(inst.blocks, b) end
    end
  end
end

-- ---- targets: the chain's tensors and workspaces, as stages see them ----

local Target = {}
Target.__index = Target

local function new_target(o, t, workspace)
  local target = {
    op = o, name = t.name, dims = t.dims, dtype = t.dtype, out = t.out, workspace = workspace, align = contract.bytes_of[t.dtype],
    place = {}, unit = {}, used = {}, whole = {}, -- by dim: its place; by place: who wants it together, whether its stride is named; sizes that must be met
  }
  for i, d in ipairs(t.dims) do target.place[d] = i end
  return setmetatable(target, Target)
end

-- A workspace lies dense; rows begin at multiples of 16 bytes.
function Target:stride(at)
  if self.workspace and at == #self.dims then return "1" end
  self.used[at] = true
  return self.name .. "_" .. (at - 1)
end

function Target:demand_unit(at, stage)
  for other in pairs(self.unit) do
    if other ~= at then
      op.fail(self.op, string.format("stage '%s' reads '%s' along %s, which lies together along %s for another stage", stage, self.name, self.dims[at],
        self.dims[other]))
    end
  end
  if self.workspace and at ~= #self.dims then
    op.fail(self.op, string.format("stage '%s' reads the workspace '%s' along %s, which lies together along %s; list its dims in another order",
      stage, self.name, self.dims[at], self.dims[#self.dims]))
  end
  self.unit[at] = stage
end

-- ---- the stages of an instance ----

local function read_workspace(inst, spec)
  local words = type(spec) == "string" and text.split(spec, " ") or {}
  if #words < 2 then op.fail(inst.op, "a workspace is a text \"NAME DIM ... dtype\"") end
  local dims, found = blocks.dims(table.concat(words, " ", 2, #words - 1))
  local dtype = words[#words]
  if not contract.bytes_of[dtype] then op.fail(inst.op, "workspace \"" .. spec .. "\": '" .. dtype .. "' is no dtype") end
  if inst.by_name[words[1]] then op.fail(inst.op, "the workspace '" .. words[1] .. "' is called like a tensor") end
  for _, b in ipairs(found) do
    inst.blocks = inst.blocks or {}
    if not text.has(inst.dims, b.dim) then
      table.insert(inst.dims, b.dim)
      table.insert(inst.blocks, b)
    end
  end
  return { name = words[1], dims = dims, dtype = dtype }
end

local function instance_of(inst, stage)
  local set = {}
  for k, v in pairs(stage.set or {}) do
    set[k] = v
    table.insert(set, k)
  end
  local own = op.instance(stage.op, set)
  own.name = inst.name .. "." .. stage.name
  return own
end

-- The dims of the chain that a stage's dim is bound to. Blocks of a dim follow the dim.
local function bind_dim(inst, stage, own, d)
  local to = stage.dims and stage.dims[d]
  for _, b in ipairs(own.blocks or {}) do
    if b.dim == d and not to then
      local of = bind_dim(inst, stage, own, b.of)
      to = #of == 1 and of[1] .. "_" .. b.size or to
    end
  end
  local list = text.split(to or d, " ")
  for _, p in ipairs(list) do
    if not text.has(inst.dims, p) then
      op.fail(inst.op, string.format("stage '%s': its dim %s is bound to %s, which is no dim of the chain (they are %s)", stage.name, d, p,
        table.concat(inst.dims, " ")))
    end
  end
  return list
end

local function bind_scalar(inst, stage, s)
  local to = stage.scalars and stage.scalars[s.name]
  for _, p in ipairs(inst.scalars) do
    if p.name == (to or s.name) then
      if p.dtype ~= s.dtype then
        op.fail(inst.op, string.format("stage '%s': scalar '%s' is %s, '%s' of the chain %s", stage.name, s.name, s.dtype, p.name, p.dtype))
      end
      return p
    end
  end
  to = to or s.default
  if type(to) == "number" then return to end
  op.fail(inst.op, string.format("stage '%s': its scalar '%s' is neither one of the chain's nor a number", stage.name, s.name))
end

local function bind_tensor(inst, stage, own, t, targets)
  local name = stage.tensors and stage.tensors[t.name] or t.name
  local target = targets[name]
  local function refuse(why) op.fail(inst.op, string.format("stage '%s': its tensor '%s' %s", stage.name, t.name, why)) end
  if not target then refuse("is bound to '" .. name .. "', which is neither a tensor that is there nor a workspace") end
  if target.dtype ~= t.dtype then refuse("is " .. t.dtype .. ", '" .. name .. "' is " .. target.dtype) end
  local has, count = {}, 0
  for _, d in ipairs(t.dims) do for _, p in ipairs(own.bound[d]) do has[p], count = true, count + 1 end end
  for _, p in ipairs(target.dims) do if not has[p] then refuse("lacks the dim " .. p .. " of '" .. name .. "'") end end
  if count ~= #target.dims then refuse("has more dims than '" .. name .. "' (" .. table.concat(target.dims, " ") .. ")") end
  if t.out then
    if not target.workspace and not target.out then refuse("is an output, '" .. name .. "' an input of the chain") end
    if target.writer then refuse("writes '" .. name .. "', which stage '" .. target.writer .. "' has written") end
    target.writer = stage.name
  elseif (target.workspace or target.out) and not target.writer then
    refuse("reads '" .. name .. "', which no stage before it has written")
  elseif target.gone then
    refuse("reads '" .. name .. "', whose memory may be that of '" .. target.gone .. "', which a stage before it has written")
  end
  return target
end

-- Where an output may be the memory of an input, no stage reads the input after the one that writes the output; nor does that one itself,
-- unless its op says the same of its tensors.
local function mark_gone(inst, stage, own, s, targets)
  for _, t in ipairs(own.tensors) do
    local target = t.present and t.out and s.targets[t.name]
    local over = target and inst.by_name[target.name] and inst.by_name[target.name].over
    for _, u in ipairs(over and own.tensors or {}) do
      if u.present and not u.out and s.targets[u.name].name == over and t.over ~= u.name then
        op.fail(inst.op, string.format("stage '%s': writes '%s', which may be the memory of '%s', while it reads that", stage.name, target.name, over))
      end
    end
    if over and targets[over] then targets[over].gone = target.name end
  end
end

local STAGE = { "name", "op", "set", "tensors", "dims", "scalars", "schedules", "group", "few", "reach" }
-- A misspelled word would be a field that nobody reads, or a name of the op's that stays bound to its namesake.
local function check_words(inst, stage, own)
  for field in pairs(stage) do
    if not text.has(STAGE, field) then
      op.fail(inst.op, string.format("stage '%s': there is no field '%s'; there are %s", stage.name, tostring(field), table.concat(STAGE, ", ")))
    end
  end
  local known = { tensors = {}, dims = { own.op.dims, own.dims }, scalars = {} }
  for _, t in ipairs(own.op.specs) do known.tensors[t.name] = true end
  for _, s in ipairs(own.scalars) do known.scalars[s.name] = true end
  for _, list in ipairs(known.dims) do for _, d in ipairs(list) do known.dims[d] = true end end
  for _, field in ipairs { "tensors", "dims", "scalars" } do
    for name in pairs(stage[field] or {}) do
      if not known[field][name] then
        op.fail(inst.op, string.format("stage '%s': its op has no '%s', of which %s speaks", stage.name, tostring(name), field))
      end
    end
  end
end

-- inst.chain = { stages, targets (by name), workspaces }, made once.
local function setup(inst)
  if inst.chain then return inst.chain end
  local declared = inst.declared.stages({ set = inst.values, tensor = inst.by_name, inst = inst, refuse = core.refuse })
  if type(declared) ~= "table" or #declared == 0 then op.fail(inst.op, "its function `stages` returns a list of them") end
  local c = { stages = {}, targets = {}, workspaces = {} }
  for _, t in ipairs(inst.tensors) do if t.present then c.targets[t.name] = new_target(inst.op, t, false) end end
  for _, spec in ipairs(declared.workspaces or {}) do
    local w = read_workspace(inst, spec)
    if c.targets[w.name] then op.fail(inst.op, "two workspaces are called '" .. w.name .. "'") end
    c.targets[w.name] = new_target(inst.op, w, true)
    table.insert(c.workspaces, c.targets[w.name])
  end
  for _, stage in ipairs(declared) do
    if type(stage.name) ~= "string" or type(stage.op) ~= "table" or not stage.op.is_op then op.fail(inst.op, "a stage is { name =, op =, ... }") end
    if not op.is_name(stage.name) then op.fail(inst.op, "'" .. stage.name .. "' is no name for a stage; letters, digits and _ make one, 40 at most") end
    for _, s in ipairs(c.stages) do if s.name == stage.name then op.fail(inst.op, "two stages are called '" .. s.name .. "'") end end
    local own = instance_of(inst, stage)
    check_words(inst, stage, own)
    local s = { name = stage.name, inst = own, dims = {}, targets = {}, scalars = {} }
    s.choose, s.group, s.few, s.reach = stage.schedules, stage.group or "", stage.few, stage.reach
    for _, d in ipairs(own.dims) do s.dims[d] = bind_dim(inst, stage, own, d) end
    own.bound = s.dims
    for i, sc in ipairs(own.scalars) do
      local to = bind_scalar(inst, stage, sc)
      s.scalars[sc.name] = to
      own.scalars[i] = { name = sc.name, dtype = sc.dtype, default = sc.default, call = type(to) == "table" and to.call } -- when it is known: the chain says
    end
    for _, out in ipairs { false, true } do
      for _, t in ipairs(own.tensors) do
        if t.present and t.out == out then s.targets[t.name] = bind_tensor(inst, stage, own, t, c.targets) end
      end
    end
    mark_gone(inst, stage, own, s, c.targets)
    table.insert(c.stages, s)
  end
  for _, t in ipairs(inst.tensors) do
    if t.present and t.out and not c.targets[t.name].writer then op.fail(inst.op, "no stage writes its output '" .. t.name .. "'") end
  end
  inst.chain = c
  return c
end

-- The definition: the stages' one after the other, or the op's own function `forward`.
function chain.trace(inst)
  if inst.declared.forward then
    local graph = trace.new_graph(nil)
    inst.declared.forward(trace.arguments(graph, inst))
    trace.finish(graph, inst)
    return graph
  end
  return inline(inst, setup(inst).stages)
end

-- ---- schedules ----

-- "vec=1" is every family's word for elements of any alignment.
local function is_any(schedule) return string.find(" " .. schedule .. " ", " vec=1 ", 1, true) ~= nil end

local function named(stage, schedule)
  local list = {}
  for _, word in ipairs(text.split(schedule, " ")) do table.insert(list, stage.name .. "." .. word) end
  return table.concat(list, " ")
end

-- The i-th of `count` out of n, in proportion: from the first to the last, or (reach) back from the last.
local function place_of(i, count, n, reach)
  if n == 1 then return 1 end
  if reach then return math.max(n - (count - i) * math.max(n // count, 1), 1) end
  return 1 + ((i - 1) * (n - 1) + (count - 1) // 2) // math.max(count - 1, 1)
end

-- Of a group's lists those that go together. { by stage's number }
local function in_proportion(stages, members, lists)
  local most, few, rows = 0, nil, {}
  for _, k in ipairs(members) do
    if #lists[k] == 0 then return rows end
    most, few = math.max(most, #lists[k]), stages[k].few or few
  end
  local count = math.min(most, few or most)
  for i = 1, count do
    rows[i] = {}
    for _, k in ipairs(members) do rows[i][k] = lists[k][place_of(i, count, #lists[k], stages[k].reach and count < most)] end
  end
  return rows
end

-- Those of each group with those of every other.
local function combine(stages, lists)
  local groups, members = {}, {}
  for k, stage in ipairs(stages) do
    if not members[stage.group] then
      table.insert(groups, stage.group)
      members[stage.group] = {}
    end
    table.insert(members[stage.group], k)
  end
  local rows = { {} }
  for _, g in ipairs(groups) do
    local longer = {}
    for _, head in ipairs(rows) do
      for _, tail in ipairs(in_proportion(stages, members[g], lists)) do
        local row = {}
        for k in ipairs(stages) do row[k] = head[k] or tail[k] end
        table.insert(longer, row)
      end
    end
    rows = longer
  end
  local texts, known = {}, {}
  for k in ipairs(stages) do known[k] = {} end
  for _, row in ipairs(rows) do
    local parts = {}
    for k, stage in ipairs(stages) do
      parts[k] = known[k][row[k]] or named(stage, row[k])
      known[k][row[k]] = parts[k]
    end
    table.insert(texts, table.concat(parts, " "))
  end
  return texts
end

-- From large aligned tiles down to those for any alignment, all stages alike.
function chain.schedules(inst)
  local stages, aligned, any, texts = setup(inst).stages, {}, {}, {}
  for k, stage in ipairs(stages) do
    aligned[k], any[k] = {}, {}
    core.stage(stage.name)
    local list = stage.inst.op.family.schedules(stage.inst)
    core.stage()
    for _, s in ipairs(stage.choose and stage.choose(list) or list) do table.insert(is_any(s) and any[k] or aligned[k], s) end
  end
  for k in ipairs(stages) do -- a stage without alignment, or with one list only, goes with both kinds of the others
    if #aligned[k] == 0 then aligned[k] = any[k] end
    if #any[k] == 0 then any[k] = { aligned[k][#aligned[k]] } end
  end
  local seen = {}
  for _, lists in ipairs { aligned, any } do
    for _, t in ipairs(combine(stages, lists)) do
      if not seen[t] then table.insert(texts, t) end
      seen[t] = true
    end
  end
  return texts
end

-- { by stage: a schedule as its family reads it }. What is not given of a stage is its part of the first one that is offered.
local function split_schedule(inst, given)
  local by_stage, names, stages = {}, {}, setup(inst).stages
  local function take(key, value, over)
    local dot = string.find(key, ".", 1, true)
    local name = dot and string.sub(key, 1, dot - 1)
    local own = name and by_stage[name]
    if not own then
      core.fail("the schedule has no '" .. key .. "'; keys of a chain begin with a stage's name: " .. table.concat(names, ".., ") .. "..")
    end
    key = string.sub(key, dot + 1)
    if own[key] and not over then return end
    if not own[key] then table.insert(own, key) end
    own[key] = value
  end
  for _, s in ipairs(stages) do
    by_stage[s.name] = {}
    table.insert(names, s.name)
  end
  for _, key in ipairs(given or {}) do take(key, given[key], true) end
  local first
  for _, s in ipairs(stages) do
    if #by_stage[s.name] == 0 then
      first = first or chain.schedules(inst)[1]
      for _, word in ipairs(text.split(first or "", " ")) do
        local pair = text.split(word, "=")
        if string.sub(pair[1], 1, #s.name + 1) == s.name .. "." then take(pair[1], pair[2], false) end
      end
    end
  end
  return by_stage
end

-- ---- the contract ----

local function size_text(inst, d)
  for _, b in ipairs(inst.blocks or {}) do if b.dim == d then return string.format("ceildiv(%s,%d)", b.of, b.size) end end
  return d
end

-- Strides that a stage names although they are 1, and workspaces with theirs.
local function put_targets(inst, c)
  local bound, rows = {}, inst.declared.rows
  local leading = rows and contract.leading(inst.tensors, rows)
  for _, t in ipairs(inst.tensors) do
    local target = c.targets[t.name]
    if target then
      local dims, strides = {}, {}
      for i, d in ipairs(t.dims) do
        dims[i] = size_text(inst, d)
        if bound[d] and not t.out and not target.whole[d] and target.writer == nil and i == 1 and d == "B" then dims[i] = d .. "|1" end
        bound[d] = true
        strides[i] = target.unit[i] and "1" or t.name .. "_" .. (i - 1)
      end
      local words = {}
      local lead = target.lead or t.dims[1] == "B" and 1 or 0 -- nil: no stage takes it
      if lead > 0 then table.insert(words, "lead " .. lead) end
      if leading then
        dims, strides, words[1] = leading(t, dims, strides)
      end
      if t.over then table.insert(words, "alias " .. t.over .. " exact") end
      contract.tensor(t, dims, strides, target.align, #words > 0 and table.concat(words, " ") or nil)
    end
  end
  if leading then contract.require_rows(rows) end
  for _, s in ipairs(inst.scalars) do contract.scalar(s) end
  for _, b in ipairs(inst.blocks or {}) do contract.line("let %s %s", b.dim, size_text(inst, b.dim)) end
  for _, t in ipairs(inst.tensors) do
    local target = c.targets[t.name]
    for i in pairs(target and target.unit or {}) do if target.used[i] then contract.line("let %s_%d 1", t.name, i - 1) end end
  end
  for _, w in ipairs(c.workspaces) do
    local inner
    for i = #w.dims, 1, -1 do
      local size = size_text(inst, w.dims[i])
      if inner then contract.line("let %s_%d %s", w.name, i - 1, inner) end
      if not inner then inner = string.format("roundup(%s,%d)", size, math.max(16, w.align) // contract.bytes_of[w.dtype])
      else inner = size .. "*" .. w.name .. "_" .. (i - 1) end
    end
    contract.line("workspace %s %s [%s]", w.name, w.dtype, inner or "1")
  end
end

local function put_sums(scopes)
  for _, kind in ipairs { "bytes", "flop", "cost" } do
    local terms = {}
    for _, s in ipairs(scopes) do if s.sums[kind] then table.insert(terms, "(" .. s.sums[kind] .. ")") end end
    if #terms > 0 then contract.line("%s %s", kind, table.concat(terms, "+")) end
  end
end

function chain.emit(inst, given)
  local c, by_stage, scopes, first = setup(inst), split_schedule(inst, given), {}, tile.kernels
  local name, schedules = inst.name .. "-" .. op.values_name(inst), {}
  for k, stage in ipairs(c.stages) do
    local family = stage.inst.op.family
    stage.kernels = tile.kernels - first
    scopes[k] = scope.new(stage, inst.declared.rows and contract.lead_names(inst.op.specs, inst.declared.rows) or {})
    scope.enter(scopes[k])
    local own = family.emit(stage.inst, by_stage[stage.name])
    scope.leave()
    local front = stage.inst.name .. "-" .. op.values_name(stage.inst) .. "-"
    name = name .. "-" .. stage.name .. "-" .. string.sub(own, #front + 1)
    table.insert(schedules, named(stage, scopes[k].schedule))
  end
  contract.begin(inst, table.concat(schedules, " "))
  put_targets(inst, c)
  for _, s in ipairs(scopes) do for _, line in ipairs(s.lines) do contract.line("%s", line) end end
  put_sums(scopes)
  for _, s in ipairs(scopes) do for _, line in ipairs(s.steps) do contract.line("%s", line) end end
  return name
end

return chain
