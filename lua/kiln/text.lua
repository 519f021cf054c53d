-- text.lua - splitting of short texts; scripts have no string patterns.
local text = {}

-- The pieces between separators (one character), empty ones left out.
function text.split(s, separator)
  local out, from = {}, 1
  while from <= #s do
    local at = string.find(s, separator, from, true) or #s + 1
    if at > from then table.insert(out, string.sub(s, from, at - 1)) end
    from = at + 1
  end
  return out
end

function text.has(list, what)
  for _, v in ipairs(list) do
    if v == what then return true end
  end
  return false
end

return text
