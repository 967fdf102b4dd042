#!/usr/bin/env python3
"""Golden values of tiny GPTs, made with PyTorch in double precision: loss, every gradient, and AdamW training.

Run here, with numpy and torch: python3 make_golden.py. It writes a folder a case: values.f32 holds all tensors one after the
other, tokens.i32 the samples, and manifest.txt says what is where:
  config <TOML assignments of the model, as --set takes them>
  train <the same of the training>
  weight|gradient|final <name> <offset> <extents...>     initial weights, gradient of step 1's mean loss, weights at the end
  loss <of each step>                norm <of each step's gradient>
  single loss <deviation of torch's own fp32>   and the same of gradient and final, in the units of the test
Tokens of a sample: sequence inputs, the same of labels, of weights (0: the label does not count), positions and document starts.
"""
import os

import numpy as np
import torch
import torch.nn.functional as F

SEQUENCE, BATCH, STEPS, VOCAB, PADDED = 16, 4, 20, 61, 64
LR, BETAS, EPS, DECAY, CLIP = 1e-2, (0.9, 0.95), 1e-3, 0.1, 1.0

CASES = {
    "gpt2": dict(positions="learned", norm="layernorm", activation="gelu", bias=True, tied=True, kv_heads=4, documents=False),
    "llama": dict(positions="rotary", norm="rmsnorm", activation="swiglu", bias=False, tied=False, kv_heads=2, documents=False),
    "documents": dict(positions="rotary", norm="rmsnorm", activation="swiglu", bias=False, tied=False, kv_heads=2, documents=True),
    "gpt2_documents": dict(positions="learned", norm="layernorm", activation="gelu_erf", bias=True, tied=True, kv_heads=4, documents=True),
}
LAYERS, HIDDEN, HEADS, HEAD_DIM, FFN = 2, 32, 4, 8, 64


def shapes(case):
    """Names and shapes of the parameters, as Selenite names them; a matrix is [outputs, inputs]."""
    kv = case["kv_heads"] * HEAD_DIM
    out = {"embedding.tokens.weight": (PADDED, HIDDEN)}
    if case["positions"] == "learned":
        out["embedding.positions.weight"] = (SEQUENCE, HIDDEN)

    def linear(name, outputs, inputs):
        out[name + ".weight"] = (outputs, inputs)
        if case["bias"]:
            out[name + ".bias"] = (outputs,)

    def norm(name):
        out[name + ".weight"] = (HIDDEN,)
        if case["norm"] == "layernorm" and case["bias"]:
            out[name + ".bias"] = (HIDDEN,)

    for i in range(LAYERS):
        a, m = f"layers.{i}.attention", f"layers.{i}.mlp"
        norm(a + ".norm")
        linear(a + ".q", HIDDEN, HIDDEN), linear(a + ".k", kv, HIDDEN), linear(a + ".v", kv, HIDDEN)
        linear(a + ".projection", HIDDEN, HIDDEN)
        norm(m + ".norm")
        if case["activation"] == "swiglu":
            linear(m + ".gate", FFN, HIDDEN)
        linear(m + ".up", FFN, HIDDEN), linear(m + ".down", HIDDEN, FFN)
    norm("final_norm")
    if not case["tied"]:
        out["head.weight"] = (PADDED, HIDDEN)
    return out


def draw_weights(case, seed):
    """Large enough that every part of the model matters to the loss."""
    rng = np.random.default_rng(seed)
    weights = {}
    for name, shape in shapes(case).items():
        w = rng.normal(0, 0.15, shape)
        weights[name] = (w + 1 if "norm.weight" in name else w).astype(np.float32)
    return weights


def draw_samples(case, seed):
    """[steps, batch, 5, sequence]: a walk over the vocabulary that can be learned, with some labels that do not count."""
    rng = np.random.default_rng(seed)
    data = np.zeros((STEPS, BATCH, 5, SEQUENCE), np.int32)
    for sample in data.reshape(-1, 5, SEQUENCE):
        steps = rng.choice([1, 1, 1, 5, 17], SEQUENCE)
        walk = (rng.integers(VOCAB) + np.concatenate([[0], np.cumsum(steps)])) % VOCAB
        sample[0], sample[1] = walk[:-1], walk[1:]
        sample[2] = rng.random(SEQUENCE) > 0.15
        starts = np.zeros(SEQUENCE, np.int32)
        if case["documents"]:
            cuts = np.sort(rng.choice(np.arange(1, SEQUENCE), rng.integers(0, 4), replace=False))
            for cut in cuts:
                starts[cut:] = cut
        sample[3] = np.arange(SEQUENCE) - starts
        sample[4] = starts
    return data


def rotate(x, positions):
    """x [batch, heads, sequence, head_dim]; feature i turns with i + head_dim / 2."""
    half = HEAD_DIM // 2
    frequency = 10000.0 ** (-torch.arange(half, dtype=torch.float64) * 2 / HEAD_DIM)
    angle = (positions[:, None, :, None].to(torch.float64) * frequency).to(x.dtype)
    c, s = torch.cos(angle), torch.sin(angle)
    return torch.cat([x[..., :half] * c - x[..., half:] * s, x[..., half:] * c + x[..., :half] * s], -1)


def forward(case, w, batch):
    """Mean loss over the counted tokens of batch [samples, 5, sequence]."""
    tokens, labels, counted, positions, starts = (torch.as_tensor(batch[:, i], dtype=torch.int64) for i in range(5))

    def norm(name, x):
        if case["norm"] == "layernorm":
            return F.layer_norm(x, (HIDDEN,), w[name + ".weight"], w[name + ".bias"], 1e-5)
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * w[name + ".weight"]

    def linear(name, x):
        return F.linear(x, w[name + ".weight"], w.get(name + ".bias"))

    def heads(x, count):
        return x.view(*x.shape[:2], count, HEAD_DIM).transpose(1, 2)

    x = F.embedding(tokens, w["embedding.tokens.weight"])
    if case["positions"] == "learned":
        x = x + F.embedding(positions, w["embedding.positions.weight"])
    place = torch.arange(SEQUENCE)
    seen = (place[None, :] <= place[:, None])[None] & (starts[:, :, None] == starts[:, None, :])
    for i in range(LAYERS):
        a, m, kv = f"layers.{i}.attention", f"layers.{i}.mlp", case["kv_heads"]
        h = norm(a + ".norm", x)
        q, k, v = heads(linear(a + ".q", h), HEADS), heads(linear(a + ".k", h), kv), heads(linear(a + ".v", h), kv)
        if case["positions"] == "rotary":
            q, k = rotate(q, positions), rotate(k, positions)
        k, v = k.repeat_interleave(HEADS // kv, 1), v.repeat_interleave(HEADS // kv, 1)
        o = F.scaled_dot_product_attention(q, k, v, attn_mask=seen[:, None])
        x = x + linear(a + ".projection", o.transpose(1, 2).reshape(*x.shape))
        h = norm(m + ".norm", x)
        if case["activation"] == "swiglu":
            h = F.silu(linear(m + ".gate", h)) * linear(m + ".up", h)
        else:
            h = F.gelu(linear(m + ".up", h), approximate="tanh" if case["activation"] == "gelu" else "none")
        x = x + linear(m + ".down", h)
    head = w["embedding.tokens.weight" if case["tied"] else "head.weight"]
    logits = F.linear(norm("final_norm", x), head)[..., :VOCAB]
    losses = F.cross_entropy(logits.reshape(-1, VOCAB), labels.reshape(-1), reduction="none")
    return (losses * counted.reshape(-1)).sum() / counted.sum()


def train(case, weights, data, dtype):
    w = {n: torch.tensor(x, dtype=dtype, requires_grad=True) for n, x in weights.items()}
    groups = [dict(params=[p for p in w.values() if p.dim() == 2], weight_decay=DECAY),
              dict(params=[p for p in w.values() if p.dim() == 1], weight_decay=0.0)]
    optimizer = torch.optim.AdamW(groups, lr=LR, betas=BETAS, eps=EPS)
    losses, norms, gradients = [], [], None
    for batch in data:
        optimizer.zero_grad()
        loss = forward(case, w, batch)
        loss.backward()
        if gradients is None:
            gradients = {n: p.grad.detach().numpy().astype(np.float64) for n, p in w.items()}
        losses.append(loss.item())
        norms.append(float(torch.nn.utils.clip_grad_norm_(list(w.values()), CLIP)))
        optimizer.step()
    return losses, norms, gradients, {n: p.detach().numpy().astype(np.float64) for n, p in w.items()}


def write(name, case, seed):
    weights, data = draw_weights(case, seed), draw_samples(case, seed + 1)
    losses, norms, gradients, final = train(case, weights, data, torch.float64)
    single = train(case, weights, data, torch.float32)
    os.makedirs(name, exist_ok=True)
    lines = ["config " + " ".join([
        f"model.layers={LAYERS} model.hidden={HIDDEN} model.heads={HEADS} model.kv_heads={case['kv_heads']} model.ffn_hidden={FFN}",
        f"model.vocab_size={VOCAB} model.vocab_multiple={PADDED} model.sequence_length={SEQUENCE}",
        f"model.positions={case['positions']} model.norm={case['norm']} model.activation={case['activation']}",
        f"model.bias={str(case['bias']).lower()} model.tied_embeddings={str(case['tied']).lower()}",
        f"data.document_mask={'parts' if case['documents'] else 'none'}"])]
    lines.append(f"train train.steps={STEPS} train.global_batch={BATCH} train.lr={LR} train.min_lr={LR} train.lr_schedule=constant "
                 f"train.beta1={BETAS[0]} train.beta2={BETAS[1]} train.eps={EPS} train.weight_decay={DECAY} train.clip={CLIP}")
    offset, arrays = 0, []
    for kind, tensors in (("weight", weights), ("gradient", gradients), ("final", final)):
        for n, x in tensors.items():
            if kind == "final" and case["documents"]:
                continue
            lines.append(f"{kind} {n} {offset} " + " ".join(map(str, x.shape)))
            arrays.append(np.asarray(x, "<f4").ravel())
            offset += x.size
    lines.append("loss " + " ".join(f"{x:.12g}" for x in losses))
    lines.append("norm " + " ".join(f"{x:.12g}" for x in norms))
    lines.append("single loss %.3g" % max(abs(a / b - 1) for a, b in zip(single[0], losses)))
    lines.append("single gradient %.3g" % max(np.abs(single[2][n] - g).max() / max(np.abs(g).max(), 1e-30) for n, g in gradients.items()
                                              if np.abs(g).max() > 1e-9))
    lines.append("single final %.3g" % max(np.abs(single[3][n] - f).max() / (LR * STEPS) for n, f in final.items()))
    with open(f"{name}/manifest.txt", "w") as f:
        f.write("\n".join(lines) + "\n")
    np.concatenate(arrays).tofile(f"{name}/values.f32")
    data.astype("<i4").tofile(f"{name}/tokens.i32")
    print(name, losses[0], losses[-1], *lines[-3:], sep="\n  ")


if __name__ == "__main__":
    os.chdir(os.path.dirname(os.path.abspath(__file__)))
    torch.set_num_threads(1)
    for number, (case_name, settings) in enumerate(CASES.items()):
        write(case_name, settings, 100 * number)
