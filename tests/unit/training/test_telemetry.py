"""What a training tells of itself: where its time went, what it used and cost, and scalars that TensorBoard reads."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fullcircle.core.cost import Prices, Watts
from fullcircle.core.errors import UsageError
from fullcircle.core.settings import Settings
from fullcircle.training.jobs import RankStats, Seconds
from fullcircle.training.telemetry.energy import (
    EnergyMeter,
    EnergyUse,
    energy_before,
    estimate,
    gpu_joules,
    metered,
    save_energy,
)
from fullcircle.training.telemetry.tensorboard import TensorBoardWriter
from fullcircle.training.telemetry.utilisation import PARTS, parts_of, picture, utilisation


def rank(
    number: int = 0, *, wall_s: float = 10.0, device: str = "cpu", host: str = "here", **seconds: float
) -> RankStats:
    return RankStats(
        rank=number,
        host=host,
        device=device,
        wall_s=wall_s,
        cpu_s=wall_s,
        peak_mb=1024.0,
        gpu_peak_mb=0.0,
        samples=1000,
        steps=10,
        seconds=Seconds(**seconds),
        first_step_s=0.5,
    )


def test_the_parts_of_a_process_add_up_to_its_time() -> None:
    one = rank(compute=4.0, data=3.0, communication=1.0, checkpoint=0.5)
    assert parts_of(one) == {"compute": 4.0, "data": 3.0, "communication": 1.0, "checkpoint": 0.5, "other": 1.5}
    found = utilisation([one])
    assert found is not None
    assert set(found.shares) == set(PARTS)
    assert sum(found.shares.values()) == pytest.approx(1.0)
    assert found.samples_per_second == pytest.approx(1000 / 8.5)


def test_parallel_efficiency_is_load_balance_times_communication_efficiency() -> None:
    found = utilisation([rank(0, compute=8.0, communication=1.0), rank(1, compute=4.0, communication=5.0)])
    assert found is not None
    assert found.load_balance == pytest.approx(6 / 8)
    assert found.communication_efficiency == pytest.approx(8 / 9)
    assert found.parallel_efficiency == pytest.approx(6 / 9)
    assert found.samples_per_second == pytest.approx(2000 / 9)


@pytest.mark.parametrize(
    ("use", "begins", "says"),
    [
        ([rank(compute=5.0, data=4.3)], "43% of the time waiting for data", "batch_size"),
        ([rank(compute=7.0, checkpoint=1.5)], "15% of the time writing checkpoints", "checkpoint_every_s"),
        (
            [rank(0, compute=9.0, communication=0.5), rank(1, compute=3.0, communication=6.5, host="there")],
            "Process 0 on here computes 1.5 times as long as the average",
            "equal machines",
        ),
        (
            [rank(0, compute=5.0, communication=4.0), rank(1, compute=5.0, communication=4.0)],
            "40% of the time waiting for other processes",
            "fewer processes",
        ),
        ([rank(compute=2.0)], "80% of the time outside the steps", "fewer validation rows"),
        ([rank(compute=0.2, wall_s=0.3)], "The start took 0.5 s, the training itself 0.3 s", "more hardware"),
        ([rank(compute=9.0, data=0.2)], "90% of the time in forward and backward", "faster"),
    ],
    ids=["data", "checkpoints", "imbalance", "communication", "validation", "start", "busy"],
)
def test_the_sentence_names_what_costs_most_and_what_to_do(use: list[RankStats], begins: str, says: str) -> None:
    found = utilisation(use)
    assert found is not None
    assert found.sentence.startswith(begins)
    assert says in found.sentence


def test_a_training_that_did_no_step_has_no_profile() -> None:
    assert utilisation([]) is None


def test_the_page_is_a_picture_whatever_the_number_of_processes(tmp_path: Path) -> None:
    heights = []
    for size in (1, 2, 40):
        use = [rank(number, compute=5.0 + number / 40, data=1.0) for number in range(size)]
        found = utilisation(use)
        assert found is not None
        made = picture(found, use, tmp_path / f"{size}.png", "flights, torch").read_bytes()
        assert made[:8] == b"\x89PNG\r\n\x1a\n"
        heights.append(int.from_bytes(made[20:24], "big"))
    assert heights[0] < heights[1] < heights[2] < 2000  # 40 bars would not fit: the slowest are shown


def test_the_estimate_is_seconds_times_watts_and_says_so() -> None:
    watts = Watts(cpu_core=10.0, memory_gb=0.5, gpu=100.0)
    energy = estimate(watts, [rank(wall_s=3600.0)], cpu_s=7200.0, wall_s=3600.0)
    assert energy.kwh == pytest.approx((7200 * 10 + 3600 * 0.5) / 3.6e6)
    assert energy.how == "estimate: 10 W a busy core, 0.5 W a GB of memory"
    on_gpu = [rank(wall_s=3600.0, device="cuda:0")]
    assumed = estimate(watts, on_gpu, cpu_s=0.0, wall_s=0.0)
    assert (assumed.gpu_s, assumed.kwh) == (3600.0, pytest.approx(0.1))
    assert assumed.how.endswith("100 W a GPU")
    metered_gpu = estimate(watts, on_gpu, cpu_s=0.0, wall_s=0.0, gpu_joules=3.6e6)
    assert metered_gpu.kwh == pytest.approx(1.0)
    assert metered_gpu.how.endswith("GPUs by their own meter")


def test_the_cost_is_hours_and_energy_times_prices_and_untold_without_any() -> None:
    energy = EnergyUse(cpu_s=7200.0, gpu_s=1800.0, kwh=2.0, how="estimate")
    assert energy.cost(Prices()) is None
    assert energy.cost(Prices(cpu_core_hour=0.05)) == pytest.approx(0.1)
    assert energy.cost(Prices(cpu_core_hour=0.05, gpu_hour=4.0, kwh=0.3)) == pytest.approx(0.1 + 2.0 + 0.6)


def test_a_meter_counts_the_processor_time_of_children_too() -> None:
    meter = EnergyMeter(Watts())
    subprocess.run([sys.executable, "-c", "sum(i * i for i in range(3_000_000))"], check=True)
    energy = meter.read()
    assert energy.cpu_s > 0.05
    assert energy.kwh > 0
    before = os.times()
    assert energy.cpu_s < before.user + before.system + before.children_user + before.children_system


def test_processes_of_other_machines_are_added_and_those_of_this_one_are_not_counted_twice() -> None:
    meter = EnergyMeter(Watts())
    energy = meter.read([rank(host="another", wall_s=1000.0)])
    assert 1000.0 <= energy.cpu_s < 1010.0
    here = socket.gethostname()
    assert EnergyMeter(Watts()).read([rank(host=here, wall_s=1000.0)]).cpu_s < 10.0


def test_what_a_stopped_launch_spent_is_added_to_what_the_next_one_spends(tmp_path: Path) -> None:
    assert energy_before(tmp_path) == EnergyUse()
    save_energy(tmp_path, EnergyUse(cpu_s=5.0, kwh=1.0, how="estimate"))
    with pytest.raises(KeyboardInterrupt), metered(tmp_path, Watts()):
        raise KeyboardInterrupt
    after = energy_before(tmp_path)
    assert after.cpu_s >= 5.0
    assert after.kwh > 1.0
    with metered(tmp_path, Watts()) as meter:
        total = energy_before(tmp_path) + meter.read()
    assert total.kwh > after.kwh


def test_without_a_gpu_nothing_is_said_of_its_energy() -> None:
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
    assert gpu_joules() is None


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("cheap", r"FULLCIRCLE_PRICES must be a JSON object, got 'cheap'"),
        ('{"cpu_hour": 1}', "may have currency, cpu_core_hour, gpu_hour, kwh"),
        ('{"kwh": -1}', "kwh must be a number from 0.0 to 1000000000.0, got -1"),
        ('{"kwh": NaN}', "kwh must be a number from 0.0 to 1000000000.0, got nan"),
        ('{"currency": "euro"}', "currency must be three capital letters, got 'euro'"),
        ("[1]", "may have currency"),
    ],
)
def test_a_price_table_that_does_not_fit_is_refused_in_one_line(value: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Settings.from_env({"FULLCIRCLE_PRICES": value})


def test_prices_and_watts_come_from_the_environment_and_have_defaults() -> None:
    told = Settings.from_env(
        {"FULLCIRCLE_PRICES": '{"currency": "CHF", "kwh": 0.3}', "FULLCIRCLE_WATTS": '{"cpu_core": 7}'}
    )
    assert (told.prices, told.watts) == (Prices(currency="CHF", kwh=0.3), Watts(cpu_core=7))
    assert Settings.from_env({}).prices == Prices()


def test_the_event_files_read_back_as_the_scalars_that_were_written(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    losses = {step: 1 / step for step in range(1, 51)}
    for first, last in ((1, 31), (31, 51)):  # a run that was resumed has a file of each process
        with TensorBoardWriter(tmp_path) as mirror:
            for step in range(first, last):
                mirror.scalars({"step_loss": losses[step], "gradient_norm": 2.0}, step)
    found = EventAccumulator(str(tmp_path))
    found.Reload()
    assert sorted(found.Tags()["scalars"]) == ["gradient_norm", "step_loss"]
    assert {point.step: point.value for point in found.Scalars("step_loss")} == {
        step: float(np.float32(loss)) for step, loss in losses.items()
    }


def test_mirroring_scalars_imports_neither_torch_nor_tensorflow(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from fullcircle.training.telemetry.tensorboard import TensorBoardWriter\n"
        f"with TensorBoardWriter(Path({str(tmp_path)!r})) as mirror: mirror.scalars({{'a': 1.0}}, 1)\n"
        "print(sorted({'torch', 'tensorflow', 'keras'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_codecarbon_measures_where_it_is_installed() -> None:
    pytest.importorskip("codecarbon")  # the extra `energy`
    meter = EnergyMeter(Watts(cpu_core=0.0, memory_gb=0.0))  # the estimate would be nothing
    subprocess.run([sys.executable, "-c", "sum(i * i for i in range(10_000_000))"], check=True)
    energy = meter.read()
    assert energy.how == "codecarbon: this machine, measured offline"
    assert 0 < energy.kwh < 0.01
