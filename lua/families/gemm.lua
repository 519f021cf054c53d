-- gemm.lua - ops whose core are products over K: d[b,m,n] = epilogue(sum_k a[b,m,k] b[b,k,n], ...), the epilogue a Lua function
-- of the op over the f32 accumulators, row vectors and tiles. An op that has several products, which may share operands, lists them:
-- products = { { NAME, LEFT, RIGHT }, ... }; left out, it is { { "acc", "a", "b" } }. Products of one name are added up in one accumulator,
-- one after the other; they are then all that the op has. Where no tensor has the dim B, there is one batch.
--
-- An operand may have scales, scales = { OPERAND = TENSOR }: the product is that of operand * scale. Scales that are the same along k
-- (of the tensor, a row of a, a column of b) multiply the sum. Scales of blocks of 128 of k multiply the sum of each block, in f32; the
-- product is then made of sums over 128 of k ("promoted"), as it is where a setting `accumulate` of the op says so. Otherwise ("fast")
-- products of e4m3 and e5m2 stay in the tensor cores' accumulators, which may keep fewer bits than f32 has.
--
-- Two skeletons, each with schedules of its own: gemm_warp.lua by mma.sync, on every target; gemm_warpgroup.lua by wgmma, where the
-- target has it. A schedule that names `core` says which; without it, it is one by mma.sync.
local trace = use "kiln.trace"
local blocks = use "kiln.blocks"
local text = use "kiln.text"
local op = use "kiln.op"
local contract = use "kiln.contract"
local common = use "families.gemm_common"
local warp = use "families.gemm_warp"
local warpgroup = use "families.gemm_warpgroup"

local gemm = { name = "gemm", lead = nil }

-- Gradients are derived where all operands have the op's dtype, without scales.
function gemm.has_gradient(o)
  for _, t in ipairs(o.specs) do if o.side[t.name] and (t.fixed or t.choice) or o.scaled[t.name] then return false end end
  return true
end
function gemm.gradient() return use "families.gemm_gradient" end

gemm.settings = {
  { key = "a_major", values = { "k", "m" }, kind = "major" }, -- which dim of left operands is contiguous
  { key = "b_major", values = { "k", "n" }, kind = "major" }, -- of right ones
}

-- ---- what an op of this family may be ----

local SIDE = { a = "B M K", b = "B K N" } -- of left and right operands; without B where the op is flat
local EPILOGUE = { ["B M N"] = 1, ["M N"] = 1, ["B M"] = 1, ["B N"] = 1, ["M"] = 1, ["N"] = 1, [""] = 1 } -- dims of the other tensors
local OPERANDS = { f16 = true, bf16 = true, e4m3 = true, e5m2 = true }
local DEPTH = 128 -- of k, in a block of scales and between promotions
local READS = { f32 = true, f16 = true, bf16 = true, i32 = true, i64 = true }
local WRITES = { f32 = true, f16 = true, bf16 = true }

-- o.products: { name =, left =, right = }, one for each accumulator; o.side: of each operand, "a" or "b"; o.phases: how many products an
-- accumulator adds up, and o.later: of an operand of the first one, those that take its place in the next ones.
local function read_products(o)
  o.products, o.side, o.later, o.phases = {}, {}, {}, 1
  local function operand(name, side, product)
    if type(name) ~= "string" then op.fail(o, "product '" .. product .. "' is { NAME, LEFT, RIGHT }, three names") end
    if o.side[name] and o.side[name] ~= side then
      op.fail(o, "'" .. name .. "' stands left in one product and right in another; it is either B M K or B K N")
    end
    o.side[name] = side
  end
  local list = o.declared.products or { { "acc", "a", "b" } }
  if type(list) ~= "table" or #list == 0 or #list > 4 then op.fail(o, "products is a list of one to four { NAME, LEFT, RIGHT }") end
  for i, p in ipairs(list) do
    local name = type(p) == "table" and p[1]
    if type(name) ~= "string" then op.fail(o, "product " .. i .. " is { NAME, LEFT, RIGHT }, three names") end
    operand(p[2], "a", name)
    operand(p[3], "b", name)
    if o.products[1] and o.products[1].name == name then o.phases = o.phases + 1 end
    if o.phases > 1 and (#o.products > 1 or o.products[1].name ~= name) then
      op.fail(o, "two products are called '" .. name .. "'; products that are added up are all that an op has")
    end
    for k = 2, #o.products do if o.products[k].name == name then op.fail(o, "two products are called '" .. name .. "'") end end
    if o.phases == 1 then table.insert(o.products, { name = name, left = p[2], right = p[3] })
    else
      for k, first in ipairs { o.products[1].left, o.products[1].right } do
        o.later[first] = o.later[first] or {}
        o.later[first][o.phases] = p[k + 1]
      end
    end
  end
end

local function check_operand(o, t, what)
  local side = o.flat and string.sub(SIDE[o.side[t.name]], 3) or SIDE[o.side[t.name]]
  if table.concat(t.dims, " ") ~= side or t.out or t.optional then
    op.fail(o, what .. " is declared as \"" .. t.name .. " " .. side .. "\"; the settings a_major and b_major say how operands lie in memory")
  end
  if t.own then op.fail(o, what .. ": an operand has the op's dtype, a fixed one, or a choice such as e4m3|e5m2; `own` is for the others") end
  for _, d in ipairs(t.choice or { t.fixed }) do
    if not OPERANDS[d] then op.fail(o, what .. ": no product of " .. d .. " yet; of f16, bf16, e4m3 and e5m2 there are") end
  end
end

-- o.scale_of: of operands, the tensors of their scales; o.scaled: of those, the operands.
local function read_scales(o)
  o.scale_of, o.scaled = {}, {}
  for operand, name in pairs(o.declared.scales or {}) do
    if not o.side[operand] then op.fail(o, "scales: '" .. tostring(operand) .. "' is no operand of a product") end
    if o.scaled[name] then op.fail(o, "scales: '" .. tostring(name) .. "' is that of two operands") end
    if o.phases > 1 then op.fail(o, "scales: operands of products that are added up have none") end
    o.scale_of[operand], o.scaled[name] = name, operand
  end
end

-- How exactly f32 operands are multiplied, where not by fma: a setting of ops whose operands may be f32.
local function add_precision(o)
  local operands, dtypes = false, {}
  for _, t in ipairs(o.specs) do operands = operands or o.side[t.name] and not t.fixed and not t.choice end
  for _, s in ipairs(o.settings) do if s.key == "dtype" then dtypes = s.values end end
  if operands and text.has(dtypes, "f32") then op.add_setting(o, "f32", { "3xtf32", "tf32" }, "option", "f32") end
end

function gemm.check(o)
  read_products(o)
  add_precision(o)
  read_scales(o)
  o.flat = true
  for _, t in ipairs(o.specs) do for _, d in ipairs(t.dims) do o.flat = o.flat and d ~= "B" end end
  local found, outputs = {}, 0
  for _, t in ipairs(o.specs) do
    local dims, what = table.concat(t.dims, " "), (t.out and "output '" or "tensor '") .. t.name .. "'"
    if o.side[t.name] then
      found[t.name] = { dtypes = table.concat(t.choice or { t.fixed or "" }, " ") }
      check_operand(o, t, what)
    elseif t.out then
      outputs = outputs + 1
      local all = o.flat and "M N" or "B M N"
      if dims ~= all then op.fail(o, what .. " has the dims \"" .. dims .. "\"; outputs are " .. all) end
    elseif o.scaled[t.name] then
      found[t.name] = true
      if t.fixed ~= "f32" or t.optional then op.fail(o, what .. ", scales, is f32 and not optional") end
    elseif not EPILOGUE[dims] then
      op.fail(o, what .. " has the dims \"" .. dims .. "\"; beside operands (a, b or of `products`) and outputs stand B M N, M N, B M, B N, M, N or none")
    end
    if t.strided and (o.side[t.name] or t.out) then op.fail(o, what .. ": `strided` is for the inputs of the epilogue and for scales") end
    if t.fixed and not (t.out and WRITES or READS)[t.fixed] then
      op.fail(o, what .. ": " .. t.fixed .. " is not " .. (t.out and "written yet; f32, f16 and bf16 are" or "read yet; f32, f16, bf16, i32 and i64 are"))
    end
  end
  for _, p in ipairs(o.products) do
    for _, name in ipairs { p.left, p.right } do
      if not found[name] then
        op.fail(o, "has no tensor \"" .. name .. " " .. SIDE[o.side[name]] .. "\", an operand of its product '" .. p.name .. "'")
      end
    end
  end
  for name, operand in pairs(o.scaled) do
    if not found[name] then op.fail(o, "has no tensor '" .. name .. "', the scales of '" .. operand .. "'") end
  end
  if o.declared.forms ~= nil and type(o.declared.forms) ~= "function" then op.fail(o, "`forms` is a function of the settings' values") end
  for first, list in pairs(o.later) do
    for _, name in pairs(list) do
      if found[first] and found[name] and found[first].dtypes ~= found[name].dtypes then
        op.fail(o, "'" .. first .. "' and '" .. name .. "' take turns in one product's place, and are of one dtype")
      end
    end
  end
  if outputs == 0 then op.fail(o, "has no output \"d B M N out\": a gemm is d = epilogue(a b, ...)") end
  if type(o.declared.epilogue) ~= "function" then op.fail(o, "has no function `epilogue`") end
end

-- ---- what scales an operand may have under the settings ----

local SCALES = {
  a = { "", "B", "M", "B M", "K_128", "B K_128", "M K_128", "B M K_128", "M_128 K_128", "B M_128 K_128" },
  b = { "", "B", "N", "B N", "K_128", "B K_128", "K_128 N", "B K_128 N", "K_128 N_128", "B K_128 N_128" },
}

-- `forms(values)` gives a text of dims for tensors by name, "B M K/128".
function gemm.refine(inst)
  local forms = inst.declared.forms and inst.declared.forms(inst.values) or {}
  local seen = {}
  inst.blocks = {}
  for name, form in pairs(forms) do
    local t = inst.by_name[name]
    if not t or not inst.op.scaled[name] then op.fail(inst.op, "forms: '" .. tostring(name) .. "' is none of its scales") end
    local dims, found = blocks.dims(form)
    t.dims = dims
    for _, b in ipairs(found) do
      if not seen[b.dim] then table.insert(inst.blocks, b) end
      seen[b.dim] = true
    end
  end
  for name, operand in pairs(inst.op.scaled) do
    local dims, side = table.concat(inst.by_name[name].dims, " "), inst.op.side[operand]
    if not text.has(SCALES[side], dims) then
      local list = table.concat(SCALES[side], '", "')
      op.fail(inst.op, string.format("'%s' has the dims \"%s\"; scales of '%s' have \"%s\"", name, dims, operand, list))
    end
  end
  for _, p in ipairs(inst.op.products) do
    local l, r = inst.by_name[p.left].dtype, inst.by_name[p.right].dtype
    if l ~= r and not (common.is_byte(l) and common.is_byte(r)) then
      op.fail(inst.op, "product '" .. p.name .. "': of " .. l .. " and " .. r .. "; operands have one dtype, but e4m3 and e5m2 may be mixed")
    end
  end
  -- Sums over so much of k are made apart and added in f32; nil: all of it is one.
  local byte = common.is_byte(inst.by_name[inst.op.products[1].left].dtype)
  inst.has_blocks = seen.K_128 or false
  inst.promote = (seen.K_128 or byte and inst.values.accumulate == "promoted") and DEPTH or nil
  inst.reduced = byte and (inst.promote or -1) or nil -- what the definition's sums say of their accuracy
end

-- Names of the contract beside the op's own.
function gemm.names(o, claim)
  local own = { "tiles_m", "tiles_n", "tiles", "k_tiles", "by_batch", "by_band", "by_last", "turned_K" }
  for _, name in ipairs(own) do claim(name, "a value of the family") end
  for _, d in ipairs(o.dims) do claim("size_" .. d, "a value of the family") end
  if o.flat then
    claim("B", "a value of the family")
    for _, name in ipairs(contract.lead_names(o.specs, "M")) do claim(name, "a leading dim of the family") end
  end
  for _, t in ipairs(o.specs) do
    if o.side[t.name] then for _, what in ipairs { "", "_0", "_B", "_tiles" } do claim("turned_" .. t.name .. what, "a value of the family") end end
    for i = 0, math.max(#t.dims, o.scaled[t.name] and 3 or 0) - 1 do claim(t.name .. "_" .. i, "a stride of '" .. t.name .. "'") end
  end
end

function gemm.trace(inst)
  local declared = inst.declared
  local graph = trace.new_graph(nil)
  local t
  local extra = {}
  for _, s in ipairs(inst.op.settings) do
    if s.kind == "option" and not s.of then extra[s.key] = trace.functions[inst.values[s.key]] or inst.values[s.key] end
  end
  local index = {}
  for i, tensor in ipairs(inst.tensors) do index[tensor.name] = i end
  local node, skip, after = {}, {}, {}
  local function scaled(name, v)
    local s = inst.by_name[inst.op.scale_of[name]]
    if not s then return v end
    local scale, along = trace.argument(graph, s, index[s.name]), false
    skip[s.name] = true
    for _, word in ipairs { "K/128", "M/128", "N/128" } do
      if scale.dims[blocks.read(word).dim] then scale, along = trace.functions.spread(scale, word), true end
    end
    if along then return v * scale end
    after[name] = scale
    return v
  end
  local function operand(name)
    node[name] = node[name] or scaled(name, trace.argument(graph, inst.by_name[name], index[name]))
    skip[name] = true
    return node[name]
  end
  graph.products = {} -- by node: the product's number
  local function dot(left, right)
    local dims = { B = not inst.op.flat or nil, M = true, N = true }
    return trace.new(graph, { op = "dot", args = { operand(left), operand(right) }, dim = "K", dims = dims, value = inst.reduced, products = inst.values.f32 })
  end
  for i, p in ipairs(inst.op.products) do
    local n, later = dot(p.left, p.right), inst.op.later
    for k = 2, inst.op.phases do n = n + dot(later[p.left][k], later[p.right][k]) end
    graph.products[n] = i
    for _, name in ipairs { p.left, p.right } do if after[name] then n = n * after[name] end end
    extra[p.name] = n
  end
  t = trace.arguments(graph, inst, extra, skip)
  local result = declared.epilogue(t)
  if result ~= nil then
    for _, spec in ipairs(inst.tensors) do
      if spec.out then t[spec.name] = result; break end
    end
  end
  trace.finish(graph, inst)
  inst.sized = {} -- dims whose size the epilogue reads: the contract has it by a name of its own
  for _, n in ipairs(graph.nodes) do if n.op == "size" and not text.has(inst.sized, n.dim) then table.insert(inst.sized, n.dim) end end
  return graph
end

-- ---- schedules and emission: the skeletons' ----

local function study(inst) -- how much there is to keep of an element
  local graph = gemm.trace(inst)
  inst.nodes = #graph.nodes
  return graph
end

function gemm.schedules(inst)
  study(inst)
  local texts = {}
  for _, skeleton in ipairs { warpgroup, warp } do
    for _, text in ipairs(skeleton.schedules(inst)) do table.insert(texts, text) end
  end
  return texts
end

function gemm.emit(inst, given)
  local graph = study(inst)
  local chosen = given and #given > 0 and (given.core == "wgmma" and warpgroup or warp)
  if not chosen then chosen = #warpgroup.schedules(inst) > 0 and warpgroup or warp end
  return chosen.emit(inst, graph, given)
end

return gemm
