-- scope.lua - under which names one stage of a chain (families/chain.lua) is emitted.
--
-- A family writes contract lines and statements as if its op stood alone; while a scope is open, contract.lua and tile.lua put what it
-- writes through here. Its tensors become the chain's tensors and workspaces (targets), with their strides; its dims the chain's dims or 1;
-- its scalars the chain's, or numbers; whatever it names itself gets the stage's name in front. Lines that a contract has once (bytes, flop,
-- cost) are added up by the chain, and tensors and steps are held back for it.
local text = use "kiln.text"
local scope = { current = nil }

local S = {}
S.__index = S

-- stage: { name, inst, dims (of the stage's op -> list of the chain's dims), targets (by tensor of the stage's op), scalars (by scalar of
-- the stage's op: the chain's scalar, or a number), kernels (how many the chain has before) }. taken: names that the chain has itself, which
-- a stage that is called like a tensor could make once more (the stage drb has a lead0, the tensor drb leading dims).
function scope.new(stage, taken)
  local s = { taken = taken, stage = stage, prefix = stage.name .. "_", names = {}, known = {}, lines = {}, steps = {}, sums = {}, bound = {} }
  for dim, to in pairs(stage.dims) do
    if #to <= 1 then s.names[dim] = to[1] or "1" end -- one that stands for several is named by its tensors
  end
  return setmetatable(s, S)
end

function scope.enter(s)
  scope.current = s
  core.stage(s.stage.name)
end
function scope.leave()
  scope.current = nil
  core.stage()
end

-- ---- names ----

local RESERVED = { sms = true, bw = true, tensor = true, log2e = true, ceildiv = true, roundup = true, min = true, max = true }

-- What a name of the stage's is called in the chain; a size may be a number.
function S:name(name)
  if RESERVED[name] then return name end
  local first = string.byte(name, 1)
  if first >= 48 and first <= 57 then return name end
  local own = self.names[name]
  if not own then
    own = self.prefix .. name
    if text.has(self.taken, own) then own = own .. "_" end
    self.names[name] = own
  end
  return own
end

-- "M,K" with every name replaced.
function S:list(names)
  local out = {}
  for _, n in ipairs(text.split(names, ",")) do table.insert(out, self:name(n)) end
  return table.concat(out, ",")
end

local function is_letter(c) return c == 95 or c >= 65 and c <= 90 or c >= 97 and c <= 122 end
local function is_digit(c) return c >= 48 and c <= 57 end

-- Where a number that begins at i ends: digits, a point, an exponent with its sign.
local function end_of_number(s, i)
  local n = #s
  while i < n do
    local c = string.byte(s, i + 1)
    local exponent = (c == 101 or c == 69) and i + 1 < n
    if exponent and (string.byte(s, i + 2) == 45 or string.byte(s, i + 2) == 43) then i = i + 1
    elseif not is_digit(c) and c ~= 46 and not exponent then return i end
    i = i + 1
  end
  return i
end

-- An expression with every name replaced. What begins with $ is for the generator: kernels are counted through the chain.
function S:expr(s)
  local out, i, n = {}, 1, #s
  while i <= n do
    local c, j = string.byte(s, i), i
    if is_letter(c) or c == 36 then
      while j < n and (is_letter(string.byte(s, j + 1)) or is_digit(string.byte(s, j + 1))) do j = j + 1 end
      local word = string.sub(s, i, j)
      if c ~= 36 then table.insert(out, self:name(word))
      else
        local k = j
        while is_digit(string.byte(s, k)) do k = k - 1 end
        table.insert(out, string.sub(s, i, k) .. math.tointeger(tonumber(string.sub(s, k + 1, j))) + self.stage.kernels)
      end
    else
      if is_digit(c) then j = end_of_number(s, i) end
      table.insert(out, string.sub(s, i, j))
    end
    i = j + 1
  end
  return table.concat(out)
end

-- ---- lines of the contract ----

local function split_first(s)
  local at = string.find(s, " ", 1, true)
  if not at then return s, "" end
  return string.sub(s, 1, at - 1), string.sub(s, at + 1)
end

local LINES = {}
function LINES.let(s, rest)
  local name, expr = split_first(rest)
  if s.stage.dims[name] then return nil end -- a dim of blocks, which the chain has
  return "let " .. s:name(name) .. " " .. s:expr(expr)
end
function LINES.derived(s, rest)
  local name, more = split_first(rest)
  local dtype, expr = split_first(more)
  return "derived " .. s:name(name) .. " " .. dtype .. " " .. s:expr(expr)
end
function LINES.workspace(s, rest)
  local open, close = string.find(rest, "[", 1, true), string.find(rest, "]", 1, true)
  local name, dtype = split_first(string.sub(rest, 1, open - 1))
  return "workspace " .. s:name(name) .. " " .. dtype .. s:expr(string.sub(rest, open, close)) .. string.sub(rest, close + 1)
end
LINES["require"] = function(s, rest)
  local quote = string.find(rest, '"', 1, true)
  return "require " .. s:expr(string.sub(rest, 1, quote - 1)) .. '"' .. s.stage.name .. ": " .. string.sub(rest, quote + 1)
end

-- The chain may have a scalar of the plan, or a number, where the stage has one that comes with each launch.
function LINES.limit(s, rest)
  local name, after = split_first(rest)
  local low, most = split_first(after)
  local high, quoted = split_first(most)
  local to, own, reason = s.stage.scalars[name], s:name(name), '"' .. s.stage.name .. ": " .. string.sub(quoted, 2)
  if type(to) == "table" and to.call then return string.format("limit %s %s %s %s", own, s:expr(low), s:expr(high), reason) end
  return string.format("require %s>=%s&&%s<=%s %s", own, s:expr(low), own, s:expr(high), reason)
end

local ADDED = { bytes = true, flop = true, cost = true }
local KEPT_WORD = { attr = true }

-- step NAME entry ENTRY grid X,Y,Z ...: words and their values by turns, up to the arguments.
local function step(s, rest)
  local words, out, i = text.split(rest, " "), {}, 2
  out[1] = s.stage.name .. "_" .. words[1]
  while words[i] and words[i] ~= "args" do
    table.insert(out, words[i])
    table.insert(out, KEPT_WORD[words[i]] and words[i + 1] or s:expr(words[i + 1]))
    i = i + 2
  end
  for k = i, #words do table.insert(out, words[k] == "args" and "args" or s:expr(words[k])) end
  return "step " .. table.concat(out, " ")
end

function S:line(line)
  local kind, rest = split_first(line)
  if ADDED[kind] then
    self.sums[kind] = self:expr(rest)
  elseif kind == "step" then
    table.insert(self.steps, step(self, rest))
  elseif LINES[kind] then
    table.insert(self.lines, LINES[kind](self, rest))
  elseif kind ~= "collapse" then -- which would change the dims of every stage; without it a kernel is right as well
    error("a stage of a chain writes a line '" .. kind .. "', which no stage has")
  end
end

function S:scalar(scalar)
  local to = self.stage.scalars[scalar.name]
  if type(to) == "table" then
    self.names[scalar.name] = to.name
    if scalar.dtype ~= "f32" then self.names[scalar.name .. "_f32"] = to.name .. "_f32" end
    return
  end
  table.insert(self.lines, string.format("derived %s %s %.17g", self:name(scalar.name), scalar.dtype, to))
  if scalar.dtype ~= "f32" then table.insert(self.lines, string.format("derived %s f32 %.17g", self:name(scalar.name .. "_f32"), to)) end
end

-- ---- tensors ----

-- The chain's dims at the places of a tensor's line: false where a leading dim of the family's has none. Slots of a dim that stands for
-- several are given the chain's from the last one on.
local function places(s, t, slots)
  local own, extra, list, at = t.dims, #slots - #t.dims, {}, 1
  local lead = s.stage.inst.op.family.lead
  for _, d in ipairs(own) do
    local to = s.stage.dims[d]
    local count = extra > 0 and lead and string.sub(d, 1, #lead) == lead and extra + 1 or 1
    if count > 1 then extra = 0 end
    if #to > count then
      core.fail(string.format("its dim %s stands for %d dims there, and is bound to %d: %s", d, count, #to, table.concat(to, " ")))
    end
    for k = 1, count do
      local p = to[#to - count + k] or false
      list[at] = p
      if count > 1 then s.names[slots[at]] = p or "1" end
      at = at + 1
    end
  end
  return list
end

-- How many dims the caller may leave out of the stage's tensor, from which on.
local function lead_of(tail)
  local words = text.split(tail or "", " ")
  for i, w in ipairs(words) do
    if w == "lead" then return tonumber(words[i + 1]), words[i + 2] == "at" and tonumber(words[i + 3]) or 0 end
  end
  return 0, 0
end

-- What a stage asks of a tensor's line, gathered in its target.
function S:tensor(t, dims, strides, align, tail)
  local target = self.stage.targets[t.name]
  local slots = {}
  for i, d in ipairs(dims) do
    local bar = string.find(d, "|", 1, true)
    slots[i] = bar and string.sub(d, 1, bar - 1) or d
  end
  local to = places(self, t, slots)
  for i, p in ipairs(to) do
    local at = p and target.place[p]
    if strides[i] == "1" then
      if at then target:demand_unit(at, self.stage.name) end
    elseif at then
      self.names[strides[i]] = target:stride(at)
    else
      self.names[strides[i]] = "0"
    end
    local one = string.find(dims[i], "|", 1, true)
    if at and not one and self.bound[p] then target.whole[p] = true end -- a size that was bound before, and must be met
    if p then self.bound[p] = true end
  end
  target.align = math.max(target.align, align)
  local lead, from = lead_of(tail)
  local missing = 0 -- of the chain's dims: those places that are the family's alone do not count
  for i = from + 1, from + lead do if to[i] then missing = missing + 1 end end
  target.lead = math.min(target.lead or missing, missing)
end

return scope
