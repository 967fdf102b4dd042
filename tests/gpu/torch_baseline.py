#!/usr/bin/env python3
"""The same GPT trained by PyTorch, to hold the suite against: a step's time and MFU, one JSON line a variant.

    torch_baseline.py --layers 24 --hidden 2048 --heads 16 --sequence 2048 --vocabulary 51200 --micro-batch 8 \\
                      [--micros 1] [--variants eager,compiled] [--device cuda] [--peak 989e12] [--seconds 5] [--json FILE]

As the suite trains it: fp32 master weights and moments, bf16 arithmetic by autocast, fp32 gradients, attention by
scaled_dot_product_attention (cuDNN's before flash), fused AdamW, the norm of the gradient clipped, tied embeddings, no dropout. FLOPs by the
same convention, 72 B s l h^2 (1 + s/(6h) + V/(12 l h)), attention counted whole. Each variant is a process of its own
(--variant), because what one leaves in the device's memory would count against the next.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    for name in ("layers", "hidden", "heads", "sequence", "vocabulary", "micro-batch"):
        parser.add_argument("--" + name, type=int, required=True)
    parser.add_argument("--micros", type=int, default=1, help="micro-batches a step")
    parser.add_argument("--variants", default="compiled,eager")
    parser.add_argument("--variant", help="this one, in this process")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--peak", type=float, default=0, help="FLOP/s of the data sheet, for MFU")
    parser.add_argument("--seconds", type=float, default=5, help="how long steps are timed")
    parser.add_argument("--limit", type=float, default=120, help="seconds that a variant may take in all")
    parser.add_argument("--json", help="file to append to")
    return parser.parse_args()


def model_flops(a):
    tokens = a.micro_batch * a.micros * a.sequence
    return 72.0 * tokens * a.layers * a.hidden**2 * (
        1 + a.sequence / (6 * a.hidden) + a.vocabulary / (12 * a.layers * a.hidden))


def make_model(a):
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            h = a.hidden
            self.norm1, self.norm2 = nn.LayerNorm(h), nn.LayerNorm(h)
            self.qkv, self.out = nn.Linear(h, 3 * h), nn.Linear(h, h)
            self.up, self.down = nn.Linear(h, 4 * h), nn.Linear(4 * h, h)

        def forward(self, x):
            b, s, h = x.shape
            q, k, v = self.qkv(self.norm1(x)).view(b, s, 3, a.heads, h // a.heads).permute(2, 0, 3, 1, 4)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(y.transpose(1, 2).reshape(b, s, h))
            return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))

    class Gpt(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.places = nn.Embedding(a.vocabulary, a.hidden), nn.Embedding(a.sequence, a.hidden)
            self.blocks = nn.ModuleList(Block() for _ in range(a.layers))
            self.norm = nn.LayerNorm(a.hidden)
            for p in self.parameters():
                if p.dim() == 2:
                    nn.init.normal_(p, std=0.02)

        def forward(self, tokens, labels):
            x = self.words(tokens) + self.places(torch.arange(tokens.shape[1], device=tokens.device))
            for block in self.blocks:
                x = block(x)
            return self.loss(x, labels)

        def loss(self, x, labels):
            logits = F.linear(self.norm(x), self.words.weight)
            return F.cross_entropy(logits.float().view(-1, a.vocabulary), labels.view(-1))

    with torch.device(a.device):
        return Gpt()


def train(a):
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    kernels = [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]
    begin = time.monotonic()
    torch.manual_seed(1)
    on_gpu = a.device.startswith("cuda")
    model = make_model(a)
    if a.variant == "compiled":  # block by block: they are alike, and compile once
        for block in model.blocks:
            block.compile(dynamic=False)
        model.loss = torch.compile(model.loss, dynamic=False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.1, fused=True)
    tokens = torch.randint(a.vocabulary, (a.micro_batch, a.sequence + 1), device=a.device)
    inputs, labels = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()

    def wait():
        if on_gpu:
            torch.cuda.synchronize()

    def step():
        optimizer.zero_grad(set_to_none=True)
        for _ in range(a.micros):
            with torch.autocast(a.device.split(":")[0], dtype=torch.bfloat16), sdpa_kernel(kernels, set_priority=True):
                loss = model(inputs, labels) / a.micros
            loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss

    loss = step()
    wait()
    first = time.monotonic() - begin
    for _ in range(2):
        step()
    wait()
    seconds = []
    while len(seconds) < 5 or sum(seconds) < a.seconds:
        start = time.monotonic()
        loss = step()
        wait()
        seconds.append(time.monotonic() - start)
    s, flops = statistics.median(seconds), model_flops(a)
    result = {"question": "torch", "variant": a.variant, "torch": torch.__version__,
              "device": torch.cuda.get_device_name() if on_gpu else a.device,
              "parameters": sum(p.numel() for p in model.parameters()), "layers": a.layers, "hidden": a.hidden,
              "sequence": a.sequence, "vocabulary": a.vocabulary, "micro_batch": a.micro_batch, "micros": a.micros,
              "step_seconds": s, "step_seconds_min": min(seconds), "steps": len(seconds), "first_step_seconds": first,
              "tokens_per_second": a.micro_batch * a.micros * a.sequence / s, "model_flops_per_second": flops / s,
              "loss": float(loss.detach()) * a.micros,
              "memory_bytes": torch.cuda.max_memory_allocated() if on_gpu else 0}
    if a.peak:
        result["mfu"] = flops / s / a.peak
    return result


def run_variant(a, variant):
    """In a process of its own; what it says, or why it did not."""
    try:
        done = subprocess.run([sys.executable, __file__, *sys.argv[1:], "--variant", variant], capture_output=True,
                              text=True, timeout=a.limit, check=False)
    except subprocess.TimeoutExpired:
        return {"question": "torch", "variant": variant, "error": f"not done within {a.limit:.0f} s"}
    if done.returncode == 0:
        return json.loads(done.stdout.strip().splitlines()[-1])
    lines = done.stderr.strip().splitlines()
    return {"question": "torch", "variant": variant, "layers": a.layers, "hidden": a.hidden, "sequence": a.sequence,
            "micro_batch": a.micro_batch, "error": lines[-1] if lines else f"exit code {done.returncode}"}


def main():
    a = arguments()
    if a.variant:
        print(json.dumps(train(a)))
        return
    for variant in a.variants.split(","):
        line = json.dumps(run_variant(a, variant))
        print(line, flush=True)
        if a.json:
            with open(a.json, "a", encoding="utf-8") as file:
                file.write(line + "\n")


if __name__ == "__main__":
    main()
