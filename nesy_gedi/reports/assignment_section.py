"""Which symbol each cluster stands for, how sure that is and what would settle it, as HTML."""

from __future__ import annotations

from html import escape

from nesy_gedi.data import ImageSet
from nesy_gedi.reports.gallery import SHOWN, picture, sheet
from nesy_gedi.reports.page import bullets, number, table
from nesy_gedi.training.assignment_record import AssignedNetwork, AssignmentRecord

WORTH_MENTIONING = 0.01
"""Symbols that a cluster has with a smaller probability are not listed."""


def assignment_section(record: AssignmentRecord, images: ImageSet) -> list[str]:
    """The assignment beside its runner-up, what is open, and the images to ask about.

    Args:
        images: training images, which the asked labels name.
    """
    observed = f"{record.answers} observed answers" + (f" and {record.labels} labels" if record.labels else "")
    gap = "there is no other" if record.gap is None else f"the runner-up is {record.gap:.1f} nats less likely"
    proven = "proven to be the best" if record.exact else "the best that was found in the time allowed"
    return [
        "<p>The networks began as clusters, learned without labels. Which symbol each cluster stands for is the map under "
        f"which the observed answers are most likely: log-likelihood {record.log_likelihood:.1f} nats over {observed}; "
        f"{gap}; {proven}.</p>",
        bullets([escape(sentence) for sentence in record.sentences]),
        f'<div class="beside">{"".join(_network(name, own) for name, own in record.networks.items())}</div>',
        _asked(record, images),
    ]


def _network(name: str, own: AssignedNetwork) -> str:
    rows = []
    for cluster, symbol in enumerate(own.symbols):
        other = own.runner_up[cluster] if own.runner_up is not None else None
        likely = [(p, of) for of, p in zip(own.domain, own.posterior[cluster], strict=True) if p >= WORTH_MENTIONING]
        likely.sort(key=lambda item: -item[0])
        rows.append(
            [
                str(cluster),
                f"<strong>{escape(symbol)}</strong>",
                "-"
                if other is None
                else escape(other)
                if other == symbol
                else f"<strong>{escape(other)}</strong> differs",
                ", ".join(f"{escape(of)} {number(p, '.0%')}" for p, of in likely),
                "hardly seen in the answers" if cluster in own.uninformed else "",
            ]
        )
    header = ["cluster", "stands for", "runner-up", "probability of each symbol", ""]
    if not any(row[-1] for row in rows):
        header, rows = header[:-1], [row[:-1] for row in rows]
    return f"<div><h3>{escape(name)}</h3>{table(header, rows, 'words')}</div>"


def _asked(record: AssignmentRecord, images: ImageSet) -> str:
    if not record.labels_to_ask:
        return ""
    rows = []
    for asked in record.labels_to_ask:
        own = record.networks[asked.network]
        inside = [k for k in asked.typical if 0 <= k < len(images)][:SHOWN]
        data = sheet(images.images[inside], SHOWN)
        shown = picture(data, f"typical images of cluster {asked.cluster}") if images.images.dim() == 4 else ""
        likely = [of for of, p in zip(own.domain, own.posterior[asked.cluster], strict=True) if p >= WORTH_MENTIONING]
        candidates = sorted(asked.symbols or likely, key=own.domain.index)
        rows.append([escape(asked.network), str(asked.cluster), shown, escape(" or ".join(candidates))])
    does = "leave fewer assignments" if record.more_near_ties else "settle it"
    said = (
        f"Being told what these images show would {does}. Tell it when you train again: "
        f"<code>nesy-gedi train ... --label {escape(record.labels_to_ask[0].network)}:SYMBOL=FILE</code>, or "
        "<code>=1</code> in place of a file for one labelled training image."
    )
    header = [
        "network",
        "cluster",
        "its most typical training images" if images.images.dim() == 4 else "",
        "what is it?",
    ]
    return f"<h3>What to ask for</h3><p>{said}</p>{table(header, rows, 'gallery')}"
