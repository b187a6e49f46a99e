"""The benchmark: `tests/run bench` measures zqd beside what else there is, as ratios in one run."""
