"""The words of the sample's issues and pull requests: titles, bodies, labels. Short, and clearly about nothing real."""

from mds_assets.github.sample.draws import draw, draws
from mds_assets.github.sample.issues import Item
from mds_assets.github.sample.repositories import SAMPLE_API_URL

THINGS = (
    "login page", "retry policy", "CSV export", "date picker", "cache", "search index", "release notes", "rate limiter",
    "config loader", "sidebar", "webhook handler", "session store", "pagination", "error messages", "health check",
    "log format", "upload form", "time zones", "dark mode", "getting-started guide",
)  # fmt: skip
PROBLEMS = (
    "{} fails on empty input", "{} is slow with many rows", "Unclear message from the {}", "{} ignores its settings",
    "{} breaks after an update", "Support wildcards in the {}", "Document the {}", "Make the {} configurable",
    "{} shows stale data", "Test the {} on Windows",
)  # fmt: skip
CHANGES = (
    "Fix the {}", "Speed up the {}", "Simplify the {}", "Add tests for the {}", "Document the {}", "Rewrite the {}",
    "Make the {} configurable", "Remove dead code from the {}", "Handle time-outs in the {}", "Tidy up the {}",
)  # fmt: skip
LIBRARIES = ("lantern-core", "pebble-http", "quill-json", "kelp-testing", "fjord-lint", "moss-types", "otter-build")
LABELS = {  # name: (colour, description)
    "bug": ("d73a4a", "Something isn't working"),
    "enhancement": ("a2eeef", "New feature or request"),
    "documentation": ("0075ca", "Improvements or additions to documentation"),
    "good first issue": ("7057ff", "Good for newcomers"),
    "question": ("d876e3", "Further information is requested"),
    "dependencies": ("0366d6", "Updates a dependency"),
}
HUMAN_LABELS = tuple(LABELS)[:-1]


def title(item: Item) -> str:
    """The title of an issue or pull request."""
    first, second, third = draws(3, item.repository.id, item.number, "title")
    if item.author.is_bot:
        major, minor = 1 + int(6 * first), int(20 * second)
        return f"Bump {LIBRARIES[int(third * len(LIBRARIES))]} from {major}.{minor}.0 to {major}.{minor + 1}.0"
    patterns = CHANGES if item.is_pull else PROBLEMS
    words = patterns[int(first * len(patterns))].format(THINGS[int(second * len(THINGS))])
    return words[0].upper() + words[1:]


def body(item: Item) -> str:
    """What the author wrote, in a sentence."""
    return "What changed and why." if item.is_pull else "What happened, what was expected, and how to reproduce it."


def labels(item: Item) -> list[dict[str, object]]:
    """None to two labels."""
    number, *shares = draws(3, item.repository.id, item.number, "labels")
    names = {HUMAN_LABELS[int(share * len(HUMAN_LABELS))] for share in shares[: int(3 * number)]}
    if item.author.is_bot:
        names = {"dependencies"}
    return [_label(item, name) for name in LABELS if name in names]


def reason(item: Item) -> str:
    """Why an issue was closed."""
    return "not_planned" if draw(item.repository.id, item.number, "reason") < 0.2 else "completed"


def _label(item: Item, name: str) -> dict[str, object]:
    colour, description = LABELS[name]
    number = item.repository.id * 10 + list(LABELS).index(name)
    return {
        "id": number,
        "node_id": f"LA_synthetic_{number}",
        "url": f"{SAMPLE_API_URL}/labels/{name.replace(' ', '%20')}",
        "name": name,
        "color": colour,
        "default": name != "dependencies",
        "description": description,
    }
