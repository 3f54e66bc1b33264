"""A recipe on a simulated Ray cluster of two nodes must give the numbers of this process exactly, nodes lost or not.

    python benchmarks/faults/cluster.py recipes/methods.yaml
    python benchmarks/faults/cluster.py recipes/methods.yaml --small    the same on 1,500 rows and two seeds
    python benchmarks/faults/cluster.py --kills 10                   the small experiment of kills.py, nodes killed meanwhile

Each node has one CPU and processes of its own; a killed node is replaced by a new one. Prints counts and times; exit
code 1 if a byte differs.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from kills import contents, start, whole, write_recipe, write_rows
from ray.cluster_utils import Cluster


def on_cluster(
    recipe: Path, options: list[str], store: Path, kills: int, longest: float, dice: random.Random
) -> tuple[float, int]:
    """Run a recipe on two nodes; returns seconds and how many nodes were killed."""
    # The head takes no steps: it holds the driver and what Ray itself needs.
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 150 * 2**20}
    )
    nodes = [cluster.add_node(num_cpus=1, object_store_memory=150 * 2**20) for _ in range(2)]
    cluster.wait_for_nodes()
    begun, killed = time.monotonic(), 0
    process = start(recipe, store, f"ray:address={cluster.address},retries=5", options)
    try:
        while process.poll() is None:
            end = time.monotonic() + dice.uniform(1, longest)
            while time.monotonic() < end and process.poll() is None:
                time.sleep(0.05)
            if killed < kills and process.poll() is None:
                place = dice.randrange(len(nodes))
                cluster.remove_node(nodes[place], allow_graceful=False)
                nodes[place] = cluster.add_node(num_cpus=1, object_store_memory=150 * 2**20)
                killed += 1
        if process.returncode:
            raise SystemExit(
                f"exit code {process.returncode}: {(store.parent / 'output.txt').read_text()[-3000:]}"
            )
        return time.monotonic() - begun, killed
    finally:
        process.kill()
        cluster.shutdown()


def small(folder: Path) -> list[str]:
    """Options that cut a recipe to minutes."""
    rows = write_rows(folder, 1500)
    columns = ["--task", f"file:{rows}", "--text", "text", "--label", "label", "--seeds", "2"]
    return [*columns, "--train-rows", "400", "--validation-rows", "100", "--test-rows", "400"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", type=Path, nargs="?", help="default: the small experiment of kills.py")
    parser.add_argument(
        "--calm", type=Path, help="a store where the recipe has run in one process, with --threads 1"
    )
    parser.add_argument("--small", action="store_true", help="fewer rows and seeds")
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--longest", type=float, default=30.0, help="seconds between two kills, at most")
    given = parser.parse_args()
    different = compared = killed = 0
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        recipe = given.recipe or write_recipe(root)
        # Sums of finetuning are taken in another order by two threads than by one.
        options = ["--threads", "1", *(small(root) if given.small else [])]
        calm = given.calm or root / "calm" / "store"
        if given.calm is None:
            calm.parent.mkdir()
            begun = time.monotonic()
            if start(recipe, calm, "local", options).wait():
                raise SystemExit((calm.parent / "output.txt").read_text()[-3000:])
            print(f"one process: {time.monotonic() - begun:.0f} s", flush=True)
        wanted = contents(calm)
        dice, rounds = random.Random(0), 0
        while rounds == 0 or killed < given.kills:
            folder = root / f"round{rounds}"
            folder.mkdir()
            seconds, fell = on_cluster(
                recipe.absolute(), options, folder / "store", given.kills - killed, given.longest, dice
            )
            killed, rounds = killed + fell, rounds + 1
            found = contents(folder / "store")
            differ = [file for file in wanted if found.get(file) != wanted[file]]
            different, compared = different + len(differ), compared + len(wanted)
            print(
                f"two nodes: {seconds:.0f} s, {whole(folder / 'store')} results; {killed} nodes killed in {rounds} rounds; "
                f"{different} of {compared} files differ {differ[:3]}",
                flush=True,
            )
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
