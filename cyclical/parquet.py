"""Tables as the bytes of a Parquet file, the same whenever and wherever they are written."""

import io
from typing import Any, TypeAlias

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

Table: TypeAlias = "pd.DataFrame | pa.Table"  # PEP 695 aliases need Python 3.12


def arrow(table: Table) -> pa.Table:
    """Keep NaN as NaN (not null) and leave pandas' own metadata out."""
    if isinstance(table, pa.Table):
        return table
    columns: dict[str, Any] = {
        name: pa.array(table[name].to_numpy(), from_pandas=False) for name in table.columns
    }
    return pa.table(columns)


def written(table: pa.Table) -> memoryview:
    """Write a table into memory; Arrow's own sink would double, and so take twice as much."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getbuffer()
