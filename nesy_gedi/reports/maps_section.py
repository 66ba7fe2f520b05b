"""Which symbols were learned, and which other maps would have fitted, as HTML."""

from __future__ import annotations

from html import escape

from nesy_gedi.concepts.misreadings import UNSEEN
from nesy_gedi.concepts.shortcuts import differing, is_one_to_one
from nesy_gedi.reports.inspection import Inspection
from nesy_gedi.reports.learned_map import LearnedMap, named, spelled
from nesy_gedi.reports.page import bullets, number, table

MAPS_SHOWN = 12
"""Optimal maps that are written out: those nearest to the learned one, and those that are one to one."""


def verdict(inspection: Inspection) -> str:
    """Whether the symbols are right, in a box, and what would settle what is open."""
    said = inspection.statements()
    if (assignment := inspection.assignment) is not None:
        said += [sentence for sentence in assignment.sentences if sentence not in assignment.alternatives]
    kind = "" if not inspection.known else "good" if inspection.right else "bad"
    return f'<div class="box {kind}"><p><strong>{inspection.headline}</strong></p>{bullets(map(escape, said))}</div>'


def maps_section(inspection: Inspection) -> list[str]:
    """The learned map of each network, and the optimal maps that it is nearest to."""
    if not inspection.learned_maps:
        return [
            "<p>What images of each true symbol are read as is not known: no test image is labelled. The pictures below show "
            "what each symbol has come to mean.</p>"
        ]
    family = (
        "Each network has one map here, whichever image it looks at: what it reads depends on its own symbol alone."
        if len(inspection.readings) > 1
        else "The network has one map, whichever image it looks at."
    )
    mixing = "".join(
        f" {escape(named(names))} look at the same images and may mix what these show; shortcuts that do are not in the "
        "list."
        for names in inspection.mixing_not_counted
    )
    return [
        f"<p>What most images of each true symbol are read as. {family} A map is optimal when the program answers "
        "everything right under it that training shows; all but the right one are reasoning shortcuts, and answers alone do "
        f"not tell them apart.{mixing}</p>",
        f'<div class="beside">{"".join(_learned(inspection, *item) for item in inspection.learned_maps.items())}</div>',
        _alternatives(inspection),
    ]


def _learned(inspection: Inspection, name: str, learned: LearnedMap) -> str:
    nearest = None if inspection.nearest_map is None else inspection.nearest_map.maps[name]
    rows = []
    for k, symbol in enumerate(learned.domain):
        read, closest = learned.reads[k], None if nearest is None else nearest[k]
        right = read in (k, UNSEEN)
        text = "no image" if read == UNSEEN else escape(learned.domain[read])
        rows.append(
            [
                escape(symbol),
                text if right else f"<strong>{text}</strong> &ne; {escape(symbol)}",
                number(learned.shares[k], ".1%"),
                "-" if closest is None else "anything" if closest == UNSEEN else escape(learned.domain[closest]),
            ]
        )
    header = ["true symbol", "read as", "of its images", "nearest optimal map"]
    return f"<div><h3>{escape(name)}</h3>{table(header, rows, 'words')}</div>"


def _alternatives(inspection: Inspection) -> str:
    found = inspection.optimal_maps
    if found is None or not inspection.known or len(found.maps) < 2:
        return ""
    learned_maps = inspection.learned_maps
    learned = {name: each.reads for name, each in learned_maps.items()}
    total = max(1, sum(int(each.counts.sum()) for each in learned_maps.values()))
    rows = []
    for maps in found.maps:
        weight = sum(int(learned_maps[name].counts[k]) for name, k in differing(learned, maps))
        one_to_one = "renames" if all(is_one_to_one(row) for row in maps.values()) else "merges"
        rows.append((weight / total, maps, "is right" if maps == found.maps[0] else one_to_one))
    rows.sort(key=lambda row: row[0])  # stable: the identity stays first among equals
    # Those that clusters do not remove are shown even where they are far.
    straight = [row for row in rows if row[2] != "merges"][: MAPS_SHOWN // 2]
    merging = [row for row in rows if row not in straight][: MAPS_SHOWN - len(straight)]
    kept = sorted([*straight, *merging], key=lambda row: row[0])
    cells = [[escape(spelled(maps, found.domains)), kind, f"{distance:.1%}"] for distance, maps, kind in kept]
    header = ["map", "symbols", "images read differently from the learned map"]
    said = "Optimal maps: each would answer everything that training shows right."
    if any(all(len(symbol) == 1 for symbol in domain) for domain in found.domains.values()):
        said += " Single characters are what the symbols are read as, in their order"
        said += "; ? is anything, where training shows no image." if found.unseen else "."
    if len(kept) < len(rows):
        said += f" Of {len(rows)} that were found, the nearest and those that are one to one:"
    return f"<p>{said}</p>{table(header, cells, 'words')}"
