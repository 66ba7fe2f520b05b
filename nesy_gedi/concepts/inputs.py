"""Reads and checks what an assignment is given."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from nesy_gedi.concepts.bounds import AnswerBounds
from nesy_gedi.concepts.observations import UNKNOWN, Input, Labels, Observations, Unknown
from nesy_gedi.errors import DataError, DistributionError, UsageError, did_you_mean
from nesy_gedi.logic.distributions import NeuralInput, check_rows
from nesy_gedi.logic.reasoner import Reasoner

LogProbabilities = Mapping[tuple[str, ...], Tensor]
"""(network, slot, ...) -> log-probabilities (n, c)."""

LabelledImages = Mapping[str, tuple[Tensor, Tensor]]
"""network -> log-probabilities of clusters (m, c), and the index of each image's symbol (m,)."""

KnownSymbols = Mapping[str, Mapping[int, int]]
"""network -> cluster -> index of its symbol."""


def read_observations(
    reasoner: Reasoner,
    log_q: LogProbabilities,
    answers: Tensor,
    given: LogProbabilities,
    labels: LabelledImages,
    kind: str,
) -> Observations:
    """Everything observed, checked, in float64 on the CPU.

    Args:
        kind: as for :func:`~nesy_gedi.concepts.assignment.assign`.

    Raises:
        UsageError: an unknown network or slot, one given twice, or numbers of clusters that cannot be mapped.
        DataError: answers or labels of the wrong type, length or range.
        DistributionError: rows that are no distributions, or of the wrong shape.
    """
    _check_keys(reasoner, log_q, given)
    answers = _whole_numbers(answers, len(reasoner.answers), "answers", "columns of the reasoner")
    clusters: dict[str, int] = {}
    rows = {key: _rows(value, _name(key)) for key, value in log_q.items()}
    labelled = {network: _labelled(reasoner, network, value) for network, value in labels.items()}
    for network, tensor in [
        *((key[0], value) for key, value in rows.items()),
        *((n, v) for n, (v, _) in labelled.items()),
    ]:
        if clusters.setdefault(network, tensor.shape[1]) != tensor.shape[1]:
            raise DistributionError(
                f"{tensor.shape[1]} clusters here, {clusters[network]} elsewhere",
                where=f"network {network}",
                hint="all distributions of a network are over the same clusters",
            )
    if not clusters:
        raise UsageError("no network's clusters are given, so there is nothing to assign", hint="pass log_q")
    unknowns = _unknowns(reasoner, clusters, kind)
    by_name = {unknown.network: unknown for unknown in unknowns}
    inputs = [_input(item, rows, given, by_name, len(answers)) for item in reasoner.inputs] if len(answers) else []
    return Observations(
        unknowns,
        AnswerBounds(reasoner),
        inputs,
        answers,
        [Labels(by_name[network], value, symbols) for network, (value, symbols) in labelled.items()],
    )


def read_known(observations: Observations, fixed: KnownSymbols) -> Tensor:
    """The known part of the map, shape (size,).

    Raises:
        UsageError: an unknown network, cluster or symbol, or two clusters of one symbol in a one-to-one map.
    """
    base = torch.full((observations.size,), UNKNOWN)
    by_name = {unknown.network: unknown for unknown in observations.unknowns}
    for network, symbols in fixed.items():
        if network not in by_name:
            raise UsageError(f"no clusters of a network {network} are given", hint=did_you_mean(network, by_name))
        unknown = by_name[network]
        holders: dict[int, int] = {}
        for cluster, symbol in symbols.items():
            if not 0 <= cluster < unknown.clusters or not 0 <= symbol < len(unknown.domain):
                raise UsageError(
                    f"cluster {cluster} is fixed to the symbol number {symbol}, but there are {unknown.clusters} "
                    f"clusters and {len(unknown.domain)} symbols",
                    where=f"network {network}",
                    hint="both are counted from 0",
                )
            if unknown.one_to_one and holders.setdefault(symbol, cluster) != cluster:
                raise UsageError(
                    f"clusters {holders[symbol]} and {cluster} are both fixed to {unknown.domain[symbol]}",
                    where=f"network {network}",
                    hint='in a one-to-one map each symbol has one cluster; use kind="many_to_one"',
                )
            base[unknown.offset + cluster] = symbol
    return base


def _check_keys(reasoner: Reasoner, log_q: LogProbabilities, given: LogProbabilities) -> None:
    # Images that the program itself names are no variables of the form.
    slots_of_all = dict.fromkeys([*reasoner.form.slots, *(slot for item in reasoner.inputs for slot in item.slots)])
    for key in [*log_q, *given]:
        network, *slots = key
        _domain(reasoner, network)
        strange = [slot for slot in slots if slot not in slots_of_all]
        if strange or not slots:
            raise UsageError(
                f"the query form {reasoner.form.text} has no slot {strange[0] if strange else ''}".rstrip(),
                where=f"the key {key}",
                hint=did_you_mean(strange[0] if strange else "", slots_of_all),
            )
        if key in log_q and key in given:
            raise UsageError(
                "its symbols are given, and its clusters are to be assigned",
                where=_name(key),
                hint="leave it out of one of the two",
            )


def _domain(reasoner: Reasoner, network: str) -> tuple[str, ...]:
    networks = reasoner.program.networks
    if network not in networks:
        raise UsageError(f"the program has no network {network}", hint=did_you_mean(network, networks))
    return networks[network]


def _unknowns(reasoner: Reasoner, clusters: dict[str, int], kind: str) -> list[Unknown]:
    unknowns: list[Unknown] = []
    offset = 0
    for network in sorted(clusters):
        domain, count = _domain(reasoner, network), clusters[network]
        if count < len(domain):
            raise UsageError(
                f"{count} clusters cannot stand for {len(domain)} symbols",
                where=f"network {network}",
                hint=f"cluster into at least {len(domain)} clusters",
            )
        if kind == "one_to_one" and count > len(domain):
            raise UsageError(
                f"{count} clusters cannot be mapped one-to-one to {len(domain)} symbols",
                where=f"network {network}",
                hint='use kind="fitting" or "many_to_one", or assign_softly',
            )
        one_to_one = kind == "one_to_one" or (kind == "fitting" and count == len(domain))
        unknowns.append(Unknown(network, domain, count, offset, one_to_one))
        offset += count
    return unknowns


def _input(
    item: NeuralInput,
    rows: dict[tuple[str, ...], Tensor],
    given: LogProbabilities,
    unknowns: dict[str, Unknown],
    n: int,
) -> Input:
    key = (item.network, *item.slots)
    if key not in rows and key not in given:
        raise UsageError(
            "neither clusters (log_q) nor symbols (given) are passed",
            where=_name(key),
            hint=f"passed: {', '.join(map(_name, [*rows, *given])) or 'none'}",
        )
    found = rows[key] if key in rows else _rows(given[key], _name(key))
    if len(found) != n:
        raise DataError(
            f"{len(found)} rows beside {n} answers", where=_name(key), hint="pass one row for each observed answer"
        )
    if key in given and found.shape[1] != len(item.domain):
        raise DistributionError(
            f"{found.shape[1]} columns for a domain of {len(item.domain)} symbols",
            where=_name(key),
            hint="given distributions are over symbols, in the order of the program",
        )
    return Input(unknowns[item.network] if key in rows else None, found)


def _labelled(reasoner: Reasoner, network: str, value: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    domain = _domain(reasoner, network)
    rows = _rows(value[0], f"labels of {network}")
    symbols = _whole_numbers(value[1], len(domain), f"labels of {network}", f"indices into {network}'s domain")
    if len(rows) != len(symbols):
        raise DataError(
            f"{len(rows)} rows beside {len(symbols)} labels",
            where=f"labels of {network}",
            hint="pass one label for each row",
        )
    return rows, symbols


def _rows(value: Tensor, name: str) -> Tensor:
    if value.dim() != 2 or not value.is_floating_point():
        raise DistributionError(
            f"expected log-probabilities of shape (n, clusters), found {value.dtype} of shape {tuple(value.shape)}",
            where=name,
            hint="pass the network's log_softmax, one row an image",
        )
    check_rows(value, name)
    return value.detach().to("cpu", torch.float64).log_softmax(1)


def _whole_numbers(value: Tensor, stop: int, name: str, what: str) -> Tensor:
    if value.dim() != 1 or value.is_floating_point() or value.is_complex() or value.dtype == torch.bool:
        raise DataError(
            f"expected integers of shape (n,), found {value.dtype} of shape {tuple(value.shape)}",
            where=name,
            hint=f"pass {what}",
        )
    value = value.detach().to("cpu", torch.long)
    wrong = (value < 0) | (value >= stop)
    if bool(wrong.any()):
        raise DataError(
            f"{int(value[wrong][0])} is not among 0..{stop - 1}",
            where=f"{name}, entry {int(torch.nonzero(wrong)[0])}",
            hint=f"pass {what}",
        )
    return value


def _name(key: tuple[str, ...]) -> str:
    return f"{key[0]}({', '.join(map(str, key[1:]))})"
