#!/usr/bin/env python3
"""Turns a GGUF file of a Llama model into a folder as published on the hub: config.json, bfloat16
safetensors (quantised tensors are multiplied out), tokenizer.json and chat template. Needs numpy.

usage: convert_gguf.py MODEL.gguf OUT_DIR

Reads tensors of type F32, F16, BF16, Q4_0, Q4_1 and Q8_0, and byte-level BPE vocabularies with the
pre-tokenizers of PRE_TOKENIZERS. llama.cpp's converter interleaves the two halves of each head's
rows of q and k; that is undone.
"""
import argparse
import json
import os
import struct
import sys

import numpy

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
BLOCK = 32  # elements of a quantised block
CONTROL_TOKEN = 3

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
PRE_TOKENIZERS = {
    "smollm": {"type": "Sequence",
               "pretokenizers": [{"type": "Digits", "individual_digits": True}, BYTE_LEVEL]},
    "gpt-2": BYTE_LEVEL,
}
NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
    "attn_norm.weight": "input_layernorm.weight",
    "attn_q.weight": "self_attn.q_proj.weight",
    "attn_k.weight": "self_attn.k_proj.weight",
    "attn_v.weight": "self_attn.v_proj.weight",
    "attn_output.weight": "self_attn.o_proj.weight",
    "ffn_norm.weight": "post_attention_layernorm.weight",
    "ffn_gate.weight": "mlp.gate_proj.weight",
    "ffn_up.weight": "mlp.up_proj.weight",
    "ffn_down.weight": "mlp.down_proj.weight",
}


class Reader:
    """The values of a GGUF file one after the other, little endian."""

    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, size):
        if self.at + size > len(self.data):
            sys.exit(f"the file ends at byte {len(self.data)}, inside a value of {size} bytes")
        self.at += size
        return self.data[self.at - size:self.at]

    def scalar(self, letter):
        return struct.unpack("<" + letter, self.take(struct.calcsize("<" + letter)))[0]

    def string(self):
        return bytes(self.take(self.scalar("Q"))).decode()

    def value(self, kind):
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            element, count = self.scalar("I"), self.scalar("Q")
            return [self.value(element) for _ in range(count)]
        if kind not in SCALARS:
            sys.exit(f"byte {self.at}: a value of unknown type {kind}")
        return self.scalar(SCALARS[kind])


def floats(data, shape):
    return data.view("<f4").reshape(shape)


def halves(data, shape):
    return data.view("<f2").astype(numpy.float32).reshape(shape)


def bfloats(data, shape):
    return (data.view("<u2").astype(numpy.uint32) << 16).view(numpy.float32).reshape(shape)


def nibbles(data):
    """[blocks, 16] bytes -> [blocks, 32]: the low halves of all bytes, then the high ones."""
    return numpy.concatenate([data & 15, data >> 4], axis=1).astype(numpy.float32)


def half_column(blocks, begin):
    return blocks[:, begin:begin + 2].copy().view("<f2").astype(numpy.float32)


def q4_0(data, shape):
    blocks = data.reshape(-1, 18)
    return (half_column(blocks, 0) * (nibbles(blocks[:, 2:]) - 8)).reshape(shape)


def q4_1(data, shape):
    blocks = data.reshape(-1, 20)
    values = half_column(blocks, 0) * nibbles(blocks[:, 4:]) + half_column(blocks, 2)
    return values.reshape(shape)


def q8_0(data, shape):
    blocks = data.reshape(-1, 34)
    values = half_column(blocks, 0) * blocks[:, 2:].view(numpy.int8).astype(numpy.float32)
    return values.reshape(shape)


# Type number -> its name, bytes of so many elements, and how they become float32.
TENSOR_TYPES = {0: ("F32", 4, 1, floats), 1: ("F16", 2, 1, halves), 2: ("Q4_0", 18, BLOCK, q4_0),
                3: ("Q4_1", 20, BLOCK, q4_1), 8: ("Q8_0", 34, BLOCK, q8_0),
                30: ("BF16", 2, 1, bfloats)}


def read_gguf(path):
    """The metadata, and the tensors in float32 by llama.cpp's names."""
    data = numpy.memmap(path, dtype=numpy.uint8, mode="r")
    reader = Reader(data)
    if bytes(reader.take(4)) != b"GGUF":
        sys.exit(f"{path}: no GGUF file")
    version, num_tensors, num_values = reader.scalar("I"), reader.scalar("Q"), reader.scalar("Q")
    if version not in (2, 3):
        sys.exit(f"{path}: GGUF version {version}, expected 2 or 3")
    metadata = {}
    for _ in range(num_values):
        key = reader.string()
        metadata[key] = reader.value(reader.scalar("I"))
    infos = []
    for _ in range(num_tensors):
        name, num_dims = reader.string(), reader.scalar("I")
        shape = [reader.scalar("Q") for _ in range(num_dims)][::-1]  # the innermost comes first
        infos.append((name, shape, reader.scalar("I"), reader.scalar("Q")))
    alignment = metadata.get("general.alignment", 32)
    begin = -(-reader.at // alignment) * alignment
    return metadata, {info[0]: read_tensor(data, begin, *info) for info in infos}


def read_tensor(data, begin, name, shape, kind, offset):
    if kind not in TENSOR_TYPES:
        known = ", ".join(each[0] for each in TENSOR_TYPES.values())
        sys.exit(f"tensor {name} has type number {kind}, expected one of {known}")
    _, block_bytes, block, convert = TENSOR_TYPES[kind]
    size = int(numpy.prod(shape)) // block * block_bytes
    if begin + offset + size > len(data):
        sys.exit(f"tensor {name} ends behind the end of the file")
    return convert(numpy.array(data[begin + offset:begin + offset + size]), shape)


def apart(rows, num_heads):
    """Rows 0, 1, 2, 3, ... of a head were i and i + half in turn; back to first and second half."""
    half = rows.shape[0] // num_heads // 2
    return rows.reshape(num_heads, half, 2, -1).swapaxes(1, 2).reshape(rows.shape)


def to_bfloat16(values):
    """Rounded to nearest, ties to even; the values are finite."""
    bits = numpy.ascontiguousarray(values, dtype=numpy.float32).view(numpy.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(numpy.uint16)


def published_name(name):
    if not name.startswith("blk."):
        return NAMES.get(name)
    _, layer, rest = name.split(".", 2)
    return f"model.layers.{layer}.{NAMES[rest]}" if rest in NAMES else None


def convert_tensors(metadata, tensors):
    heads = {"attn_q.weight": metadata["llama.attention.head_count"],
             "attn_k.weight": metadata["llama.attention.head_count_kv"]}
    converted = {}
    for name, values in tensors.items():
        wanted = published_name(name)
        if wanted is None:
            sys.exit(f"tensor {name} is none of a Llama model's")
        num_heads = heads.get(name.split(".", 2)[-1])
        converted[wanted] = to_bfloat16(apart(values, num_heads) if num_heads else values)
    return converted


def write_safetensors(path, tensors):
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, values in tensors.items():
        header[name] = {"dtype": "BF16", "shape": list(values.shape),
                        "data_offsets": [at, at + values.nbytes]}
        at += values.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for values in tensors.values():
            file.write(values.tobytes())


def model_config(metadata, has_head):
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": metadata["llama.embedding_length"],
        "intermediate_size": metadata["llama.feed_forward_length"],
        "num_hidden_layers": metadata["llama.block_count"],
        "num_attention_heads": metadata["llama.attention.head_count"],
        "num_key_value_heads": metadata["llama.attention.head_count_kv"],
        "max_position_embeddings": metadata["llama.context_length"],
        "rms_norm_eps": round(metadata["llama.attention.layer_norm_rms_epsilon"], 12),
        "rope_theta": metadata.get("llama.rope.freq_base", 10000.0),
        "vocab_size": len(metadata["tokenizer.ggml.tokens"]),
        "tie_word_embeddings": not has_head,
        "torch_dtype": "bfloat16",
        "bos_token_id": metadata.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": metadata.get("tokenizer.ggml.eos_token_id"),
    }


def tokenizer(metadata):
    if metadata["tokenizer.ggml.model"] != "gpt2":
        sys.exit(f"tokenizer.ggml.model is {metadata['tokenizer.ggml.model']}, expected gpt2")
    pattern = metadata.get("tokenizer.ggml.pre", "gpt-2")
    if pattern not in PRE_TOKENIZERS:
        sys.exit(f"tokenizer.ggml.pre is {pattern}, expected one of {', '.join(PRE_TOKENIZERS)}")
    tokens = metadata["tokenizer.ggml.tokens"]
    types = metadata["tokenizer.ggml.token_type"]
    added = [{"id": idx, "content": token, "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": True}
             for idx, token in enumerate(tokens) if types[idx] == CONTROL_TOKEN]
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": None, "pre_tokenizer": PRE_TOKENIZERS[pattern], "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True,
                    "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None,
                  "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {token: idx for idx, token in enumerate(tokens)},
                  "merges": [merge.split(" ") for merge in metadata["tokenizer.ggml.merges"]]},
    }


def tokenizer_config(metadata):
    tokens = metadata["tokenizer.ggml.tokens"]
    config = {"clean_up_tokenization_spaces": False}
    for name in ("bos", "eos"):
        if f"tokenizer.ggml.{name}_token_id" in metadata:
            config[f"{name}_token"] = tokens[metadata[f"tokenizer.ggml.{name}_token_id"]]
    if "tokenizer.chat_template" in metadata:
        config["chat_template"] = metadata["tokenizer.chat_template"]
    return config


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="the GGUF file")
    parser.add_argument("out", help="the folder to write")
    arguments = parser.parse_args()
    metadata, tensors = read_gguf(arguments.model)
    if metadata.get("general.architecture") != "llama":
        sys.exit(f"general.architecture is {metadata.get('general.architecture')}, expected llama")
    os.makedirs(arguments.out, exist_ok=True)
    files = {"config.json": model_config(metadata, "output.weight" in tensors),
             "tokenizer.json": tokenizer(metadata),
             "tokenizer_config.json": tokenizer_config(metadata)}
    for name, content in files.items():
        with open(os.path.join(arguments.out, name), "w", encoding="utf-8") as file:
            json.dump(content, file, ensure_ascii=False, indent=1)
    write_safetensors(os.path.join(arguments.out, "model.safetensors"),
                      convert_tensors(metadata, tensors))


if __name__ == "__main__":
    main()
