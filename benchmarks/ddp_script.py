"""A fit in several processes as a plain script.

torchrun --nproc-per-node 2 benchmarks/ddp_script.py mlp 20
"""

import json
import os
import sys
import time

import torch
import torch.distributed as dist
from torch import nn, optim
from torch.nn.parallel import DistributedDataParallel

BATCH_SIZE = 256


def data() -> tuple[torch.Tensor, torch.Tensor]:
    """Return made-up images [4096, 1, 16, 16] and labels [4096]."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(4096, 1, 16, 16, generator=generator), torch.arange(4096) % 10


def model(name: str) -> nn.Module:
    """Build one of the models: `mlp` or `cnn`."""
    if name == "mlp":
        return nn.Sequential(
            nn.Flatten(), nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 256), nn.ReLU(), nn.Linear(256, 10)
        )
    return nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2304, 10)
    )


def main(name: str, epochs: int) -> None:
    """Train, and print the seconds of the training at the first process."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank, count = dist.get_rank(), dist.get_world_size()
    inputs, labels = data()
    torch.manual_seed(0)
    trained = DistributedDataParallel(model(name))
    optimizer, loss_fn = optim.SGD(trained.parameters(), lr=0.01), nn.CrossEntropyLoss()
    start = time.perf_counter()
    total = 0.0
    for epoch in range(epochs):
        order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(epoch))
        for batch in torch.split(order, BATCH_SIZE):
            own = batch[rank::count]
            loss = loss_fn(trained(inputs[own]), labels[own])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
    if rank == 0:
        print(json.dumps({"seconds": time.perf_counter() - start}))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
