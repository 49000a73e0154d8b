"""Nothing that trains asks where its tensors are: on torch's device without memory, on a GPU where
there is one, and in two processes at once.
"""

import itertools
import tracemalloc

import pytest
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode
from trees import TREE

from benchmarks.losses import random_tree
from hierarchies.levels import levels
from losses import LOSSES, build_loss
from losses.penalties import Penalties
from models import HEADS as METHODS
from models import HeadOptions, build_head
from models.backbones import build_backbone
from models.classifier import Classifier

DIM, BATCH = 5, 8
HEADS = [
    ("softmax", {}),
    *itertools.product(
        ("normface", "DR"), ({"distance": "euc"}, {"distance": "arccos", "proxies": "ema"})
    ),
    ("DR", {"dynamic": True}),
    ("DR", {"distance": "arccos", "proxies": "mds"}),
    ("normface", {"share_parents": True}),
    ("conditional", {}),
    ("levels", {}),
    ("hiercos", {"own": {"transform_blocks": 0}}),
]
COEFFICIENTS = {"hr": 0.1, "hr_gamma": 0.1, "l2_sp": 0.1, "weight_decay": 0.1}


def make_head(method, options, num_classes=7):
    fixed = torch.randn(num_classes, DIM) if options.get("proxies") == "mds" else None
    prior = torch.full((num_classes,), 1 / num_classes)
    dim = METHODS[method].fixed_dim(TREE) or DIM
    options = {"fixed": fixed, "prior": prior, "hierarchy": TREE, **options}
    return build_head(method, num_classes, HeadOptions(dim, **options))


def kind(name):
    return LOSSES["soft_labels" if name == "urbani" else name]


def make_loss(name, method, options):
    """The loss of that name, or the other variant of soft labels, on a head."""
    offered = METHODS[method].offered(options)
    if name == "urbani":
        return build_loss("soft_labels", TREE, offered, soft_labels_variant="urbani")
    return build_loss(name, TREE, offered)


def compute(loss, head, embeddings, targets):
    """The loss of what it reads of the head."""
    found = head.read(embeddings, dict.fromkeys(loss.inputs))
    return loss(*(found[name] for name in loss.inputs), targets)


def run_all(device):
    """Forward, backward and updates of every head under every loss, on a device; the losses."""
    values = {}
    for i, name in cases():
        torch.manual_seed(0)
        method, options = HEADS[i]
        loss = make_loss(name, method, options)
        head = make_head(method, options).to(device)
        trunk = nn.Linear(4, head.weight.shape[1]).to(device)
        loss = loss.to(device)
        inputs = torch.randn(BATCH, 4).to(device)
        targets = (torch.arange(BATCH) % 7).to(device)
        embeddings = trunk(inputs)
        value = compute(loss, head, embeddings, targets)
        value.backward()
        head.update_after_step(embeddings.detach(), targets)
        assert value.device.type == trunk.weight.grad.device.type == torch.device(device).type
        values[method, str(options), name] = value.detach()
    return values


@pytest.mark.filterwarnings("ignore:Casting complex")
def test_heads_losses_and_updates_ask_for_no_memory_that_is_elsewhere():
    values = run_all("meta")  # a tensor with memory among them, or a look at a value, would raise
    assert {name for *_, name in values} == {*LOSSES, "urbani"}


def test_a_network_and_its_penalties_run_without_memory():
    for backbone in ("conv4", "resnet18"):
        network = build_backbone(
            backbone, channels=3, dim=DIM, pretrained=False, image_size=(32, 32)
        )
        model = Classifier(network, make_head("DR", {}), size_inform=True).to("meta")
        penalties = Penalties(COEFFICIENTS, TREE, model, model.head, model.fresh_parts())
        images = torch.zeros(4, 3, 32, 32, dtype=torch.uint8, device="meta")
        scores = model.head(model(images, torch.ones(4, 2, device="meta")))
        terms = penalties.to("meta")(model, model.head.weight)
        total = build_loss("hxe", TREE).to("meta")(
            scores, torch.zeros(4, dtype=torch.int64, device="meta")
        )
        (total + sum(terms.values())).backward()
        assert set(terms) == set(COEFFICIENTS) and scores.shape == (4, 7)
        assert all(p.grad.device.type == "meta" for p in model.parameters())


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_numbers_of_the_cpu():
    here, there = run_all("cpu"), run_all("cuda")
    for key, value in here.items():
        torch.testing.assert_close(there[key].cpu(), value, rtol=1e-4, atol=1e-6, msg=str(key))


def _share(rank, place, results):
    """One of two processes: its half of each batch."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{place}", rank=rank, world_size=2)
    mine = slice(rank * BATCH // 2, (rank + 1) * BATCH // 2)
    found = [one_case(case, mine, shared_gradients) for case in separate_cases()]
    if rank == 0:
        torch.save(found, results)
    distributed.destroy_process_group()


def cases(usual=("ce", "hierarchical")):
    """(number of the head, name of the loss): every head under the usual losses, and every other
    loss under the first head that offers what it reads.
    """
    found, rest = [], [name for name in LOSSES if name not in usual] + ["urbani"]
    for i, (method, options) in enumerate(HEADS):
        offered = METHODS[method].offered(options)
        chosen = [name for name in rest if kind(name).on(offered) is not None]
        found += [(i, name) for name in (*usual, *chosen)]
        rest = [name for name in rest if name not in chosen]
    assert not rest
    return found


def separate_cases():
    return [case for case in cases() if kind(case[1]).separate]


class Step(nn.Module):
    """From inputs to a loss, so that all that trains is in one module."""

    def __init__(self, method, options, name):
        super().__init__()
        self.head = make_head(method, options)
        self.trunk = nn.Sequential(nn.Linear(4, self.head.weight.shape[1]), nn.Tanh())
        self.loss = make_loss(name, method, options)

    def forward(self, inputs, targets):
        return compute(self.loss, self.head, self.trunk(inputs), targets)


def one_case(case, part, wrap):
    """Gradients of a head under a loss, from a part of the batch, in float64."""
    torch.manual_seed(0)
    step = wrap(Step(*HEADS[case[0]], case[1]).double())
    inputs, targets = torch.randn(BATCH, 4).double(), torch.arange(BATCH) % 7
    step(inputs[part], targets[part]).backward()
    return [parameter.grad for parameter in step.parameters() if parameter.grad is not None]


def shared_gradients(step):
    """Of two processes; some losses leave a bias alone."""
    return DistributedDataParallel(step, find_unused_parameters=True)


def test_two_processes_have_the_gradients_of_one_under_every_head_and_loss(tmp_path, forked):
    results = tmp_path / "gradients.pt"
    processes = [
        forked.Process(target=_share, args=(rank, tmp_path / "meeting", results)) for rank in (0, 1)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    shared = torch.load(results)
    assert len(shared) == len(separate_cases())
    for case, theirs in zip(separate_cases(), shared):
        alone = one_case(case, slice(None), lambda network: network)
        assert len(theirs) == len(alone) > 0
        for one, other in zip(theirs, alone):
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9, msg=str(case))


class Launches(TorchDispatchMode):
    """Counts the operations that are more than a view."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if not func.is_view and "empty" not in func.__name__ and "detach" not in func.__name__:
            self.names.append(func.__name__)
        return result


class Largest(TorchDispatchMode):
    """The most numbers in a tensor that an operation gives."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        given = result if isinstance(result, (tuple, list)) else [result]
        sizes = [one.numel() for one in given if isinstance(one, torch.Tensor)]
        self.numbers = max([self.numbers, *sizes])
        return result


LEVELS = ("level_scores", "level_vectors")
DEEP = random_tree(120, 12, 0)
WIDTHS = {
    **dict.fromkeys(LEVELS, sum(len(level.nodes) for level in levels(DEEP))),
    "node_scores": DEEP.num_nodes,
    "axes": DEEP.num_nodes - 1,
    "scores": DEEP.num_classes,
    "cosines": DEEP.num_classes,
}
OFFERED = [("scores", "cosines"), ("scores", *LEVELS), ("node_scores",), ("axes",)]
READ = [
    (name, offered)
    for name in LOSSES
    for offered in OFFERED
    if (found := kind(name).on(offered)) and (offered[0] == "scores" or found.inputs == offered)
]


def drawn(what, device):
    """Inputs of that kind on the deep tree, which want a gradient."""
    if what == "level_vectors":
        return torch.randn(WIDTHS[what], 16, device=device, requires_grad=True)
    return torch.randn(48, WIDTHS[what], device=device, requires_grad=True)


@pytest.mark.parametrize(
    ("name", "most"),
    [("ce", 4), ("hierarchical", 28), ("hxe", 28), ("soft_labels", 27), ("label_smoothing", 27)]
    + [("haf", 83)],
)
def test_off_the_cpu_a_tree_loss_launches_few_operations_and_waits_for_none(name, most):
    loss = build_loss(name, DEEP, ("scores", *(LEVELS if name == "haf" else ()))).to("meta")
    given, targets = [drawn(what, "meta") for what in loss.inputs], torch.arange(48).to("meta")
    slope = given[0].new_ones(())
    loss(*given, targets)  # what only first calls do
    with Launches() as launches:
        loss(*given, targets).backward(slope)
    assert len(launches.names) <= most, launches.names
    assert not any("local_scalar" in name or "to_copy.cpu" in name for name in launches.names)


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(("name", "offered"), READ)
def test_no_loss_holds_a_tensor_of_batch_times_classes_times_depth(name, offered, device):
    loss = build_loss(name, DEEP, offered).to(device)
    given = [drawn(what, device) for what in loss.inputs]
    targets = torch.arange(48).to(device)
    tables = [table.numel() for table in (*loss.buffers(), *loss.parameters())]
    # columns of the scores, and one for what no column stands for
    most = max(48 * (max(WIDTHS[what] for what in loss.inputs) + 1), *tables, 0)
    tensor = 48 * 120 * 12
    loss(*given, targets)  # what is kept from the first call on is no part of a step
    with Largest() as largest:
        loss(*given, targets).backward()
    assert 48 <= largest.numbers <= most < tensor / 2
    tracemalloc.start()  # numpy's arrays, which torch does not see
    loss(*given, targets).backward()
    peak = tracemalloc.get_traced_memory()[1] / 4
    tracemalloc.stop()
    assert peak < tensor
