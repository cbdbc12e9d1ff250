"""Parses OpenMetrics from standard input with `prometheus_client`, which checks the format.

Prints a JSON object: the name of each metric with its type, its unit, and its samples as [name, labels, value].
"""
import json
import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families

families = {}
for family in text_string_to_metric_families(sys.stdin.read()):
    assert family.documentation, f"{family.name} has no help"
    samples = [[sample.name, sample.labels, sample.value] for sample in family.samples]
    families[family.name] = {"type": family.type, "unit": family.unit, "samples": samples}
json.dump(families, sys.stdout)
