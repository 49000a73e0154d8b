"""Options that training itself takes, whatever the parts, and those of the machine.

They stand here because training knows the command line and not the other way round.
"""

from data import augments
from data.options import SEED
from data.tails import BALANCE
from data.transforms import OPTIONS as AUGMENTATION
from losses import LOSSES
from optimization import OPTIONS as OPTIMIZATION
from options.parser import GPU
from registry import Need, Option, filled, natural, one_of, positive_int, switch, with_flag

TRAINING = (
    Option(
        "epochs",
        natural,
        50,
        "N",
        "passes over the training split; 0 evaluates the untrained network",
    ),
    Option(
        "start_from",
        filled,
        None,
        "RUN",
        "start from what the run in this folder learned, also on new images, more or fewer classes"
        " or another tree: class vectors are kept by class",
        names_run=True,
        rebuilt=None,
    ),
    Option("batch_size", positive_int, 32, "N", "images in a step"),
    *OPTIMIZATION,
    *AUGMENTATION,
    BALANCE,
    Option(
        "features",
        one_of(("float32", "float16", "off")),
        "float32",
        help="with a frozen network, compute what it makes of each image once, keep that beside the"
        " decoded images in this precision, and train on it; off: images go through the network in"
        " every epoch",
        needs=Need(
            lambda options: options["freeze"] in ("butlast", "all") and not augments(options),
            "--freeze butlast and no augmentation: only then an image gives the same features in"
            " every epoch",
        ),
        rebuilt=None,
    ),
    SEED,
    Option(
        "last",
        switch,
        False,
        help="test the last epoch although --use_val finds the best one",
        needs=with_flag("use_val", "; without it the last epoch is the result anyway"),
    ),
    Option(
        "amp",
        switch,
        False,
        help="compute the backbone in bfloat16: faster, a little less exact; needs a GPU that has"
        " bfloat16",
    ),
    Option(
        "compile",
        switch,
        False,
        help="compile the network with torch.compile: slower to start; steps of large networks may"
        " be faster, those of small ones are not on a GPU",
        rebuilt=False,
    ),
)
MACHINE = (
    GPU,
    Option(
        "ngpus",
        positive_int,
        1,
        "N",
        "number of GPUs that --GPU auto takes; the images of a batch are shared out among them",
        machine=True,
        needs=Need(lambda options: options["GPU"] in (None, "auto"), "--GPU auto"),
    ),
    Option(
        "no_graphs",
        switch,
        False,
        help="on one GPU: launch every kernel by itself in all epochs, not as CUDA graphs; slower"
        " for small networks, of less memory, and the same up to rounding",
        machine=True,
    ),
    Option(
        "fused_loss",
        switch,
        False,
        help="on a GPU: compute the loss over the tree by one kernel instead of two dozen; the same"
        " up to rounding, needs Triton, and is new: no GPU has run it yet",
        machine=True,
        needs=Need(
            lambda options: LOSSES[options["loss"]].one_kernel is not None,
            f"--loss {' or '.join(name for name, loss in LOSSES.items() if loss.one_kernel)}",
        ),
    ),
    Option("record", filled, "record", "DIR", "folder that runs are recorded in", machine=True),
    Option(
        "mlflow",
        filled,
        None,
        "URI",
        "also log to this MLflow server, http://HOST:PORT, or local store, sqlite:///FILE.db (needs"
        " the package)",
        machine=True,
    ),
    Option(
        "resume",
        switch,
        False,
        help="go on with this run if it was interrupted, else start it",
        machine=True,
    ),
    Option(
        "overwrite",
        switch,
        False,
        help="start again, and drop an earlier run with the same options once an epoch is kept",
        machine=True,
    ),
)
