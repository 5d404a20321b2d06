"""The count of instructions in machine code, on a kernel that is short enough to be counted by hand."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).resolve().parents[1] / "gpu/instructions.py"
#: A loop over packs in which a warp without foreground jumps over its middle, and a loop over what is left.
DISASSEMBLY = """
.section .text.focal_loss_targets_square_float32,"ax",@progbits
.text.focal_loss_targets_square_float32:
        /*0000*/                   MOV R1, c[0x0][0x28] ;
.L_x_1:
        /*0010*/                   LDG.E.128.CONSTANT R4, [R2.64] ;
        /*0020*/              @P0  BRA `(.L_x_2) ;
        /*0030*/                   MUFU.RCP R5, R5 ;
        /*0040*/                   CALL.REL.NOINC `($division) ;
.L_x_2:
        /*0050*/                   MUFU.EX2 R5, R4 ;
        /*0060*/                   MUFU.EX2 R6, R4 ;
        /*0070*/                   DADD R8, R8, R10 ;
        /*0080*/              @!P1 BRA `(.L_x_1) ;
.L_x_3:
        /*0090*/                   LDG.E R4, [R2.64] ;
        /*00a0*/              @P2  BRA `(.L_x_3) ;
        /*00b0*/                   EXIT ;
"""


@pytest.fixture(scope="module")
def instructions():
    specification = importlib.util.spec_from_file_location(PATH.stem, PATH)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("exps", "packs", "reciprocals", "expected"),
    [(2, 1, 0, (6, 2, 1)), (2, 1, 1, (8, 3, 1)), (0, 0, 0, (2, 0, 0)), (3, 1, 0, None), (0, 2, 0, None)],
)
def test_the_shortest_way(instructions, exps, packs, reciprocals, expected):
    code, labels = instructions.read_kernels(DISASSEMBLY)["focal_loss_targets_square_float32"]
    assert len(code) == 12
    followers = instructions.find_followers(code, labels)
    assert [followers[i] for i in (2, 8, 11)] == [[5, 3], [1, 9], []]
    wanted = {instructions.EXP: exps, instructions.PACK: packs, instructions.RECIPROCAL: reciprocals}
    assert instructions.shortest_round(code, followers, wanted) == expected


@pytest.mark.parametrize(
    ("loop", "expected"), [((960, 64, 64), 0.032), ((960, 320, 0), 0.016), ((960, 0, 1280), 0.016), ((8, 0, 0), 1.0)]
)
def test_the_prediction(instructions, loop, expected):
    """Of 10 multiprocessors: 960 instructions for 8 logits take 10 cycles, 8e9 logits of 4 bytes a second."""
    gpu = instructions.Gpu("GPU", multiprocessors=10, gigahertz=1.0, bandwidth=1e12)
    work = instructions.Work(8, [], bytes=4)
    assert instructions.predict(gpu, instructions.Loop(*loop), work) == pytest.approx(expected)
