-- mini.lua - see driver.lua.
local mini = {}

function mini.op(name)
  return function(o)
    o.name = name
    o.is_op = true
    return o
  end
end

function mini.list(...) return { ... } end

-- A kernel whose body is recorded by body().
function mini.kernel(name, body)
  local k = core.node("kernel", nil, { name = name, threads = 32 })
  core.open(k, 0)
  body()
  core.close()
end

function mini.sum(...)
  local s = 0
  for _, x in ipairs { ... } do s = s + x end
  return s
end

function mini.fault(t) return t.a.b end

return mini
