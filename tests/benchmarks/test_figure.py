from __future__ import annotations

import pytest
from benchmark_results import result, spread
from matplotlib import color_sequences
from matplotlib.colors import to_rgba

from paddle_focal.benchmarks import figure
from paddle_focal.benchmarks.contenders import CONTENDERS

MAIN = {"case": "batch2", "shape": [403_200, 80]}


def texts(axes):
    return [text.get_text() for text in axes.texts]


def color_of(contender):
    return to_rgba(color_sequences["tab10"][list(CONTENDERS).index(contender)])[:3]


class TestTime:
    @pytest.fixture
    def axes(self):
        rows = [result("ppdet", 800.0, **MAIN), result("native", 40.0, **MAIN)]
        rows += [result("ppdet", 700.0, threads=2, **MAIN), result("native", 20.0, threads=2, **MAIN)]
        rows += [result("memcpy", 5.0), result("native", 10.0, dtype="float16", **MAIN)]
        return figure.draw(rows).axes[0]

    def test_bars(self, axes):
        bars = [(bar.get_width(), round(bar.get_y() + bar.get_height() / 2, 3)) for bar in axes.patches]
        assert bars == [(800.0, -0.2), (40.0, 0.8), (700.0, 0.2), (20.0, 1.2)]
        assert all(0.3 < bar.get_height() < 0.4 for bar in axes.patches)
        assert [bar.get_facecolor()[:3] for bar in axes.patches[:2]] == [color_of("ppdet"), color_of("native")]
        assert [bar.get_alpha() for bar in axes.patches] == pytest.approx([0.725, 0.725, 1, 1])

    def test_whiskers_reach_from_percentile_to_percentile(self, axes):
        (first, *_) = (container for container in axes.containers if hasattr(container, "has_xerr"))
        ((left, right),) = [sorted(x for x, _ in segment) for segment in first[2][0].get_segments()]
        assert (left, right) == pytest.approx((spread(800.0).p20, spread(800.0).p80))

    def test_words(self, axes):
        assert texts(axes) == ["800 ms", "40 ms", "700 ms", "20 ms"]
        assert [text.xy[0] for text in axes.texts] == pytest.approx([960, 48, 840, 24])  # past the whiskers
        assert axes.get_title() == "Time, batch2 [403200, 80], float32"
        assert axes.get_xlabel() == "ms, forward + backward"
        assert axes.get_xscale() == "log"
        assert [label.get_text() for label in axes.get_yticklabels()] == ["ppdet", "native"]
        assert list(axes.get_yticks()) == [0, 1]
        assert axes.yaxis_inverted()
        legend = axes.get_legend()
        assert [text.get_text() for text in legend.get_texts()] == ["1 thread", "2 threads"]
        assert [patch.get_alpha() for patch in legend.get_patches()] == pytest.approx([0.725, 1])

    def test_there_is_room_for_the_numbers(self, axes):
        low, high = axes.get_xlim()
        assert low < 18
        assert high > 960 * 2

    def test_the_main_case_where_it_was_measured(self):
        def title(*names):
            return figure.draw([result("native", 2.0, case=name) for name in names]).axes[0].get_title()

        assert title("tiny", "batch2") == "Time, batch2 [4842, 10], float32"
        assert title("tiny", "batch1") == "Time, tiny [4842, 10], float32"


class TestSweep:
    def test_time_of_one_logit(self):
        sizes = {"sweep1e4": [125, 80], "sweep1e3": [12, 80]}
        rows = [
            result(name, scale * milliseconds, case=case, shape=sizes[case], threads=threads)
            for name, scale in (("native", 1.0), ("memcpy", 0.5))
            for case, milliseconds in (("sweep1e4", 0.2), ("sweep1e3", 0.048))
            for threads in (1, 2)
        ]
        axes = figure.draw([*rows, result("native", 1.0)]).axes[1]
        native, memcpy = axes.lines
        assert list(native.get_xdata()) == [960, 10_000]
        assert list(native.get_ydata()) == pytest.approx([50, 20])  # nanoseconds
        assert list(memcpy.get_ydata()) == pytest.approx([25, 10])
        assert [to_rgba(line.get_color())[:3] for line in axes.lines] == [color_of("native"), color_of("memcpy")]
        assert [text.get_text() for text in axes.get_legend().get_texts()] == ["native", "memcpy"]
        assert axes.get_title() == "Time per logit, threads: 2, float32"
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("logits (80 classes)", "ns per logit")
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")


class TestMemory:
    def test_one_bar_for_all_threads(self):
        rows = [
            result(name, 2.0, threads=threads, peak_extra_mib=mib, peak_extra_per_logits=mib / 2, **MAIN)
            for threads in (1, 2)
            for name, mib in (("ppdet", 32.0), ("native", 2.0))
        ]
        rows.append(result("composite", 3.0, **MAIN))  # whose memory was not measured
        axes = figure.draw(rows).axes[2]
        assert [(bar.get_width(), bar.get_y() + bar.get_height() / 2) for bar in axes.patches] == [(32, 0), (2, 1)]
        assert [bar.get_facecolor()[:3] for bar in axes.patches] == [color_of("ppdet"), color_of("native")]
        assert texts(axes) == ["32 MiB, 16.0 x", "2 MiB, 1.0 x"]
        assert [text.xy for text in axes.texts] == [(32, 0), (2, 1)]
        assert axes.get_title() == "Peak memory above the inputs, batch2"
        assert axes.get_xlabel() == "MiB (x: sizes of the logits)"
        assert [label.get_text() for label in axes.get_yticklabels()] == ["ppdet", "native"]
        assert axes.get_xlim() == pytest.approx((0, 51.2))

    def test_next_to_nothing(self):
        rows = [result("native", 2.0, peak_extra_mib=0.0, peak_extra_per_logits=0.0)]
        assert figure.draw(rows).axes[2].get_xlim() == pytest.approx((0, 1.6))


def test_a_panel_says_that_nothing_was_measured():
    for results, said in (([], [True, True, True]), ([result("native", 2.0)], [False, True, True])):
        panels = figure.draw([*results, result("ppdet", skipped="of a test")]).axes
        assert ["not measured" in texts(panel) for panel in panels] == said
