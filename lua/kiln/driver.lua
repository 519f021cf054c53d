-- driver.lua - what the generator calls: lists, schedules, emission and definition of ops.
local trace = use "kiln.trace"
local op = use "kiln.op"
local text = use "kiln.text"
local autodiff = use "kiln.autodiff"
local driver = {}
driver.env = use "kiln.environment"

local registered, order = {}, {}

-- The op NAME.grad beside an op is made when it is asked for.
local function gradient_name(o) return autodiff.possible(o) and o.name .. ".grad" or nil end

-- The op of this name; nil: there is none, and why, at a line of the script.
local function lookup(name)
  if registered[name] then return registered[name] end
  local base = #name > 5 and string.sub(name, -5) == ".grad" and registered[string.sub(name, 1, -6)]
  if not base or not gradient_name(base) then return nil end
  local gradient, why, loc = autodiff.gradient(base)
  registered[name] = gradient
  return gradient, why, loc
end

local function find(o)
  if type(o) == "table" then return o end
  local found, why, loc = lookup(o)
  if found then return found end
  if not why then core.fail("there is no op '" .. tostring(o) .. "'; `kiln list` names them, or give a script's path") end
  core.at(loc[1], loc[2])
  error("there is no '" .. o .. "': " .. why, 0)
end

-- A shipped op, as a stage of a chain.
function driver.env.op(name)
  if type(name) == "string" and not registered[name] then core.load_op(name) end
  return type(name) == "string" and lookup(name) or error("op: there is no op '" .. tostring(name) .. "'; `kiln list` names them", 2)
end

-- result: what a script returned, an op or a list of ops. Returns their names, and those of their gradients.
function driver.script(result, name)
  local list = type(result) == "table" and result.is_op and { result } or result
  if type(list) == "function" then core.fail(name .. ": an op is declared as family.op \"name\" { ... }, first the name by itself, then the table") end
  if type(list) ~= "table" or #list == 0 then
    core.fail(name .. " returns no op; a script ends in `return family.op \"name\" { ... }`, or returns a list of ops")
  end
  local names = {}
  for i, o in ipairs(list) do
    if type(o) ~= "table" or not o.is_op then core.fail(name .. " returns a list with something that is no op") end
    for k = 1, i - 1 do if list[k].name == o.name then op.fail(o, "the script has two ops of this name") end end
    for _, name in ipairs { o.name, gradient_name(o) } do
      if not text.has(order, name) then table.insert(order, name) end
      registered[name] = nil
      table.insert(names, name)
    end
    registered[o.name] = o
  end
  return names
end

function driver.ops()
  local rows = {}
  table.sort(order)
  for _, name in ipairs(order) do
    local o = lookup(name)
    if o then table.insert(rows, { name = name, doc = o.doc, family = o.family.name, settings = op.settings_text(o) }) end
  end
  return rows
end

local function instance(name, set)
  local o = find(name)
  core.about(o.loc[1], o.loc[2])
  return op.instance(o, set)
end

function driver.schedules(o, set)
  local inst = instance(o, set)
  return inst.op.family.schedules(inst)
end

function driver.emit(o, set, schedule)
  local inst = instance(o, set)
  return inst.op.family.emit(inst, schedule)
end

function driver.define(o, set)
  local inst = instance(o, set)
  trace.definition(inst.op.family.trace(inst), inst, inst.op.family.lead)
end

-- The files of ptx_out: each op names its own as lists "target settings schedule-index".
function driver.curated()
  local list = {}
  table.sort(order)
  for _, name in ipairs(order) do
    local o = registered[name]
    local base = not o and registered[string.sub(name, 1, -6)]
    for _, c in ipairs(o and o.declared.curated or base and base.declared.curated_grad or {}) do
      for _, target in ipairs(text.split(c.targets, " ")) do
        local set, schedule = {}, nil
        for _, pair in ipairs(text.split(c.set or "", " ")) do
          local kv = text.split(pair, "=")
          set[kv[1]] = kv[2]
          table.insert(set, kv[1])
        end
        if c.schedule then
          schedule = {}
          for _, pair in ipairs(text.split(c.schedule, " ")) do
            local kv = text.split(pair, "=")
            schedule[kv[1]] = kv[2]
            table.insert(schedule, kv[1])
          end
        end
        table.insert(list, { path = name .. "/" .. target, op = name, target = target, set = set, schedule = schedule })
      end
    end
  end
  return list
end

return driver
