-- gemm.lua - ops whose core is a product over K: d[b,m,n] = epilogue(sum_k a[b,m,k] b[b,k,n], ...), the epilogue a Lua function
-- of the op over the f32 accumulator, row vectors and tiles.
--
-- Two skeletons, each with schedules of its own: gemm_warp.lua by mma.sync, on every target; gemm_warpgroup.lua by wgmma, where the
-- target has it. A schedule that names `core` says which; without it, it is one by mma.sync.
local trace = use "kiln.trace"
local op = use "kiln.op"
local warp = use "families.gemm_warp"
local warpgroup = use "families.gemm_warpgroup"

local gemm = { name = "gemm", lead = nil }

gemm.settings = {
  { key = "a_major", values = { "k", "m" }, kind = "major" }, -- which dim of a is contiguous
  { key = "b_major", values = { "k", "n" }, kind = "major" },
}

-- ---- what an op of this family may be ----

local CORE = { a = "B M K", b = "B K N", d = "B M N" }
local EPILOGUE = { ["B M N"] = 1, ["M N"] = 1, ["B M"] = 1, ["B N"] = 1, ["M"] = 1, ["N"] = 1 } -- dims of its other tensors
local READS = { f32 = true, f16 = true, bf16 = true, i32 = true, i64 = true }
local WRITES = { f32 = true, f16 = true, bf16 = true }

function gemm.check(o)
  local found = {}
  for _, t in ipairs(o.specs) do
    local dims, what = table.concat(t.dims, " "), (t.out and "output '" or "tensor '") .. t.name .. "'"
    if CORE[t.name] then
      found[t.name] = true
      if dims ~= CORE[t.name] or t.out ~= (t.name == "d") or t.optional then
        local declared = t.name .. " " .. CORE[t.name] .. (t.name == "d" and " out" or "")
        op.fail(o, what .. " is declared as \"" .. declared .. "\"; the settings a_major and b_major say how a and b lie in memory")
      end
      if t.own and t.name ~= "d" then op.fail(o, "a and b have one dtype; `own` is for the others") end
    elseif t.out and dims ~= "B M N" then
      op.fail(o, what .. " has the dims \"" .. dims .. "\"; outputs are B M N")
    elseif not EPILOGUE[dims] then
      op.fail(o, what .. " has the dims \"" .. dims .. "\"; beside a, b and d stand B M N, M N, B M, B N, M or N")
    end
    if t.fixed and not (t.out and WRITES or READS)[t.fixed] then
      op.fail(o, what .. ": " .. t.fixed .. " is not " .. (t.out and "written yet; f32, f16 and bf16 are" or "read yet; f32, f16, bf16, i32 and i64 are"))
    end
  end
  for _, name in ipairs { "a", "b", "d" } do
    if not found[name] then
      op.fail(o, "has no tensor \"" .. name .. " " .. CORE[name] .. (name == "d" and " out\"" or "\"") .. ": a gemm is d = epilogue(a b, ...)")
    end
  end
  if type(o.declared.epilogue) ~= "function" then op.fail(o, "has no function `epilogue`") end
end

-- Names of the contract beside the op's own.
function gemm.names(o, claim)
  claim("tiles_m", "a value of the family")
  claim("tiles_n", "a value of the family")
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
  local a = trace.argument(graph, inst.by_name.a, index.a)
  local b = trace.argument(graph, inst.by_name.b, index.b)
  extra.acc = trace.new(graph, { op = "dot", args = { a, b }, dim = "K", dims = { B = true, M = true, N = true } })
  t = trace.arguments(graph, inst, extra, { a = true, b = true })
  local result = declared.epilogue(t)
  if result ~= nil then t.d = result end
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
