"""Numbers for the rows and columns of each matrix, in place of one for each element. R rows of θ, O/I rows and columns of a matrix."""

from collections.abc import Iterator

from torch import Tensor

from workers.engine.optimizers.rule import Layout, Shape, State


def factored(theta: Tensor, layout: Layout) -> State:
    """Zeros: a number for each row of a matrix and each element of a vector, and one for each column of a matrix."""
    rows = sum(shape[0] for _, shape in layout.matrices)
    columns = sum(shape[1] for _, shape in layout.matrices if len(shape) == 2)
    return {"by_row": theta.new_zeros(len(theta), rows), "by_column": theta.new_zeros(len(theta), columns)}


def by_part(state: State, layout: Layout) -> Iterator[tuple[slice, Shape, Tensor, Tensor]]:
    """Each parameter tensor with its views of what `factored` made: [R, O, 1] and [R, 1, I]; of a vector [R, n], and nothing."""
    row = column = 0
    for own, shape in layout.matrices:
        if len(shape) == 1:
            yield own, shape, state["by_row"][:, row : row + shape[0]], state["by_column"][:, :0]
        else:
            rows, columns = state["by_row"][:, row : row + shape[0]], state["by_column"][:, column : column + shape[1]]
            yield own, shape, rows[:, :, None], columns[:, None]
            column += shape[1]
        row += shape[0]
