"""Instructions that each kernel for GPUs executes for a logit, and the registers it holds, read from its machine code.

    python tests/gpu/instructions.py 80 90

compiles the kernels for these compute capabilities, which takes some minutes, disassembles them and prints a table in
Markdown. It needs nvcc, nvdisasm and no GPU. What is counted is the shortest way round a kernel's loop on which as many
packs are read and exponentials taken as the loop has logits: a warp without foreground, the common one.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import tempfile
from collections import deque
from pathlib import Path
from typing import NamedTuple

SOURCES = Path(__file__).resolve().parents[2] / "paddle_focal/csrc"
FLAGS = ("-std=c++17", "-O3", "-cubin", "--resource-usage", f"-I{SOURCES}", str(SOURCES / "cuda/focal_kernels.cu"))
BYTES = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}


class Gpu(NamedTuple):
    """What the prediction needs of a GPU; of each multiprocessor and cycle, threads that can do something."""

    name: str
    multiprocessors: int
    gigahertz: float
    bandwidth: float  # bytes a second that a copy reaches
    issues: int = 128
    special: int = 16  # exponentials, logarithms and reciprocals
    doubles: int = 64


GPUS = {80: Gpu("A100", 108, 1.41, 1.7e12, doubles=32), 90: Gpu("H100", 132, 1.755, 3.0e12)}
#: Of the instructions that could be issued, those that usually are.
ISSUED = 0.75


class Loop(NamedTuple):
    """The shortest way round the loop of a kernel, with its logits."""

    instructions: int
    special: int
    doubles: int


def compile_kernels(capability: int, folder: Path) -> tuple[str, str]:
    """The disassembly, and what the compiler says of registers."""
    nvcc = shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc"
    cubin = folder / f"{capability}.cubin"
    command = [nvcc, *FLAGS, f"-arch=sm_{capability}", "-o", str(cubin)]
    report = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    nvdisasm = shutil.which("nvdisasm") or "/usr/local/cuda/bin/nvdisasm"
    return subprocess.run([nvdisasm, "-c", str(cubin)], check=True, capture_output=True, text=True).stdout, report


def read_registers(report: str) -> dict[str, tuple[int, int]]:
    """Registers and bytes spilled of each kernel."""
    found = re.finditer(
        r"entry function '(\w+)'.*?(\d+) bytes spill stores.*?Used (\d+) registers", report, flags=re.DOTALL
    )
    return {match[1]: (int(match[3]), int(match[2])) for match in found}


def read_kernels(disassembly: str) -> dict[str, tuple[list[str], dict[str, int]]]:
    """Of each kernel the instructions, and where its labels are."""
    kernels: dict[str, tuple[list[str], dict[str, int]]] = {}
    instructions: list[str] = []
    labels: dict[str, int] = {}
    for line in map(str.strip, disassembly.splitlines()):
        if line.startswith(".section"):
            instructions, labels = [], {}
        elif match := re.match(r"\.text\.(\w+):", line):
            kernels[match[1]] = instructions, labels
        elif match := re.match(r"(\.L_x_\d+):", line):
            labels[match[1]] = len(instructions)
        elif match := re.match(r"/\*[0-9a-f]{4,}\*/\s+(.*?);", line):
            instructions.append(match[1])
    return kernels


def find_followers(instructions: list[str], labels: dict[str, int]) -> list[list[int]]:
    """Where each instruction may lead to."""
    followers = []
    for i, instruction in enumerate(instructions):
        targets = [labels[name] for name in re.findall(r"\.L_x_\d+", instruction) if "BSSY" not in instruction]
        jumps = re.search(r"\b(BRA|BRX)\b", instruction)
        if not jumps:
            targets = []
        if not jumps and "EXIT" in instruction and not instruction.startswith("@"):
            followers.append([])
        elif jumps and not instruction.startswith("@"):
            followers.append(targets)
        else:
            followers.append([*targets, i + 1])
    return followers


def shortest_round(instructions: list[str], followers: list[list[int]], wanted: dict[str, int]) -> Loop | None:
    """The shortest way round any loop that has so many instructions of each pattern."""
    matches = [tuple(bool(re.search(pattern, each)) for pattern in wanted) for each in instructions]
    heads = {target for i, targets in enumerate(followers) for target in targets if target <= i}
    ways = [_way_round(followers, matches, tuple(wanted.values()), head) for head in heads]
    return min((_count([instructions[i] for i in way]) for way in ways if way), default=None)


def _way_round(
    followers: list[list[int]], matches: list[tuple[bool, ...]], wanted: tuple[int, ...], head: int
) -> list[int] | None:
    last = max(i for i, targets in enumerate(followers) if head in targets)
    start = (head, (0,) * len(wanted))
    before: dict[tuple, tuple | None] = {start: None}
    waiting = deque([start])
    while waiting:
        state = i, seen = waiting.popleft()
        seen = tuple(min(w, s + m) for w, s, m in zip(wanted, seen, matches[i]))
        for follower in followers[i]:
            if follower == head and seen == wanted:
                way = []
                while state:
                    way.append(state[0])
                    state = before[state]
                return way
            if head < follower <= last and (follower, seen) not in before:
                before[follower, seen] = state
                waiting.append((follower, seen))
    return None


def _count(way: list[str]) -> Loop:
    doubles = sum(bool(re.search(r"\bD(ADD|MUL|FMA|SETP)", each)) for each in way)
    return Loop(len(way), sum("MUFU" in each for each in way), doubles)


class Work(NamedTuple):
    """What a kernel does in its loops, one after the other: so many logits in each, with these instructions."""

    logits: int
    loops: list[dict[str, int]]
    bytes: int  # of a logit, and of what is read or written beside it


LOAD, PACK, STORE = r"\bLDG?\.", r"\bLDG\.E\.128", r"\bSTG?\."
EXP, RECIPROCAL, PRODUCT, DOUBLE = r"MUFU\.EX2", r"MUFU\.RCP", r"\bFFMA", r"\bDFMA"


def describe(kernel: str) -> Work | None:
    """None where the work depends on more than the logits."""
    if kernel in ("focal_best_overlaps", "focal_label_anchors"):
        return Work(1, [{RECIPROCAL: 1}], 0)  # of a pair of a box and an anchor
    match = re.fullmatch(r"focal_(softmax_)?(loss|gradient)_(?:(\w+?)_)?(b?float\d+)", kernel)
    if not match:
        return None
    is_softmax, result, kind, dtype = match.groups()
    size, has_exps, is_gradient = BYTES[dtype], dtype != "float64", result == "gradient"
    moved = size * (1 + is_gradient)
    if is_softmax and kind and "soft" in kind:  # class by class, and with 20 products of a loss at the least
        exps, loss = ({EXP: 1}, {PRODUCT: 20}) if has_exps else ({DOUBLE: 10}, {DOUBLE: 20})
        return Work(1, [{LOAD: 1}, exps, loss, *([{STORE: 1, **loss}] * is_gradient)], moved + size)
    if is_softmax:
        again = {LOAD: 4} if kind == "large" else {}
        exps = {EXP: 4} if has_exps else {DOUBLE: 40}  # of four polynomials
        loops = [{LOAD: 4}, {**exps, **again}, *([{STORE: 4, **(exps if again else {}), **again}] * is_gradient)]
        return Work(4, loops, moved)
    if kind == "any":
        return Work(4, [{LOAD: 8, EXP: 4 * has_exps}], moved)
    logits = 8 if has_exps else 4
    exps = logits * has_exps * (2 if kind.endswith("_power") else 1)
    target = 0
    if "targets" in kind or "heatmap" in kind:
        target = 4 if kind.startswith("float_") else size
    return Work(logits, [{EXP: exps, PACK: logits * (size + target) // 16}], moved + target)


def predict(gpu: Gpu, loop: Loop, work: Work) -> float:
    """Share of a copy's bandwidth: below 1 where instructions take longer than memory."""
    cycles = max(loop.instructions / gpu.issues / ISSUED, loop.special / gpu.special, loop.doubles / gpu.doubles)
    computing = cycles / work.logits / gpu.multiprocessors / gpu.gigahertz / 1e9
    return min(1.0, work.bytes / gpu.bandwidth / computing)


def measure(capability: int) -> dict[str, tuple[str, str, str]]:
    """Of each kernel instructions a logit, registers, and the share of a copy's bandwidth."""
    with tempfile.TemporaryDirectory() as folder:
        disassembly, report = compile_kernels(capability, Path(folder))
    registers, found = read_registers(report), {}
    for kernel, (instructions, labels) in read_kernels(disassembly).items():
        held, spilled = registers[kernel]
        counted, share = "", ""
        if work := describe(kernel):
            followers = find_followers(instructions, labels)
            rounds = [shortest_round(instructions, followers, wanted) for wanted in work.loops]
            loop = Loop(*map(sum, zip(*rounds)))
            counted = f"{loop.instructions / work.logits:.1f}"
            share = f"{predict(GPUS[capability], loop, work):.0%}" if work.bytes else ""
        found[kernel] = counted, f"{held}, {spilled} bytes spilled" if spilled else str(held), share
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("capabilities", nargs="+", type=int, choices=GPUS, metavar="CAPABILITY", help="80 or 90")
    capabilities = parser.parse_args().capabilities
    found = [measure(capability) for capability in capabilities]
    titles = [f"sm_{number} | registers | {GPUS[number].name}" for number in capabilities]
    print("| kernel | dtype |", " | ".join(titles), "|")
    print("|---|---|" + "---|---|---|" * len(titles))
    for kernel in sorted(found[0]):
        name, dtype = re.fullmatch(r"focal_(\w+?)(?:_(b?float\d+))?", kernel).groups()
        print("|", " | ".join([name, dtype or "", *(cell for each in found for cell in each[kernel])]), "|")


if __name__ == "__main__":
    main()
