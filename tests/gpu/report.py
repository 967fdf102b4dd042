#!/usr/bin/env python3
"""What tests/gpu/check.sh has measured, as tables.

    report.py speed OP < table                     an operation's speed table as JSON lines
    report.py report TITLE check.jsonl check.notes [kernels.csv]
                                                   the Markdown page: each figure with its goal beside it
"""

import csv
import json
import re
import sys

# "<case> <dtype> 0.123 ms 456.7 GB/s 890.1 GFLOP/s 98.7 % of the copy bandwidth", as tests/kernels/speed.cpp prints
SPEED = re.compile(r"^(.*?)\s+(fp\d+|bf16|e4m3|e5m2)\s+([\d.]+) ms\s+([\d.]+) GB/s\s+([\d.]+) GFLOP/s\s+([\d.]+) % of the (.*)$")
MODELS = {(24, 2048): "1.3B", (32, 2560): "2.7B", (32, 4096): "6.7B"}
MFU_GOAL, AHEAD_GOAL, LAYER_GOAL, COPY_GOAL, IDLE_GOAL, FP8_GOAL, START_GOAL = 0.60, 1.15, 0.80, 85.0, 0.02, 1.25, 5.0
ATTENTION_GOAL = 3.0


def speed(operation, lines):
    for line in lines:
        found = SPEED.match(line.rstrip())
        if found:
            case, dtype, ms, gb, gflops, part, limit = found.groups()
            print(json.dumps({"question": "speed", "operation": operation, "case": case, "dtype": dtype, "ms": float(ms),
                              "gb_per_second": float(gb), "gflops": float(gflops), "percent": float(part),
                              "limit": limit}))


def verdict(reached, figure, goal):
    said = "" if goal == "-" else "reached" if reached else "**missed**"
    return f"| {figure} | {goal} | {said} |"


class Figures:
    """The lines of goals, each measured or not."""

    def __init__(self):
        self.rows = ["| what | measured | goal | |", "|---|---|---|---|"]

    def add(self, what, value, goal, text, reached):
        self.rows.append(f"| {what} " + (f"| not measured | {goal} | |" if value is None
                                         else verdict(reached(value), text(value), goal)))


def percent(x):
    return f"{100 * x:.1f} %"


def precision(run):
    found = re.search(r"train\.precision=(\S+)", run.get("settings", ""))
    return found.group(1) if found else ""


# what a step is measured with and without
SWITCHES = {
    "run.cuda_graphs=true": "as CUDA graphs",
    "run.fused_epilogues=none": "without fused epilogues",
    "run.fused_epilogues=all": "with all epilogues fused",
    "train.deterministic=false": "with sums in any order",
    "run.attention_library=own": "with our own attention",
    "run.workspace=2147483648": "with 2 GiB of scratch",
}


def switched(run):
    return next((label for setting, label in SWITCHES.items() if setting in run.get("settings", "").split()), None)


def of_model(runs, model, sequence, kind="bf16", micro_batch=None):
    for run in runs:
        if switched(run) or micro_batch not in (None, run["micro_batch"]):
            continue
        if (MODELS.get((run["layers"], run["hidden"])), run["sequence"], precision(run)) == (model, sequence, kind):
            return run
    return None


def attention_ratios(lines):
    """(times as long as cuDNN's, case) of our own flash attention. A case has one line a pass, forward first."""
    times = {}
    for x in lines:
        if x["question"] == "speed" and x["operation"] == "attention":
            times.setdefault((x["case"], x["dtype"]), []).append(x["ms"])
    for (case, dtype), ours in times.items():
        for way, mine, theirs in zip(("forward", "backward"), ours, times.get((case + ", cuDNN", dtype), [])):
            yield mine / theirs, f"{case} {dtype} {way}"


def goals(lines):
    steps = [x for x in lines if x["question"] == "step"]
    torch = [x for x in lines if x["question"] == "torch" and "error" not in x]
    figures = Figures()
    for model in ("1.3B", "2.7B", "6.7B"):
        for sequence in (2048, 4096):
            run = of_model(steps, model, sequence)
            figures.add(f"MFU, GPT {model}, s {sequence}, bf16", run.get("mfu") if run else None,
                        f">= {percent(MFU_GOAL)}", percent, lambda x: x >= MFU_GOAL)
    for variant in ("compiled", "eager"):
        pairs = [(of_model(steps, "1.3B", 2048), t) for t in torch if t["variant"] == variant]
        ratio = next((mine["tokens_per_second"] / t["tokens_per_second"] for mine, t in pairs if mine), None)
        figures.add(f"tokens/s against PyTorch {variant}, 1.3B, s 2048", ratio,
                    f">= {AHEAD_GOAL}" if variant == "compiled" else "-", lambda x: f"{x:.2f} times",
                    lambda x, v=variant: v == "eager" or x >= AHEAD_GOAL)
    layer = next((x for x in lines if x["question"] == "layer"), {})
    figures.add("one layer of the 1T model, tensor 8, of the held GEMM rate", layer.get("of_ceiling"),
                f">= {percent(LAYER_GOAL)}", percent, lambda x: x >= LAYER_GOAL)
    copies = [x for x in lines if x["question"] == "speed" and "copy" in x["limit"]]
    worst = min(copies, key=lambda x: x["percent"], default=None)
    figures.add(f"slowest memory-bound case of {len(copies)}", worst, f">= {COPY_GOAL} % of a copy",
                lambda x: f"{x['percent']} % ({x['operation']}: {x['case']}, {x['dtype']})", lambda x: x["percent"] >= COPY_GOAL)
    slowest = max(attention_ratios(lines), default=None)
    figures.add("our flash attention, longest against cuDNN's" + (f": {slowest[1]}" if slowest else ""), slowest,
                f"<= {ATTENTION_GOAL} times", lambda x: f"{x[0]:.1f} times", lambda x: x[0] <= ATTENTION_GOAL)
    run = of_model(steps, "1.3B", 2048) or {}
    figures.add("GPU idle inside a step, 1.3B, s 2048", run.get("idle_share"), f"<= {percent(IDLE_GOAL)}", percent,
                lambda x: x <= IDLE_GOAL)
    for one in filter(switched, steps):
        plain = next((x for x in steps if not switched(x) and precision(x) == precision(one) and all(
            x[k] == one[k] for k in ("layers", "hidden", "sequence", "micro_batch", "global_batch"))), None)
        figures.add(f"tokens/s {switched(one)} against the default, {MODELS.get((one['layers'], one['hidden']))}, "
                    f"s {one['sequence']}, {precision(one)}, b {one['micro_batch']}",
                    one["tokens_per_second"] / plain["tokens_per_second"] if plain else None, "-",
                    lambda x: f"{x:.3f} times", lambda x: True)
    short = of_model(steps, "6.7B", 2048, "fp8")
    pair = of_model(steps, "6.7B", 2048, micro_batch=short and short["micro_batch"]), short
    figures.add("fp8 against bf16, 6.7B, s 2048", pair[1]["tokens_per_second"] / pair[0]["tokens_per_second"] if all(pair) else None,
                f">= {FP8_GOAL}", lambda x: f"{x:.2f} times", lambda x: x >= FP8_GOAL)
    figures.add("from start to the first step's end, 1.3B, s 2048", run.get("first_step_seconds"), f"<= {START_GOAL} s",
                lambda x: f"{x:.2f} s", lambda x: x <= START_GOAL)
    return figures.rows


def micros(run):
    return f"{run['micro_batch']} x {run.get('micros') or run['global_batch'] // run['micro_batch']}"


def tables(lines):
    ceilings = next((x for x in lines if x["question"] == "ceilings"), None)
    if ceilings:
        yield (f"Ceilings, measured in the same run: GEMM of {ceilings['gemm_side']}^3 random bf16 "
               f"{ceilings['gemm_moment_flops'] / 1e12:.0f} TFLOP/s for a moment and "
               f"{ceilings['gemm_held_flops'] / 1e12:.0f} held; copy {ceilings['copy_bytes_per_second'] / 1e12:.2f} TB/s.")
        yield ""
    yield "| training | b x micros | step, ms | tokens/s | TFLOP/s | MFU | of held GEMM | idle | GB | seconds by cause, % |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for x in lines:
        if x["question"] not in ("step", "torch") or "error" in x:
            continue
        model = MODELS.get((x["layers"], x["hidden"]), x["layers"])
        who = " ".join(filter(None, ("Selenite", precision(x), switched(x)))) if x["question"] == "step" else f"PyTorch {x['variant']}"
        causes = x.get("time_seconds", {})
        whole = sum(causes.values()) or 1
        parts = ", ".join(f"{k} {100 * v / whole:.0f}" for k, v in causes.items() if v)
        optional = [percent(x[k]) if k in x else "" for k in ("mfu", "of_ceiling", "idle_share")]
        yield (f"| {model} s {x['sequence']}, {who} | {micros(x)} | {1e3 * x['step_seconds']:.1f} | {x['tokens_per_second']:.0f} "
               f"| {x['model_flops_per_second'] / 1e12:.0f} | {' | '.join(optional)} | {x['memory_bytes'] / 1e9:.1f} | {parts} |")
    for x in lines:
        if x["question"] == "torch" and "error" in x:
            yield f"\nPyTorch {x['variant']}: {x['error']}"
    if any(x["question"] == "speed" for x in lines):
        yield from ("", "| operation | case | dtype | ms | GB/s | TFLOP/s | % of limit | limit |", "|---|---|---|---|---|---|---|---|")
    for x in lines:
        if x["question"] == "speed":
            yield (f"| {x['operation']} | {x['case']} | {x['dtype']} | {x['ms']:.3f} | {x['gb_per_second']:.0f} "
                   f"| {x['gflops'] / 1e3:.1f} | {x['percent']:.0f} | {x['limit']} |")


def kernels(file):
    """ncu's lines, one a metric of a launch, as one row a kernel and grid."""
    rows = list(csv.reader(line for line in file if not line.startswith("==")))
    column = {name: i for i, name in enumerate(rows[0])}
    launches, groups = {}, {}
    for row in rows[1:]:
        launch = launches.setdefault(row[column["ID"]], {"name": re.sub(r"\(.*|selenite::|<unnamed>::", "", row[column["Kernel Name"]]),
                                                         "grid": row[column["Grid Size"]]})
        launch[row[column["Metric Name"]]] = float(row[column["Metric Value"]].replace(",", ""))
    for x in launches.values():
        group = groups.setdefault((x["name"][:72], x["grid"]), [0, 0.0, 0.0])
        group[0], group[1], group[2] = group[0] + 1, group[1] + x["gpu__time_duration.sum"], group[2] + x["dram__bytes.sum"]
    whole = sum(ns for _, ns, _ in groups.values())
    yield from ("", f"Kernels of one step of two layers, each alone on the device (ncu): {whole / 1e6:.1f} ms", "",
                "| kernel | grid | launches | us each | % | GB/s of device memory |", "|---|---|---|---|---|---|")
    for (name, grid), (count, ns, size) in sorted(groups.items(), key=lambda x: -x[1][1]):
        if ns / whole >= 0.001:
            yield f"| `{name}` | {grid} | {count} | {ns / count / 1e3:.1f} | {100 * ns / whole:.1f} | {size / ns:.0f} |"


def report(title, results, notes, profile=None):
    with open(results, encoding="utf-8") as file:
        lines = [json.loads(line) for line in file if line.strip()]
    print(f"# The CUDA backend on a GPU\n\n{title}\n\n## Figures and their goals\n")
    print("\n".join(goals(lines)))
    print("\n## Measured\n")
    print("\n".join(tables(lines)))
    if profile:
        with open(profile, encoding="utf-8") as file:
            print("\n".join(kernels(file)))
    with open(notes, encoding="utf-8") as file:
        print("\n## Tests, and what was left out\n\n" + "".join("    " + line for line in file), end="")


if __name__ == "__main__":
    if sys.argv[1:2] == ["speed"] and len(sys.argv) == 3:
        speed(sys.argv[2], sys.stdin)
    elif sys.argv[1:2] == ["report"] and len(sys.argv) in (5, 6):
        report(*sys.argv[2:])
    else:
        sys.exit(__doc__)
