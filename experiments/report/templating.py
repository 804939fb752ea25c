"""Fill the templates: pages in HTML, where values are escaped, and texts in Markdown."""

import re
from pathlib import Path
from typing import Any

from memphis.formatting import duration, printable

TEMPLATES = Path(__file__).parent / "templates"
MAX_CHARS = 1_500  # of one quoted text


def render(template: str, **content: Any) -> str:
    """Fill templates/<template>.jinja. Control characters leave all text."""
    import jinja2  # takes 0.05 s, which would slow `--help` down

    def clean(value: Any) -> Any:
        return printable(value) if type(value) is str else value  # HTML of a macro is of a subclass

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=".html" in template,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        finalize=clean,
    )
    environment.filters |= {"duration": duration, "quoted": quoted}
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False}
    return environment.get_template(f"{template}.jinja").render(content).strip() + "\n"


def quoted(text: str) -> str:
    """Return a Markdown code block that the text cannot end."""
    text = cut(text, MAX_CHARS)
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}text\n{text.strip()}\n{fence}"


def cut(text: str, chars: int) -> str:
    return text if len(text) <= chars else f"{text[:chars]} […]"
