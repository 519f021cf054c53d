-- environment.lua - what a user's script sees: the functions of traces, and the families. Fields of declarations and numbers of arguments that
-- nobody would read are refused here.
local trace = use "kiln.trace"
local op = use "kiln.op"
local text = use "kiln.text"
local environment = {}
use "kiln.blocks"
use "kiln.rotary"

local FAMILIES = { "rowwise", "gemm", "blockwise", "chain" }

-- The fields of a declaration: of all families, and of each. Another one would be a misspelled word that nobody reads.
local FIELDS = { "doc", "tensors", "scalars", "settings", "dtypes", "absent", "cases", "curated", "curated_grad" }
local LISTS = { "tensors", "scalars", "dtypes" } -- a name for one would be a word that nobody reads, too
local OWN = { rowwise = { "forward" }, gemm = { "epilogue", "products", "scales", "forms" }, blockwise = { "forward", "forms" },
              chain = { "stages", "forms", "majors", "forward", "rows" } }

local function check_fields(name, family, declared)
  if type(declared) ~= "table" then error(family .. ".op \"" .. tostring(name) .. "\" takes a table of fields, not a " .. type(declared)) end
  for field in pairs(declared) do
    if not text.has(FIELDS, field) and not text.has(OWN[family], field) then
      local known = table.concat(FIELDS, ", ") .. ", " .. table.concat(OWN[family], ", ")
      error("op '" .. tostring(name) .. "': there is no field '" .. tostring(field) .. "'; there are " .. known)
    end
  end
  for _, field in ipairs(LISTS) do
    local list = declared[field]
    for key in pairs(type(list) == "table" and list or {}) do
      if math.type(key) ~= "integer" or key < 1 or key > #list then
        local words = "': `" .. field .. "` is a list of texts, as in { \"x M N\", \"y M N out\" }; '"
        error("op '" .. tostring(name) .. words .. tostring(key) .. "' is no place in it")
      end
    end
  end
end

-- How many arguments the functions of traces take, where it is not one. Lua would drop the others without a word, and softmax(x, "M")
-- run over the row, max(x, 0, 6) be max(x, 0).
local TAKES = {
  where = 3, lookup = 3, min = 2, max = 2, lt = 2, le = 2, eq = 2, ne = 2, idiv = 2, mod = 2, all = 2, any = 2, sum = 2, mean = 2, var = 2,
  amax = 2, amin = 2, block_amax = 2, spread = 2, swap_halves = 2, rotate = 2,
}
local function counted(name, fn)
  local most = TAKES[name] or 1
  return function(...)
    local given = select("#", ...)
    if given > most then error(name .. " takes " .. most .. " argument" .. (most > 1 and "s" or "") .. ", these are " .. given, 2) end
    return fn(...)
  end
end
for name, fn in pairs(trace.functions) do if type(fn) == "function" then trace.functions[name] = counted(name, fn) end end

for name, fn in pairs(trace.functions) do environment[name] = fn end
for _, name in ipairs(FAMILIES) do
  local family -- loaded when the script first uses it: one op needs one family
  environment[name] = {
    op = function(op_name)
      local file, line = core.where() -- here: `return family.op "name" {...}` leaves no frame of the script's behind
      return function(declared)
        core.at(file, line)
        check_fields(op_name, name, declared)
        family = family or use("families." .. name)
        return op.new(op_name, declared, family, { file, line })
      end
    end,
  }
end

return environment
