"""Distributions in, log-probabilities of answers out: against arithmetic written here."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from reasoning import COLOURS, column, reasoner, rows
from tolerances import EXACT, GRADIENT, SINGLE

from nesy_gedi.errors import AnswerError, DistributionError, NesyGediWarning, ProgramError, UsageError
from nesy_gedi.logic.distributions import HALF_SUM_TOLERANCE, check_rows
from nesy_gedi.logic.likelihood import LOG_PROBABILITY_FLOOR, nll
from nesy_gedi.logic.program import Program
from nesy_gedi.logic.queries import answer_queries
from nesy_gedi.logic.reasoner import Reasoner

DIGIT = "nn(net, [X], D, [0..9]) :: digit(X, D).\n"
ADDITION = DIGIT + "addition(X, Y, S) :- digit(X, A), digit(Y, B), S is A + B."


class TestAddition:
    def test_is_a_convolution(self) -> None:
        made = reasoner(ADDITION, "addition(X, Y, Sum)")
        x, y = rows(6, 10), rows(6, 10, seed=1)
        assert made.answers == tuple(map(str, range(19)))
        expected = np.stack([np.convolve(a, b) for a, b in zip(x.exp().numpy(), y.exp().numpy(), strict=True)])
        found = made({"X": x, "Y": y})
        np.testing.assert_allclose(found.exp().numpy(), expected, atol=EXACT, rtol=0.0)
        np.testing.assert_allclose(found.exp().sum(1).numpy(), 1.0, atol=EXACT)

    def test_one_image_in_two_slots_is_one_variable(self) -> None:
        made = reasoner(ADDITION, "addition(X, X, Sum)")
        x = rows(4, 10)
        found = made({"X": x})
        assert [item.slots for item in made.inputs] == [("X",)]
        assert made.answers == tuple(map(str, range(0, 19, 2)))
        torch.testing.assert_close(found, x, atol=EXACT, rtol=0.0)

    def test_the_gradient_is_the_posterior_of_each_digit(self) -> None:
        made = reasoner(ADDITION, "addition(X, Y, Sum)")
        x, y = rows(1, 10).requires_grad_(), rows(1, 10, seed=1)
        made({"X": x, "Y": y})[0, made.index(7)].backward()
        joint = np.outer(x.detach().exp().numpy(), y.exp().numpy())
        seven = np.add.outer(range(10), range(10)) == 7
        posterior = (joint * seven).sum(1) / joint[seven].sum()
        np.testing.assert_allclose(x.grad[0].numpy(), posterior, atol=GRADIENT, rtol=0.0)

    def test_in_single_precision(self) -> None:
        made = reasoner(ADDITION, "addition(X, Y, Sum)")
        x, y = rows(6, 10, scale=5.0), rows(6, 10, seed=1, scale=5.0)
        single = made({"X": x.float(), "Y": y.float()})
        assert single.dtype == torch.float32
        torch.testing.assert_close(single.double(), made({"X": x, "Y": y}), atol=SINGLE, rtol=SINGLE)


class TestInputs:
    def test_all_forms_of_input_agree(self) -> None:
        made = reasoner(ADDITION, "addition(X, Y, Sum)")
        x, y = rows(3, 10), rows(3, 10, seed=1)
        expected = made({"X": x, "Y": y})
        assert torch.equal(made(torch.stack([x, y], 1)), expected)
        assert torch.equal(made({("net", "Y"): y, ("net", "X"): x}), expected)
        assert torch.equal(made({"Y": y, "unused": rows(9, 2), "X": x}), expected)

    def test_inputs_are_in_the_order_of_the_form(self) -> None:
        made = reasoner(DIGIT + "minus(S, Y, X) :- digit(X, A), digit(Y, B), S is A - B.", "minus(S, Y, X)")
        assert [item.slots[0] for item in made.inputs] == ["Y", "X"]
        y, x = (torch.nn.functional.one_hot(torch.tensor([k]), 10).log().to(torch.float64) for k in (2, 9))
        assert column(made(torch.stack([y, x], 1)), made, 7).item() == 1.0

    def test_several_networks_on_one_slot(self) -> None:
        text = COLOURS + "nn(flag, [X]) :: lit(X).\nstop(X, yes) :- colour(X, red), lit(X)."
        made = reasoner(text, "stop(X, R)")
        assert [(item.network, item.slots, item.domain) for item in made.inputs] == [
            ("flag", ("X",), ("false", "true")),
            ("net", ("X",), ("red", "green", "blue")),
        ]
        colour, lit = rows(2, 3), rows(2, 2, seed=1)
        found = made({("net", "X"): colour, ("flag", "X"): lit})
        torch.testing.assert_close(found[:, 0], colour[:, 0] + lit[:, 1], atol=EXACT, rtol=0.0)
        with pytest.raises(UsageError, match="several networks read X") as raised:
            made({"X": colour})
        assert "('flag', 'X')" in str(raised.value.hint)

    def test_a_network_of_two_images(self) -> None:
        text = "nn(cmp, [X, Y], R, [less, same, more]) :: order(X, Y, R).\nq(X, Y, Z, R) :- order(X, Y, R), order(Y, Z, R)."
        made = reasoner(text, "q(X, Y, Z, R)")
        assert [item.slots for item in made.inputs] == [("X", "Y"), ("Y", "Z")]
        first, second = rows(2, 3), rows(2, 3, seed=1)
        found = made({("X", "Y"): first, ("cmp", "Y", "Z"): second})
        torch.testing.assert_close(
            found, (first + second)[:, [made.answers.index(a) for a in made.answers]][:, [0, 2, 1]]
        )
        assert made.answers == ("less", "more", "same")

    def test_two_networks_of_the_same_two_images(self) -> None:
        text = "nn(m, [X, Y]) :: p(X, Y).\nnn(n, [X, Y]) :: q(X, Y).\nr(X, Y) :- p(X, Y), q(X, Y)."
        made = reasoner(text, "r(X, Y)")
        with pytest.raises(UsageError, match="several networks read X, Y"):
            made({("X", "Y"): rows(1, 2)})

    def test_an_image_that_no_answer_depends_on_needs_no_network(self) -> None:
        text = COLOURS + "seen(X) :- colour(X, _).\nboth(X, Y, C) :- seen(X), colour(Y, C)."
        made = reasoner(text, "both(X, Y, C)")
        assert made.form.slots == ("X", "Y")
        assert [item.slots for item in made.inputs] == [("Y",)]
        y = rows(2, 3)
        torch.testing.assert_close(made({"X": rows(2, 3, seed=1), "Y": y}), y[:, [2, 1, 0]], atol=EXACT, rtol=0.0)

    def test_no_network_at_all(self) -> None:
        made = reasoner("0.3::a; 0.6::b.\nq(1) :- a.\nq(2) :- b.", "q(R)")
        assert made.inputs == ()
        assert made({}).exp()[0].tolist() == pytest.approx([0.3, 0.6], abs=EXACT)
        assert made({}, batch=4).shape == (4, 2)


class TestRefused:
    def test_rows_that_do_not_sum_to_one(self) -> None:
        made = reasoner(ADDITION, "addition(X, Y, Sum)")
        with pytest.raises(DistributionError, match="sums to 10, not 1") as raised:
            made({"X": torch.zeros(2, 10), "Y": rows(2, 10)})
        assert raised.value.where == "network net(X)"
        assert "log_softmax" in str(raised.value.hint)

    def test_one_bad_row_among_good_ones(self) -> None:
        made = reasoner(ADDITION, "addition(X, Y, Sum)")
        y = rows(5, 10)
        y[3] += 0.01
        with pytest.raises(DistributionError, match=r"sums to 1\.01\d*, not 1") as raised:
            made({"X": rows(5, 10), "Y": y})
        assert raised.value.where == "network net(Y)"

    def test_nan(self) -> None:
        with pytest.raises(DistributionError, match="sums to nan"):
            check_rows(torch.full((1, 3), torch.nan), "n")

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_is_judged_by_its_own_accuracy(self, dtype: torch.dtype) -> None:
        for width in (2, 10, 100, 1000):
            check_rows(rows(50, width, scale=2.0).to(dtype), "n")
            check_rows(torch.full((1, width), -math.log(width)).to(dtype), "n")
        with pytest.raises(DistributionError):
            check_rows(torch.full((1, 2), math.log(0.5 + HALF_SUM_TOLERANCE * torch.finfo(dtype).eps)).to(dtype), "n")

    def test_half_precision_is_computed_in_single(self) -> None:
        made = reasoner(ADDITION, "addition(X, Y, Sum)")
        assert made({"X": rows(2, 10).half(), "Y": rows(2, 10).half()}).dtype == torch.float32

    def test_validation_can_be_switched_off(self) -> None:
        made = Reasoner(Program(ADDITION), "addition(X, Y, Sum)", validate=False)
        assert made({"X": torch.zeros(1, 10), "Y": rows(1, 10)}).isfinite().all()

    @pytest.mark.parametrize(
        ("shape", "found"), [((2, 9), "9 outputs"), ((10,), "10 outputs"), ((2, 1, 10), "10 outputs")]
    )
    def test_a_wrong_width_or_shape(self, shape: tuple[int, ...], found: str) -> None:
        made = reasoner(ADDITION, "addition(X, Y, Sum)")
        with pytest.raises(DistributionError, match=f"net has {found}, its domain has 10 symbols"):
            made({"X": torch.zeros(shape), "Y": rows(2, 10)})

    def test_batches_of_two_sizes(self) -> None:
        made = reasoner(ADDITION, "addition(X, Y, Sum)")
        with pytest.raises(DistributionError, match="batch of 3 beside a batch of 2") as raised:
            made({"X": rows(2, 10), "Y": rows(3, 10)})
        assert raised.value.where == "net(Y)"

    def test_a_missing_input(self) -> None:
        made = reasoner(ADDITION, "addition(X, Y, Sum)")
        with pytest.raises(DistributionError, match="no distribution of net for Y") as raised:
            made({"X": rows(2, 10), "Z": rows(2, 10)})
        assert raised.value.hint == "given: X, Z"

    @pytest.mark.parametrize("shape", [(2, 10), (2, 3, 10), (2, 1, 10)])
    def test_a_tensor_of_another_shape(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(DistributionError, match=r"expected log-probabilities of shape \(batch, 2, K\)"):
            reasoner(ADDITION, "addition(X, Y, Sum)")(torch.zeros(shape))


class TestImpossible:
    def test_an_answer_that_the_networks_rule_out(self) -> None:
        made = reasoner(ADDITION, "addition(X, Y, Sum)")
        logits = torch.zeros(1, 10, requires_grad=True)
        certain = torch.full((1, 10), -torch.inf)
        certain[0, 0] = 0.0
        found = made({"X": certain, "Y": logits.log_softmax(1)})
        assert found[0, made.index(18)] == -torch.inf
        loss = nll(found, torch.tensor([made.index(18)]))
        assert loss.item() == -LOG_PROBABILITY_FLOOR
        loss.backward()
        assert logits.grad.tolist() == [[0.0] * 10]

    def test_an_answer_that_the_program_rules_out(self) -> None:
        made = reasoner(ADDITION, "addition(X, Y, 19)")
        assert made.answers == ("true",)
        logits = torch.zeros(2, 10, requires_grad=True)
        rows_ = logits.log_softmax(1)
        assert made({"X": rows_, "Y": rows_}).tolist() == [[-math.inf]] * 2
        loss = made.nll({"X": rows_, "Y": rows_}, torch.tensor([0, 0]))
        assert loss.item() == -LOG_PROBABILITY_FLOOR

    def test_possible_queries_of_the_batch_still_learn(self) -> None:
        made = reasoner(ADDITION, "addition(X, Y, Sum)")
        certain = torch.full((2, 10), -torch.inf)
        certain[:, 0] = 0.0
        logits = torch.zeros(2, 10, requires_grad=True)
        made.nll({"X": certain, "Y": logits.log_softmax(1)}, torch.tensor([18, 3])).backward()
        assert logits.grad[0].eq(0.0).all()
        assert logits.grad[1, 3] == pytest.approx(-0.45, abs=GRADIENT)

    def test_a_certain_and_right_network_has_loss_and_gradient_zero(self) -> None:
        made = reasoner(ADDITION, "addition(X, Y, Sum)")
        logits = torch.zeros(1, 10)
        logits[0, 4] = 1000.0
        logits.requires_grad_()
        loss = made.nll({"X": logits.log_softmax(1), "Y": logits.log_softmax(1)}, torch.tensor([8]))
        loss.backward()
        assert loss.item() == 0.0
        assert logits.grad.abs().max() == 0.0

    def test_a_form_without_any_answer_is_refused(self) -> None:
        with pytest.raises(ProgramError, match="no answer to q"):
            reasoner(COLOURS + "q(X, yes) :- colour(X, red), colour(X, blue).", "q(X, R)")

    def test_single_precision_learns_from_a_confidently_wrong_network(self) -> None:
        # Either image may show red; both networks are sure of green. 1 - (1 - p)^2 would be 0 in single precision.
        made = reasoner(COLOURS + "red(X, Y) :- colour(X, red).\nred(X, Y) :- colour(Y, red).", "red(X, Y)")
        logits = torch.tensor([[-30.0, 0.0, -80.0]], dtype=torch.float32, requires_grad=True)
        loss = made.nll({"X": logits.log_softmax(1), "Y": logits.log_softmax(1)}, torch.tensor([0]))
        assert loss.item() == pytest.approx(30.0 - math.log(2), rel=SINGLE)
        loss.backward()
        assert logits.grad[0, :2].tolist() == pytest.approx([-1.0, 1.0], rel=SINGLE)


class TestEvidence:
    TEXT = COLOURS + "0.2::fog.\nhidden :- fog.\nsee(X, C) :- colour(X, C), \\+ fog.\nsee(X, none) :- fog.\n"

    def test_is_a_condition(self) -> None:
        made = reasoner(self.TEXT + "evidence(hidden, false).", "see(X, C)")
        x = rows(3, 3)
        found = made({"X": x})
        for k, colour in enumerate(("red", "green", "blue")):
            torch.testing.assert_close(column(found, made, colour), x[:, k].exp(), atol=EXACT, rtol=0.0)
        torch.testing.assert_close(made.log_evidence({"X": x}), torch.full((3,), math.log(0.8)), atol=EXACT, rtol=0.0)

    def test_that_is_partly_relevant(self) -> None:
        # P(a | a or b) with P(a) = .3, P(b) = .4: .3 / .58
        made = reasoner("0.3::a. 0.4::b.\nc :- a.\nc :- b.\nevidence(c).\nq(yes) :- a.", "q(R)")
        assert made({}).exp().item() == pytest.approx(0.3 / 0.58, abs=EXACT)

    def test_that_is_impossible_leaves_nothing(self) -> None:
        made = reasoner("0.3::a.\nq(yes) :- a.\nevidence(a).\nevidence(a, false).", "q(R)")
        assert made({}).tolist() == [[-math.inf]]
        assert made.log_evidence({}).tolist() == [-math.inf]

    def test_through_a_network(self) -> None:
        text = (
            "nn(net, [X], D, [0, 1, 2]) :: digit(X, D).\n"
            "q(X, D) :- digit(X, D).\nsmall :- digit(logo, 0).\nsmall :- digit(logo, 1).\n"
            "r(X, D) :- digit(X, D), digit(logo, D).\nevidence(small)."
        )
        made = reasoner(text, "r(X, D)")
        assert [item.slots for item in made.inputs] == [("logo",), ("X",)]
        logo, x = rows(1, 3).requires_grad_(), rows(1, 3, seed=1)
        found = made({"logo": logo, "X": x})
        p, q = logo.detach().exp()[0], x.exp()[0]
        assert column(found, made, 0).item() == pytest.approx(float(p[0] * q[0] / (p[0] + p[1])), abs=EXACT)
        assert found[0, made.index(2)] == -torch.inf
        found[0, made.index(0)].backward()  # d log (p0 / (p0 + p1))
        assert logo.grad[0].tolist() == pytest.approx([float(p[1] / (p[0] + p[1])), -float(p[1] / (p[0] + p[1])), 0.0])

    def test_none_has_probability_one(self) -> None:
        made = reasoner(ADDITION, "addition(X, Y, Sum)")
        assert made.log_evidence({"X": rows(2, 10), "Y": rows(2, 10)}).tolist() == [0.0, 0.0]


class TestConstants:
    def test_a_disjunction_that_sums_to_less_keeps_the_rest(self) -> None:
        made = reasoner("0.5::a; 0.3::b.\nq(none) :- \\+ a, \\+ b.\nq(some) :- a.\nq(some) :- b.", "q(R)")
        assert dict(zip(made.answers, made({}).exp()[0].tolist(), strict=True)) == pytest.approx(
            {"none": 0.2, "some": 0.8}, abs=EXACT
        )

    def test_tiny_and_nearly_certain_facts_keep_their_digits(self) -> None:
        made = reasoner("1.0e-12::a.\nq(yes) :- a.\nq(no) :- \\+ a.", "q(R)")
        no, yes = made({})[0].tolist()
        assert made.answers == ("no", "yes")
        assert yes == pytest.approx(math.log(1e-12), rel=1e-15)
        assert no == pytest.approx(-1e-12, rel=1e-12)

    def test_a_program_mixes_them_with_networks(self) -> None:
        text = COLOURS + "0.1::blind.\nsay(X, C) :- colour(X, C), \\+ blind.\nsay(X, nothing) :- blind."
        made = reasoner(text, "say(X, C)")
        x = rows(2, 3)
        found = made({"X": x})
        torch.testing.assert_close(column(found, made, "green"), 0.9 * x[:, 1].exp(), atol=EXACT, rtol=0.0)
        torch.testing.assert_close(column(found, made, "nothing"), torch.full((2,), 0.1), atol=EXACT, rtol=0.0)


class TestAnswers:
    def test_numbers_come_first_and_in_order(self) -> None:
        text = "q(R) :- member(R, [10, 9, b, 1.5, a, -2, f(1)]).\n:- use_module(library(lists))."
        assert reasoner(text, "q(R)").answers == ("-2", "1.5", "9", "10", "a", "b", "f(1)")

    def test_of_several_outputs(self) -> None:
        made = reasoner(
            COLOURS + "q(X, C, K) :- colour(X, C), kind(C, K).\nkind(red, warm).\nkind(blue, cold).", "q(X, C, K)"
        )
        assert made.answers == ("blue,cold", "red,warm")

    def test_numbers_that_read_the_same_are_one(self) -> None:
        text = COLOURS + "q(X, R) :- colour(X, red), R is 0.1 + 0.2.\nq(X, R) :- colour(X, blue), R is 0.3."
        made = reasoner(text, "q(X, R)")
        assert made.answers == ("0.3",)
        x = rows(3, 3)
        torch.testing.assert_close(made({"X": x})[:, 0].exp(), x[:, [0, 2]].exp().sum(1), atol=EXACT, rtol=0.0)

    def test_of_none(self) -> None:
        made = reasoner(COLOURS + "q(X) :- colour(X, red).", "q(X)")
        assert made.answers == ("true",)

    def test_index(self) -> None:
        made = reasoner(ADDITION, "addition(X, Y, Sum)")
        assert made.index(7) == made.index("7") == 7

    def test_an_answer_that_cannot_be_derived(self) -> None:
        made = reasoner(COLOURS + "q(X, C) :- colour(X, C).", "q(X, C)")
        with pytest.raises(AnswerError, match="cannot derive the answer gren") as raised:
            made.index("gren")
        assert "did you mean green?" in str(raised.value.hint)

    def test_another_number_type_is_named(self) -> None:
        made = reasoner(DIGIT + "half(X, H) :- digit(X, D), H is D / 2.", "half(X, H)")
        with (
            pytest.warns(NesyGediWarning, match=r"the answer 2 never holds, but 2\.0 does"),
            pytest.raises(AnswerError),
        ):
            made.index(2)
        assert made.index(2.0) == made.answers.index("2.0")

    def test_the_index_of_all_answers_is_a_permutation(self) -> None:
        made = reasoner(ADDITION, "addition(X, Y, Sum)")
        assert [made.index(answer) for answer in made.answers] == list(range(19))


class TestQueries:
    def test_no_query(self) -> None:
        with pytest.raises(UsageError, match="no query/1"):
            answer_queries(Program("a."))

    def test_a_network(self) -> None:
        with pytest.raises(UsageError, match="ask network net"):
            answer_queries(Program(COLOURS + "query(colour(logo, red))."))

    def test_impossible_evidence(self) -> None:
        with pytest.raises(ProgramError, match="evidence is impossible"):
            answer_queries(Program("0.4::a.\nevidence(a).\nevidence(a, false).\nquery(a)."))

    def test_another_number_type_is_named(self) -> None:
        with pytest.warns(NesyGediWarning, match=r"h\(1\) has probability 0, but h\(1\.0\) can hold"):
            assert answer_queries(Program("h(X) :- X is 2 / 2.\nquery(h(1)).")) == {"h(1)": 0.0}


def test_a_program_that_needs_compiling_against_all_worlds() -> None:
    text = COLOURS + (
        "alike(X, Y) :- colour(X, C), colour(Y, C).\n"
        "pair(X, Y, Z, yes) :- alike(X, Y).\npair(X, Y, Z, yes) :- alike(Y, Z).\npair(X, Y, Z, yes) :- alike(X, Z).\n"
        "pair(X, Y, Z, no) :- \\+ alike(X, Y), \\+ alike(Y, Z), \\+ alike(X, Z)."
    )
    made = reasoner(text, "pair(X, Y, Z, R)")
    assert made.circuit.method == "branched"
    p = [rows(4, 3, seed=k).exp() for k in range(3)]
    different = sum(p[0][:, i] * p[1][:, j] * p[2][:, k] for i, j, k in itertools.permutations(range(3)))
    found = made({slot: x.log() for slot, x in zip("XYZ", p, strict=True)})
    torch.testing.assert_close(column(found, made, "no"), different, atol=EXACT, rtol=0.0)
    torch.testing.assert_close(column(found, made, "yes"), 1 - different, atol=EXACT, rtol=0.0)
