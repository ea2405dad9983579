"""Reads the interval log and the distributions that the arguments name with the public HdrHistogram package and prints
what it finds as JSON: counts, maxima and percentiles of the intervals, all of them added up, and the .hgrm columns."""

import json
import sys

from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

QUANTILES = (50, 90, 99, 99.9, 100)


def figures(histogram):
    values = [histogram.get_value_at_percentile(q) for q in QUANTILES]
    return {"count": histogram.get_total_count(), "max": histogram.get_max_value(), "values": values}


def log(path):
    whole = HdrHistogram(1, 60_000_000_000, 3)
    reader = HistogramLogReader(path, whole)
    intervals = []
    while (interval := reader.get_next_interval_histogram()) is not None:
        start, end = interval.get_start_time_stamp(), interval.get_end_time_stamp()
        intervals.append({"tag": interval.get_tag(), "start_ms": start, "end_ms": end, **figures(interval)})
        whole.add(interval)
    return {"intervals": intervals, "whole": figures(whole)}


def distribution(path):
    with open(path, encoding="utf-8") as file:
        lines = [line.split() for line in file if line.strip() and not line.startswith("#")]
    return {"head": lines[0], "rows": [[float(cell) for cell in line] for line in lines[1:]]}


print(json.dumps({path: log(path) if path.endswith(".hlog") else distribution(path) for path in sys.argv[1:]}))
