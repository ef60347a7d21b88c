#!/usr/bin/env python3
"""Greedy tokens of the demonstration model in bfloat16 as PyTorch computes them, rounding where
transformers does: every layer's output, the residual, queries and keys, the experts' weights.

usage: bf16_reference.py DEMO_DIR OUT.json      (PyTorch; a GPU if there is one)

Writes for each prompt of DEMO_DIR/cases.json 32 tokens and, for each, the gap between the two best
logits. tests/data/demo/cases_bf16.json was made by it.
"""
import json
import sys

import torch

DTYPES = {"BF16": torch.bfloat16, "F32": torch.float32}


def read_safetensors(path):
    with open(path, "rb") as file:
        header_size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(header_size))
        data = bytearray(file.read())
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        dtype = DTYPES[entry["dtype"]]
        tensors[name] = torch.frombuffer(data[begin:end], dtype=dtype).reshape(entry["shape"])
    return tensors


def rms_norm(x, weight, eps):
    wide = x.float()
    wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
    return weight * wide.to(x.dtype)


class Model:
    def __init__(self, folder, device):
        self.config = json.load(open(folder + "/config.json"))
        tensors = read_safetensors(folder + "/model.safetensors")
        self.weights = {k: v.to(device, torch.bfloat16) for k, v in tensors.items()}
        self.device = device

    def rotate(self, x, positions):
        dim = self.config["head_dim"]
        theta = self.config.get("rope_theta") or self.config["rope_parameters"]["rope_theta"]
        inverse = 1.0 / theta ** (torch.arange(0, dim, 2, device=self.device).float() / dim)
        angles = positions.float()[:, None] * inverse[None, :]
        angles = torch.cat((angles, angles), -1)
        cos, sin = angles.cos().to(x.dtype)[:, None], angles.sin().to(x.dtype)[:, None]
        halves = torch.cat((-x[..., dim // 2:], x[..., :dim // 2]), -1)
        return x * cos + halves * sin

    def attention(self, prefix, x):
        config, w = self.config, self.weights
        tokens, dim = x.shape[0], config["head_dim"]
        positions = torch.arange(tokens, device=self.device)
        q = (x @ w[prefix + "q_proj.weight"].T).view(tokens, -1, dim)
        k = (x @ w[prefix + "k_proj.weight"].T).view(tokens, -1, dim)
        v = (x @ w[prefix + "v_proj.weight"].T).view(tokens, -1, dim)
        eps = config["rms_norm_eps"]
        q = self.rotate(rms_norm(q, w[prefix + "q_norm.weight"], eps), positions)
        k = self.rotate(rms_norm(k, w[prefix + "k_norm.weight"], eps), positions)
        groups = q.shape[1] // k.shape[1]
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        out = torch.nn.functional.scaled_dot_product_attention(
            q.transpose(0, 1)[None], k.transpose(0, 1)[None], v.transpose(0, 1)[None],
            is_causal=True, scale=dim ** -0.5)[0]
        return out.transpose(0, 1).reshape(tokens, -1) @ w[prefix + "o_proj.weight"].T

    def experts(self, prefix, x):
        config, w = self.config, self.weights
        logits = x @ w[prefix + "gate.weight"].T
        shares = torch.softmax(logits.float(), -1)
        weights, ids = torch.topk(shares, config["num_experts_per_tok"], -1)
        if config["norm_topk_prob"]:
            weights = weights / weights.sum(-1, keepdim=True)
        weights = weights.to(x.dtype)
        y = torch.zeros_like(x)
        for expert in ids.unique().tolist():
            token, place = torch.where(ids == expert)
            of = prefix + f"experts.{expert}."
            chosen = x[token]
            inner = torch.nn.functional.silu(chosen @ w[of + "gate_proj.weight"].T) * (
                chosen @ w[of + "up_proj.weight"].T)
            y.index_add_(0, token, (inner @ w[of + "down_proj.weight"].T) *
                         weights[token, place, None])
        return y

    def last_logits(self, ids):
        config, w = self.config, self.weights
        eps = config["rms_norm_eps"]
        h = w["model.embed_tokens.weight"][ids]
        for layer in range(config["num_hidden_layers"]):
            prefix = f"model.layers.{layer}."
            h = h + self.attention(prefix + "self_attn.",
                                   rms_norm(h, w[prefix + "input_layernorm.weight"], eps))
            h = h + self.experts(prefix + "mlp.",
                                 rms_norm(h, w[prefix + "post_attention_layernorm.weight"], eps))
        head = w.get("lm_head.weight", w["model.embed_tokens.weight"])
        return (rms_norm(h[-1:], w["model.norm.weight"], eps) @ head.T).float()[0]


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = Model(sys.argv[1], device)
    rows = []
    with torch.no_grad():
        for case in json.load(open(sys.argv[1] + "/cases.json"))["cases"]:
            ids, gaps = list(case["prompt_ids"]), []
            for _ in range(32):
                logits = model.last_logits(torch.tensor(ids, device=device))
                best = torch.topk(logits, 2)
                gaps.append(round((best.values[0] - best.values[1]).item(), 4))
                ids.append(logits.argmax().item())
            rows.append({"greedy_ids": ids[len(case["prompt_ids"]):], "gaps": gaps})
    with open(sys.argv[2], "w") as out:
        json.dump({"source": "bf16_reference.py, PyTorch " + torch.__version__, "cases": rows}, out)
        out.write("\n")


if __name__ == "__main__":
    main()
