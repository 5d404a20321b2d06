"""What every tool does first: the device, the threads, the configuration's folder and the log."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("ppdet")

from ppdet.core.workspace import AttrDict

from paddle_focal.cli.arguments import boolean
from paddle_focal.engine import runtime


@pytest.fixture
def devices(monkeypatch):
    """The device that Paddle was given, and how often all cores were asked for."""
    seen = SimpleNamespace(chosen=None, all_cores=0)

    def use_all_cores():
        seen.all_cores += 1

    monkeypatch.setattr(runtime.paddle, "set_device", lambda name: setattr(seen, "chosen", name))
    monkeypatch.setattr(runtime, "use_all_cores", use_all_cores)
    monkeypatch.setattr(runtime.paddle, "is_compiled_with_cuda", lambda: True)
    monkeypatch.setattr(runtime.paddle.device.cuda, "device_count", lambda: 1)
    return seen


def config(**used: bool) -> AttrDict:
    return AttrDict(**{f"use_{name}": used.get(name, False) for name in ("gpu", "npu", "xpu", "mlu")})


@pytest.mark.parametrize("device", ["gpu", "npu", "xpu", "mlu"])
def test_the_device_that_is_asked_for(devices, device):
    runtime.set_device(config(**{device: True}))
    assert (devices.chosen, devices.all_cores) == (device, 0)


def test_the_cpu_with_all_its_cores(devices):
    runtime.set_device(config())
    assert (devices.chosen, devices.all_cores) == ("cpu", 1)


@pytest.mark.parametrize(("compiled", "count"), [(True, 0), (False, 1)])
def test_the_cpu_where_there_is_no_gpu(devices, monkeypatch, caplog, compiled, count):
    monkeypatch.setattr(runtime.paddle, "is_compiled_with_cuda", lambda: compiled)
    monkeypatch.setattr(runtime.paddle.device.cuda, "device_count", lambda: count)
    asked = config(gpu=True)
    runtime.set_device(asked)
    assert (devices.chosen, devices.all_cores) == ("cpu", 1)
    assert not asked.use_gpu
    assert caplog.messages == [
        f"use_gpu is true, but Paddle {runtime.paddle.__version__} finds no GPU: running on the CPU. Choose it with "
        "-o use_gpu=false"
    ]


class Machine:
    """What a process finds out about its machine."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self._folder, self.threads = folder, None
        patch.setattr(runtime, "Path", lambda path: folder / Path(path).name)
        patch.setattr(runtime.core, "set_num_threads", lambda count: setattr(self, "threads", count))
        patch.setattr(os, "cpu_count", lambda: 8)
        patch.setattr(os, "environ", {})
        patch.setattr(runtime.paddle.distributed, "get_world_size", lambda: 1)

    def says(self, environ: bytes = b"", cpuinfo: str = "") -> None:
        (self._folder / "environ").write_bytes(environ)
        (self._folder / "cpuinfo").write_text(cpuinfo)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    return Machine(tmp_path, monkeypatch)


def test_one_thread_for_each_core(machine):
    runtime.use_all_cores()  # on a system without /proc
    assert machine.threads == 8
    machine.says(b"HOME=/\0MY_OMP_NUM_THREADS=3\0")
    machine.threads = None
    runtime.use_all_cores()
    assert machine.threads == 8


@pytest.mark.parametrize(("ranks", "threads"), [(2, 4), (3, 2), (16, 1)])
def test_ranks_share_the_cores(machine, monkeypatch, ranks, threads):
    monkeypatch.setattr(runtime.paddle.distributed, "get_world_size", lambda: ranks)
    runtime.use_all_cores()
    assert machine.threads == threads


def test_omp_num_threads_decides(machine):
    machine.says(b"HOME=/\0OMP_NUM_THREADS=3\0")
    runtime.use_all_cores()
    assert machine.threads is None


@pytest.mark.parametrize(
    ("cpuinfo", "before", "after"),
    [
        ("vendor_id : AuthenticAMD\nflags : sse avx2", {}, "5"),
        ("vendor_id : AuthenticAMD\nflags : sse avx2", {"MKL_DEBUG_CPU_TYPE": "4"}, "4"),
        ("vendor_id : AuthenticAMD\nflags : sse", {}, None),
        ("vendor_id : GenuineIntel\nflags : sse avx2", {}, None),
    ],
)
def test_the_fast_path_of_mkl_on_amd(machine, monkeypatch, cpuinfo, before, after):
    machine.says(cpuinfo=cpuinfo)
    monkeypatch.setattr(os, "environ", dict(before))
    runtime.use_all_cores()
    assert os.environ.get("MKL_DEBUG_CPU_TYPE") == after


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("YES", True), ("1", True), ("False", False), ("no", False), ("0", False)]
)
def test_booleans_of_a_command_line(text, value):
    assert boolean(text) is value


@pytest.mark.parametrize(
    ("given", "called"),
    [
        ({}, ["parallel"]),
        ({"fleet": True}, [False]),
        ({"fleet": True, "find_unused_parameters": True}, [True]),
        ({"find_unused_parameters": True}, ["parallel"]),
    ],
)
def test_how_ranks_are_connected(monkeypatch, given, called):
    connected = []
    monkeypatch.setattr(runtime, "init_fleet_env", connected.append)
    monkeypatch.setattr(runtime, "init_parallel_env", lambda: connected.append("parallel"))
    runtime.init_ranks(given)
    assert connected == called


@pytest.mark.parametrize(("mode", "merged"), [("train", [{"epoch": 1}]), ("eval", []), ("test", [])])
def test_the_command_line_goes_before_the_configuration_of_paddleslim(monkeypatch, mode, merged):
    """Of a training; PaddleSlim loads the weights of the others itself."""
    merges, flags = [], SimpleNamespace(slim_config="slim.yml", opt={"epoch": 1})
    monkeypatch.setattr(runtime.config_check, "slim_findings", lambda *given: [])
    monkeypatch.setattr(runtime, "build_slim_model", lambda config, slim, mode: (config, slim, mode))
    monkeypatch.setattr(runtime.workspace, "merge_config", merges.append)
    assert runtime.compress("config", flags, mode) == ("config", "slim.yml", mode)
    assert merges == merged
    assert runtime.compress("config", SimpleNamespace(slim_config=None, opt={}), mode) == "config"
    assert merges == merged


@pytest.fixture
def loading(monkeypatch):
    """What loading a configuration calls, with ppdet's functions replaced."""
    calls = []
    config = AttrDict(epoch=1, save_dir="", filename="run", mine=3)
    registered = {"RetinaNet": AttrDict()}
    monkeypatch.setattr(runtime, "register", lambda: calls.append(("register",)))
    monkeypatch.setattr(runtime.workspace, "get_registered_modules", lambda: registered)
    monkeypatch.setattr(runtime.workspace, "global_config", {"RetinaNet": 0})
    monkeypatch.setattr(runtime.workspace, "load_config", lambda path: calls.append(("load_config", path)) or config)

    def merge_config(options) -> None:
        calls.append(("merge_config", dict(options)))
        config.update(options)

    monkeypatch.setattr(runtime.workspace, "merge_config", merge_config)
    monkeypatch.setattr(runtime, "merge_args", lambda config, flags: calls.append(("merge_args", flags.config)))

    def findings(config, components, given, options=()) -> list[str]:
        calls.append(("findings", components, set(given), set(options)))
        return [f"with {len(options)} options"]

    monkeypatch.setattr(runtime.config_check, "findings", findings)
    monkeypatch.setattr(runtime.config_check, "report", lambda *found: calls.append(("report", *found)))
    monkeypatch.setattr(runtime.config_check, "allow_schedule_alone", lambda _: calls.append(("schedule",)))
    monkeypatch.setattr(runtime.safe_config, "variables", lambda path: {"mine"} if path == "c.yml" else set())
    monkeypatch.setattr(runtime, "set_device", lambda config: calls.append(("set_device", config.use_gpu)))
    monkeypatch.setattr(runtime, "check_config", lambda config: calls.append(("check_config", dict(config))))
    monkeypatch.setattr(runtime, "check_version", lambda: calls.append(("check_version",)))
    return calls


@pytest.mark.parametrize("where", [None, "elsewhere"])
def test_all_that_loading_a_configuration_does(loading, tmp_path, where):
    options = {
        "save_dir": str(tmp_path / "a"),
        "use_gpu": True,
        "epoch": 2,
        **({"output_eval": where} if where else {}),
    }
    config = runtime.load_config(SimpleNamespace(config="c.yml", opt=options))
    names = {"epoch", "save_dir", "filename"}
    *before, device, check, version = loading
    assert before == [
        ("register",),
        ("load_config", "c.yml"),
        ("findings", ["RetinaNet"], names, set()),
        ("merge_args", "c.yml"),
        ("merge_config", options),
        ("findings", ["RetinaNet"], names, {*options}),
        ("report", [f"with {len(options)} options"], ["with 0 options"]),
        ("schedule",),
    ]
    assert (device, version) == (("set_device", True), ("check_version",))
    assert check[0] == "check_config"
    assert [config[f"use_{name}"] for name in ("gpu", "npu", "xpu", "mlu")] == [True, False, False, False]
    assert config.output_eval == (where or str(tmp_path / "a/run"))
    assert (tmp_path / "a/run").is_dir()
    runtime.load_config(SimpleNamespace(config="c.yml", opt=options))  # into a folder that is there


def test_the_folder_of_the_configuration_that_is_loaded(monkeypatch):
    for config, folder in (({"save_dir": "a", "filename": "b"}, "a/b"), ({"save_dir": "a"}, "."), ({}, ".")):
        monkeypatch.setattr(runtime.workspace, "global_config", AttrDict(**config))
        assert runtime.current_output_folder() == Path(folder)
