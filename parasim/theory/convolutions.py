"""Work and depth of a convolution's forward pass by im2col, FFT and Winograd; SCHEMES 14's table, derived.

The direct way is in `parasim.theory.work_depth`, where the units are explained.

References
----------
Ben-Nun and Hoefler (2019), section 4.3; Chellapilla, Puri, Simard (2006), High performance convolutional neural
networks (im2col); Mathieu, Henaff, LeCun (2014), Fast training of convolutional networks through FFTs; Lavin and Gray
(2016), Fast algorithms for convolutional neural networks (Winograd).
"""

from __future__ import annotations

from parasim.theory.work_depth import WorkDepth, levels

__all__ = ["fft", "im2col", "winograd"]


def im2col(
    samples: int, channels: tuple[int, int], kernel: tuple[int, int], output: tuple[int, int]
) -> tuple[WorkDepth, int]:
    """One matrix product of (N H' W') x (C_in K_x K_y) and (C_in K_x K_y) x C_out, and the elements of the first.

    Work is that of the direct way; all terms of an output are in one tree, ceil(log2(C_in K_x K_y)), which is no deeper
    than three trees, one for each dimension, as the table has it. Copies are no operations: they cost K_x K_y times the
    memory.
    """
    entering, leaving = channels
    terms = entering * kernel[0] * kernel[1]
    points = samples * output[0] * output[1]
    return WorkDepth(float(points * terms * leaving), levels(terms)), points * terms


def fft(samples: int, channels: tuple[int, int], image: tuple[int, int]) -> WorkDepth:
    """Products of transforms: HW log2(HW) (C_out C_in + N C_in + N C_out) + HW N C_in C_out complex multiply-adds.

    A transform of n = 2**k points has k levels of n / 2 butterflies, (u + w v, u - w v), two multiply-adds each: n
    log2 n in all, so a = 1 in the table. Filters and images are transformed side by side, rows after columns; products
    are summed over C_in at each of HW frequencies; then back: D = 2 ceil(log2 H) + 2 ceil(log2 W) + ceil(log2 C_in).
    Sides are padded to powers of two.
    """
    entering, leaving = channels
    rows, columns = (1 << levels(side) for side in image)
    points, depth = rows * columns, levels(rows) + levels(columns)
    transforms = points * depth * (leaving * entering + samples * entering + samples * leaving)
    return WorkDepth(float(transforms + points * samples * entering * leaving), 2 * depth + levels(entering))


def winograd(samples: int, channels: tuple[int, int], output: tuple[int, int], kernel: int, tile: int) -> WorkDepth:
    """F(m x m, r x r) on tiles of a = m + r - 1: transforms of filters, tiles and sums, and a**2 products per pair.

    A filter becomes G g G' (a r**2 + a**2 r multiply-adds), a tile B' d B (2 a**3), a sum of products A' M A (m a**2 +
    m**2 a): together a (r**2 + a r + 2 a**2 + a m + m**2), as in the table, which counts one of each. There are C_out
    C_in filters, P C_in tiles and P C_out sums, P = N ceil(H'/m) ceil(W'/m), and a**2 P C_in C_out products.
    D = 2 ceil(log2 a) for tiles (filters, 2 ceil(log2 r), beside them; the table has them before), ceil(log2 C_in), and
    2 ceil(log2 a) for sums. Constants of the transforms count as any factor.
    """
    entering, leaving = channels
    m, r, a = tile, kernel, tile + kernel - 1
    tiles = samples * -(-output[0] // m) * -(-output[1] // m)
    filters = leaving * entering * (a * r**2 + a**2 * r)
    work = filters + tiles * entering * 2 * a**3 + tiles * leaving * (m * a**2 + m**2 * a)
    work += a**2 * tiles * entering * leaving
    return WorkDepth(float(work), 4 * levels(a) + levels(entering))
