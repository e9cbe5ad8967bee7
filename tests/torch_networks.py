"""Networks of the zoo as plain torch.nn modules, written apart from parasim: what descriptions are checked against."""

import torch
from torch import nn

from parasim.workload import operators as op
from parasim.workload.costs import output_shape

ACTIVATIONS = {
    "relu": lambda: nn.ReLU(inplace=True),
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "gelu_tanh": lambda: nn.GELU("tanh"),
}


class Added(nn.Module):
    def __init__(self, body, shortcut):
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x):
        return self.body(x) + self.shortcut(x)


class Joined(nn.Module):
    def __init__(self, branches):
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x):
        return torch.cat([branch(x) for branch in self.branches], dim=1)


class Table(nn.Module):
    """A vector added to each token: of its position, or of segment 0."""

    def __init__(self, entries, width, by_position):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(entries, width))
        self.by_position = by_position

    def forward(self, x):
        return x + (self.weight[: x.shape[1]] if self.by_position else self.weight[0])


class SelfAttention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.zeros(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x):
        batch, tokens, width = x.shape
        into = nn.functional.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = (part.view(batch, tokens, self.heads, -1).transpose(1, 2) for part in into.chunk(3, dim=-1))
        scores = torch.softmax(q @ k.transpose(-1, -2) * (width // self.heads) ** -0.5, dim=-1)
        return self.out_proj((scores @ v).transpose(1, 2).reshape(batch, tokens, width))


class Recurrent(nn.LSTM):
    def forward(self, x):
        return super().forward(x)[0]


class Chosen(nn.Module):
    def __init__(self, place):
        super().__init__()
        self.place = place

    def forward(self, x):
        return x[:, self.place]


class Shrunk(nn.Module):
    def __init__(self, channels, stride):
        super().__init__()
        self.channels, self.stride = channels, stride

    def forward(self, x):
        x = x[:, :, :: self.stride, :: self.stride]
        return nn.functional.pad(x, (0, 0, 0, 0, 0, self.channels - x.shape[1]))


class Tied(nn.Module):
    """Its weights are those of the embedding; `forward` is given them by `Whole`."""

    weight = None

    def forward(self, x):
        return nn.functional.linear(x, self.weight[0])


def chain(operators, entering):
    links = []
    for number, operator in enumerate(operators):
        links.append(module(operator, output_shape(operators[:number], entering)))
    return nn.Sequential(*links)


def module(operator, entering):
    match operator:
        case op.Conv(outputs, kernel, stride, padding, groups, bias):
            return nn.Conv2d(entering[0], outputs, kernel, stride, padding, groups=groups, bias=bias)
        case op.Linear(outputs, bias):
            return nn.Linear(entering[-1], outputs, bias)
        case op.TiedLinear():
            return Tied()
        case op.BatchNorm():
            return nn.BatchNorm2d(entering[0])
        case op.LayerNorm():
            return nn.LayerNorm(entering[-1])
        case op.Activate(function):
            return ACTIVATIONS[function]()
        case op.Pool("max", kernel, stride, padding):
            return nn.MaxPool2d(kernel, stride, padding)
        case op.Pool("average", kernel, stride, padding):
            return nn.AvgPool2d(kernel, stride, padding)
        case op.GlobalPool(rows, columns):
            return nn.AdaptiveAvgPool2d((rows, columns))
        case op.Subsample(channels, stride):
            return Shrunk(channels, stride)
        case op.Flatten():
            return nn.Flatten()
        case op.Embedding(entries, width):
            return nn.Embedding(entries, width)
        case op.Positions(entries):
            return Table(entries, entering[-1], by_position=True)
        case op.Segments(entries):
            return Table(entries, entering[-1], by_position=False)
        case op.Attention(heads):
            return SelfAttention(entering[-1], heads)
        case op.LSTM(hidden):
            return Recurrent(entering[-1], hidden, batch_first=True)
        case op.Select(position):
            return Chosen(0 if position == "first" else -1)
        case op.Residual(body, shortcut):
            return Added(chain(body, entering), chain(shortcut, entering))
        case op.Concatenate(branches):
            return Joined([chain(branch, entering) for branch in branches])
    raise AssertionError(operator)


def network(described):
    """The whole network: a chain of its units."""
    whole = nn.Sequential(*(chain(unit.operators, unit.entering) for unit in described.blocks))
    embeddings = [part for part in whole.modules() if isinstance(part, nn.Embedding)]
    for part in whole.modules():
        if isinstance(part, Tied):
            part.weight = (embeddings[0].weight,)  # in a tuple, lest it be listed twice
    return whole
