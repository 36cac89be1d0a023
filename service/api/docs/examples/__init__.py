"""Examples of each operation with curl: openapi.md shows them, and a test runs them in this order.

They can be pasted one after another: the first ones set `$JOB` and `$DATASET`. In responses, `…` marks
omissions; the whole responses, which /docs shows, are in `answers.json`.
"""

from service.api.docs.examples import datasets, jobs, parameter_sets, results, system
from service.api.docs.examples.example import Example

EXAMPLES = (
    *jobs.EXAMPLES,
    *results.EXAMPLES,
    *datasets.EXAMPLES,
    *parameter_sets.EXAMPLES,
    *system.EXAMPLES,
)


def examples_of(operation: str) -> list[Example]:
    """Return the examples of an operation, in order."""
    return [example for example in EXAMPLES if example.operation == operation]
