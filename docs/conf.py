"""The documentation as a site: ``make docs`` builds it into build/site, without a network and with warnings as errors."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective

import nesy_gedi

project = "nesy-gedi"
copyright = "the authors of nesy-gedi"
html_title = "nesy-gedi"
html_theme = "furo"
html_show_sphinx = False
html_copy_source = False

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["build"]
myst_heading_anchors = 4  # links such as recipes.md#several-processes work on a code host as well
suppress_warnings = ["misc.highlighting_failure"]  # [0..9] is no Prolog

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True}
python_maximum_signature_line_length = 90
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True


class PublicNames(SphinxDirective):
    """``{public-names} jobs training``: everything public that lives in these parts of the package, by name.

    Its argument may also be one module with a list of its own, as ``nesy_gedi.data``.
    """

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        found = [name for part in self.arguments[0].split() for name in names_of(part)]
        if not found:
            raise self.error(f"nothing public lives in {self.arguments[0]}")
        text = "\n".join(f".. auto{kind_of(name)}:: {name}" for name in found)
        return self.parse_text_to_nodes(f"```{{eval-rst}}\n{text}\n```\n")


def names_of(part: str) -> list[str]:
    """The public names of a part of the package, functions first; or those of one module."""
    if part.startswith("nesy_gedi."):
        return [f"{part}.{name}" for name in import_module(part).__all__]
    found = [name for name in nesy_gedi.__all__ if nesy_gedi._PUBLIC[name].split(".")[1] == part]
    return [f"nesy_gedi.{name}" for name in sorted(found, key=lambda name: (name[0].isupper(), name))]


def kind_of(name: str) -> str:
    module, _, last = name.rpartition(".")
    found = getattr(import_module(module), last)
    if not isinstance(found, type):
        return "function" if callable(found) else "data"
    return "exception" if issubclass(found, Exception) else "class"


def find_public(app: Sphinx, env: BuildEnvironment, node: pending_xref, text: nodes.Element) -> nodes.Node | None:
    """References name the module where something is defined; its page has it under the name that users import."""
    target = str(node.get("reftarget", ""))
    last = target.rpartition(".")[2]
    if not target.startswith("nesy_gedi.") and last not in nesy_gedi.__all__:
        return None
    objects: dict[str, Any] = env.get_domain("py").objects  # type: ignore[attr-defined]
    for name in (f"nesy_gedi.{last}", f"nesy_gedi.data.{last}", f"nesy_gedi.objectives.{last}"):
        if name in objects and app.builder is not None:
            entry = objects[name]
            place = app.builder.get_relative_uri(str(node["refdoc"]), entry.docname)
            return nodes.reference("", "", text, internal=True, refuri=f"{place}#{entry.node_id}", reftitle=name)
    return None


def without_factories(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """``<factory>`` is no Python, and a signature that does not parse is cut at each comma."""
    return (signature and signature.replace("<factory>", "..."), returned)


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-signature", without_factories)
    app.add_directive("public-names", PublicNames)
    app.connect("missing-reference", find_public)
