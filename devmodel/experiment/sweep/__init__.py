"""Sweeps: an experiment at every point of a grid, a cell for each run.

::

    axes    what an experiment file may vary
    grid    an experiment → cells: what is run where, with everything filled in
    identity  what goes into a cell's key
    record  what came of a cell
    store   finished cells, by their keys
    work    cells of one machine → what came of each (in this process, or in a worker's)
    place, cluster   where that is done: executors of `concurrent.futures`
    settle  did runs on the same input come to the same?
    table   what came of the cells → one Parquet table
    sweep   all of it, as a person sees it
"""
