-- gemm.lua - ops whose core are products over K: d[b,m,n] = epilogue(sum_k a[b,m,k] b[b,k,n], ...), the epilogue a Lua function
-- of the op over the f32 accumulators, row vectors and tiles. An op that has several products, which may share operands, lists them:
-- products = { { NAME, LEFT, RIGHT }, ... }; left out, it is { { "acc", "a", "b" } }.
--
-- Two skeletons, each with schedules of its own: gemm_warp.lua by mma.sync, on every target; gemm_warpgroup.lua by wgmma, where the
-- target has it. A schedule that names `core` says which; without it, it is one by mma.sync.
local trace = use "kiln.trace"
local op = use "kiln.op"
local warp = use "families.gemm_warp"
local warpgroup = use "families.gemm_warpgroup"

local gemm = { name = "gemm", lead = nil }

gemm.settings = {
  { key = "a_major", values = { "k", "m" }, kind = "major" }, -- which dim of left operands is contiguous
  { key = "b_major", values = { "k", "n" }, kind = "major" }, -- of right ones
}

-- ---- what an op of this family may be ----

local SIDE = { a = "B M K", b = "B K N" } -- of left and right operands
local EPILOGUE = { ["B M N"] = 1, ["M N"] = 1, ["B M"] = 1, ["B N"] = 1, ["M"] = 1, ["N"] = 1 } -- dims of the other tensors
local READS = { f32 = true, f16 = true, bf16 = true, i32 = true, i64 = true }
local WRITES = { f32 = true, f16 = true, bf16 = true }

-- o.products: { name =, left =, right = }; o.side: of each operand, "a" or "b".
local function read_products(o)
  o.products, o.side = {}, {}
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
    for _, q in ipairs(o.products) do if q.name == name then op.fail(o, "two products are called '" .. name .. "'") end end
    table.insert(o.products, { name = name, left = p[2], right = p[3] })
  end
end

local function check_operand(o, t, what)
  local side = o.side[t.name]
  if table.concat(t.dims, " ") ~= SIDE[side] or t.out or t.optional then
    op.fail(o, what .. " is declared as \"" .. t.name .. " " .. SIDE[side] .. "\"; the settings a_major and b_major say how operands lie in memory")
  end
  if t.own or t.fixed then op.fail(o, "operands of products have one dtype, the op's; `own` and fixed ones are for the others") end
end

function gemm.check(o)
  read_products(o)
  local found, outputs = {}, 0
  for _, t in ipairs(o.specs) do
    local dims, what = table.concat(t.dims, " "), (t.out and "output '" or "tensor '") .. t.name .. "'"
    if o.side[t.name] then
      found[t.name] = true
      check_operand(o, t, what)
    elseif t.out then
      outputs = outputs + 1
      if dims ~= "B M N" then op.fail(o, what .. " has the dims \"" .. dims .. "\"; outputs are B M N") end
    elseif not EPILOGUE[dims] then
      op.fail(o, what .. " has the dims \"" .. dims .. "\"; beside operands and outputs stand B M N, M N, B M, B N, M or N")
    end
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
  if outputs == 0 then op.fail(o, "has no output \"d B M N out\": a gemm is d = epilogue(a b, ...)") end
  if type(o.declared.epilogue) ~= "function" then op.fail(o, "has no function `epilogue`") end
end

-- Names of the contract beside the op's own.
function gemm.names(o, claim)
  for _, name in ipairs { "tiles_m", "tiles_n", "tiles", "k_tiles" } do claim(name, "a value of the family") end
  for _, t in ipairs(o.specs) do
    for i = 0, #t.dims - 1 do claim(t.name .. "_" .. i, "a stride of '" .. t.name .. "'") end
  end
end

function gemm.trace(inst)
  local declared = inst.declared
  local graph = trace.new_graph(nil)
  local t
  local extra = {}
  for _, s in ipairs(inst.op.settings) do
    if s.kind == "option" then extra[s.key] = trace.functions[inst.values[s.key]] or inst.values[s.key] end
  end
  local index = {}
  for i, tensor in ipairs(inst.tensors) do index[tensor.name] = i end
  local node, skip = {}, {}
  local function operand(name)
    node[name] = node[name] or trace.argument(graph, inst.by_name[name], index[name])
    skip[name] = true
    return node[name]
  end
  graph.products = {} -- by node: the product's number
  for i, p in ipairs(inst.op.products) do
    local n = trace.new(graph, { op = "dot", args = { operand(p.left), operand(p.right) }, dim = "K", dims = { B = true, M = true, N = true } })
    extra[p.name] = n
    graph.products[n] = i
  end
  t = trace.arguments(graph, inst, extra, skip)
  local result = declared.epilogue(t)
  if result ~= nil then
    for _, spec in ipairs(inst.tensors) do
      if spec.out then t[spec.name] = result; break end
    end
  end
  trace.finish(graph, inst)
  return graph
end

-- ---- schedules and emission: the skeletons' ----

function gemm.schedules(inst)
  local texts = {}
  for _, skeleton in ipairs { warpgroup, warp } do
    for _, text in ipairs(skeleton.schedules(inst)) do table.insert(texts, text) end
  end
  return texts
end

function gemm.emit(inst, given)
  local chosen = given and #given > 0 and (given.core == "wgmma" and warpgroup or warp)
  if not chosen then chosen = #warpgroup.schedules(inst) > 0 and warpgroup or warp end
  return chosen.emit(inst, gemm.trace(inst), given)
end

return gemm
