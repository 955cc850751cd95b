"""What the site needs beyond MkDocs: pages from the repository's root, and formulas.

`mkdocs.yml` names this file under ``hooks``.  Formulas are written as GitHub reads them, ``$x$``,
``$`x`$`` and fences of ``math``; they become MathML when the site is built, so a reader's browser
needs neither a script nor a network.
"""

import re
from pathlib import Path
from xml.etree.ElementTree import Element

from latex2mathml.converter import convert
from markdown import Extension, Markdown
from markdown.inlinepatterns import InlineProcessor
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

# Files of the repository's root that are pages of the site.
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}


class _Formula(InlineProcessor):
    def handleMatch(  # noqa: N802
        self, m: re.Match[str], data: str
    ) -> tuple[Element | str, int, int]:
        return self.md.htmlStash.store(convert(m.group(1))), m.start(0), m.end(0)


class _Formulas(Extension):
    """``$`x`$``, before code spans are found, and ``$x$``, after."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802
        quoted, bare = r"\$`(.+?)`\$", r"\$(?!\s)([^$\n]+?)(?<!\s)\$(?!\w)"
        md.inlinePatterns.register(_Formula(quoted, md), "quoted formula", 195)
        md.inlinePatterns.register(_Formula(bare, md), "formula", 185)


def _displayed(source: str, *_: object, **__: object) -> str:
    return convert(source, display="block")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Have formulas read."""
    config.markdown_extensions.append(_Formulas())
    fence = {"name": "math", "class": "math", "format": _displayed}
    config.mdx_configs.setdefault("pymdownx.superfences", {})["custom_fences"] = [fence]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the repository's root, with links that hold in the site."""
    root = Path(config.config_file_path).parent
    for name, page in PAGES.items():
        text = _root_links((root / name).read_text())
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Point links to files of the repository's root to their pages."""
    for name, page in PAGES.items():
        markdown = markdown.replace(f"](../{name}", f"]({page}")
    return markdown


def _root_links(text: str) -> str:
    text = re.sub(r'(\]\(|(?:src|srcset)=")docs/', r"\1", text)
    for name, page in PAGES.items():
        text = text.replace(f"]({name}", f"]({page}")
    return text
