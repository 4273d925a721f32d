#!/usr/bin/python3
"""The two-tower model of services/trainer/engine/neural/two_tower.cpp as one writes it with PyTorch: the peer of
training_bench, which starts it. Needs Debian's python3-torch.

    training_peer.py DATA BATCH THREADS WARMUP SECONDS

DATA: native uint32: users, items, then for each user a count and so many items. Prints samples/s, the mean loss
of the second half of the WARMUP steps, and the milliseconds of the median and the 99th percentile step.
"""
import math
import sys
import time

import numpy
import torch
from torch import nn
from torch.nn import functional

DIMENSIONS, HIDDEN, OUTPUT, HISTORY, TEMPERATURE = 64, 128, 64, 50, 0.07


def read(file):
    """Windows [samples, HISTORY + 1], 0 where there is no item; their lengths and users; each item's count."""
    numbers = numpy.fromfile(file, dtype=numpy.uint32)
    users, items = int(numbers[0]), int(numbers[1])
    windows, lengths, owners = [], [], []
    counts = numpy.zeros(items)
    at = 2
    for user in range(users):
        row = numbers[at + 1 : at + 1 + int(numbers[at])]
        at += 1 + len(row)
        numpy.add.at(counts, row, 1)
        for begin in range(0, len(row) - 1, HISTORY):
            part = row[begin : begin + HISTORY + 1]
            windows.append(numpy.pad(part, (0, HISTORY + 1 - len(part))))
            lengths.append(len(part))
            owners.append(user)
    as_tensor = lambda rows: torch.from_numpy(numpy.asarray(rows).astype(numpy.int64))
    return as_tensor(windows), as_tensor(lengths), as_tensor(owners), torch.from_numpy(counts).float()


class Tower(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(DIMENSIONS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, OUTPUT))
        nn.init.normal_(self[0].weight, 0, math.sqrt(2 / DIMENSIONS))
        nn.init.normal_(self[2].weight, 0, math.sqrt(1 / HIDDEN))
        nn.init.zeros_(self[0].bias)
        nn.init.zeros_(self[2].bias)

    def forward(self, x):
        return functional.normalize(super().forward(x), dim=1)


class TwoTower(nn.Module):
    def __init__(self, items):
        super().__init__()
        self.item = nn.Embedding(items, DIMENSIONS)
        nn.init.normal_(self.item.weight, 0, 1 / math.sqrt(DIMENSIONS))
        self.query = nn.Parameter(torch.zeros(DIMENSIONS))
        self.recency = nn.Parameter(torch.zeros(HISTORY))
        self.user_tower, self.item_tower = Tower(), Tower()

    def forward(self, inputs, known, users, targets, log_frequency):
        """The mean loss over the places of `known` [rows, length]; users and targets [places]."""
        length = inputs.shape[1]
        embedded = self.item(inputs)
        places = torch.arange(length)
        distance = places.unsqueeze(1) - places.unsqueeze(0)
        newness = self.recency[HISTORY - 1 - distance.clamp_min(0)]
        logits = (embedded @ self.query).unsqueeze(1) + newness
        weights = torch.softmax(logits.masked_fill(distance < 0, -1e9), 2)
        user = self.user_tower(torch.bmm(weights, embedded)[known])
        item = self.item_tower(self.item(targets))
        scores = torch.addmm(-log_frequency[targets], user / TEMPERATURE, item.t())
        no_negative = (targets.unsqueeze(1) == targets) | (users.unsqueeze(1) == users)
        no_negative.fill_diagonal_(False)
        scores = scores.masked_fill(no_negative, -1e9)
        return functional.cross_entropy(scores, torch.arange(len(targets)))


def main(data, batch, threads, warmup, seconds):
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(1)
    windows, lengths, owners, counts = read(data)
    log_frequency = (counts.clamp_min(1) / counts.sum()).log()
    model = TwoTower(len(counts))
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.98), weight_decay=0)
    losses, took, order = [], [], torch.empty(0, dtype=torch.long)
    begun = math.inf
    while time.perf_counter() - begun < seconds:
        if len(took) == warmup:
            begun = time.perf_counter()
        if len(order) < batch:
            order = torch.randperm(len(windows))
        rows, order = order[:batch], order[batch:]
        start = time.perf_counter()
        length = int(lengths[rows].max()) - 1
        window = windows[rows]
        known = torch.arange(length) < (lengths[rows] - 1).unsqueeze(1)
        targets = window[:, 1 : length + 1][known]
        users = owners[rows].unsqueeze(1).expand(-1, length)[known]
        loss = model(window[:, :length], known, users, targets, log_frequency)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        losses.append(loss.item())
        took.append(time.perf_counter() - start)
    steps = len(took) - warmup
    rate = steps * batch / (time.perf_counter() - begun)
    half = losses[warmup // 2 : warmup]
    measured = sorted(took[warmup:])
    print(rate, sum(half) / len(half), 1e3 * measured[steps // 2], 1e3 * measured[int(0.99 * (steps - 1))])


main(sys.argv[1], *map(int, sys.argv[2:5]), float(sys.argv[5]))
