"""Work and depth of operators, counted on explicit graphs, node by node; Brent's bounds in the simulator."""

import itertools

import networkx as nx
import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from parasim.simulation.processors import Processor
from parasim.theory import convolutions
from parasim.theory.work_depth import (
    Passes,
    WorkDepth,
    attention,
    batch_norm,
    convolution,
    elementwise,
    fully_connected,
    layer_norm,
    lstm,
    pooling,
    softmax,
    training_step,
)


class Graph:
    """Operations as nodes of a networkx graph: a term of a sum is one and has no level; its sum has those of a tree."""

    def __init__(self):
        self.graph = nx.DiGraph()
        self.work = 0

    def node(self, parents, work, level):
        number = self.graph.number_of_nodes()
        self.graph.add_node(number)
        self.graph.add_edges_from(((parent, number) for parent in parents), level=level)
        self.work += work
        return number

    def leaves(self, *shape):
        return {index: self.node((), 0, 0) for index in itertools.product(*map(range, shape))}

    def operation(self, *parents):
        """An element-wise one: one operation, one level."""
        return self.node(parents, 1, 1)

    def tree(self, nodes):
        """Additions, which go with the terms and are no operations of their own."""
        nodes = list(nodes)
        while len(nodes) > 1:
            pairs = [nodes[i : i + 2] for i in range(0, len(nodes), 2)]
            nodes = [pair[0] if len(pair) == 1 else self.node(pair, 0, 1) for pair in pairs]
        return nodes[0]

    def sum(self, terms):
        """Of products of these factors."""
        return self.tree([self.node(factors, 1, 0) for factors in terms])

    def nested(self, ranges, term):
        """A sum over several dimensions, the last one first, of products."""
        if not ranges:
            return self.node(term(()), 1, 0)
        return self.tree(self.nested(ranges[1:], lambda rest, i=i: term((i, *rest))) for i in ranges[0])

    @property
    def counted(self):
        return WorkDepth(self.work, nx.dag_longest_path_length(self.graph, weight="level"))


def grid(*sizes):
    return itertools.product(*map(range, sizes))


# linear layers and convolutions --------------------------------------------------------------------------------------
@pytest.mark.parametrize(("samples", "inputs", "outputs"), [(1, 1, 1), (3, 5, 2), (4, 8, 7), (2, 9, 16)])
def test_fully_connected(samples, inputs, outputs):
    graphs = Graph(), Graph(), Graph()
    x, w = graphs[0].leaves(samples, inputs), graphs[0].leaves(inputs, outputs)
    for s, o in grid(samples, outputs):
        graphs[0].sum([(x[s, i], w[i, o]) for i in range(inputs)])
    x, dy = graphs[1].leaves(samples, inputs), graphs[1].leaves(samples, outputs)
    for i, o in grid(inputs, outputs):
        graphs[1].sum([(x[s, i], dy[s, o]) for s in range(samples)])
    dy, w = graphs[2].leaves(samples, outputs), graphs[2].leaves(inputs, outputs)
    for s, i in grid(samples, inputs):
        graphs[2].sum([(dy[s, o], w[i, o]) for o in range(outputs)])
    assert fully_connected(samples, inputs, outputs) == tuple(graph.counted for graph in graphs)


CONVOLUTIONS = [(1, (1, 1), (3, 3), (1, 1)), (2, (3, 2), (5, 4), (3, 2)), (3, (2, 5), (4, 6), (2, 3))]


@pytest.mark.parametrize(("samples", "channels", "image", "kernel"), CONVOLUTIONS)
def test_direct_convolution(samples, channels, image, kernel):
    entering, leaving = channels
    rows, columns = image[0] - kernel[0] + 1, image[1] - kernel[1] + 1
    g = Graph(), Graph(), Graph()
    x, w = g[0].leaves(samples, entering, *image), g[0].leaves(leaving, entering, *kernel)
    for s, o, i, j in grid(samples, leaving, rows, columns):
        g[0].nested(
            [range(entering), range(kernel[0]), range(kernel[1])],
            lambda at, s=s, o=o, i=i, j=j: (x[s, at[0], i + at[1], j + at[2]], w[o, *at]),
        )
    x, dy = g[1].leaves(samples, entering, *image), g[1].leaves(samples, leaving, rows, columns)
    for o, c, a, b in grid(leaving, entering, *kernel):
        g[1].nested(
            [range(samples), range(rows), range(columns)],
            lambda at, o=o, c=c, a=a, b=b: (x[at[0], c, at[1] + a, at[2] + b], dy[at[0], o, at[1], at[2]]),
        )
    dy, w = g[2].leaves(samples, leaving, rows, columns), g[2].leaves(leaving, entering, *kernel)
    zero = g[2].node((), 0, 0)  # beyond the borders
    for s, c, i, j in grid(samples, entering, *image):
        g[2].nested(
            [range(leaving), range(kernel[0]), range(kernel[1])],
            lambda at, s=s, c=c, i=i, j=j: (dy.get((s, at[0], i - at[1], j - at[2]), zero), w[at[0], c, at[1], at[2]]),
        )
    found = convolution(samples, channels, image, kernel, (rows, columns))
    assert found == tuple(graph.counted for graph in g)


@pytest.mark.parametrize(("samples", "channels", "image", "kernel"), CONVOLUTIONS)
def test_im2col_is_one_matrix_product(samples, channels, image, kernel):
    entering, leaving = channels
    output = image[0] - kernel[0] + 1, image[1] - kernel[1] + 1
    g = Graph()
    x, w = g.leaves(samples, entering, *image), g.leaves(leaving, entering, *kernel)
    copies = 0
    for s, i, j in grid(samples, *output):
        row = {at: x[s, at[0], i + at[1], j + at[2]] for at in grid(entering, *kernel)}
        copies += len(row)
        for o in range(leaving):
            g.sum([(row[at], w[o, *at]) for at in row])
    found, elements = convolutions.im2col(samples, channels, kernel, output)
    assert (found, elements) == (g.counted, copies)
    direct = convolution(samples, channels, image, kernel, output).forward
    assert found.work == direct.work
    assert direct.depth - 2 <= found.depth <= direct.depth


def transformed(g, points):
    """A transform of 2**k points by butterflies, in place of their values."""
    points = list(points)
    if len(points) == 1:
        return points
    even, odd = transformed(g, points[::2]), transformed(g, points[1::2])
    half = [g.operation(u, v) for u, v in zip(even, odd, strict=True)]
    return half + [g.operation(u, v) for u, v in zip(even, odd, strict=True)]


def transformed_image(g, image, rows, columns):
    lines = [transformed(g, [image[i, j] for j in range(columns)]) for i in range(rows)]
    back = [transformed(g, [lines[i][j] for i in range(rows)]) for j in range(columns)]
    return {(i, j): back[j][i] for i, j in grid(rows, columns)}


@pytest.mark.parametrize(
    ("samples", "channels", "side"), [(1, (1, 1), (4, 4)), (2, (3, 2), (4, 8)), (3, (2, 1), (8, 2))]
)
def test_convolution_by_fft(samples, channels, side):
    entering, leaving = channels
    g = Graph()
    x, w = g.leaves(samples, entering, *side), g.leaves(leaving, entering, *side)
    cut = [(x, (samples, entering)), (w, (leaving, entering))]
    fx, fw = (
        {at: transformed_image(g, {p: values[*at, *p] for p in grid(*side)}, *side) for at in grid(*count)}
        for values, count in cut
    )
    for s, o in grid(samples, leaving):
        products = {p: g.sum([(fx[s, c][p], fw[o, c][p]) for c in range(entering)]) for p in grid(*side)}
        transformed_image(g, products, *side)
    assert convolutions.fft(samples, channels, side) == g.counted
    padded = tuple(length - (length > 2) for length in side)
    assert convolutions.fft(samples, channels, padded) == g.counted


@pytest.mark.parametrize(
    ("samples", "channels", "output", "kernel", "tile"),
    [(1, (2, 1), (2, 2), 3, 2), (2, (2, 3), (3, 4), 3, 2), (1, (3, 2), (4, 4), 2, 3)],
)
def test_convolution_by_winograd(samples, channels, output, kernel, tile):
    entering, leaving = channels
    size = tile + kernel - 1
    g = Graph()

    def sandwich(inner, rows, middle):
        """C m C' with a constant C of `rows` rows: two products."""
        once = {(i, j): g.sum([(inner[k, j],) for k in range(middle)]) for i, j in grid(rows, middle)}
        return {(i, j): g.sum([(once[i, k],) for k in range(middle)]) for i, j in grid(rows, rows)}

    filters = {at: sandwich(g.leaves(kernel, kernel), size, kernel) for at in grid(leaving, entering)}
    for _ in grid(samples, -(-output[0] // tile), -(-output[1] // tile)):
        tiles = [sandwich(g.leaves(size, size), size, size) for _ in range(entering)]
        for o in range(leaving):
            sums = {p: g.sum([(tiles[c][p], filters[o, c][p]) for c in range(entering)]) for p in grid(size, size)}
            sandwich(sums, tile, size)
    found = convolutions.winograd(samples, channels, output, kernel, tile)
    assert found == g.counted
    levels = [(number - 1).bit_length() for number in (kernel, size, entering)]
    assert found.depth <= 2 * levels[0] + 4 * levels[1] + levels[2]  # the table's, which has filters first


# other operators -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("kernel", "stride"), [((2, 2), (2, 2)), ((3, 3), (2, 2)), ((3, 2), (1, 1))])
def test_pooling(kernel, stride):
    """Back, an input in the middle has the most windows; those of an image of 7 x 7 show it."""
    samples, channels, side = 2, 3, 7
    output = tuple((side - k) // s + 1 for k, s in zip(kernel, stride, strict=True))
    forward, back = Graph(), Graph()
    x = forward.leaves(samples, channels, side, side)
    dy = back.leaves(samples, channels, *output)
    entering: dict[tuple[int, ...], dict[int, list[int]]] = {}
    for s, c, i, j in grid(samples, channels, *output):
        forward.nested(
            [range(kernel[0]), range(kernel[1])],
            lambda at, s=s, c=c, i=i, j=j: (x[s, c, i * stride[0] + at[0], j * stride[1] + at[1]],),
        )
        for a, b in grid(*kernel):
            lines = entering.setdefault((s, c, i * stride[0] + a, j * stride[1] + b), {})
            lines.setdefault(i, []).append(dy[s, c, i, j])
    overlapping = any(len(lines) > 1 or len(next(iter(lines.values()))) > 1 for lines in entering.values())
    for lines in entering.values():
        sums = [back.tree([back.node((d,), 1, 0 if overlapping else 1) for d in line]) for line in lines.values()]
        back.tree(sums)
    assert pooling(samples, channels, kernel, output, stride) == (forward.counted, WorkDepth(0, 0), back.counted)


def test_batch_and_layer_normalisation():
    samples, channels, image = 3, 2, (4, 5)
    forward, back = Graph(), Graph()
    x = forward.leaves(samples, channels, *image)
    spread = [range(samples), range(image[0]), range(image[1])]
    for c in range(channels):
        mean = forward.nested(spread, lambda at, c=c: (x[at[0], c, at[1], at[2]],))
        less = {at: forward.operation(x[at[0], c, at[1], at[2]], mean) for at in itertools.product(*spread)}
        variance = forward.nested(spread, lambda at, less=less: (less[at], less[at]))
        for each in less.values():
            forward.operation(each, variance)
    dy = back.leaves(samples, channels, *image)
    for c in range(channels):
        plain = back.nested(spread, lambda at, c=c: (dy[at[0], c, at[1], at[2]],))
        scaled = back.nested(spread, lambda at, c=c: (dy[at[0], c, at[1], at[2]],))
        for at in itertools.product(*spread):
            back.operation(back.operation(dy[at[0], c, at[1], at[2]], plain), scaled)
    found = batch_norm(samples, channels, image)
    assert (found.forward, found.inputs) == (forward.counted, back.counted)
    one_by_one = layer_norm(1, 4, 6)
    row = batch_norm(1, 1, (1, 6))
    assert (one_by_one.forward.work, one_by_one.forward.depth) == (4 * row.forward.work, row.forward.depth)
    assert one_by_one.weights == WorkDepth(2 * 24, 2)


def softmax_graph(g, scores):
    largest = g.tree([g.node((score,), 1, 0) for score in scores])
    powers = [g.operation(score, largest) for score in scores]
    total = g.sum([(power,) for power in powers])
    return [g.operation(power, total) for power in powers]


def softmax_back(g, probabilities, gradients):
    inner = g.sum(list(zip(probabilities, gradients, strict=True)))
    return [g.operation(g.operation(dp, inner), p) for p, dp in zip(probabilities, gradients, strict=True)]


@pytest.mark.parametrize(("rows", "terms"), [(1, 1), (3, 5), (2, 8)])
def test_softmax(rows, terms):
    forward, back = Graph(), Graph()
    for _ in range(rows):
        softmax_graph(forward, forward.leaves(terms).values())
        softmax_back(back, back.leaves(terms).values(), back.leaves(terms).values())
    found = softmax(rows, terms)
    assert (found.forward, found.inputs) == (forward.counted, back.counted)
    assert elementwise(7) == (WorkDepth(7, 1), WorkDepth(0, 0), WorkDepth(7, 1))


def product(g, left, right, rows, inner, columns):
    """Of matrices given as functions of place."""
    return {(i, j): g.sum([(left(i, k), right(k, j)) for k in range(inner)]) for i, j in grid(rows, columns)}


@pytest.mark.parametrize(("tokens", "width", "heads"), [(3, 4, 2), (5, 6, 1), (4, 8, 4)])
def test_attention(tokens, width, heads):
    size, g, b = width // heads, Graph(), Graph()
    x, into, out = g.leaves(tokens, width), g.leaves(width, 3 * width), g.leaves(width, width)
    qkv = product(g, lambda t, i: x[t, i], lambda i, o: into[i, o], tokens, width, 3 * width)
    mixed = {}
    for h in range(heads):
        q, k, v = ((lambda t, d, at=part * width + h * size: qkv[t, at + d]) for part in range(3))
        scores = product(g, q, lambda d, t, k=k: k(t, d), tokens, size, tokens)
        weights = {t: softmax_graph(g, [scores[t, u] for u in range(tokens)]) for t in range(tokens)}
        head = product(g, lambda t, u, w=weights: w[t][u], v, tokens, tokens, size)
        mixed.update({(t, h * size + d): node for (t, d), node in head.items()})
    product(g, lambda t, i: mixed[t, i], lambda i, o: out[i, o], tokens, width, width)

    dy, w_out, w_in = b.leaves(tokens, width), b.leaves(width, width), b.leaves(3 * width, width)
    kept = b.leaves(heads, 4, max(tokens, size), max(tokens, size))  # probabilities, queries, keys, values
    dmixed = product(b, lambda t, o: dy[t, o], lambda o, i: w_out[o, i], tokens, width, width)
    dqkv = {}
    for h in range(heads):
        do = lambda t, d, h=h: dmixed[t, h * size + d]  # noqa: E731
        dv = product(b, lambda u, t, h=h: kept[h, 0, t, u], do, tokens, tokens, size)
        dp = product(b, do, lambda d, u, h=h: kept[h, 3, u, d], tokens, size, tokens)
        ds = {
            t: softmax_back(b, [kept[h, 0, t, u] for u in range(tokens)], [dp[t, u] for u in range(tokens)])
            for t in range(tokens)
        }
        dq = product(b, lambda t, u, s=ds: s[t][u], lambda u, d, h=h: kept[h, 2, u, d], tokens, tokens, size)
        dk = product(b, lambda u, t, s=ds: s[t][u], lambda t, d, h=h: kept[h, 1, t, d], tokens, tokens, size)
        for part, nodes in enumerate((dq, dk, dv)):
            dqkv.update({(t, part * width + h * size + d): node for (t, d), node in nodes.items()})
    product(b, lambda t, o: dqkv[t, o], lambda o, i: w_in[o, i], tokens, 3 * width, width)
    found = attention(1, tokens, width, heads)
    assert found.forward == g.counted
    assert found.inputs == b.counted
    assert found.weights == WorkDepth(tokens * 4 * width**2, (tokens - 1).bit_length())


def test_lstm():
    samples, tokens, inputs, hidden = 2, 3, 3, 2
    g, b = Graph(), Graph()
    for _ in range(samples):
        w, state = g.leaves(4 * hidden, inputs + hidden), list(g.leaves(hidden).values())
        cells = list(g.leaves(hidden).values())
        for _ in range(tokens):
            entering = [*g.leaves(inputs).values(), *state]
            gates = [
                g.operation(g.sum([(w[k, i], node) for i, node in enumerate(entering)])) for k in range(4 * hidden)
            ]
            i, f, o, u = (gates[part * hidden : (part + 1) * hidden] for part in range(4))
            cells = [g.operation(g.operation(f[k], cells[k]), g.operation(i[k], u[k])) for k in range(hidden)]
            state = [g.operation(o[k], g.operation(cells[k])) for k in range(hidden)]
        w, dstate = b.leaves(4 * hidden, inputs + hidden), list(b.leaves(hidden).values())
        dcells = list(b.leaves(hidden).values())
        for _ in range(tokens):
            kept = b.leaves(hidden)
            through = [b.operation(dstate[k], kept[k,]) for k in range(hidden)]
            do = [b.operation(dstate[k], kept[k,]) for k in range(hidden)]
            dc = [b.operation(through[k], dcells[k]) for k in range(hidden)]
            di, df, du = ([b.operation(each, kept[k,]) for k, each in enumerate(dc)] for _ in range(3))
            dcells = [b.operation(each, kept[k,]) for k, each in enumerate(dc)]
            gates = [b.operation(each) for each in (*di, *df, *do, *du)]
            sums = [b.sum([(gate, w[k, i]) for k, gate in enumerate(gates)]) for i in range(inputs + hidden)]
            above = list(b.leaves(hidden).values())
            dstate = [b.operation(sums[inputs + k], above[k]) for k in range(hidden)]
    found = lstm(samples, tokens, inputs, hidden)
    assert found.forward == g.counted
    assert found.inputs == b.counted


# networks and Brent --------------------------------------------------------------------------------------------------
@settings(deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 9)] * 3), min_size=1, max_size=8), st.booleans())
def test_a_training_step_is_the_longest_way_through_its_passes(depths, first):
    chain = [Passes(*(WorkDepth(depth, depth) for depth in each)) for each in depths]
    graph = nx.DiGraph()
    graph.add_weighted_edges_from(
        (("forward", i), ("forward", i + 1), each.forward.depth) for i, each in enumerate(chain)
    )
    graph.add_edge(("forward", len(chain)), ("error", len(chain)), weight=0)
    for i, each in enumerate(chain):
        graph.add_edge(("error", i + 1), ("weights", i), weight=each.weights.depth)
        if i or first:
            graph.add_edge(("error", i + 1), ("error", i), weight=each.inputs.depth)
    found = training_step(chain, first)
    assert found.depth == nx.dag_longest_path_length(graph)
    assert found.work == sum(map(sum, depths)) - (0 if first else chain[0].inputs.work)


@st.composite
def layered(draw):
    """A random graph of layers: seconds of each, and of whom it needs the outputs."""
    count = draw(st.integers(1, 12))
    seconds = draw(st.lists(st.floats(0.01, 10.0), min_size=count, max_size=count))
    needs = [draw(st.sets(st.integers(0, place - 1), max_size=3)) if place else set() for place in range(count)]
    return seconds, needs


@settings(deadline=None)
@given(layered(), st.integers(1, 6))
def test_brents_inequality_holds_in_the_simulator(layers, cores):
    """Processors that share their cores keep all of them busy while there is work for them."""
    seconds, needs = layers
    env = simpy.Environment()
    processor, waiting = Processor(env, cores), [len(need) for need in needs]
    ends = {}

    def begin(place):
        processor.start(seconds[place], lambda: done(place))

    def done(place):
        ends[place] = env.now
        for other, need in enumerate(needs):
            if place in need:
                waiting[other] -= 1
                if not waiting[other]:
                    begin(other)

    for place, need in enumerate(needs):
        if not need:
            begin(place)
    while env.peek() < float("inf"):
        env.step()
    depth = []
    for own, need in zip(seconds, needs, strict=True):
        depth.append(own + max((depth[other] for other in need), default=0.0))
    low, high = WorkDepth(sum(seconds), max(depth)).bounds(cores)
    assert len(ends) == len(seconds)
    assert low * (1 - 1e-9) <= max(ends.values()) <= high * (1 + 1e-9)
