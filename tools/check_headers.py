#!/usr/bin/env python3
"""Checks that every header under src/ and kernels/ can be included alone.

A header whose .cpp includes it first is proven by the build; that order is checked here. The others are
compiled alone, with the flags of compile_commands.json.

usage: check_headers.py PROJECT_DIR BUILD_DIR
"""
import json
import pathlib
import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor


def first_include(source: pathlib.Path):
    for line in source.read_text().splitlines():
        found = re.match(r'\s*#\s*include\s*["<]([^">]+)[">]', line)
        if found:
            return found.group(1)
    return None


def flags_by_folder(build: pathlib.Path):
    flags = {}
    for entry in json.loads((build / "compile_commands.json").read_text()):
        words = [w for w in shlex.split(entry["command"]) if re.match(r"-(I|isystem|std|D|f|m)|/usr", w)]
        flags[pathlib.Path(entry["file"]).parent] = [w for w in words if not w.endswith(("c++", "ccache"))]
    return flags


def main():
    root, build = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    flags = flags_by_folder(build)
    faults, alone = [], []
    for header in sorted([*(root / "src").rglob("*.h"), *(root / "kernels").rglob("*.h")]):
        name = str(header.relative_to(root / "src" if "src" in header.relative_to(root).parts[:1] else root))
        source = header.with_suffix(".cpp")
        if source.exists():
            if first_include(source) != name:
                faults.append(f"{source.relative_to(root)}: its own header {name} is not included first")
        else:
            alone.append(name)
    every_flag = sorted({f for known in flags.values() for f in known if f.startswith("/usr")})
    include = [word for path in every_flag for word in ("-isystem", path)]

    def compile_alone(name):
        done = subprocess.run(
            ["c++", "-std=gnu++20", "-fopenmp", "-fsyntax-only", f"-I{root / 'src'}", f"-I{root}", *include,
             "-x", "c++", "-"], input=f'#include "{name}"\n', capture_output=True, text=True)
        return None if done.returncode == 0 else f"{name} does not compile alone:\n{done.stderr[:500]}"

    with ThreadPoolExecutor(2) as pool:
        faults += [fault for fault in pool.map(compile_alone, alone) if fault]
    print("\n".join(faults) or f"headers: {len(alone)} compiled alone, the others are included first")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
