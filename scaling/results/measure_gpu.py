#!/usr/bin/env python3
"""Measures, through PyTorch, what a machine file needs to predict training times on one GPU.

    python3 measure_gpu.py --out DIR [--sections env,ceilings,...] [--limit SECONDS] [--budget gemm=60,attention=30]

A measuring aid: nothing of the product depends on it. It needs a PyTorch with CUDA and one free GPU. It writes
DIR/results.jsonl, one measurement a line, flushed at once; "s" names the section.

  env        the device, its clocks, and the versions of the libraries
  ceilings   copy and read bandwidth, host links, large GEMMs, a GEMM held for 10 s (rate, clock and power over time)
  gemm       bf16 GEMMs: size, wave and depth sweeps; all GEMMs of GPT models by tensor parallel size and tokens, in the
             layouts of forward, dgrad and wgrad; batched GEMMs of matrix attention; fp16, tf32, fp32 and fp8
  cool       some of these GEMMs, each after a pause, so that the power limit does not lower the clock
  overlap    a GEMM beside copies on another stream
  attention  scaled_dot_product_attention, cuDNN and flash backends, forward and forward + backward
  memory     GB/s by size of streaming kernels, and the optimizer step
  launch     time of an empty kernel: from the host, in a graph; synchronization
  layer      one rank's share of transformer layers under tensor parallelism, forward and backward, no communication
  train      a plain GPT trained by PyTorch, eager and compiled

How it measures: random normal data, never zeros. CUDA events on one stream. Every call is warmed up; the median of 5 to
25 calls counts. Calls too short for that are captured into a CUDA graph and the median of its replays is divided by
their number, so a figure of a short call holds the gap between kernels of a graph, but no host time. Operands of GEMMs
(up to 48 sets: the smallest stay in the L2 cache) and of streaming kernels (unless a line says "hot") rotate through
more memory than that cache holds; attention uses the same operands again. FLOPs count a multiply-add as two.

Keys: us = median microseconds, best = fastest, tf = TFLOP/s, gb = GB/s (1e9, read + written), mhz = SM clock sampled
last before the line, m n k = rows, columns and depth of the product.
"""

import argparse
import gc
import importlib.metadata
import json
import os
import statistics
import threading
import time
import warnings

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

GPU = torch.device("cuda", 0)
BF16, FP16, FP32 = torch.bfloat16, torch.float16, torch.float32
BUDGETS = {"env": 10, "ceilings": 40, "gemm": 115, "attention": 45, "memory": 32, "launch": 10, "layer": 100,
           "train": 180, "cool": 40, "overlap": 15}


# ---------------------------------------------------------------------------------------------------------- recording


class Recorder:
    """Writes one JSON line a measurement, and samples clock and power beside the work."""

    def __init__(self, folder, limit):
        os.makedirs(folder, exist_ok=True)
        self.file = open(os.path.join(folder, "results.jsonl"), "w", encoding="utf-8")
        self.begin, self.limit = time.monotonic(), limit
        self.section, self.deadline = "", 0.0
        self.samples, self.mhz = [], 0
        self.nvml = None
        try:
            import pynvml

            pynvml.nvmlInit()
            self.nvml, self.handle = pynvml, pynvml.nvmlDeviceGetHandleByIndex(0)
            self.quiet = threading.Event()
            threading.Thread(target=self._sample, daemon=True).start()
        except Exception as error:  # the figures are worth having without it
            print("no NVML:", error, flush=True)

    def _sample(self):
        n = self.nvml
        while True:
            if not self.quiet.is_set():
                try:
                    self.mhz = n.nvmlDeviceGetClockInfo(self.handle, n.NVML_CLOCK_SM)
                    watts = n.nvmlDeviceGetPowerUsage(self.handle) / 1000
                    celsius = n.nvmlDeviceGetTemperature(self.handle, n.NVML_TEMPERATURE_GPU)
                    self.samples.append((time.monotonic(), self.mhz, watts, celsius))
                except Exception:
                    pass
            time.sleep(0.05)

    def seconds(self):
        return time.monotonic() - self.begin

    def left(self):
        """Seconds that the section may still take."""
        return min(self.deadline, self.begin + self.limit) - time.monotonic()

    def write(self, **fields):
        line = {"s": self.section, **{k: compact(v, 4 if "tf" in k else 5) for k, v in fields.items()}}
        self.file.write(json.dumps(line, separators=(",", ":")) + "\n")
        self.file.flush()

    def clocks(self, since, what="clocks"):
        chosen = [x for x in self.samples if x[0] >= since]
        if chosen:
            mhz, watts, celsius = zip(*[x[1:] for x in chosen])
            self.write(what=what, mhz_mean=statistics.mean(mhz), mhz_min=min(mhz), mhz_max=max(mhz),
                       watts_mean=statistics.mean(watts), watts_max=max(watts), celsius_max=max(celsius))


def compact(value, digits):
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, float):
        return float(f"{value:.{digits}g}") if abs(value) < 100000 else round(value)
    return value


def complain(record, error, **fields):
    text = (str(error).strip() or type(error).__name__).splitlines()[0][:140]
    record.write(error=text, **fields)


# ------------------------------------------------------------------------------------------------------------- timing


def event():
    return torch.cuda.Event(enable_timing=True)


def time_graph(call, count, replays=7, keep=False):
    """(median, fastest) seconds of a call, from replays of a graph of `count` calls. With keep, results stay alive, so
    that each call writes memory of its own."""
    graph, kept = torch.cuda.CUDAGraph(), []
    torch.cuda.synchronize()
    graph.capture_begin()
    try:
        for i in range(count):
            result = call(i)
            if keep:
                kept.append(result)
    finally:
        graph.capture_end()
    for _ in range(2):
        graph.replay()
    marks = [event() for _ in range(replays + 1)]
    marks[0].record()
    for i in range(replays):
        graph.replay()
        marks[i + 1].record()
    torch.cuda.synchronize()
    times = [a.elapsed_time(b) / 1000 / count for a, b in zip(marks, marks[1:])]
    del kept
    graph.reset()
    return statistics.median(times), min(times)


def time_call(call, budget=0.015, graph_below=150e-6):
    """(median, fastest) seconds of call(i); i counts up, so that the call may rotate its operands."""
    for i in range(2):
        call(i)
    a, b = event(), event()
    a.record()
    call(2)
    b.record()
    b.synchronize()
    estimate = a.elapsed_time(b) / 1000
    if estimate < graph_below:
        return time_graph(call, int(min(max(2e-3 / max(estimate, 1e-6), 16), 128)))
    count = int(min(max(budget / estimate, 5), 25))
    marks = [event() for _ in range(count + 1)]
    marks[0].record()
    for i in range(count):
        call(3 + i)
        marks[i + 1].record()
    torch.cuda.synchronize()
    times = [x.elapsed_time(y) / 1000 for x, y in zip(marks, marks[1:])]
    return statistics.median(times), min(times)


class Pool:
    """Random numbers from which operands are cut one after the other, so that they are cold when their turn comes."""

    def __init__(self, data):
        self.data, self.at = data, 0

    @staticmethod
    def random(count, dtype):
        return Pool(torch.empty(count, dtype=dtype, device=GPU).normal_())

    def take(self, *shape):
        count = 1
        for d in shape:
            count *= d
        if self.at + count > self.data.numel():
            self.at = 0
        part = self.data[self.at : self.at + count].view(*shape)
        self.at += (count + 255) // 256 * 256
        return part


def sets_for(bytes_each):
    """How many operand sets pass through about 200 MB, which is several times the L2 cache."""
    return int(min(max(200e6 / bytes_each, 2), 48))


# --------------------------------------------------------------------------------------------------- 1. and 2. device


def section_env(record, _):
    p = torch.cuda.get_device_properties(0)

    def version(package):
        try:
            return importlib.metadata.version(package)
        except Exception:
            return ""

    try:
        nccl = ".".join(map(str, torch.cuda.nccl.version()))
    except Exception:
        nccl = ""

    fields = dict(gpu=p.name, sm=p.multi_processor_count, l2=getattr(p, "L2_cache_size", 0), memory=p.total_memory,
                  capability=f"{p.major}.{p.minor}", torch=torch.__version__, cuda=torch.version.cuda,
                  cudnn=torch.backends.cudnn.version(), nccl=nccl,
                  cublas=version("nvidia-cublas"), triton=version("triton"), cpus=os.cpu_count(),
                  date=time.strftime("%Y-%m-%d", time.gmtime()))
    if record.nvml:
        n, h = record.nvml, record.handle
        for key, read in {
            "driver": lambda: n.nvmlSystemGetDriverVersion(),
            "power_limit_w": lambda: n.nvmlDeviceGetEnforcedPowerLimit(h) / 1000,
            "max_sm_mhz": lambda: n.nvmlDeviceGetMaxClockInfo(h, n.NVML_CLOCK_SM),
            "memory_mhz": lambda: n.nvmlDeviceGetMaxClockInfo(h, n.NVML_CLOCK_MEM),
            "pcie_gen": lambda: n.nvmlDeviceGetCurrPcieLinkGeneration(h),
            "pcie_width": lambda: n.nvmlDeviceGetCurrPcieLinkWidth(h),
            "ecc": lambda: n.nvmlDeviceGetEccMode(h)[0],
        }.items():
            try:
                fields[key] = read()
            except Exception:
                pass
    record.write(what="env", **fields)
    print(fields, flush=True)


def section_ceilings(record, args):
    def bandwidth(what, moved, call, **more):
        try:
            us, best = time_call(call, budget=0.05)
            record.write(what=what, bytes=moved, us=us * 1e6, gb=moved / us / 1e9, best_gb=moved / best / 1e9, **more)
            print(f"  {what} {moved / us / 1e9:.0f} GB/s", flush=True)
        except Exception as error:
            complain(record, error, what=what)

    count = 1 << 30
    a, b, c = (torch.empty(count, dtype=FP32, device=GPU).normal_() for _ in range(3))
    bandwidth("copy_memcpy", 8 * count, lambda i: b.copy_(a))
    bandwidth("copy_kernel", 8 * count, lambda i: torch.mul(a, 1.0001, out=b))
    bandwidth("add_kernel", 12 * count, lambda i: torch.add(a, b, out=c))
    bandwidth("read_sum_fp32", 4 * count, lambda i: torch.sum(a))
    bandwidth("read_max_fp32", 4 * count, lambda i: torch.max(a))
    bandwidth("write_fill", 4 * count, lambda i: c.fill_(1.5))
    half = count // 2
    bandwidth("copy_memcpy", 8 * half, lambda i: b[:half].copy_(a[:half]))
    for megabytes in (256, 1024):
        n = megabytes << 20 >> 2
        try:
            host = torch.empty(n, dtype=FP32, pin_memory=True)
            host.copy_(a[:n])
            bandwidth("h2d_pinned", 4 * n, lambda i: a[:n].copy_(host, non_blocking=True))
            bandwidth("d2h_pinned", 4 * n, lambda i: host.copy_(a[:n], non_blocking=True))
        except Exception as error:
            complain(record, error, what="host", bytes=4 * n)
        host = None
    del a, b, c
    torch.cuda.empty_cache()

    pool, out = Pool.random(1 << 30, BF16), Pool(torch.empty(1 << 29, dtype=BF16, device=GPU))
    for n in (8192, 16384):
        x, w, y = pool.take(n, n), pool.take(n, n), out.take(n, n)
        us, best = time_call(lambda i: torch.mm(x, w.t(), out=y), budget=0.1)
        flops = 2 * n**3
        record.write(what="gemm", dtype="bf16", m=n, n=n, k=n, us=us * 1e6, tf=flops / us / 1e12,
                     best_tf=flops / best / 1e12, mhz=record.mhz)
        print(f"  gemm {n}: {flops / us / 1e12:.0f} TFLOP/s", flush=True)

    n, calls, begin = 8192, 40, time.monotonic()
    x, w, y = pool.take(n, n), pool.take(n, n), out.take(n, n)
    before, rates = event(), []
    before.record()
    while time.monotonic() - begin < min(args.sustain, record.left()):
        for _ in range(calls):
            torch.mm(x, w.t(), out=y)
        after = event()
        after.record()
        rates.append((time.monotonic() - begin, before, after))
        before = after
        if len(rates) > 2:
            rates[-2][2].synchronize()
    torch.cuda.synchronize()
    tf = [calls * 2 * n**3 / (a.elapsed_time(b) / 1000) / 1e12 for _, a, b in rates]
    record.write(what="gemm_sustained", dtype="bf16", m=n, n=n, k=n, seconds=args.sustain, tf_first=tf[0],
                 tf_median=statistics.median(tf), tf_last=statistics.median(tf[-10:]),
                 tf_over_time=[round(v, 1) for v in tf[:: max(1, len(tf) // 40)]])
    record.clocks(begin + 1, "gemm_sustained_clocks")
    print(f"  sustained {statistics.median(tf):.0f} TFLOP/s, last {statistics.median(tf[-10:]):.0f}", flush=True)


# ------------------------------------------------------------------------------------------------------------ 3. GEMM

# name, hidden, heads, tensor parallel sizes
MODELS = [("1T", 25600, 160, [8]), ("530B", 20480, 128, [8]), ("175B", 12288, 96, [8, 4]), ("22B", 6144, 64, [8, 4, 2]),
          ("1.3B", 2048, 16, [1, 2, 4]), ("6.7B", 4096, 32, [1, 2, 4, 8]), ("13B", 5120, 40, [1, 2, 4, 8]),
          ("2.7B", 2560, 32, [1, 2, 4])]
FIRST = [("1T", 8), ("530B", 8), ("175B", 8), ("22B", 8), ("1.3B", 1), ("2.7B", 1), ("6.7B", 1), ("13B", 1)]
VOCABULARY, SEQUENCE = 51200, 2048


def layer_gemms(h, t):
    """Name, output features, input features of one rank's weight [out, in]."""
    return [("qkv", 3 * h // t, h), ("proj", h, h // t), ("fc1", 4 * h // t, h), ("fc2", h, 4 * h // t),
            ("head", VOCABULARY // t, h)]


class Gemms:
    def __init__(self, record, cool=False):
        self.record, self.cool = record, cool
        self.half = Pool.random(2_000_000_000, BF16)
        self.out32 = Pool(torch.empty(1_000_000_000, dtype=FP32, device=GPU).normal_())
        self.out16 = Pool(self.out32.data.view(BF16))
        self.done = {}

    def run(self, kind, rows, columns, depth, **more):
        """One product in a layout: fwd y = x w^T, dgrad dx = dy w, wgrad dw = dy^T x (wgrad32: into fp32, acc32: added
        to fp32). rows, columns, depth are those of the product."""
        key = (kind, rows, columns, depth)
        if key not in self.done:
            sets = []
            for _ in range(sets_for(2 * (rows * depth + columns * depth + rows * columns))):
                if kind == "fwd":
                    a, b = self.half.take(rows, depth), self.half.take(columns, depth).t()
                elif kind == "dgrad":
                    a, b = self.half.take(rows, depth), self.half.take(depth, columns)
                else:
                    a, b = self.half.take(depth, rows).t(), self.half.take(depth, columns)
                out = (self.out32 if kind in ("wgrad32", "acc32") else self.out16).take(rows, columns)
                sets.append((a, b, out))

            def call(i):
                a, b, out = sets[i % len(sets)]
                if kind == "wgrad32":
                    torch.mm(a, b, out_dtype=FP32, out=out)
                elif kind == "acc32":
                    torch.addmm(out, a, b, out_dtype=FP32, out=out)
                else:
                    torch.mm(a, b, out=out)

            try:
                if self.cool:
                    torch.cuda.synchronize()
                    time.sleep(0.08)
                self.done[key] = time_call(call, budget=0.002 if self.cool else 0.015)
            except Exception as error:
                complain(self.record, error, op=kind, m=rows, n=columns, k=depth)
                self.done[key] = None
        if self.done[key]:
            us, _ = self.done[key]
            flops = 2.0 * rows * columns * depth
            self.record.write(op=kind, m=rows, n=columns, k=depth, **more, us=us * 1e6, tf=flops / us / 1e12,
                              mhz=self.record.mhz)

    def sweeps(self):
        for n in (256, 512, 1024, 2048, 4096, 8192, 16384):
            for kind in ("fwd", "dgrad", "wgrad", "wgrad32", "acc32"):
                self.run(kind, n, n, n, sweep="cube")
        for n in range(128, 8192 + 1, 128):
            self.run("fwd", 4096, n, 4096, sweep="n")
        for size in (4096, 8192):
            for k in (64, 128, 256, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384, 32768):
                self.run("fwd", size, size, k, sweep="k")
        for m in (16, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768):
            self.run("fwd", m, 4096, 4096, sweep="m")

    def models(self, chosen):
        for b in (1, 4, 2, 8):
            for name, h, _, sizes in MODELS:
                for t in sizes:
                    if not chosen(name, t):
                        continue
                    if self.record.left() <= 0:
                        self.record.write(note="time budget reached", model=name, t=t, b=b)
                        return
                    tokens = b * SEQUENCE
                    for what, out, inp in layer_gemms(h, t):
                        more = dict(model=name, t=t, b=b, w=what)
                        self.run("fwd", tokens, out, inp, **more)
                        self.run("dgrad", tokens, inp, out, **more)
                        self.run("wgrad", out, inp, tokens, **more)
                        self.run("acc32", out, inp, tokens, **more)

    def batched(self):
        """The products of attention done as matrices: scores q k^T, context p v, and dv = p^T do of the backward."""
        cases = [("1T", 20, 160, 1), ("530B", 16, 160, 1), ("175B", 12, 128, 1), ("22B", 8, 96, 4),
                 ("1.3B", 16, 128, 4), ("6.7B", 32, 128, 1), ("2.7B", 32, 80, 2), ("1T", 20, 160, 4)]
        s = SEQUENCE
        for dtype, name in ((FP16, "fp16"), (BF16, "bf16")):
            inputs, outputs = self.half.data.view(dtype), self.out32.data.view(dtype)
            if dtype == FP16:  # bf16 bits are no sensible fp16 numbers
                inputs = torch.empty(600_000_000, dtype=FP16, device=GPU).normal_()
            pool, out = Pool(inputs), Pool(outputs)
            for model, heads, d, b in cases:
                if self.record.left() <= 0:
                    return
                batch = heads * b
                sets = [(pool.take(batch, s, d), pool.take(batch, s, d), pool.take(batch, s, s), out.take(batch, s, s),
                         out.take(batch, s, d)) for _ in range(sets_for(4 * batch * s * (s + d)))]

                def scores(i):
                    q, k, _, p, _ = sets[i % len(sets)]
                    torch.bmm(q, k.transpose(1, 2), out=p)

                def context(i):
                    _, v, p, _, o = sets[i % len(sets)]
                    torch.bmm(p, v, out=o)

                def dvalue(i):
                    _, do, p, _, dv = sets[i % len(sets)]
                    torch.bmm(p.transpose(1, 2), do, out=dv)

                for what, call in (("scores", scores), ("context", context), ("dvalue", dvalue)):
                    try:
                        us, best = time_call(call)
                        flops = 2.0 * batch * s * s * d
                        self.record.write(op="bmm", w=what, dtype=name, model=model, batch=batch, seq=s, d=d,
                                          us=us * 1e6, tf=flops / us / 1e12, best=best * 1e6, mhz=self.record.mhz)
                    except Exception as error:
                        complain(self.record, error, op="bmm", w=what, dtype=name, batch=batch, d=d)
            del inputs, pool, sets

    def precisions(self):
        shapes = [(8192, 8192, 8192), (4096, 4096, 4096), (2048, 9600, 25600), (2048, 25600, 3200),
                  (2048, 12800, 25600), (2048, 25600, 12800), (2048, 4608, 12288), (2048, 6144, 12288),
                  (2048, 12288, 6144), (8192, 6144, 2048), (8192, 8192, 2048), (8192, 2048, 8192), (8192, 51200, 2048)]

        def go(name, make, call, chosen, budget=0.012):
            for m, n, k in chosen:
                if self.record.left() <= 0:
                    return
                try:
                    sets = [make(m, n, k) for _ in range(sets_for(m * k + n * k + 2 * m * n))]
                    us, best = time_call(lambda i: call(sets[i % len(sets)]), budget=budget)
                    self.record.write(op="fwd", dtype=name, m=m, n=n, k=k, us=us * 1e6, tf=2.0 * m * n * k / us / 1e12,
                                      best=best * 1e6, mhz=self.record.mhz)
                except Exception as error:
                    complain(self.record, error, op="fwd", dtype=name, m=m, n=n, k=k)

        def product(operands):
            torch.mm(operands[0], operands[1].t(), out=operands[2])

        half = Pool.random(800_000_000, FP16)
        out = Pool(self.out32.data.view(FP16))
        go("fp16", lambda m, n, k: (half.take(m, k), half.take(n, k), out.take(m, n)), product, shapes)
        del half

        eight = Pool(torch.empty(800_000_000, dtype=BF16, device=GPU).normal_().to(torch.float8_e4m3fn))
        one = torch.tensor(1.0, device=GPU)

        def scaled(a, b, scale_a, scale_b, fast):
            return torch._scaled_mm(a, b.t(), scale_a=scale_a, scale_b=scale_b, out_dtype=BF16, use_fast_accum=fast)

        for fast in (True, False):
            go("fp8_tensor_fast" if fast else "fp8_tensor", lambda m, n, k: (eight.take(m, k), eight.take(n, k)),
               lambda s: scaled(s[0], s[1], one, one, fast), shapes)
        go("fp8_row_fast", lambda m, n, k: (eight.take(m, k), eight.take(n, k), torch.ones(m, 1, device=GPU),
                                            torch.ones(1, n, device=GPU)),
           lambda s: scaled(s[0], s[1], s[2], s[3], True), shapes)
        del eight

        full = Pool.random(800_000_000, FP32)
        result = Pool(self.out32.data)
        operands = lambda m, n, k: (full.take(m, k), full.take(n, k), result.take(m, n))
        for name, tf32 in (("tf32", True), ("fp32", False)):
            torch.backends.cuda.matmul.allow_tf32 = tf32
            go(name, operands, product, shapes if tf32 else shapes[:2] + shapes[6:8] + shapes[9:12])
        torch.backends.cuda.matmul.allow_tf32 = False


def section_cool(record, args):
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    g = Gemms(record, cool=True)
    g.sweeps()
    for name, t in FIRST:
        h = next(h for model, h, _, _ in MODELS if model == name)
        for what, out, inp in layer_gemms(h, t):
            if record.left() <= 0:
                record.write(note="time budget reached", model=name)
                return
            more = dict(model=name, t=t, b=1, w=what)
            g.run("fwd", SEQUENCE, out, inp, **more)
            g.run("dgrad", SEQUENCE, inp, out, **more)
            g.run("acc32", out, inp, SEQUENCE, **more)


def section_overlap(record, args):
    """The rate of a GEMM, of a copy, and of both at once on two streams."""
    n, copy_stream, here = 8192, torch.cuda.Stream(), torch.cuda.current_stream()
    x, w, y = (torch.randn(n, n, dtype=BF16, device=GPU) for _ in range(3))
    a, b = torch.randn(1 << 28, device=GPU), torch.empty(1 << 28, device=GPU)
    host = torch.empty(1 << 28, pin_memory=True)
    host.copy_(a)
    torch.cuda.synchronize()
    # the copy, its bytes read and written on the device, copies of it for ten GEMMs (more than fit beside them)
    copies = {"none": (lambda: None, 0, 0), "d2h": (lambda: host.copy_(a, non_blocking=True), 1 << 30, 1),
              "h2d": (lambda: b.copy_(host, non_blocking=True), 1 << 30, 1),
              "device copy": (lambda: b.copy_(a), 2 << 30, 35)}
    for name, (copy, moved, often) in copies.items():
        try:
            begin, end, marks = event(), event(), [event()]
            marks[0].record(copy_stream)
            begin.record(here)
            for _ in range(60):
                for _ in range(10):
                    torch.mm(x, w.t(), out=y)
                with torch.cuda.stream(copy_stream):
                    for _ in range(often):
                        copy()
                        marks.append(event())
                        marks[-1].record()
            end.record(here)
            end.synchronize()
            passed = [m for m in marks if m.query()]
            torch.cuda.synchronize()
            fields = {}
            if len(passed) > 1:
                seconds = passed[0].elapsed_time(passed[-1]) / 1000
                fields = dict(copies=len(passed) - 1, copy_gb=(len(passed) - 1) * moved / seconds / 1e9)
            record.write(copy=name, gemms=600, tf=600 * 2.0 * n**3 / (begin.elapsed_time(end) / 1000) / 1e12,
                         mhz=record.mhz, **fields)
        except Exception as error:
            complain(record, error, copy=name)


def section_gemm(record, args):
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    g = Gemms(record)
    steps = [("sweeps", g.sweeps), ("models, main", lambda: g.models(lambda name, t: (name, t) in FIRST)),
             ("batched", g.batched), ("precisions", g.precisions),
             ("models, other", lambda: g.models(lambda name, t: (name, t) not in FIRST))]
    for name, step in steps:
        if record.left() <= 0:
            record.write(note="time budget reached", step=name)
            break
        begin = time.monotonic()
        try:
            step()
        except Exception as error:
            complain(record, error, step=name)
        print(f"  {name}: {time.monotonic() - begin:.1f} s", flush=True)
        gc.collect()
        torch.cuda.empty_cache()
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = True  # as PyTorch has it
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = True


# ------------------------------------------------------------------------------------------------------- 4. attention


def section_attention(record, args):
    small = [("1T", 1, 20, 20, 2048, 160), ("175B", 1, 12, 12, 2048, 128), ("530B", 1, 16, 16, 2048, 160),
             ("22B", 4, 8, 8, 2048, 96), ("1.3B", 1, 16, 16, 2048, 128), ("1.3B", 4, 16, 16, 2048, 128),
             ("1.3B", 8, 16, 16, 2048, 128), ("2.7B", 4, 32, 32, 2048, 80), ("6.7B", 1, 32, 32, 2048, 128)]
    heads = {64: 32, 80: 32, 96: 32, 128: 16, 160: 20}
    order = [128, 64, 160, 96, 80]
    filled = [("", 16384 // s, heads[d], heads[d], s, d) for s in (2048, 4096, 8192, 1024) for d in order]
    more = [("1T", 2, 20, 20, 2048, 160), ("1T", 4, 20, 20, 2048, 160), ("175B", 4, 12, 12, 2048, 128),
            ("", 1, 1, 1, 2048, 128), ("", 1, 4, 4, 2048, 128), ("", 1, 8, 8, 4096, 128), ("", 1, 16, 16, 512, 128),
            ("", 1, 16, 16, 1024, 128), ("", 1, 16, 16, 32768, 128)]
    grouped = [("", 2, 32, 8, 4096, 128), ("", 1, 8, 1, 8192, 128), ("", 4, 32, 8, 2048, 128),
               ("", 2, 64, 8, 4096, 128)]
    plain = [("", 8, 16, 16, 2048, 128), ("", 4, 16, 16, 4096, 128), ("", 8, 32, 32, 2048, 64)]
    cases = [(c, True) for c in small + filled + grouped + more] + [(c, False) for c in plain]
    backends = [("cudnn", SDPBackend.CUDNN_ATTENTION), ("flash", SDPBackend.FLASH_ATTENTION)]
    failed = {}
    for (model, b, h, hkv, s, d), causal in cases:
        draw = lambda n: torch.randn(b, s, n, d, dtype=BF16, device=GPU).transpose(1, 2)
        q, k, v, do = draw(h), draw(hkv), draw(hkv), draw(h)
        for x in (q, k, v):
            x.requires_grad_()
        whole = 4.0 * b * h * s * s * d  # forward; both figures below count half of it where the mask is causal
        for name, backend in backends:
            if record.left() <= 0:
                record.write(note="time budget reached", b=b, heads=h, seq=s, d=d)
                return

            def forward(i):
                with torch.no_grad():
                    return F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=h != hkv)

            def both(i):
                o = F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=h != hkv)
                return torch.autograd.grad(o, (q, k, v), do)

            for what, call, factor in (("fwd", forward, 1.0), ("fwdbwd", both, 3.5)):
                key = (name, d, h == hkv, what)
                if failed.get(key, 0) >= 2:  # this backend does not do it: no more tries
                    continue
                fields = dict(op=what, backend=name, causal=int(causal), model=model, b=b, heads=h, kv=hkv, seq=s, d=d)
                try:
                    with sdpa_kernel([backend]):
                        us, best = time_call(call, budget=0.02, graph_below=700e-6)
                    flops = whole * factor / (2 if causal else 1)
                    record.write(**fields, us=us * 1e6, tf=flops / us / 1e12, best=best * 1e6, mhz=record.mhz)
                except Exception as error:
                    failed[key] = failed.get(key, 0) + 1
                    complain(record, error, **fields)
        del q, k, v, do


# ---------------------------------------------------------------------------------------------------------- 5. memory


def section_memory(record, args):
    width = 4096
    count = 1 << 30  # fp32 elements of each of three buffers
    a, b, c = (torch.empty(count, dtype=FP32, device=GPU).normal_() for _ in range(3))
    ah = a.view(BF16)
    ah.normal_()
    ch = c.view(BF16)
    gain, shift = torch.randn(width, dtype=BF16, device=GPU), torch.randn(width, dtype=BF16, device=GPU)

    def cut(buffer, n, i):
        at = i * n % (buffer.numel() - n + 1) // 64 * 64
        return buffer[at : at + n]

    # name, bytes of an element of the first operand, bytes moved a byte of it, the call on n elements in slot i
    operations = [
        ("scale_fp32", 4, 2, lambda n, i: torch.mul(cut(b, n, i), 1.0001, out=cut(c, n, i))),
        ("scale_hot_fp32", 4, 2, lambda n, i: torch.mul(b[:n], 1.0001, out=c[:n])),
        ("add_bf16", 2, 3, lambda n, i: torch.add(cut(ah, n, i), cut(b.view(BF16), n, i), out=cut(ch, n, i))),
        ("layernorm_bf16", 2, 2, lambda n, i: F.layer_norm(cut(ah, n, i).view(-1, width), (width,), gain, shift)),
        ("gelu_bf16", 2, 2, lambda n, i: F.gelu(cut(ah, n, i), approximate="tanh")),
        ("cast_bf16_fp32", 2, 3, lambda n, i: cut(b, n, i).copy_(cut(ah, n, i))),
        ("cast_fp32_bf16", 4, 1.5, lambda n, i: cut(ch, n, i).copy_(cut(b, n, i))),
        ("memcpy_fp32", 4, 2, lambda n, i: cut(c, n, i).copy_(cut(b, n, i))),
    ]
    sizes = [1 << p for p in range(16, 33, 2)]
    for name, element, moved, call in operations:
        for size in sizes + ([] if "hot" in name else [1 << 25, 1 << 27]):
            if record.left() <= 8:
                record.write(note="time budget reached", op=name)
                break
            n = size // element
            if ("hot" in name and size > 64 << 20) or (name == "cast_bf16_fp32" and n > count):
                continue
            try:
                run = lambda i: call(n, i)
                if size <= 32 << 20:
                    for i in range(2):
                        run(i)
                    us, best = time_graph(run, int(min(max((256 << 20) / (moved * size), 16), 1024)), keep=True)
                else:
                    us, best = time_call(run, budget=0.03)
                record.write(op=name, size=size, bytes=int(moved * size), us=us * 1e6, gb=moved * size / us / 1e9,
                             best=best * 1e6)
            except Exception as error:
                complain(record, error, op=name, size=size)
        torch.cuda.empty_cache()
    del a, b, c, ah, ch, operations, call
    gc.collect()
    torch.cuda.empty_cache()

    def adam(what, tensors, dtype):
        try:
            parameters = [torch.nn.Parameter(torch.randn(n, dtype=dtype, device=GPU)) for n in tensors]
            for p in parameters:
                p.grad = torch.randn_like(p)
            optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=True)
            us, best = time_call(lambda i: optimizer.step(), budget=0.04, graph_below=0)
            total = sum(tensors)
            moved = total * 7 * (4 if dtype == FP32 else 2)
            record.write(op=what, params=total, tensors=len(tensors), bytes=moved, us=us * 1e6, gb=moved / us / 1e9,
                         best=best * 1e6)
        except Exception as error:
            complain(record, error, op=what)
        torch.cuda.empty_cache()

    for n in (1 << 20, 1 << 24, 1 << 27, 1 << 30):
        if record.left() > 3:
            adam("adamw_fp32", [n], FP32)
    h = 2048
    layer = [h, h, 3 * h * h, 3 * h, h * h, h, h, h, 4 * h * h, 4 * h, 4 * h * h, h]
    if record.left() > 2:
        adam("adamw_fp32_1.3B", [VOCABULARY * h, SEQUENCE * h] + layer * 24 + [h, h], FP32)
    if record.left() > 2:
        adam("adamw_bf16_1.3B", [VOCABULARY * h, SEQUENCE * h] + layer * 24 + [h, h], BF16)

    try:
        logits = torch.randn(8192, VOCABULARY, dtype=BF16, device=GPU, requires_grad=True)
        targets = torch.randint(VOCABULARY, (8192,), device=GPU)
        us, best = time_call(lambda i: F.cross_entropy(logits, targets), graph_below=0)
        record.write(op="cross_entropy_fwd_bf16", rows=8192, columns=VOCABULARY, us=us * 1e6, best=best * 1e6)
        us, best = time_call(lambda i: torch.autograd.grad(F.cross_entropy(logits, targets), logits), graph_below=0)
        record.write(op="cross_entropy_fwdbwd_bf16", rows=8192, columns=VOCABULARY, us=us * 1e6, best=best * 1e6)
        x = torch.randn(8192, 4096, dtype=BF16, device=GPU, requires_grad=True)
        w = torch.randn(4096, dtype=BF16, device=GPU, requires_grad=True)
        g = torch.randn(8192, 4096, dtype=BF16, device=GPU)
        us, best = time_call(lambda i: torch.autograd.grad(F.layer_norm(x, (4096,), w, w), (x, w), g), graph_below=0)
        record.write(op="layernorm_fwdbwd_bf16", rows=8192, columns=4096, us=us * 1e6, best=best * 1e6)
    except Exception as error:
        complain(record, error, op="cross_entropy")


# ---------------------------------------------------------------------------------------------------------- 6. launch


def section_launch(record, args):
    if record.nvml:
        record.quiet.set()
        time.sleep(0.2)
    tiny, small = torch.randn(32, device=GPU), torch.randn(64, 64, dtype=BF16, device=GPU)
    result = torch.empty_like(small)
    calls = {"empty kernel": lambda: torch.cuda._sleep(1), "add_ of 32": lambda: tiny.add_(0.5),
             "mm 64^3 bf16": lambda: torch.mm(small, small, out=result)}
    for name, call in calls.items():
        try:
            for _ in range(200):
                call()
            torch.cuda.synchronize()
            a, b, count = event(), event(), 5000
            a.record()
            begin = time.perf_counter()
            for _ in range(count):
                call()
            host = time.perf_counter() - begin
            b.record()
            torch.cuda.synchronize()
            record.write(what="stream", call=name, count=count, us_device=a.elapsed_time(b) * 1000 / count,
                         us_host=host * 1e6 / count)
            for length in (1000, 20):
                median, best = time_graph(lambda i: call(), length, replays=15)
                record.write(what="graph", call=name, nodes=length, us=median * 1e6, best=best * 1e6)
        except Exception as error:
            complain(record, error, what="stream", call=name)

    def host_median(what, action, count=300):
        times = []
        for _ in range(count):
            torch.cuda.synchronize()
            begin = time.perf_counter()
            action()
            times.append(time.perf_counter() - begin)
        times.sort()
        record.write(what=what, us=statistics.median(times) * 1e6, p10=times[count // 10] * 1e6,
                     p90=times[-count // 10] * 1e6)

    mark, host = event(), torch.empty(1, pin_memory=True)
    host_median("synchronize, idle", torch.cuda.synchronize)
    host_median("launch and synchronize", lambda: (torch.cuda._sleep(1), torch.cuda.synchronize()))
    host_median("event record and synchronize", lambda: (mark.record(), mark.synchronize()))
    host_median("launch, event, synchronize", lambda: (torch.cuda._sleep(1), mark.record(), mark.synchronize()))
    host_median("item of a device scalar", lambda: tiny[0].item())
    host_median("4 bytes to pinned host, synchronize",
                lambda: (host.copy_(tiny[:1], non_blocking=True), torch.cuda.synchronize()))
    other, here = torch.cuda.Stream(), torch.cuda.current_stream()

    def cross():
        mark.record(here)
        other.wait_event(mark)
        with torch.cuda.stream(other):
            torch.cuda._sleep(1)
            mark.record(other)
        here.wait_event(mark)

    begin, end = event(), event()
    for _ in range(50):
        cross()
    torch.cuda.synchronize()
    begin.record()
    for _ in range(1000):
        cross()
    end.record()
    torch.cuda.synchronize()
    record.write(what="to another stream and back, device time", us=begin.elapsed_time(end))
    if record.nvml:
        record.quiet.clear()


# ------------------------------------------------------------------------------------------------ 7. layer and 8. train


class Block(torch.nn.Module):
    """A transformer layer, or what one of t tensor parallel ranks computes of it."""

    def __init__(self, h, heads, t=1):
        super().__init__()
        linear = torch.nn.Linear
        self.heads, self.width = heads // t, h // t
        self.norm1, self.norm2 = torch.nn.LayerNorm(h), torch.nn.LayerNorm(h)
        self.qkv, self.proj = linear(h, 3 * self.width), linear(self.width, h)
        self.fc1, self.fc2 = linear(h, 4 * self.width), linear(4 * self.width, h)

    def forward(self, x):
        b, s, _ = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, s, 3, self.heads, self.width // self.heads).unbind(2)
        y = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), is_causal=True)
        x = x + self.proj(y.transpose(1, 2).reshape(b, s, self.width))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x)), approximate="tanh"))


def section_layer(record, args):
    """Layers in bf16, without dropout; gradients of weights in bf16, written, not accumulated. Each case runs for a
    second, so that the clock settles; the last half counts."""
    select_attention("cudnn")
    shape = {name: (h, heads) for name, h, heads, _ in MODELS}
    cases = [("1T", 8, 1), ("530B", 8, 1), ("175B", 8, 1), ("22B", 8, 4), ("175B", 8, 4), ("1T", 8, 2), ("1T", 8, 4),
             ("22B", 8, 1), ("1.3B", 1, 8), ("1.3B", 1, 4), ("2.7B", 1, 4), ("6.7B", 1, 4), ("13B", 1, 2),
             ("22B", 2, 2)]
    fused = [("1T", 8, 1), ("530B", 8, 1), ("175B", 8, 1), ("22B", 8, 4), ("1.3B", 1, 8), ("6.7B", 1, 4)]
    for (model, t, b), compiled in [(c, 0) for c in cases] + [(c, 1) for c in fused if args.compile]:
        if record.left() < (10 if compiled else 2):
            record.write(note="time budget reached", model=model, t=t, b=b, compiled=compiled)
            continue
        (h, heads), layers = shape[model], 2 if model in ("1T", "530B", "175B") else 4
        try:
            with torch.device(GPU):
                stack = torch.nn.Sequential(*(Block(h, heads, t) for _ in range(layers))).to(BF16)
                x = torch.randn(b, SEQUENCE, h, dtype=BF16).requires_grad_()
                dy = torch.randn(b, SEQUENCE, h, dtype=BF16)
            if compiled:
                import torch._dynamo as dynamo

                dynamo.reset()
                for block in stack:
                    block.compile(dynamic=False)
            marks, warm = [], time.monotonic()
            for _ in range(3):
                stack(x).backward(dy)
                stack.zero_grad(set_to_none=True)
            torch.cuda.synchronize()
            begin = time.monotonic()
            while time.monotonic() - begin < 1.2:
                three = [event() for _ in range(3)]
                three[0].record()
                y = stack(x)
                three[1].record()
                y.backward(dy)
                three[2].record()
                stack.zero_grad(set_to_none=True)
                x.grad = None
                marks.append(three)
                if len(marks) > 3:
                    marks[-3][2].synchronize()
            torch.cuda.synchronize()
            seen = marks[len(marks) // 2 :]
            fwd = statistics.median(a.elapsed_time(m) for a, m, _ in seen) / layers
            bwd = statistics.median(m.elapsed_time(z) for _, m, z in seen) / layers
            gemm = 24.0 * b * SEQUENCE * h * h / t
            attention = 4.0 * b * SEQUENCE**2 * h / t  # counted whole
            window = [w for w in record.samples if w[0] > begin + 0.6]
            record.write(model=model, t=t, b=b, compiled=compiled, layers=layers, fwd_ms=fwd, bwd_ms=bwd,
                         model_tf=3 * (gemm + attention) / (fwd + bwd) / 1e9, calls=len(seen),
                         mhz=statistics.mean(w[1] for w in window) if window else 0,
                         watts=statistics.mean(w[2] for w in window) if window else 0, warm_s=begin - warm)
        except Exception as error:
            complain(record, error, model=model, t=t, b=b, compiled=compiled)
        stack = x = dy = y = block = marks = None
        gc.collect()
        torch.cuda.empty_cache()


class Head(torch.nn.Module):
    """Final norm, logits by the embedding's weight, mean loss in fp32."""

    def __init__(self, h):
        super().__init__()
        self.norm = torch.nn.LayerNorm(h)

    def forward(self, x, weight, targets):
        logits = F.linear(self.norm(x), weight)
        return F.cross_entropy(logits.view(-1, logits.shape[-1]).float(), targets.view(-1))


class Gpt(torch.nn.Module):
    def __init__(self, h, heads, layers, s, vocabulary):
        super().__init__()
        self.words, self.places = torch.nn.Embedding(vocabulary, h), torch.nn.Embedding(s, h)
        self.blocks = torch.nn.ModuleList(Block(h, heads) for _ in range(layers))
        self.head = Head(h)
        for p in self.parameters():
            if p.dim() == 2:
                torch.nn.init.normal_(p, std=0.02)

    def forward(self, tokens, targets):
        x = self.words(tokens) + self.places(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.blocks:
            x = block(x)
        return self.head(x, self.words.weight, targets)


# hidden, heads, layers, sequence, vocabulary; 1.7B is the smallest of the H100 table in Megatron-LM's README
CONFIGS = {"1.3B": (2048, 16, 24, SEQUENCE, VOCABULARY), "2.7B": (2560, 32, 32, SEQUENCE, VOCABULARY),
           "1.7B": (2048, 16, 24, 4096, 131072)}


def select_attention(name):
    torch.backends.cuda.enable_math_sdp(False)
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    torch.backends.cuda.enable_flash_sdp(name == "flash")
    torch.backends.cuda.enable_cudnn_sdp(name == "cudnn")


def train(record, config, mode, attention, batches, compiled=False, steps=10):
    """Step times of one variant at several micro-batches. mode: autocast (fp32 weights and AdamW state, bf16 GEMMs) or
    bf16 (weights, gradients and AdamW state in bf16, no master weights). Returns tokens/s by batch."""
    h, heads, layers, s, vocabulary = CONFIGS[config]
    rates = {}
    select_attention(attention)
    if compiled:
        import torch._dynamo as dynamo

        dynamo.reset()
    with torch.device(GPU):
        model = Gpt(h, heads, layers, s, vocabulary)
    if mode == "bf16":
        model.to(BF16)
    if compiled:  # block by block, as blocks are alike; the head with the loss
        for block in model.blocks:
            block.compile(dynamic=False)
        model.head.compile(dynamic=False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.1, fused=True)
    parameters = sum(p.numel() for p in model.parameters())
    for b in batches:
        fields = dict(config=config, mode=mode, attention=attention, compiled=int(compiled), b=b)
        if record.left() < 4:
            record.write(note="time budget reached", **fields)
            break
        tokens = torch.randint(vocabulary, (b, s + 1), device=GPU)
        inputs, targets = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()

        def step():
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cuda", dtype=BF16, enabled=mode == "autocast"):
                loss = model(inputs, targets)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            return loss

        try:
            torch.cuda.reset_peak_memory_stats()
            begin = time.monotonic()
            for _ in range(3):
                loss = step()
            torch.cuda.synchronize()
            warm = time.monotonic() - begin
            marks, begin = [event() for _ in range(steps + 1)], time.monotonic()
            marks[0].record()
            for i in range(steps):
                step()
                marks[i + 1].record()
            torch.cuda.synchronize()
            wall = (time.monotonic() - begin) / steps
            times = [x.elapsed_time(y) / 1000 for x, y in zip(marks, marks[1:])]
            seconds = statistics.median(times)
            flops = 72.0 * b * s * layers * h * h * (1 + s / (6 * h) + vocabulary / (12 * layers * h))
            rates[b] = b * s / seconds
            record.write(**fields, params=parameters, layers=layers, hidden=h, heads=heads, seq=s,
                         vocabulary=vocabulary, step_ms=seconds * 1e3, best_ms=min(times) * 1e3, wall_ms=wall * 1e3,
                         tokens_per_s=rates[b], model_tf=flops / seconds / 1e12, mfu_989=flops / seconds / 989e12,
                         peak_gb=torch.cuda.max_memory_allocated() / 1e9, warm_s=warm, loss=float(loss), mhz=record.mhz)
            print(f"  {config} {mode} {attention} compiled={compiled} b={b}: {seconds * 1e3:.1f} ms, "
                  f"{flops / seconds / 1e12:.0f} TFLOP/s, warm-up {warm:.0f} s", flush=True)
            if not compiled and b == batches[0]:  # where the step's time goes
                parts = []
                for _ in range(3):
                    m = [event() for _ in range(5)]
                    optimizer.zero_grad(set_to_none=True)
                    m[0].record()
                    with torch.autocast("cuda", dtype=BF16, enabled=mode == "autocast"):
                        loss = model(inputs, targets)
                    m[1].record()
                    loss.backward()
                    m[2].record()
                    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                    m[3].record()
                    optimizer.step()
                    m[4].record()
                    torch.cuda.synchronize()
                    parts.append([x.elapsed_time(y) for x, y in zip(m, m[1:])])
                fwd, bwd, clip, opt = (statistics.median(p) for p in zip(*parts))
                record.write(what="parts", **fields, forward_ms=fwd, backward_ms=bwd, clip_ms=clip, optimizer_ms=opt)
        except torch.cuda.OutOfMemoryError:
            record.write(error="out of memory", **fields)
        except Exception as error:
            complain(record, error, **fields)
            print("  ", fields, str(error)[:400], flush=True)
        loss = None
        optimizer.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()
    del model, optimizer
    gc.collect()
    torch.cuda.empty_cache()
    return rates


def section_train(record, args):
    torch.cuda.set_stream(torch.cuda.default_stream())
    best = lambda rates, otherwise: max(rates, key=rates.get) if rates else otherwise
    large = torch.cuda.get_device_properties(0).total_memory > 100e9
    eager = train(record, "1.3B", "autocast", "flash", [8, 4, 16] if large else [8, 4])
    b = best(eager, 8)
    faster = train(record, "1.3B", "autocast", "cudnn", [b])
    attention = "cudnn" if faster.get(b, 0) > eager.get(b, 0) else "flash"
    train(record, "1.3B", "bf16", attention, [8, 16] if large else [8])
    second = {}
    if record.left() > 10:
        second = train(record, "2.7B", "autocast", attention, [4, 8] if large else [4], steps=6)
    third = train(record, "1.7B", "autocast", attention, [4] if large else [2], steps=6) if record.left() > 10 else {}
    if not args.compile:
        return
    for config, mode, batch, need in (("1.3B", "autocast", b, 30), ("1.3B", "bf16", b, 30),
                                      ("2.7B", "autocast", best(second, 4), 40),
                                      ("1.7B", "autocast", best(third, 2), 30)):
        if record.left() < need:
            record.write(note="no time left to compile", config=config, mode=mode)
            continue
        train(record, config, mode, attention, [batch], compiled=True, steps=8)


# --------------------------------------------------------------------------------------------------------------- main


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, help="folder for results.jsonl")
    parser.add_argument("--sections", default=",".join(BUDGETS), help="which, in this order: " + ",".join(BUDGETS))
    parser.add_argument("--limit", type=float, default=1e9, help="seconds in all; sections end early")
    parser.add_argument("--budget", default="", help="seconds of sections: gemm=60,attention=30")
    parser.add_argument("--sustain", type=float, default=10, help="seconds of the GEMM that is held")
    parser.add_argument("--no-compile", dest="compile", action="store_false", help="train: eager only")
    args = parser.parse_args()
    budgets = dict(BUDGETS)
    for item in filter(None, args.budget.split(",")):
        name, value = item.split("=")
        budgets[name] = float(value)
    warnings.filterwarnings("ignore")
    torch.manual_seed(1234)
    torch.backends.cuda.matmul.allow_tf32 = False
    record = Recorder(args.out, args.limit)
    stream = torch.cuda.Stream()  # as graphs are not captured from the default one
    torch.cuda.set_stream(stream)
    torch.mm(torch.randn(64, 64, device=GPU), torch.randn(64, 64, device=GPU))
    torch.cuda.synchronize()
    for name in args.sections.split(","):
        torch.cuda.set_stream(stream)
        record.section, record.deadline = name, time.monotonic() + budgets[name]
        if record.left() < 3:
            record.write(note="no time left")
            continue
        begin = time.monotonic()
        print(f"{record.seconds():6.1f} s: {name}", flush=True)
        try:
            globals()["section_" + name](record, args)
        except Exception as error:
            complain(record, error, what="section")
            print("  failed:", repr(error)[:600], flush=True)
        try:
            gc.collect()
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
        except Exception as error:
            print("  device is lost:", error, flush=True)
        record.clocks(begin)
        record.write(what="section", seconds=time.monotonic() - begin)
    print(f"{record.seconds():6.1f} s: end", flush=True)


if __name__ == "__main__":
    main()
