"""Several processes that train one model: the same numbers as one process, and nothing lost when
one of them dies.
"""

import runpy
import shlex
import sys
from pathlib import Path
from typing import NoReturn

import numpy as np
import pandas as pd
import pytest
import torch
from forked_scripts import run_script
from images import make_learnable_folder
from test_batches import make_splits
from torch import distributed as dist
from torch import nn
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

import train
from data import Batches
from models import synchronise_batch_norm
from models.syncnorm import SyncBatchNorm
from options import command_line
from runs.folder import Bystander, Run
from training.team import ALONE, Team

WORKER = Path(__file__).parent / "helpers" / "team_worker.py"
PROCESSES = 3
pytestmark = pytest.mark.skipif(
    torch.cuda.is_available(),
    reason="the processes are forked, which a GPU's driver does not allow",
)
# 35 training images in batches of 11, so that the last one leaves a process without images
OPTIONS = (
    "--dataset folder --GPU cpu --resize 16 --gray --backbone conv4 --dim 8 --batch_size 11 --lr"
    " 0.01 --method DR --ema"
    " --dynamic --size_inform --use_val --schedule cosine --weight_decay 0.001 --epochs 2"
    " --warmup 1 --average 0.8 --clip 1 --backbone_lr 0.5 --choose loss"
).split()


def as_torchrun(processes: int) -> NoReturn:
    """Starts this script in so many processes, as torchrun on one machine does: by its agent, which
    ends all when one of them dies. Only that they are forked saves them the time of the imports.
    """
    config = LaunchConfig(
        *(1, 1, processes),
        run_id="test",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.1,
        start_method="fork",
    )
    elastic_launch(config, run_worker)()
    sys.exit()


def run_worker() -> None:
    torch.set_num_threads(1)
    runpy.run_path(str(WORKER), run_name="__main__")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Five classes of ten grey images each."""
    return make_learnable_folder(
        tmp_path_factory.mktemp("images"), ("A/a", "A/b", "A/c/d", "A/c/e", "B"), 10
    )


@pytest.fixture(scope="module")
def launch(images, tmp_path_factory, forked):
    """Trains in some processes; returns exit status, what was said, the run, and its folder of
    digests.
    """

    def call(name: str, processes: int, *flags: str, **environment: str):
        place = tmp_path_factory.getbasetemp() / name
        (place / "digests").mkdir(parents=True, exist_ok=True)
        argv = [*OPTIONS, "--data_dir", str(images), "--record", str(place / "record")]
        ended = run_script(
            forked,
            [WORKER, *argv, *flags],
            place / "said.txt",
            environment={"DIGESTS": str(place / "digests"), **environment},
            prepare=as_torchrun if processes > 1 else None,
            arguments=(processes,),
        )
        run = Run(command_line.parse(argv, "", train.DATASETS)[2])
        return *ended, run, place / "digests"

    return call


@pytest.fixture(scope="module")
def lost(launch):
    """The third of three processes is killed in the second epoch."""
    ended = launch("team", PROCESSES, LOST="2")
    assert not ended[2].finished
    return ended


@pytest.fixture(scope="module")
def team(launch, lost):
    """The same run, continued by three processes."""
    return launch("team", PROCESSES, "--resume")


@pytest.fixture(scope="module")
def alone(launch):
    return launch("alone", 1)


def test_a_lost_process_ends_all_and_leaves_a_state_to_resume(lost, team):
    status, said, _, _ = lost
    assert status != 0
    assert "1 of 2 epochs are saved" in said, said
    advice = said.split("go on with: ")[1].splitlines()[0]
    assert shlex.split(advice)[:3] == ["torchrun", "--nproc_per_node", "3"] and advice.endswith(
        "--resume"
    )
    assert "resumed after epoch 1 of 2" in team[1]


def test_three_processes_give_the_numbers_of_one(team, alone):
    assert team[0] == alone[0] == 0, team[1] + alone[1]
    theirs, ours = alone[2], team[2]
    assert len(theirs.split.query("split == 'train'")) == 35 and len(theirs.epochs) == 2
    for table in ("epochs", "metrics"):
        pd.testing.assert_frame_equal(
            getattr(ours, table), getattr(theirs, table), rtol=1e-9, atol=1e-9
        )
    for name in ("test", "val"):
        expected, found = theirs.arrays(name), ours.arrays(name)
        assert found.keys() == expected.keys()
        assert found["files"].tolist() == expected["files"].tolist()  # every image, once
        for key in ("embeddings", "scores", "prototypes", "class_vectors", "prototype_counts"):
            np.testing.assert_allclose(found[key], expected[key], rtol=1e-5, atol=1e-6, err_msg=key)


def test_averages_and_scale_are_the_same_in_every_process(team):
    digests = [path.read_text() for path in sorted(team[3].iterdir())]
    assert len(digests) == PROCESSES and len(set(digests)) == 1


def test_only_the_first_process_writes_and_speaks(team):
    said, run = team[1], team[2]
    assert said.count("finished after") == 1 and said.count("all measures") == 1
    log = (run.folder / "log.txt").read_text().splitlines()
    assert sum("epoch 2/2" in line for line in log) == 1
    assert run.config["processes"] == PROCESSES


def test_parts_of_a_batch_are_the_batch():
    splits = make_splits()
    options = {"shuffle_seed": 4, "merge_single": True}
    whole = Batches(splits, splits.train, 5, **options)
    parts = [
        Batches(splits, splits.train, 5, part=Team(rank, 3).my_share, **options)
        for rank in range(3)
    ]
    for batch, total, *shares in zip(whole, whole.totals, *parts, strict=True):
        for tensor, *pieces in zip(batch, *shares):
            torch.testing.assert_close(torch.cat(pieces), tensor)
        counts = [len(share[2]) for share in shares]
        assert counts == Team(0, 3).counts(total) and max(counts) - min(counts) <= 1
    assert sum(whole.totals) == len(splits.train)


def test_a_team_of_one_does_nothing_special():
    tensor = torch.arange(3.0)
    ALONE.sum(tensor)
    assert (
        ALONE.first
        and ALONE.counts(5) == [5]
        and ALONE.gather("x") == ["x"]
        and ALONE.on_first(lambda: 7) == 7
    )
    assert (
        ALONE.gather_rows(tensor, 3) is tensor
        and tensor.tolist() == [0, 1, 2]
        and ALONE.launcher == "python"
    )


@pytest.mark.parametrize("total, counts", [(8, [3, 3, 2]), (2, [1, 1, 0]), (0, [0, 0, 0])])
def test_items_are_dealt_out_whole(total, counts):
    parts = [Team(rank, 3).my_share(np.arange(total)) for rank in range(3)]
    assert [len(part) for part in parts] == counts == Team(0, 3).counts(total)
    assert np.concatenate(parts).tolist() == list(range(total))


def test_a_bystander_writes_nothing(tmp_path):
    run = Bystander(tmp_path / "run")
    with run.lock():
        run.log("line")
        run.write_text("log.txt", "text")
        run.write_arrays("test", {})
        run.save_checkpoint("last.pt", {})
        run.clear()
    assert not run.folder.exists()


@pytest.fixture
def group(tmp_path):
    """A process group of this process alone."""
    dist.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1
    )
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 5, 2)])
def test_synchronised_batch_norm_is_batch_norm(group, shape):
    torch.manual_seed(0)
    plain = nn.Sequential(nn.BatchNorm1d(3) if len(shape) == 2 else nn.BatchNorm2d(3)).double()
    other = nn.Sequential(type(plain[0])(3)).double()
    synchronise_batch_norm(other, torch.device("cpu"))
    assert (
        isinstance(other[0], SyncBatchNorm)
        and other.state_dict().keys() == plain.state_dict().keys()
    )
    results = []
    for model in (plain, other):
        torch.manual_seed(1)
        nn.init.normal_(model[0].weight)
        images = torch.randn(shape, dtype=torch.float64, requires_grad=True)
        (model(images) ** 3).sum().backward()
        results.append(
            [images.grad, model[0].weight.grad, *model.state_dict().values(), model.eval()(images)]
        )
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected)


def test_synchronised_batch_norm_refuses_one_value_per_channel(group):
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        SyncBatchNorm(3)(torch.ones(1, 3))
