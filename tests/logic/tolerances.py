"""Every tolerance of these tests, absolute unless said otherwise."""

EXACT = 1e-12
"""Two ways to compute one probability in double precision."""

GRADIENT = 1e-10
"""A gradient in double precision against the gradient of the sum over worlds."""

PROBLOG = 1e-9
"""Against ProbLog, which works in double precision, too."""

DEEPPROBLOG = 1e-6
"""Against deepproblog, which keeps learned probabilities and some constants in single precision."""

SINGLE = 1e-5
"""Single against double precision, relative for log-probabilities."""
