"""Train strong models on weak labels, and measure honestly how much better than their supervisor they become.

The idea is from "Weak-to-Strong Generalization" (Burns et al. 2023, arXiv 2312.09390). Importing this package imports
neither torch nor transformers.
"""

from weakstrong.api import run
from weakstrong.errors import WeakStrongError
from weakstrong.experiment import Experiment
from weakstrong.results import Results
from weakstrong.stats import pgr
from weakstrong.store import Store
from weakstrong.train import train_student
from weakstrong.training.spec import Finetune, Probe, Runtime

__all__ = [
    "Experiment",
    "Finetune",
    "Probe",
    "Results",
    "Runtime",
    "Store",
    "WeakStrongError",
    "pgr",
    "run",
    "train_student",
]
