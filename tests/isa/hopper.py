"""hopper.py - files for mbarriers, bulk and tensor copies, clusters and products of warpgroups. The CTA is a cluster of its own, rank 0, but where two are needed."""
import functools
import re

import memory
from kernel import Kernel
from memory import LANES, PLAIN, Access, braced, combine, kernel_of, random_words, registers, whole_numbers

BAR = "%r30"      # address of an mbarrier
TILE = "%r31"     # of 1024 bytes that copies use
POLICY = "createpolicy.fractional.L2::evict_first.b64 %l28, 0f3F800000;"


def start(form, block=64, arrivals=1):
    """An mbarrier at the end of shared memory, known to everybody; thread 0 has made it."""
    k = kernel_of(form, block=block)
    k.sm, k.version = "90" if form.sm == "80" else form.sm, max(k.version, 80)  # what stands around the form needs these
    k.shared = 2048 + 64
    k.add(f"mov.u32 {TILE}, pool;\nadd.s32 {BAR}, {TILE}, 2048;\nsetp.ne.u32 %p1, %r0, 0;\nsetp.lt.u32 %p2, %r0, 32;\n@%p1 bra MADE;\n"
          f"mbarrier.init.shared.b64 [{BAR}], {arrivals};\nfence.mbarrier_init.release.cluster;\nMADE:\nbar.sync 0;")
    return k


def wait(k, parity=0, name="WAIT"):
    k.add(f"{name}:\nmbarrier.try_wait.parity.shared.b64 %p4, [{BAR}], {parity};\n@!%p4 bra {name};")


def through_memory(k, form, n=LANES):
    """Data that the second warp reads once the first has arrived."""
    given = random_words(form.id, n, 32)
    k.tensor("a", "in", "i32", given=given)
    k.tensor("d", "out", "i32", wanted=given)
    k.add(f"and.b32 %r1, %r0, {n - 1};")
    for name, reg in (("a", "%l0"), ("d", "%l2")):
        k.add(f"ld.param.b64 {reg}, [{name}];\ncvta.to.global.u64 {reg}, {reg};\nmad.wide.u32 {reg}, %r1, 4, {reg};")
    k.add(f"shl.b32 %r2, %r1, 2;\nadd.s32 %r2, %r2, {TILE};")


PUT = "ld.global.b32 %r5, [%l0];\nst.shared.b32 [%r2], %r5;"
GET = "ld.shared.b32 %r6, [%r2];\nst.global.b32 [%l2], %r6;"


def place(form):
    """The operand of an mbarrier: where the form takes any CTA's, that of rank 0."""
    return "%r32" if "shared::cluster" in form.parts else BAR


def arrive(form):
    """Warp 0 writes and arrives, warp 1 waits and reads. Counts are two each; bytes that are expected come by complete_tx."""
    drop, no_complete, bytes_too = "arrive_drop" in form.parts, "noComplete" in form.parts, "expect_tx" in form.parts
    counted = form.operands[-1].startswith("r")
    each = 2 if counted and not bytes_too else 1
    arrivals = LANES * each + (LANES if no_complete or drop else 0)
    k = start(form, arrivals=arrivals)
    through_memory(k, form)
    k.add(f"mapa.shared::cluster.u32 %r32, {BAR}, 0;\n@!%p2 bra ON;\n{PUT}")
    state = "%l20, " if form.result else "_, "
    k.add(f"{form.opcode} {state}[{place(form)}]{', %d' % (16 if bytes_too else each) if counted else ''};")
    if bytes_too:
        k.add(f"mbarrier.complete_tx.relaxed.cta.shared.b64 [{BAR}], 16;")
    if no_complete or drop:
        k.add(f"mbarrier.arrive.shared.b64 _, [{BAR}];")
    if form.result:  # the state tells when its phase has ended
        k.add(f"STATE:\nmbarrier.test_wait.shared.b64 %p5, [{BAR}], %l20;\n@!%p5 bra STATE;")
    k.add("ON:")
    wait(k, 0)
    if drop:  # the next phase, once all have seen the end of this one, waits for those that have not dropped out
        k.add(f"bar.sync 0;\n@!%p2 bra AGAIN;\nmbarrier.arrive.shared.b64 _, [{BAR}];\nAGAIN:")
        wait(k, 1, "NEXT")
    k.add(f"@%p2 bra OUT;\n{GET}\nOUT:")
    return k


def count_bytes(form):
    """expect_tx and complete_tx: the phase ends when as many bytes have come as were expected."""
    k = start(form, arrivals=1)
    through_memory(k, form)
    expects = "expect_tx" in form.parts
    k.add(f"mapa.shared::cluster.u32 %r32, {BAR}, 0;\n@!%p2 bra ON;\n{PUT}\nbar.warp.sync -1;\n@%p1 bra ON;")
    one, two = f"{form.opcode} [{place(form)}], 64;", "mbarrier.complete_tx.shared.b64" if expects else "mbarrier.expect_tx.shared.b64"
    k.add(f"{one if expects else f'{two} [{BAR}], 64;'}\nmbarrier.arrive.shared.b64 _, [{BAR}];\n{f'{two} [{BAR}], 64;' if expects else one}\nON:")
    wait(k)
    k.add(f"@%p2 bra OUT;\n{GET}\nOUT:")
    return k


def waits(form):
    """A loop on the form itself; with a state it is the arriving thread that waits."""
    k = start(form, arrivals=LANES)
    through_memory(k, form)
    parity, limit = "parity" in form.parts, ", 1000" if "try_wait" in form.parts else ""
    k.add(f"@!%p2 bra ON;\n{PUT}\nmbarrier.arrive.shared.b64 %l20, [{BAR}];\nON:")
    if parity:
        k.add(f"LOOP:\n{form.opcode} %p5, [{BAR}], 0{limit};\n@!%p5 bra LOOP;\n{form.opcode} %p6, [{BAR}], 1;\n@%p6 trap;")
    else:
        wait(k)
        k.add(f"@!%p2 bra REST;\nLOOP:\n{form.opcode} %p5, [{BAR}], %l20{limit};\n@!%p5 bra LOOP;\nREST:")
    k.add(f"@%p2 bra OUT;\n{GET}\nOUT:")
    return k


def barrier_object(form):
    """init, inval: a barrier made, used, unmade, made again for another number; pending_count."""
    k = start(form, arrivals=1)
    through_memory(k, form)
    k.add("@%p1 bra NOT;")
    k.add(f"mbarrier.arrive.shared.b64 %l20, [{BAR}];\nmbarrier.pending_count.b64 %r7, %l20;\nsetp.ne.u32 %p5, %r7, 1;\n@%p5 trap;\n"
          f"mbarrier.inval.shared.b64 [{BAR}];\nmbarrier.init.shared.b64 [{BAR}], {LANES};\nNOT:\nbar.sync 0;")
    k.add(f"@!%p2 bra ON;\n{PUT}\nmbarrier.arrive.shared.b64 _, [{BAR}];\nON:")
    wait(k)
    k.add(f"@%p2 bra OUT;\n{GET}\nOUT:")
    return k


def copies_arrive(form):
    """cp.async.mbarrier.arrive: the phase ends once the copies are there."""
    k = start(form, arrivals=LANES if "noinc" in form.parts else LANES)
    through_memory(k, form)
    k.add(f"@!%p2 bra ON;\ncp.async.ca.shared.global [%r2], [%l0], 4;\n{form.opcode} [{BAR}];")
    if "noinc" not in form.parts:  # the arrival was added to those waited for
        k.add(f"mbarrier.arrive.shared.b64 _, [{BAR}];")
    k.add("ON:")
    wait(k)
    k.add(f"@%p2 bra OUT;\n{GET}\nOUT:")
    return k


# ---- bulk copies ----

def hints(form):
    more = ""
    if "multicast::cluster" in form.parts:
        more += ", %h1"
    if "L2::cache_hint" in form.parts:
        more += ", %l28"
    return more


def prepare(k, form):
    if "multicast::cluster" in form.parts:
        k.add("mov.b16 %h1, 1;")
    if "L2::cache_hint" in form.parts:
        k.add(POLICY)


def bytes_in(form):
    """512 bytes to shared memory; each thread writes two words of them out."""
    k = start(form)
    given = random_words(form.id, 128, 32)
    k.tensor("a", "in", "i32", given=given)
    k.tensor("d", "out", "i32", wanted=given)
    prepare(k, form)
    k.address("a", 0, "%l0")
    k.address("d", 8, "%l2")
    peer = form.id == "cp_bulk_peer"
    source = "[%l0]"
    if peer:  # from another place of shared memory; an H200 has it in clusters of several CTAs only
        k.grid, k.cluster = "2,1,1", "2,1,1"
        k.address("a", 8, "%l4")
        k.add(f"ld.global.v2.b32 {{%r5, %r6}}, [%l4];\nshl.b32 %r7, %r0, 3;\nadd.s32 %r7, %r7, {TILE};\nst.shared.v2.b32 [%r7+1024], {{%r5, %r6}};\n"
              "fence.proxy.async.shared::cta;\nbar.sync 0;")
        source = f"[{TILE}+1024]"
    k.add(f"@%p1 bra ON;\nmbarrier.arrive.expect_tx.shared.b64 _, [{BAR}], 512;\n{form.opcode} [{TILE}], {source}, 512, [{BAR}]{hints(form)};\nON:")
    wait(k)
    if peer:
        k.add("mov.u32 %r8, %ctaid.x;\nsetp.ne.u32 %p3, %r8, 0;\n@%p3 bra OUT;")
    k.add(f"shl.b32 %r7, %r0, 3;\nadd.s32 %r7, %r7, {TILE};\nld.shared.v2.b32 {{%r5, %r6}}, [%r7];\nst.global.v2.b32 [%l2], {{%r5, %r6}};" + ("\nOUT:" if peer else ""))
    return k


def numbers(form):
    """Of 512 bytes the operation (None: moved as they are), its type, what is moved and what it is combined with."""
    op = next((p for p in form.parts if p in ("add", "min", "max", "inc", "dec", "and", "or", "xor") and form.parts[1] == "reduce"), None)
    kind = form.parts[-1] if op else "b32"
    wide = kind.endswith("64")
    halves = kind in ("f16", "bf16")
    n = 64 if wide else 256 if halves else 128
    dtype = kind if kind[0] == "f" or halves else "i64" if wide else "i32"
    if dtype[0] == "i":
        given, before = (random_words(form.id + x, n, 64 if wide else 32) for x in "ab")
        if op in ("inc", "dec"):
            before = [w % (g | 1) if i % 3 else w for i, (w, g) in enumerate(zip(before, given))]
    else:
        from meaning import FORMATS, Fraction, of_fraction
        import random
        rng, fmt = random.Random(form.id), FORMATS[dtype]
        given, before = ([fmt.encode(of_fraction(Fraction(rng.randint(-40, 40), 2))) for _ in range(n)] for _ in "ab")
    return op, kind, dtype, given, before


def bytes_out(form):
    """512 bytes from shared memory, stored or combined with what is there."""
    k = start(form)
    op, kind, dtype, given, before = numbers(form)
    step = combine(op, kind) if op else None
    k.tensor("a", "in", dtype, given=given)
    k.tensor("d", "inout" if op else "out", dtype, given=before if op else None, wanted=[step(m, v) for m, v in zip(before, given)] if op else given)
    prepare(k, form)
    k.address("a", 8, "%l0")
    k.address("d", 0, "%l2")
    k.add(f"ld.global.v2.b32 {{%r5, %r6}}, [%l0];\nshl.b32 %r7, %r0, 3;\nadd.s32 %r7, %r7, {TILE};\nst.shared.v2.b32 [%r7], {{%r5, %r6}};\n"
          f"fence.proxy.async.shared::cta;\nbar.sync 0;\n@%p1 bra OUT;\n{form.opcode} [%l2], [{TILE}], 512{hints(form)};\n"
          "cp.async.bulk.commit_group;\ncp.async.bulk.wait_group 0;\nOUT:")
    return k


MEET = "barrier.cluster.arrive;\nbarrier.cluster.wait;"


def pair(form):
    """A cluster of two CTAs that do the same to each other: the other's mbarrier is [%r32], its rank %r9; %p3 where the results are not taken from."""
    k = start(form)
    k.grid, k.cluster = "2,1,1", "2,1,1"
    k.add(f"mov.u32 %r8, %ctaid.x;\nxor.b32 %r9, %r8, 1;\nmapa.shared::cluster.u32 %r32, {BAR}, %r9;\nsetp.ne.u32 %p3, %r8, 0;")
    return k


def bytes_to_peer(form):
    """512 bytes of each CTA, combined with those of the other, whose mbarrier counts them."""
    k = pair(form)
    op, kind, dtype, given, before = numbers(form)
    step = combine(op, kind)
    k.tensor("a", "in", dtype, given=given)
    k.tensor("d", "inout", dtype, given=before, wanted=[step(m, v) for m, v in zip(before, given)])
    k.address("a", 8, "%l0")
    k.address("d", 8, "%l2")
    k.add(f"shl.b32 %r7, %r0, 3;\nadd.s32 %r7, %r7, {TILE};\nld.global.v2.b32 {{%r5, %r6}}, [%l0];\nst.shared.v2.b32 [%r7+1024], {{%r5, %r6}};\n"
          f"ld.global.v2.b32 {{%r5, %r6}}, [%l2];\nst.shared.v2.b32 [%r7], {{%r5, %r6}};\nfence.proxy.async;\n{MEET}\n"
          f"mapa.shared::cluster.u32 %r10, {TILE}, %r9;\n@%p1 bra ON;\nmbarrier.arrive.expect_tx.shared.b64 _, [{BAR}], 512;\n"
          f"{form.opcode} [%r10], [{TILE}+1024], 512, [%r32];\nON:")
    wait(k)
    k.add(f"ld.shared.v2.b32 {{%r5, %r6}}, [%r7];\n{MEET}\n@%p3 bra OUT;\nst.global.v2.b32 [%l2], {{%r5, %r6}};\nOUT:")
    return k


def groups(form):
    """Two groups: when one may stay under way the older one's source may be written over; in the end both."""
    k = start(form)
    given = random_words(form.id, 128, 32)
    k.tensor("a", "in", "i32", given=given)
    k.tensor("d", "out", "i32", wanted=given)
    k.address("a", 8, "%l0")
    k.address("d", 0, "%l2")
    one, none = (f"{form.opcode} {n};" if "wait_group" in form.parts else f"cp.async.bulk.wait_group {n};" for n in (1, 0))
    k.add(f"ld.global.v2.b32 {{%r5, %r6}}, [%l0];\nshl.b32 %r7, %r0, 3;\nadd.s32 %r7, %r7, {TILE};\nst.shared.v2.b32 [%r7], {{%r5, %r6}};\n"
          f"fence.proxy.async.shared::cta;\nbar.sync 0;\n@%p1 bra OUT;\ncp.async.bulk.global.shared::cta.bulk_group [%l2], [{TILE}], 256;\n"
          f"cp.async.bulk.commit_group;\ncp.async.bulk.global.shared::cta.bulk_group [%l2+256], [{TILE}+256], 256;\ncp.async.bulk.commit_group;\n{one}\n"
          f"st.shared.b32 [{TILE}], 0;\n{none}\nst.shared.b32 [{TILE}+256], 0;\nOUT:")
    return k


BOX = {1: [32], 2: [16, 8], 3: [8, 4, 4], 4: [4, 4, 2, 4], 5: [4, 2, 4, 2, 2]}    # innermost first: 128 words
DIM = {1: [40], 2: [24, 10], 3: [8, 6, 4], 4: [8, 4, 3, 4], 5: [8, 2, 4, 3, 2]}
# An H200 takes only starts whose innermost coordinate is a multiple of 16 bytes, and stores only from starts within the tensor.
AT = {1: [16], 2: [12, -2], 3: [-4, 3, 1], 4: [4, -1, 2, 1], 5: [4, 1, -1, 2, 0]}
AT_OUT = {1: [16], 2: [12, 3], 3: [4, 3, 1], 4: [4, 1, 2, 1], 5: [4, 1, 2, 2, 0]}


def tensor_map(name, memory, rank):
    dims, strides = DIM[rank], [1]
    for n in dims[:-1]:
        strides.append(strides[-1] * n)
    outer_first = lambda values: ",".join(str(v) for v in reversed(values))
    return f"map {name} {memory} dims [{outer_first(dims)}] strides [{outer_first(strides)}] box [{outer_first(BOX[rank])}] swizzle 0"


def walk(rank, start=AT):
    """Of each word of the box its place in the tensor, or None outside."""
    places, n = [], 1
    for b in BOX[rank]:
        n *= b
    for i in range(n):
        at, stride, left, inside = 0, 1, i, True
        for d, b, c in zip(DIM[rank], BOX[rank], start[rank]):
            x = left % b + c
            left //= b
            inside &= 0 <= x < d
            at, stride = at + x * stride, stride * d
        places.append(at if inside else None)
    return places


def size_of(rank):
    n = 1
    for d in DIM[rank]:
        n *= d
    return n


def coordinates(k, rank, start=AT):
    for i, c in enumerate(start[rank]):
        k.add(f"mov.b32 %r{40 + i}, {c};")
    return "{" + ", ".join(f"%r{40 + i}" for i in range(rank)) + "}"


def map_address(k, name, register):
    k.add(f"mov.u64 {register}, {name};\ncvta.param.u64 {register}, {register};")


def box_in(form):
    rank = int(re.search(r"_(\d)d", form.id).group(1))
    k = start(form)
    given, places = random_words(form.id, size_of(rank), 32), walk(rank)
    k.tensor("a", "in", "i32", given=given)
    k.tensor("d", "out", "i32", wanted=[0 if p is None else given[p] for p in places])
    k.maps.append(tensor_map("box", "a", rank))
    prepare(k, form)
    n = len(places)
    k.address("d", 0, "%l2")
    map_address(k, "box", "%l4")
    at = coordinates(k, rank)
    k.add(f"@%p1 bra ON;\nmbarrier.arrive.expect_tx.shared.b64 _, [{BAR}], {4 * n};\n{form.opcode} [{TILE}], [%l4, {at}], [{BAR}]{hints(form)};\nON:")
    wait(k)
    k.add(f"mov.b32 %r7, %r0;\nsetp.ge.s32 %p6, %r7, {n};\n@%p6 bra OUT;\nNEXT:\nshl.b32 %r8, %r7, 2;\nadd.s32 %r9, %r8, {TILE};\nld.shared.b32 %r5, [%r9];\ncvt.u64.u32 %l6, %r8;\n"
          f"add.s64 %l6, %l6, %l2;\nst.global.b32 [%l6], %r5;\nadd.s32 %r7, %r7, 64;\nsetp.lt.s32 %p5, %r7, {n};\n@%p5 bra NEXT;\nOUT:")
    return k


def box_out(form):
    rank = int(re.search(r"_(\d)d", form.id).group(1))
    op = form.id.split("_")[2] if form.id.startswith("tma_reduce") else None
    k = start(form)
    places = walk(rank, AT_OUT)
    n = len(places)
    given, before = random_words(form.id, n, 32), random_words(form.id + "b", size_of(rank), 32)
    step = combine(op, "b32" if op in ("and", "or", "xor") else "s32") if op else None
    after = list(before)
    for p, v in zip(places, given):
        if p is not None:
            after[p] = step(after[p], v) if op else v
    k.tensor("a", "in", "i32", given=given)
    k.tensor("d", "inout", "i32", given=before, wanted=after)
    k.maps.append(tensor_map("box", "d", rank))
    prepare(k, form)
    k.address("a", 0, "%l0")
    map_address(k, "box", "%l4")
    at = coordinates(k, rank, AT_OUT)
    k.add(f"mov.b32 %r7, %r0;\nsetp.ge.s32 %p6, %r7, {n};\n@%p6 bra FULL;\nNEXT:\nshl.b32 %r8, %r7, 2;\nadd.s32 %r9, %r8, {TILE};\ncvt.u64.u32 %l6, %r8;\nadd.s64 %l6, %l6, %l0;\n"
          f"ld.global.b32 %r5, [%l6];\nst.shared.b32 [%r9], %r5;\nadd.s32 %r7, %r7, 64;\nsetp.lt.s32 %p5, %r7, {n};\n@%p5 bra NEXT;\nFULL:\n"
          f"fence.proxy.async.shared::cta;\nbar.sync 0;\n@%p1 bra OUT;\n{form.opcode} [%l4, {at}], [{TILE}]{hints(form)};\n"
          "cp.async.bulk.commit_group;\ncp.async.bulk.wait_group 0;\nOUT:")
    return k


def map_fence(form):
    """Thread 0 writes a map to global memory and releases it; thread 32 acquires it and loads through it."""
    k = start(form)
    given, places = random_words(form.id, size_of(1), 32), walk(1)
    k.tensor("a", "in", "i32", given=given)
    k.tensor("m", "out", "i32", wanted=["?"] * 32 + [0x600d])  # the driver's bits
    k.tensor("d", "out", "i32", wanted=[0 if p is None else given[p] for p in places])
    k.maps.append(tensor_map("box", "a", 1))
    release, acquire = (form.opcode.replace("acquire", "release"), form.opcode.replace("release", "acquire"))
    k.address("m", 0, "%l4")
    k.address("d", 4, "%l2")
    at = coordinates(k, 1)
    k.add("@%p1 bra MOVED;")
    for i in range(0, 128, 8):
        k.add(f"ld.param.b64 %l6, [box+{i}];\nst.global.b64 [%l4+{i}], %l6;")
    k.add(f"mov.b32 %r5, {0x600d};\nst.global.b32 [%l4+128], %r5;\n{release};\nMOVED:\nbar.sync 0;\nsetp.ne.u32 %p3, %r0, 32;\n@%p3 bra ON;\n"
          f"{acquire} [%l4], 128;\nmbarrier.arrive.expect_tx.shared.b64 _, [{BAR}], {4 * len(places)};\n"
          f"cp.async.bulk.tensor.1d.shared::cluster.global.mbarrier::complete_tx::bytes [{TILE}], [%l4, {at}], [{BAR}];\nON:")
    wait(k)
    k.add(f"@!%p2 bra OUT;\nshl.b32 %r7, %r0, 2;\nadd.s32 %r7, %r7, {TILE};\nld.shared.b32 %r5, [%r7];\nst.global.b32 [%l2], %r5;\nOUT:")
    return k


def looks(form):
    """Prefetches: nothing changes."""
    k = start(form)
    through_memory(k, form)
    prepare(k, form)
    if "tensor" in form.parts or form.id == "prefetch_tensormap":
        rank = int(form.sources[1][0]) if len(form.sources) > 1 else 1
        k.tensor("t", "in", "i32", given=random_words(form.id + "t", size_of(rank), 32))
        k.maps.append(tensor_map("box", "t", rank))
        map_address(k, "box", "%l4")
        where = f"[%l4, {coordinates(k, rank)}]" if len(form.sources) > 1 else "[%l4]"
        k.add(f"@%p1 bra ON;\n{form.opcode} {where}{hints(form)};\nON:")
    else:
        k.add(f"@%p1 bra ON;\n{form.opcode} [%l0], 64{hints(form)};\nON:")
    k.add(f"@!%p2 bra OUT;\n{PUT}\n{GET}\nOUT:")
    return k


# ---- clusters ----

def lanes_apart(k, names, size):
    """The address of each lane's piece of tensors, of shared memory (%r2) and of the other CTA's (%r10)."""
    k.add(f"and.b32 %r1, %r0, {LANES - 1};")
    for name, register in names:
        k.address(name, 0, register)
        k.add(f"mad.wide.u32 {register}, %r1, {size}, {register};")
    k.add(f"mad.lo.s32 %r2, %r1, {size}, {TILE};\nmapa.shared::cluster.u32 %r10, %r2, %r9;")


def sends(form):
    """st.async: warp 0 sends, the other CTA's warp 1 reads once its mbarrier has counted the bytes."""
    a, k = Access(form), pair(form)
    given = random_words(form.id, LANES * a.n, 8 * a.size)
    k.tensor("a", "in", a.dtype(), given=given)
    k.tensor("d", "out", a.dtype(), wanted=given)
    lanes_apart(k, (("a", "%l0"), ("d", "%l2")), a.bytes)
    regs = registers(a.cls, a.n)
    k.add(f"{MEET}\n@!%p2 bra ON;\n@%p1 bra SEND;\nmbarrier.arrive.expect_tx.shared.b64 _, [{BAR}], {LANES * a.bytes};\nSEND:")
    for e, reg in enumerate(regs):
        k.add(f"{a.plain('ld', 'global')} {reg}, [%l0+{e * a.size}];")
    k.add(f"{form.opcode} [%r10], {braced(regs, a.token)}, [%r32];\nON:")
    wait(k)
    k.add("@%p2 bra OUT;\n@%p3 bra OUT;")
    for e, reg in enumerate(regs):
        k.add(f"{a.plain('ld', 'shared')} {reg}, [%r2+{e * a.size}];\n{a.plain('st', 'global')} [%l2+{e * a.size}], {reg};")
    k.add("OUT:")
    return k


def combines(form):
    """red.async: each lane of warp 0 on a place of its own in the other CTA, then, where the order does not matter, eight lanes on each of four."""
    op, kind = form.parts[-2:]
    cls = form.sources[1]
    size, plain, reg, stage = 8 if cls == "l" else 4, PLAIN[cls], f"%{cls}20", f"%{cls}21"
    m, v = whole_numbers(form, op, kind)
    step, shared = combine(op, kind), op not in ("inc", "dec")
    k, dtype = pair(form), "i64" if cls == "l" else "i32"
    k.tensor("m", "inout", dtype, given=m, wanted=[step(x, y) for x, y in zip(m, v)])
    k.tensor("v", "in", dtype, given=v)
    lanes_apart(k, (("m", "%l0"), ("v", "%l2")), size)
    k.add(f"ld.global.{plain} {reg}, [%l2];\nld.global.{plain} {stage}, [%l0];\n@%p2 st.shared.{plain} [%r2], {stage};\nsetp.ge.u32 %p6, %r1, 4;")
    if shared:
        total = m[4: 8]
        for i, w in enumerate(v):
            total[i % 4] = step(total[i % 4], w)
        k.tensor("s", "inout", dtype, given=m[4: 8], wanted=total)
        k.address("s", 0, "%l4")
        k.add(f"and.b32 %r3, %r1, 3;\nmad.wide.u32 %l4, %r3, {size}, %l4;\nmad.lo.s32 %r4, %r3, {size}, {TILE};\nadd.s32 %r4, %r4, 1024;\n"
              f"mapa.shared::cluster.u32 %r11, %r4, %r9;\nld.global.{plain} {stage}, [%l4];\nsetp.lt.u32 %p5, %r0, 4;\n@%p5 st.shared.{plain} [%r4], {stage};")
    k.add(f"{MEET}\n@!%p2 bra ON;\n@%p1 bra SEND;\nmbarrier.arrive.expect_tx.shared.b64 _, [{BAR}], {LANES * size * (2 if shared else 1)};\nSEND:")
    for place in ("%r10", "%r11") if shared else ("%r10",):
        k.add(f"{form.opcode} [{place}], {reg}, [%r32];")
    k.add("ON:")
    wait(k)
    k.add(f"@%p2 bra OUT;\n@%p3 bra OUT;\nld.shared.{plain} {stage}, [%r2];\nst.global.{plain} [%l0], {stage};")
    if shared:
        k.add(f"@%p6 bra OUT;\nld.shared.{plain} {stage}, [%r4];\nst.global.{plain} [%l4], {stage};")
    k.add("OUT:")
    return k


def rank(form):
    """mapa and getctarank: the own CTA's memory by its rank, written one way and read the other."""
    k = start(form)
    through_memory(k, form)
    wide = form.parts[-1] == "u64"
    k.add("mov.b32 %r8, 0;")
    if wide:
        k.add("cvt.u64.u32 %l20, %r2;\ncvta.shared.u64 %l20, %l20;\nmapa.u64 %l21, %l20, %r8;\ngetctarank.u64 %r9, %l21;")
    else:
        k.add("mapa.shared::cluster.u32 %r10, %r2, %r8;\ngetctarank.shared::cluster.u32 %r9, %r10;")
    k.add("setp.ne.u32 %p5, %r9, 0;\n@%p5 trap;\n@!%p2 bra OUT;\nld.global.b32 %r5, [%l0];\n")
    k.add("st.shared.b32 [%r2], %r5;\nld.b32 %r6, [%l21];" if wide else "st.shared::cluster.b32 [%r10], %r5;\nld.shared.b32 %r6, [%r2];")
    k.add("st.global.b32 [%l2], %r6;\nOUT:")
    return k


def cluster_barrier(form):
    """Warp 0 writes, the cluster meets, warp 1 reads."""
    aligned = ".aligned" if "aligned" in form.parts else ""
    k = start(form)
    through_memory(k, form)
    relaxed = "relaxed" in form.parts
    arrive_op = form.opcode if "arrive" in form.parts else f"barrier.cluster.arrive{aligned}"
    wait_op = form.opcode if "wait" in form.parts else f"barrier.cluster.wait{aligned}"
    fence = "fence.acq_rel.cluster;\n" if relaxed else ""  # what a relaxed arrival does not hand on
    k.add(f"@!%p2 bra ON;\n{PUT}\nON:")
    k.add("bar.sync 0;" if relaxed else "")
    k.add(f"{fence}{arrive_op};\n{wait_op};\n@%p2 bra OUT;\n{GET}\nOUT:")
    k.body = [line for line in k.body if line]
    return k


def nothing(form):
    """Fences, dependent grids, register budgets: what is around them stays."""
    collective = form.id.startswith(("setmaxnreg", "wgmma"))
    k = start(form, block=128 if collective else 64)
    through_memory(k, form)
    if form.id.startswith("setmaxnreg"):
        k.directives = ".maxntid 128, 1, 1 .minnctapersm 4"  # 128 registers
        k.add("setmaxnreg.dec.sync.aligned.u32 104;\nbar.sync 0;\nsetmaxnreg.inc.sync.aligned.u32 120;")
    else:
        tail = " 0" if form.sources else ""
        k.add(f"@!%p2 bra ON;\n{PUT}\nON:\n{form.opcode}{tail};\nbar.sync 0;\nshr.u32 %r8, %r0, 5;\nsetp.ne.u32 %p5, %r8, 1;\n@%p5 bra OUT;\n{GET}\nOUT:")
        return k
    k.add(f"@!%p2 bra OUT;\n{PUT}\n{GET}\nOUT:")
    return k


# ---- products of a warpgroup ----

ROWS = 37  # distinct rows of 32 bytes that A's and B's are taken from
ELEMENT = {"f16": 2, "bf16": 2, "tf32": 4, "e4m3": 1, "e5m2": 1, "s8": 1, "u8": 1}
SHOWN_N = (8, 32, 64, 128, 256)  # columns of the products that have a file here; the others' are written where they are wanted (make.py --every)


def is_shown(form):
    product = re.match(r"wgmma_\w+_n(\d+)$", form.id)
    return not product or int(product.group(1)) in SHOWN_N



def row_of_a(m):
    return (3 * m + m // 8 + 11) % ROWS


def row_of_b(n):
    return (5 * n + n // 8) % ROWS


def values_of(kind, salt):
    """Small whole numbers, exact in every type and sum."""
    per = 32 // ELEMENT[kind]
    low = 0 if kind == "u8" else -3
    return [[(7 * r + 5 * e + salt + r * e % 3) % 7 + low for e in range(per)] for r in range(ROWS)]


@functools.lru_cache(None)
def encode(kind, v):
    from meaning import FORMATS, Fraction, of_fraction
    if kind in ("s8", "u8", "s32"):
        return v & (0xffffffff if kind == "s32" else 0xff)
    if kind == "tf32":
        return FORMATS["f32"].encode(of_fraction(Fraction(v)))
    if kind in ("e4m3", "e5m2"):
        if v == 0:
            return 0
        e = abs(v).bit_length() - 1
        bits, bias = (3, 7) if kind == "e4m3" else (2, 15)
        return (0x80 if v < 0 else 0) | (e + bias) << bits | ((abs(v) << bits >> e) & ((1 << bits) - 1))
    return FORMATS[kind].encode(of_fraction(Fraction(v)))


def words_of_rows(kind, rows):
    size, words = ELEMENT[kind], []
    for row in rows:
        data = b"".join(encode(kind, v).to_bytes(size, "little") for v in row)
        words += [int.from_bytes(data[i: i + 4], "little") for i in range(0, 32, 4)]
    return words


@functools.lru_cache(None)
def results(d, ta, tb):
    """The bits of D's elements, by rows of A's table and of B's."""
    a, b = values_of(ta, 1), values_of(tb, 4)
    return [[encode(d, 2 * sum(x * y for x, y in zip(row, column))) for column in b] for row in a]


def product(form):
    """D = A*B, then D = A*B + D; each thread gives the sum of its registers' bits, each times another odd number. K-major, 128B swizzle: row r of
    B lies at r * 128 (r * 64 for odd numbers of columns would do as well), its 16 bytes c at place c ^ (r mod 8)."""
    m = re.match(r"wgmma_(\w+?)_(\w+?)_(\w+?)_(reg_)?n(\d+)$", form.id)
    d, ta, tb, reg, n = m.group(1), m.group(2), m.group(3), bool(m.group(4)), int(m.group(5))
    k = kernel_of(form, block=128)
    k.shared = 1024 + 8192 + 32768
    k.add(f"mov.u32 {TILE}, pool;")
    k.tensor("a", "in", "i32", given=words_of_rows(ta, values_of(ta, 1)))
    k.tensor("b", "in", "i32", given=words_of_rows(tb, values_of(tb, 4)))
    bits = results(d, ta, tb)
    nregs, wanted = n // (4 if d == "f16" else 2), []
    for t in range(128):
        total = 0
        for i in range(n // 2):
            row, col = t // 32 * 16 + t % 32 // 4 + 8 * (i >> 1 & 1), 8 * (i >> 2) + 2 * (t % 4) + (i & 1)
            w = bits[row_of_a(row)][row_of_b(col)]
            total += (2 * (i // 2) + 1) * (w << 16 * (i & 1)) if d == "f16" else (2 * i + 1) * w
        wanted.append(total & 0xffffffff)
    k.tensor("d", "out", "i32", wanted=wanted)
    k.address("d", 4, "%l2")
    k.add(f"add.s32 {TILE}, {TILE}, 1023;\nand.b32 {TILE}, {TILE}, -1024;")
    fill_tile(k, "a", 64, 3, 11, TILE, "A")
    k.add(f"add.s32 %r33, {TILE}, 8192;")
    fill_tile(k, "b", n, 5, 0, "%r33", "B")
    k.add("fence.proxy.async.shared::cta;\nbar.sync 0;")
    for register, low in (("%l20", TILE), ("%l21", "%r33")):  # the address over 16, 1 as leading offset, 1024 over 16 as stride, 128B
        k.add(f"shr.u32 %r5, {low}, 4;\nor.b32 %r5, %r5, 65536;\nmov.b64 {register}, {{%r5, %r34}};")
    k.body.insert(0, "mov.b32 %r34, 1073741888;")
    if reg:
        fill_registers(k)
    names = [f"%{'facc' if d == 'f32' else 'racc'}{i}" for i in range(nregs)]
    k.body.insert(0, f".reg .f32 %facc<{nregs}>; .reg .b32 %racc<{max(nregs, 1)}>;")
    tail = "" if d == "s32" else ", 1, 1" + ("" if ELEMENT[ta] != 2 else ", 0" if reg else ", 0, 0")
    source = "{%r50, %r51, %r52, %r53}" if reg else "%l20"
    k.add("setp.eq.u32 %p5, %r0, -1;\nwgmma.fence.sync.aligned;")
    for scale in ("%p5", "1"):
        k.add(f"{form.opcode} {{{', '.join(names)}}}, {source}, %l21, {scale}{tail};")
    k.add("wgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;\nmov.b32 %r6, 0;")
    for i, name in enumerate(names):
        if d == "f32":
            k.add(f"mov.b32 %r5, {name};\nmad.lo.s32 %r6, %r5, {2 * i + 1}, %r6;")
        else:
            k.add(f"mad.lo.s32 %r6, {name}, {2 * i + 1}, %r6;")
    k.add("st.global.b32 [%l2], %r6;")
    return k


def fill_tile(k, tensor, rows, factor, offset, base, name):
    """Piece i of 16 bytes: row i / 2, half i mod 2; the row of the table is (factor * row + row / 8 + offset) mod ROWS."""
    k.add(f"ld.param.b64 %l4, [{tensor}];\ncvta.to.global.u64 %l4, %l4;\nmov.b32 %r7, %r0;\nFILL_{name}:\nsetp.ge.s32 %p6, %r7, {2 * rows};\n@%p6 bra FULL_{name};\n"
          f"shr.u32 %r8, %r7, 1;\nand.b32 %r9, %r7, 1;\nshr.u32 %r10, %r8, 3;\nmad.lo.s32 %r11, %r8, {factor}, %r10;\nadd.s32 %r11, %r11, {offset};\n"
          f"rem.u32 %r11, %r11, {ROWS};\nshl.b32 %r11, %r11, 5;\nshl.b32 %r12, %r9, 4;\nadd.s32 %r11, %r11, %r12;\ncvt.u64.u32 %l6, %r11;\n"
          f"add.s64 %l6, %l6, %l4;\nld.global.v4.b32 {{%r13, %r14, %r15, %r16}}, [%l6];\nand.b32 %r17, %r8, 7;\nxor.b32 %r17, %r17, %r9;\n"
          f"shl.b32 %r17, %r17, 4;\nmad.lo.s32 %r17, %r8, 128, %r17;\nadd.s32 %r17, %r17, {base};\n"
          f"st.shared.v4.b32 [%r17], {{%r13, %r14, %r15, %r16}};\nadd.s32 %r7, %r7, 128;\nbra FILL_{name};\nFULL_{name}:")


def fill_registers(k):
    """Register i of A's fragment: row 16 * warp + lane / 4 + 8 * (i mod 2), bytes 16 * (i / 2) + 4 * (lane mod 4)."""
    k.add("ld.param.b64 %l4, [a];\ncvta.to.global.u64 %l4, %l4;\nshr.u32 %r8, %r0, 5;\nshl.b32 %r8, %r8, 4;\nand.b32 %r9, %r0, 31;\n"
          "shr.u32 %r10, %r9, 2;\nadd.s32 %r8, %r8, %r10;\nand.b32 %r9, %r9, 3;")
    for i in range(4):
        k.add(f"add.s32 %r11, %r8, {8 * (i & 1)};\nshr.u32 %r12, %r11, 3;\nmad.lo.s32 %r11, %r11, 3, %r12;\nadd.s32 %r11, %r11, 11;\n"
              f"rem.u32 %r11, %r11, {ROWS};\nshl.b32 %r11, %r11, 5;\nmad.lo.s32 %r11, %r9, 4, %r11;\ncvt.u64.u32 %l6, %r11;\nadd.s64 %l6, %l6, %l4;\n"
              f"ld.global.b32 %r{50 + i}, [%l6+{16 * (i >> 1)}];")


def find(form):
    i = form.id
    if i.startswith("mbarrier_arrive"):
        return arrive
    if i.startswith(("mbarrier_expect", "mbarrier_complete")):
        return count_bytes
    if "_wait" in i and i.startswith("mbarrier"):
        return waits
    if i.startswith("mbarrier"):
        return barrier_object
    if i.startswith("cp_async_mbarrier"):
        return copies_arrive
    if i.startswith(("cp_bulk_load", "cp_bulk_peer")):
        return bytes_in
    if i.startswith("cp_reduce_peer"):
        return bytes_to_peer
    if i.startswith(("cp_bulk_store", "cp_reduce")):
        return bytes_out
    if i.startswith(("cp_bulk_commit", "cp_bulk_wait")):
        return groups
    if i.startswith("tma_load"):
        return box_in
    if i.startswith(("tma_store", "tma_reduce")):  # inc and dec: of u32, which no tensor of a contract is
        return None if "_inc_" in i or "_dec_" in i else box_out
    if i.startswith(("tma_prefetch", "prefetch_tensormap", "cp_bulk_prefetch")):
        return looks
    if i.startswith(("mapa", "getctarank")):
        return rank
    if i.startswith("barrier_cluster"):
        return cluster_barrier
    if i.startswith("fence_proxy_tensormap"):
        return map_fence
    if i.startswith("st_async"):
        return sends
    if i.startswith("red_async"):
        return combines
    if "_shared_cluster_" in i and form.parts[0] in ("ld", "st", "atom", "red"):
        return memory.find(form)
    if i.startswith("wgmma_") and "_n" in i:
        return product
    if i.startswith(("fence_mbarrier", "fence_proxy_async", "griddepcontrol", "setmaxnreg", "wgmma_")) or i in ("fence_acq_rel_cluster", "fence_sc_cluster"):
        return nothing
    return None
