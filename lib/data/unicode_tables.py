#!/usr/bin/env python3
"""Writes unicode_tables.cpp: the general category of every code point, as runs, in Unicode 16.0.

Needs the PyPI package regex 2024.11.6, whose tables are Unicode 16.0 (`pip install regex==2024.11.6`). That version of
Unicode is the one of the regular expressions in Hugging Face tokenizers 0.20 to 0.23 and in tiktoken.
Run in this folder: python3 unicode_tables.py > unicode_tables.cpp
"""
import regex

CATEGORIES = ["Cc", "Lu", "Ll", "Lt", "Lm", "Lo", "M", "Nd", "Nl", "No", "P", "S", "Z"]  # 0: C, everything else
assert regex.match(r"\p{Lu}", chr(0x1C89)) and not regex.match(r"\p{Nd}", chr(0x11DE0)), "not Unicode 16.0"
patterns = [regex.compile(r"\p{%s}" % name) for name in CATEGORIES]


def category(code):
    if 0xD800 <= code <= 0xDFFF:
        return 0
    return next((i for i, pattern in enumerate(patterns) if i and pattern.match(chr(code))), 0)


runs = []
for code in range(0x110000):
    now = category(code)
    if runs and runs[-1][1] == now:
        runs[-1][0] += 1
    else:
        runs.append([1, now])
numbers = [str(length * 16 + which) for length, which in runs]
print('#include "data/unicode.hpp"\n')
print("namespace selenite {\n")
print("// Made by unicode_tables.py. Do not edit. Runs of code points from 0 on: length * 16 + Category.")
print("// clang-format off")
print("std::span<std::uint32_t const> unicode_runs() {")
print("  static constexpr std::uint32_t runs[] = {")
line = "   "
for number in numbers:
    if len(line) + len(number) + 2 > 120:
        print(line)
        line = "   "
    line += " " + number + ","
print(line)
print("  };\n  return runs;\n}")
print("// clang-format on\n")
print("}  // namespace selenite")
