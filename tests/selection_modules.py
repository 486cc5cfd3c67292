"""Activations of 1-Lipschitz networks, as people write them in torch."""

import torch
from torch import Tensor, nn


class MaxMin(nn.Module):
    """The larger and the smaller of both halves of the channels (Anil, Lucas, Grosse 2019)."""

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, 1)
        return torch.cat([torch.max(a, b), torch.min(a, b)], 1)


class GroupSort(nn.Module):
    """Each group of neighbours, sorted (Anil, Lucas, Grosse 2019)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], -1, self.size).sort(2)[0].flatten(1)


class HouseholderOfAngles(nn.Module):
    """Pairs of channels, reflected on one side of a line through 0 (Singla et al. 2021)."""

    def __init__(self, pairs: int) -> None:
        super().__init__()
        self.theta = nn.Parameter(3 * torch.rand(1, pairs))

    def forward(self, z: Tensor) -> Tensor:
        theta = self.theta
        x, y = z.split(z.shape[1] // 2, 1)
        selector = x * torch.sin(0.5 * theta) - y * torch.cos(0.5 * theta)
        turned_x = x * torch.cos(theta) + y * torch.sin(theta)
        turned_y = x * torch.sin(theta) - y * torch.cos(theta)
        first = x * (selector <= 0) + turned_x * (selector > 0)
        second = y * (selector <= 0) + turned_y * (selector > 0)
        return torch.cat([first, second], 1)


class HouseholderOfVector(nn.Module):
    """One reflection of all entries: x where v.x > 0, x - 2 v (v.x) elsewhere."""

    def __init__(self, size: int) -> None:
        super().__init__()
        v = torch.randn(size, dtype=torch.float64)
        self.v = nn.Parameter((v / v.norm()).to(torch.get_default_dtype()))

    def forward(self, x: Tensor) -> Tensor:
        z = (x * self.v).sum(1, keepdim=True)
        return torch.where(z > 0, x, x - 2 * z * self.v)


class HouseholderOfPairs(nn.Module):
    """A reflection of each pair of neighbours."""

    def __init__(self, pairs: int) -> None:
        super().__init__()
        v = torch.randn(pairs, 2, dtype=torch.float64)
        self.v = nn.Parameter((v / v.norm(dim=1, keepdim=True)).to(torch.get_default_dtype()))

    def forward(self, x: Tensor) -> Tensor:
        pairs = x.view(x.shape[0], -1, 2)
        z = (pairs * self.v).sum(2, keepdim=True)
        return torch.where(z > 0, pairs, pairs - 2 * z * self.v).flatten(1)
