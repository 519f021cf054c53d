-- schedule.lua - schedules as texts "k=v k=v" and as tables of numbers and words.
local text = use "kiln.text"
local schedule = {}

-- keys: the order in which a family prints its schedule.
function schedule.print(s, keys)
  local list = {}
  for _, k in ipairs(keys) do if s[k] ~= nil then table.insert(list, k .. "=" .. tostring(s[k])) end end
  return table.concat(list, " ")
end

-- given: table key -> text with its keys in order in the list part. default: what is not given. keys: what is known.
function schedule.read(given, default, keys)
  local s = {}
  for k, v in pairs(default) do s[k] = v end
  for _, k in ipairs(given or {}) do
    if not text.has(keys, k) then core.fail("the schedule has no '" .. k .. "'; it has " .. table.concat(keys, ", ")) end
    local n = tonumber(given[k])
    if type(default[k]) == "number" then
      if not n or math.type(n) ~= "integer" or n < 1 or n > 1048576 then
        core.fail("schedule " .. k .. "=" .. given[k] .. ": expected a whole number from 1 to 1048576")
      end
      s[k] = n
    else
      s[k] = given[k]
    end
  end
  return s
end

return schedule
