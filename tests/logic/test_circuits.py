"""Levelled evaluation against sums over worlds: values, gradients, extremes, shapes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from fuzzing import examples
from hypothesis import assume, given
from hypothesis import strategies as st
from tolerances import EXACT, GRADIENT, SINGLE
from torch import Tensor
from worlds import (
    Built,
    built_formulas,
    new_formula,
    plan_of,
    probability,
    random_logits,
    to_circuit,
    truth_tables,
)

from nesy_gedi.logic import circuits
from nesy_gedi.logic.circuits import Plan
from nesy_gedi.logic.formula import FALSE, TRUE, Formula, Not
from nesy_gedi.logic.negation import Negation


def log_rows(logits: Sequence[Tensor]) -> Tensor:
    return torch.cat([x.log_softmax(0) for x in logits])


def compiled(built: Built) -> Plan:
    formula, roots = to_circuit(built.formula, built.roots)
    return plan_of(formula, roots, built.sizes)


def gradients(result: Tensor, logits: Sequence[Tensor]) -> Tensor:
    if not result.requires_grad:
        return torch.zeros(sum(len(x) for x in logits), logits[0].shape[1])
    return torch.cat(torch.autograd.grad(result, logits, allow_unused=True, materialize_grads=True))


def exclusive(formula: Formula) -> list[int]:
    """Roots over sizes (3, 2, 4) with every kind of node: a plain "not" among them."""
    x, y, z = (formula.literal(k, 1) for k in range(3))
    branches = formula.plain_or([formula.plain_and([x, y]), formula.plain_and([formula.literal(0, 2), z])])
    kept = formula.negate(formula.plain_or([branches, formula.plain_and([formula.literal(0, 4), formula.negate(y)])]))
    return [branches, kept, formula.literal(2, 0b1011), y, FALSE, TRUE]


MIXED = (3, 2, 4)


def mixed_plan() -> Plan:
    formula = new_formula(MIXED)
    roots = exclusive(formula)
    assert isinstance(formula.nodes[roots[1]], Not)
    return plan_of(formula, roots, MIXED)


class TestAgainstWorlds:
    @examples(150)
    @given(built_formulas(), st.integers(0, 1000))
    def test_values_and_gradients(self, built: Built, seed: int) -> None:
        logits = random_logits(built.sizes, 3, scale=3.0, seed=seed)
        result = compiled(built)(log_rows(logits)).exp()
        expected = torch.stack([probability(table, [x.softmax(0) for x in logits]) for table in built.meant])
        torch.testing.assert_close(result, expected, atol=EXACT, rtol=0.0)
        weights = torch.randn(result.shape, generator=torch.Generator().manual_seed(seed))
        own, reference = gradients((result * weights).sum(), logits), gradients((expected * weights).sum(), logits)
        torch.testing.assert_close(own, reference, atol=GRADIENT, rtol=0.0)

    @examples(50)
    @given(built_formulas(), st.data())
    def test_probabilities_of_exactly_zero_and_one(self, built: Built, data: st.DataObject) -> None:
        # Each row is a world: the result is its truth, and all that is left of a gradient is finite.
        world = [data.draw(st.integers(0, size - 1)) for size in built.sizes]
        rows = [torch.nn.functional.one_hot(torch.tensor([v]), s).T for v, s in zip(world, built.sizes, strict=True)]
        log_p = torch.cat(rows).to(torch.get_default_dtype()).log().requires_grad_()
        result = compiled(built)(log_p)
        assert result.exp()[:, 0].tolist() == [float(table[tuple(world)]) for table in built.meant]
        (gradient,) = torch.autograd.grad(result.clamp_min(-100.0).sum(), log_p)
        assert gradient.isfinite().all()
        assert (gradient[log_p == -torch.inf] == 0.0).all()

    def test_the_gradient_is_the_posterior(self) -> None:
        formula = new_formula(MIXED)
        (root, *_) = exclusive(formula)
        logits = random_logits(MIXED, 5)
        table = truth_tables(formula, [root])[root]
        p = [x.softmax(0) for x in logits]
        posterior = []
        for variable, size in enumerate(MIXED):
            for value in range(size):
                picked = table.copy()
                index = [slice(None)] * 3
                for other in set(range(size)) - {value}:
                    index[variable] = other
                    picked[tuple(index)] = False
                posterior.append(probability(picked, p) / probability(table, p))
        expected = torch.stack(posterior).detach() - torch.cat(p).detach()  # d log P / d logit
        own = gradients(plan_of(formula, [root], MIXED)(log_rows(logits)).sum(), logits)
        torch.testing.assert_close(own, expected, atol=GRADIENT, rtol=0.0)


class TestGradients:
    def test_gradcheck(self) -> None:
        plan = mixed_plan()
        logits = random_logits(MIXED, 2)
        assert torch.autograd.gradcheck(lambda *x: plan(log_rows(x))[:4], logits, eps=1e-6, atol=1e-7)

    @examples(15)
    @given(built_formulas(max_variables=4), st.integers(0, 100))
    def test_gradcheck_of_random_circuits(self, built: Built, seed: int) -> None:
        plan = compiled(built)
        logits = random_logits(built.sizes, 1, seed=seed)
        with torch.no_grad():
            possible = plan(log_rows(logits))[:, 0] > -torch.inf
        assume(bool(possible.any()))
        assert torch.autograd.gradcheck(lambda *x: plan(log_rows(x))[possible], logits, eps=1e-6, atol=1e-7)

    def test_an_impossible_root_has_gradient_zero_beside_a_possible_one(self) -> None:
        formula = new_formula([2, 2])
        a, b = formula.literal(0, 1), formula.literal(1, 1)
        plan = plan_of(formula, [formula.conjoin([a, b]), b], [2, 2])
        log_p = torch.tensor([[0.0, 1.0, 0.5, 0.5]]).T.log().requires_grad_()
        result = plan(log_p)
        assert result[:, 0].tolist() == [-math.inf, math.log(0.5)]
        (gradient,) = torch.autograd.grad(result.sum(), log_p)
        assert gradient[:, 0].tolist() == [0.0, 0.0, 1.0, 0.0]

    def test_only_the_first_derivative(self) -> None:
        logits = random_logits(MIXED, 1)
        (first, *_) = torch.autograd.grad(mixed_plan()(log_rows(logits))[0].sum(), logits, create_graph=True)
        with pytest.raises(NotImplementedError, match="once, not twice"):
            first.sum().backward()

    def test_no_gradient_is_kept_without_need(self) -> None:
        with torch.no_grad():
            assert not mixed_plan()(log_rows(random_logits(MIXED, 2))).requires_grad


class TestBatches:
    @pytest.mark.parametrize("batch", [1, 257])
    def test_rows_do_not_depend_on_their_batch(self, batch: int) -> None:
        plan = mixed_plan()
        logits = random_logits(MIXED, batch, scale=4.0)
        together = plan(log_rows(logits))
        assert together.shape == (6, batch)
        alone = torch.cat([plan(log_rows([x[:, k : k + 1] for x in logits])) for k in range(batch)], 1)
        torch.testing.assert_close(together, alone, atol=EXACT, rtol=0.0)

    def test_a_permuted_batch_gives_permuted_results(self) -> None:
        plan = mixed_plan()
        logits = random_logits(MIXED, 40)
        order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
        result = plan(log_rows(logits))
        permuted = plan(log_rows([x[:, order] for x in logits]))
        assert torch.equal(result[:, order], permuted)
        weights = torch.rand(result.shape, generator=torch.Generator().manual_seed(2))
        own = gradients((result[:4] * weights[:4]).sum(), logits)
        assert torch.equal(own, gradients((permuted[:4] * weights[:4, order]).sum(), logits))

    def test_repeating_changes_nothing(self) -> None:
        plan = mixed_plan()
        rows = log_rows(random_logits(MIXED, 9))
        assert torch.equal(plan(rows), plan(rows))


class TestRoots:
    def test_constants(self) -> None:
        formula = new_formula([2])
        plan = plan_of(formula, [FALSE, TRUE, TRUE], [2])
        log_p = random_logits([2], 4)[0]
        result = plan(log_p)
        assert result.tolist() == [[-math.inf] * 4, [0.0] * 4, [0.0] * 4]
        result.clamp_min(-100.0).sum().backward()
        assert not log_p.grad.any()

    def test_none(self) -> None:
        assert plan_of(new_formula([2]), [], [2])(random_logits([2], 4)[0]).shape == (0, 4)

    def test_one_node_as_several_roots_adds_its_gradients(self) -> None:
        formula = new_formula([2, 2])
        both = formula.conjoin([formula.literal(0, 1), formula.literal(1, 1)])
        log_p = log_rows(random_logits([2, 2], 1)).detach().requires_grad_()
        plan_of(formula, [both, both, formula.literal(0, 1)], [2, 2])(log_p).sum().backward()
        assert log_p.grad[:, 0].tolist() == [3.0, 0.0, 2.0, 0.0]

    def test_inputs_that_no_root_reads(self) -> None:
        formula = new_formula([2, 3, 2])
        plan = plan_of(formula, [formula.conjoin([formula.literal(0, 1), formula.literal(2, 1)])], [2, 3, 2])
        logits = random_logits([2, 3, 2], 3)
        rows = log_rows(logits).detach()
        rows[2:5] = torch.nan  # nothing may touch them
        rows.requires_grad_()
        result = plan(rows)
        assert result.isfinite().all()
        result.sum().backward()
        assert rows.grad[2:5].eq(0.0).all()

    def test_two_variables_with_the_same_distribution(self) -> None:
        # One learned probability can serve several ground facts: independent, yet the same row.
        formula = new_formula([2, 2])
        both = formula.conjoin([formula.literal(0, 1), formula.literal(1, 1)])
        plan = Plan(formula, [both], lambda variable, value: value, 2)
        log_p = torch.tensor([[0.25], [0.75]]).log().requires_grad_()
        result = plan(log_p)
        assert result.exp().item() == pytest.approx(0.0625, abs=EXACT)
        result.sum().backward()
        assert log_p.grad[:, 0].tolist() == [2.0, 0.0]


class TestPlan:
    def test_a_plan_moves_without_changing_the_original(self) -> None:
        plan = mixed_plan()
        before = [block.children for level in plan.levels for block in level.blocks]
        moved = plan.to(torch.device("meta"))
        assert {block.children.device.type for level in moved.levels for block in level.blocks} == {"meta"}
        assert {gather.terms.device.type for level in moved.levels for gather in level.gathers} == {"meta"}
        assert moved.roots.device.type == "meta"
        assert all(a is b for a, b in zip(before, (b.children for le in plan.levels for b in le.blocks), strict=True))
        rows = log_rows(random_logits(MIXED, 3))
        assert torch.equal(plan(rows), plan.to(torch.device("cpu"))(rows))

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    def test_on_a_gpu(self) -> None:
        plan, device = mixed_plan(), torch.device("cuda")
        logits = random_logits(MIXED, 33)
        here, there = plan(log_rows(logits)), plan.to(device)(log_rows(logits).to(device))
        torch.testing.assert_close(here, there.cpu(), atol=EXACT, rtol=0.0)
        own, other = gradients(here[:4].sum(), logits), gradients(there[:4].sum(), logits)
        torch.testing.assert_close(own, other, atol=GRADIENT, rtol=0.0)

    def test_depth_counts_levels_above_the_inputs(self) -> None:
        formula = new_formula([2, 2, 2])
        a, b, c = (formula.literal(k, 1) for k in range(3))
        inner = formula.plain_and([a, b])
        assert plan_of(formula, [a], [2, 2, 2]).depth == 0
        assert plan_of(formula, [inner], [2, 2, 2]).depth == 1
        assert plan_of(formula, [formula.plain_and([formula.negate(inner), c])], [2, 2, 2]).depth == 3

    @pytest.mark.parametrize("factor", [1.0, 1.5, 100.0])
    def test_padding_changes_no_result(self, factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
        formula = new_formula([12, 2, 2, 2, 2])
        extra = [formula.literal(k, 1) for k in range(1, 5)]
        branches = [formula.plain_and([formula.literal(0, 1 << k), *extra[: k % 4]]) for k in range(12)]
        roots = [formula.plain_or(branches[:k]) for k in (2, 3, 7, 12)]
        sizes = [12, 2, 2, 2, 2]
        logits = random_logits(sizes, 3)
        monkeypatch.setattr(circuits, "PADDING_FACTOR", factor)
        result = plan_of(formula, roots, sizes)(log_rows(logits)).exp()
        tables = truth_tables(formula, roots)
        expected = torch.stack([probability(tables[root], [x.softmax(0) for x in logits]) for root in roots])
        torch.testing.assert_close(result, expected, atol=EXACT, rtol=0.0)
        torch.testing.assert_close(
            gradients(result.sum(), logits), gradients(expected.sum(), logits), atol=GRADIENT, rtol=0.0
        )


class TestSinglePrecision:
    @examples(80)
    @given(built_formulas(), st.integers(0, 1000))
    def test_agrees_with_double_precision(self, built: Built, seed: int) -> None:
        plan = compiled(built)
        logits = random_logits(built.sizes, 4, scale=2.0, seed=seed)
        double = plan(log_rows(logits))
        single = plan(log_rows([x.detach().float() for x in logits]))
        assert single.dtype == torch.float32
        torch.testing.assert_close(single.double().exp(), double.exp(), atol=SINGLE, rtol=0.0)

    @pytest.mark.parametrize("logit", [20.0, 60.0, 85.0])
    def test_a_small_probability_of_an_alternative_is_kept(self, logit: float) -> None:
        # log(1 - p) of a single-precision p below 6e-8 is 0: a circuit must not get p back by subtraction.
        formula = new_formula([2, 2, 2])
        a, b, c = (formula.literal(k, 1) for k in range(3))
        roots = [formula.disjoin([a, b, c]), formula.negate(formula.conjoin([formula.negate(a), formula.negate(b)]))]
        plan = plan_of(*to_circuit(formula, roots), [2, 2, 2])
        logits = [torch.tensor([[-logit], [0.0]], dtype=torch.float32).requires_grad_() for _ in range(3)]
        result = plan(log_rows(logits))
        expected = [math.log(3) - logit, math.log(2) - logit]
        assert result[:, 0].tolist() == pytest.approx(expected, rel=SINGLE)
        assert gradients(result[0], logits)[::2, 0].tolist() == pytest.approx([1 / 3] * 3, rel=SINGLE)

    def test_a_small_probability_of_a_denied_rule_is_kept(self) -> None:
        formula = new_formula([3, 2, 2])
        x, y = formula.literal(1, 1), formula.literal(2, 1)
        rule = formula.plain_or(
            [formula.plain_and([formula.literal(0, 1), x]), formula.plain_and([formula.literal(0, 2), y])]
        )
        formula_, roots = to_circuit(formula, [formula.negate(rule)])
        sure = torch.tensor([[30.0], [0.0], [-30.0], [40.0], [0.0], [0.0], [0.0]], dtype=torch.float32)
        logits = [part.clone().requires_grad_() for part in sure.split([3, 2, 2])]
        result = plan_of(formula_, roots, [3, 2, 2])(log_rows(logits))
        assert result.item() == pytest.approx(math.log(0.5) - 30.0, rel=SINGLE)
        assert gradients(result.sum(), logits).isfinite().all()

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_the_slope_of_a_negation_stays_finite(self, dtype: torch.dtype) -> None:
        # What is left of a probability can be below the smallest normal number.
        formula = new_formula([2, 2, 2])
        a, b, c = (formula.literal(k, 1) for k in range(3))
        rare = formula.negate(formula.plain_and([formula.negate(a), formula.negate(b)]))
        root = formula.plain_or([formula.plain_and([c, formula.negate(formula.plain_or([rare, FALSE]))]), FALSE])
        inner = formula.plain_or([formula.plain_and([c, rare]), formula.negate(c)])
        plan = plan_of(formula, [root, inner, rare], [2, 2, 2])
        tiny = torch.finfo(dtype).tiny
        for p in (tiny, tiny / 64, tiny * 64, 0.0):
            row = torch.tensor([[p, 1.0, p, 1.0, 0.5, 0.5]], dtype=dtype).T.log()
            row[[1, 3]] = -p  # log(1 - p)
            row.requires_grad_()
            (gradient,) = torch.autograd.grad(plan(row).clamp_min(-1000.0).sum(), row)
            assert gradient.isfinite().all()


class TestNegation:
    @pytest.mark.parametrize("log_p", [-1e-270, -1e-20, -1e-9, -0.1, -0.6, -0.7, -1.0, -40.0, -700.0])
    def test_is_accurate_at_both_ends(self, log_p: float) -> None:
        formula = new_formula([2, 2])
        root = formula.negate(formula.plain_and([formula.literal(0, 1), formula.literal(1, 1)]))
        row = torch.tensor([log_p, -math.inf, log_p, -math.inf])[:, None].requires_grad_()
        result = plan_of(formula, [root], [2, 2])(row)
        expected = math.log(-math.expm1(2 * log_p)) if log_p > -1 else math.log1p(-math.exp(2 * log_p))
        assert result.item() == pytest.approx(expected, rel=1e-14)
        (gradient,) = torch.autograd.grad(result.sum(), row)
        assert gradient[0].item() == pytest.approx(math.exp(2 * log_p) / math.expm1(2 * log_p), rel=1e-13)

    def test_of_certain_and_impossible(self) -> None:
        formula = new_formula([2, 2])
        root = formula.negate(formula.plain_and([formula.literal(0, 1), formula.literal(1, 1)]))
        plan = plan_of(formula, [root], [2, 2])
        assert plan(torch.tensor([[0.0, 1e-9], [-math.inf] * 2, [0.0, 0.0], [-math.inf] * 2])).tolist() == [
            [-math.inf] * 2
        ]
        assert plan(torch.tensor([[-math.inf], [0.0], [0.0], [-math.inf]])).tolist() == [[0.0]]

    @examples(60)
    @given(built_formulas(), st.integers(0, 1000))
    def test_sums_with_what_it_denies_to_one(self, built: Built, seed: int) -> None:
        formula, roots = to_circuit(built.formula, built.roots)
        negation = Negation(formula)
        both = plan_of(formula, roots + [negation(root) for root in roots], built.sizes)
        result = both(log_rows(random_logits(built.sizes, 2, scale=3.0, seed=seed))).exp()
        torch.testing.assert_close(result[:4] + result[4:], torch.ones(4, 2)[: len(roots)], atol=EXACT, rtol=0.0)

    def test_many_alternatives_make_a_shallow_circuit(self) -> None:
        sizes = [2] * 256
        formula = new_formula(sizes)
        root = formula.disjoin([formula.literal(k, 1) for k in range(256)])
        target, roots = to_circuit(formula, [root])
        plan = plan_of(target, roots, sizes)
        assert plan.depth <= 2 * math.log2(256)
        log_p = torch.tensor([[1e-3], [1 - 1e-3]]).log().repeat(256, 1)
        assert plan(log_p).exp().item() == pytest.approx(1 - (1 - 1e-3) ** 256, rel=1e-12)
