"""Underpass beside other packages: `underpass bench --peers`.

- `environment`: where they are installed, once, from `requirements.lock`
- `shapes`: what is measured of each, and how; one file for each peer, `ours` among them
- `wakes`, `contention`, `kills`, `idle`, `crowd`: what is not a round trip or a flow
- `groups`: which run against which, and the targets; `plot`: the rows as bars
"""
