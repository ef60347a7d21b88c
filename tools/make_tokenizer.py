#!/usr/bin/env python3
"""Writes a byte-level BPE tokenizer.json of the size that published models have, made up but always
the same: the vocabulary holds letters, syllables, words with and without a leading blank, runs of one
character, Chinese, Cyrillic and Arabic characters, and every token has its merge.

usage: make_tokenizer.py [--tokens 150000] [--pattern llama3|gpt2] OUT/tokenizer.json
"""
import argparse
import json
import random

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")


def byte_alphabet():
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    alphabet = {byte: chr(byte) for byte in visible}
    hidden = [byte for byte in range(256) if byte not in alphabet]
    alphabet.update({byte: chr(256 + idx) for idx, byte in enumerate(hidden)})
    return [alphabet[byte] for byte in range(256)]


class Merges:
    """A vocabulary that grows by merges of what it holds already."""

    def __init__(self, num_tokens):
        self.alphabet = byte_alphabet()
        self.num_tokens = num_tokens
        self.vocabulary = {token: idx for idx, token in enumerate(self.alphabet)}
        self.pairs = []

    def is_full(self):
        return len(self.vocabulary) >= self.num_tokens

    def add(self, left, right):
        if not self.is_full() and left + right not in self.vocabulary:
            self.vocabulary[left + right] = len(self.vocabulary)
            self.pairs.append([left, right])
        return left + right

    def written(self, text):
        return [self.alphabet[byte] for byte in text.encode()]

    def add_character(self, text):
        """A character of several bytes, byte by byte."""
        token, *rest = self.written(text)
        for byte in rest:
            token = self.add(token, byte)
        return token

    def add_doubled(self, text, times):
        token = "".join(self.written(text))
        for _ in range(times):
            token = self.add(token, token)


def fill(merges, rng):
    for text in " \n\t-=*#_.a":
        merges.add_doubled(text, 6)
    merges.add(*"ab")
    merges.add_doubled("ab", 4)
    digits = "0123456789"
    for tens in digits:
        for ones in digits:
            two = merges.add(tens, ones)
            for last in digits:
                merges.add(two, last)
    scripts = [range(0x4E00, 0x4E00 + 6000), range(0x410, 0x450), range(0x620, 0x64B)]
    characters = [[merges.add_character(chr(c)) for c in script] for script in scripts]
    syllables = [merges.add(c, v) for c in "bcdfghjklmnprstvwz" for v in "aeiou"]
    blank = merges.alphabet[ord(" ")]
    begins = [merges.add(blank, letter) for letter in "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"]
    words = [*syllables, *begins]
    parts = [*syllables, *"aeioubcdfghjklmnprstvwxyz"]
    while not merges.is_full():
        if rng.random() < 0.15:
            script = characters[rng.choice([0, 0, 0, 1, 2])]
            merges.add(rng.choice(script), rng.choice(script))
            continue
        # Mostly short words grow, as they do in training.
        word = merges.add(words[int(len(words) * rng.random() ** 2)], rng.choice(parts))
        if len(word) < 12:
            words.append(word)


def document(merges, pattern):
    special = len(merges.vocabulary)
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    names = ["<|begin_of_text|>", "<|end_of_text|>"]
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [
            {"id": special + idx, "content": name, "single_word": False, "lstrip": False,
             "rstrip": False, "normalized": False, "special": True} for idx, name in enumerate(names)],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                  "ignore_merges": False, "vocab": merges.vocabulary, "merges": merges.pairs},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--tokens", type=int, default=150_000)
    parser.add_argument("--pattern", choices=["llama3", "gpt2"], default="llama3")
    parser.add_argument("out")
    arguments = parser.parse_args()
    merges = Merges(arguments.tokens)
    fill(merges, random.Random(2024))
    pattern = LLAMA3 if arguments.pattern == "llama3" else GPT2
    with open(arguments.out, "w", encoding="utf-8") as file:
        json.dump(document(merges, pattern), file, ensure_ascii=False, indent=2)


if __name__ == "__main__":
    main()
