"""Run the scripts of ``test_distributed.py`` in two processes of a group, which fork.

usage: python two_processes.py FOLDER
"""

import sys
from pathlib import Path

import torch.distributed as dist
from torch.multiprocessing import start_processes

sys.path.insert(0, str(Path(__file__).parents[1]))

import process_errors
import shares


def run(rank, folder):
    """Run both scripts in one of the processes."""
    group = {"init_method": Path(folder, "group").as_uri(), "rank": rank, "world_size": 2}
    dist.init_process_group("gloo", **group)
    shares.main(folder)
    process_errors.main(folder)
    dist.destroy_process_group()


if __name__ == "__main__":
    method = "fork" if sys.platform == "linux" else "spawn"
    start_processes(run, (sys.argv[1],), nprocs=2, start_method=method)
