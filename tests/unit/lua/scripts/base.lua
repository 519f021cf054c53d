-- What scripts find instead of Lua's libraries. Each line that fails ends the script with its number.
local function same(a, b) if a ~= b then error("expected " .. tostring(b) .. ", got " .. tostring(a)) end end

-- pairs: strings in order, then numbers ascending, then false and true; removal while going is allowed
local t = { [3] = 1, b = 1, [-1] = 1, a = 1, [2.5] = 1, aa = 1, [true] = 1, [false] = 1, [""] = 1 }
local keys = {}
for k in pairs(t) do keys[#keys + 1] = tostring(k) end
same(table.concat(keys, " "), " a aa b -1 2.5 3 false true")
t = { x = 1, y = 2, z = 3 }
keys = ""
for k in pairs(t) do keys = keys .. k; t.y = nil end
same(keys, "xz")
for k in pairs({}) do error("nothing there: " .. k) end
local n = 0
for i, v in ipairs { 5, 6, nil, 7 } do n = n + i * v end
same(n, 17)

same(select("#", 1, nil, 3), 3)
same(select(2, "a", "b"), "b")
same(select(-1, "a", "b"), "b")
same(type(nil), "nil")
same(tostring(12), "12")
same(tostring(0.5), "0.5")
same(tostring(sum), "the sum")
same(sum(1, 2, 3), 6)
same(tonumber(" 0x10 "), 16)
same(tonumber("1e2"), 100.0)
same(tonumber("1x"), nil)
same(tonumber({}), nil)
same(assert(5, "no"), 5)

same(string.format("%d %5.2f|%-4s|%04x %s %s %%", 3, 2 / 3, "ab", 255, true, nil), "3  0.67|ab  |00ff true nil %")
same(string.format("%s", ("ab"):rep(300)), ("ab"):rep(300))
same(string.format("%.2s|%c|%g|%i|%o|%X", "abc", 65, 1e20, 7, 8, 255), "ab|A|1e+20|7|10|FF")
same(("ab"):rep(3, "-"), "ab-ab-ab")
same(("ab"):rep(0), "")
same(("ab"):rep(-1), "")
same(("hello"):sub(2, -2), "ell")
same(("hello"):sub(-3), "llo")
same(("hello"):sub(4, 2), "")
same(("hello"):sub(0, 99), "hello")
same(("hello"):byte(1), 104)
same(select("#", ("hello"):byte(1, -1)), 5)
same(select("#", (""):byte()), 0)
same(string.char(104, 105), "hi")
same(("hello"):upper():lower(), "hello")
same(("hello"):len(), 5)
same(("a.b.c"):find("."), 2)
same(select(2, ("a.bc"):find("bc")), 4)
same(("a.b"):find("x"), nil)
same(("a.b.c"):find(".", 3), 4)
same(("abc"):find("", 10), nil)

t = { 3, 1, 2 }
table.sort(t)
same(table.concat(t, ","), "1,2,3")
table.sort(t, function(a, b) return a > b end)
same(table.concat(t), "321")
local people = { { 1, "a" }, { 0, "b" }, { 1, "c" }, { 0, "d" }, { 1, "e" } } -- equal elements keep their order
table.sort(people, function(a, b) return a[1] < b[1] end)
keys = ""
for _, p in ipairs(people) do keys = keys .. p[2] end
same(keys, "bdace")
table.insert(t, 4)
table.insert(t, 1, 0)
same(table.concat(t, " "), "0 3 2 1 4")
same(table.remove(t, 2), 3)
same(table.remove(t), 4)
same(table.concat(t, " "), "0 2 1")
same(table.remove({}), nil)
same(select("#", table.unpack({ 1, 2, 3 }, 2)), 2)
same(table.concat({}, ","), "")
same(table.concat({ 1, 2, 3, 4 }, ",", 2, 3), "2,3")

same(math.floor(2.7), 2)
same(math.type(math.floor(2.7)), "integer")
same(math.ceil(2.1), 3)
same(math.floor(-1), -1)
same(math.max(1, 5, 3), 5)
same(math.min(4, 2.5), 2.5)
same(math.abs(-3), 3)
same(math.abs(-3.5), 3.5)
same(math.tointeger(3.0), 3)
same(math.tointeger(3.5), nil)
same(math.tointeger("3"), nil)
same(math.type(1), "integer")
same(math.type(1.0), "float")
same(math.type("1"), nil)
same(math.log(8, 2), 3.0)
same(math.log(1000, 10), 3.0)
same(math.exp(0), 1.0)
same(math.sqrt(16), 4.0)
same(math.huge > 1e308, true)
same(math.maxinteger + 1, math.mininteger)

return op "base" { doc = "done" }
