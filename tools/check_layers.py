#!/usr/bin/env python3
"""Checks that the folders under src/ include only folders before them, and vendor headers only at home.

usage: check_layers.py [PROJECT_DIR]
"""
import pathlib
import re
import sys

LEVEL = {"base": 1, "config": 2, "io": 2, "kernels": 2, "topology": 3, "tensor": 4, "comm": 5,
         "checkpoint": 6, "ops": 6, "eplb": 6, "text": 6, "layers": 7, "models": 8, "engine": 9,
         "job": 10, "apps": 11}
HOME = {  # vendor header -> folders that may include it
    r"mpi\.h": {"comm"},
    r"nccl\.h": {"comm"},
    r"cuda(_runtime)?(_api)?\.h": {"tensor", "comm", "ops", "kernels"},
    r"hdf5.*\.h": {"io"},
    r"boost/program_options.*": {"config"},
    r"yaml-cpp/.*": {"config"},
    r"dnnl.*": {"kernels"},
    r"pcre2\.h": {"text"},
    r"unicode/.*": {"text"},
}


def faults(root: pathlib.Path):
    files = [p for top in ("src", "kernels") for p in (root / top).rglob("*")
             if p.suffix in {".h", ".cpp", ".cu", ".cuh"}]
    for path in sorted(files):
        parts = path.relative_to(root).parts
        folder = parts[1] if parts[0] == "src" else "kernels"
        for number, line in enumerate(path.read_text().splitlines(), 1):
            found = re.match(r'\s*#\s*include\s*["<]([^">]+)[">]', line)
            if not found:
                continue
            name = found.group(1)
            where = f"{path.relative_to(root)}:{number}: includes {name}"
            other = name.split("/")[0]
            if other in LEVEL and "/" in name and other != folder:
                if folder not in LEVEL:
                    yield f"{where}, but src/{folder} has no level"
                elif LEVEL[other] >= LEVEL[folder]:
                    yield f"{where}: {other} (level {LEVEL[other]}) is not before {folder} (level {LEVEL[folder]})"
            for pattern, homes in HOME.items():
                if re.fullmatch(pattern, name) and folder not in homes:
                    yield f"{where}, which only {', '.join(sorted(homes))} may do"


def main():
    found = list(faults(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".")))
    print("\n".join(found) or "layers: every include points to an earlier folder")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
