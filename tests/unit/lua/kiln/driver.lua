-- driver.lua - the smallest language that reaches every part of the border between C and Lua; for tests/unit/test_script.c.
-- An op is a table { name=, doc=, emit=function(set, schedule), define=table }.
local mini = use "kiln.mini"
local line = use "families.line"
local driver = {}

driver.env = {
  op = mini.op, list = mini.list, kernel = mini.kernel, node = core.node, open = core.open, close = core.close, kind = core.type,
  contract = core.contract, refuse = core.refuse, fail = core.fail, has = core.has, where = core.where, at = core.at, name = core.name,
  define = core.define, target = function() return core.target end, line = line.twice,
  use = use, set_meta = setmetatable, library_fault = mini.fault,
  sum = setmetatable({}, { __call = function(_, ...) return mini.sum(...) end, __tostring = function() return "the sum" end }),
}

local registered, names = {}, {}

function driver.script(result, name)
  local list, given = result.is_op and { result } or result, {}
  for _, o in ipairs(list) do
    if not registered[o.name] then table.insert(names, o.name) end
    registered[o.name] = o
    table.insert(given, o.name)
  end
  return given
end

local function find(name) return registered[name] or error("there is no op '" .. name .. "'") end

function driver.ops()
  local rows = {}
  for _, n in ipairs(names) do table.insert(rows, { name = n, doc = registered[n].doc, family = "mini", settings = "k=v" }) end
  return rows
end

function driver.schedules(name, set, target)
  if find(name).schedules then return find(name).schedules end
  return { "for=" .. target.name, "set=" .. (set[1] or "none") }
end

function driver.emit(name, set, schedule)
  local o = find(name)
  o.emit(set, schedule)
  return o.variant or name
end

function driver.define(name, set)
  local d = find(name).define
  if type(d) == "function" then d = d(set) end
  if d then core.define(d) end
end

function driver.curated()
  return {
    { path = "one/sm_80/a.ptx", op = "one", target = "sm_80", set = { "z", "a", z = "1", a = "2" } },
    { path = "one/sm_90a/b.ptx", op = "one", target = "sm_90a", set = { z = "1", a = "2" }, schedule = { rows = "4" } },
  }
end

return driver
