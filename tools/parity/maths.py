"""Fixture of the maths verifier: pairs of written numbers and whether sympy finds them equal.

    pip install sympy==1.14.0
    python tools/parity/maths.py        # writes packages/rl-trainer/fixtures/maths-equal.json

A random expression in LaTeX (fractions, decimals, square roots, multiples of pi; sums, products, quotients, powers)
beside its value as sympy writes it, terms shuffled, and beside that value plus a small fraction.
"""

import json
import random
from pathlib import Path

import sympy as sp

OUT = Path(__file__).resolve().parents[2] / "packages/rl-trainer/fixtures/maths-equal.json"
random.seed(5)


def leaf():
    n, d = random.randint(1, 12), random.randint(1, 6)
    return random.choice(
        [
            (f"{n}", sp.Integer(n)),
            (rf"\frac{{{n}}}{{{d}}}", sp.Rational(n, d)),
            (rf"\sqrt{{{n}}}", sp.sqrt(n)),
            (rf"{n}\pi", n * sp.pi),
            (f"{n}.{d}", sp.Rational(10 * n + d, 10)),
            (rf"{d}\sqrt{{{n}}}", d * sp.sqrt(n)),
        ]
    )


def expression(depth):
    if depth == 0:
        return leaf()
    (a, x), (b, y), (c, z) = expression(depth - 1), expression(depth - 1), leaf()
    exponent = random.choice([2, 3])
    return random.choice(
        [
            (f"({a}) + {b}", x + y),
            (f"({a}) - ({b})", x - y),
            (rf"({a}) \cdot ({b})", x * y),
            (rf"\frac{{{a}}}{{{c}}}", x / z),
            (f"({a})^{{{exponent}}}", x**exponent),
        ]
    )


def written(value):
    terms = []
    for term in sp.Add.make_args(value):
        coefficient, rest = term.as_coeff_Mul()
        text = rf"\frac{{{abs(coefficient.p)}}}{{{coefficient.q}}}"
        for factor in sp.Mul.make_args(rest):
            base, power = factor.as_base_exp()
            if factor == 1:
                continue
            if base == sp.pi:
                text += rf"\pi^{{{power}}}"
            elif power == sp.Rational(1, 2) and base.is_Integer:
                text += rf"\sqrt{{{base}}}"
            else:
                return None
        terms.append(("-" if coefficient < 0 else "+") + text)
    random.shuffle(terms)
    return "".join(terms).removeprefix("+")


rows = []
while len(rows) < 300:
    text, value = expression(random.choice([1, 2]))
    value = sp.expand(sp.radsimp(sp.expand(value)))
    form = written(value)
    if form is None or len(text) > 120:
        continue
    rows.append([text, form, True])
    rows.append([text, form + rf"+\frac{{1}}{{{random.randint(2, 97)}}}", False])
OUT.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")
