return list(op "two" { doc = "first of a list" }, op "two.grad" { doc = "second of a list" })
